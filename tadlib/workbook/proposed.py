"""Proposals of a detector, and of CLIP alone, as the parameters ask for them."""

from collections.abc import Iterable, Mapping, Sequence

from tadlib.data.annotations import Video
from tadlib.data.batches import WindowSet
from tadlib.detector import proposals as proposing
from tadlib.detector.proposals import Predictions, Proposals
from tadlib.task import Task
from tadlib.workbook.params import Params


def propose(
    predictions: Predictions, windows: WindowSet, params: Params, groups: Mapping[str, Proposals] | None = None
) -> dict[str, Proposals]:
    """Proposals of every video of the windows; `groups` as `groups_beside` gives them."""
    return proposing.to_proposals(
        predictions,
        windows,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        top_k=params.top_k,
        filter_threshold=params.filter_threshold,
        clip_proposals=groups,
        agreement=params.agreement,
    )


def windows_of(videos: Sequence[Video], data: Task, params: Params) -> WindowSet:
    """Every window of some videos, cut as for the test."""
    return data.test_windows(params.asked_window, videos=videos, overlap=params.test_overlap, rescale=params.rescale)


def kept(data: Task, params: Params, video_ids: Iterable[str]) -> dict[str, int]:
    """How many proposals, and then detections, are kept of each video: `top_k` for each of its test windows."""
    return data.kept(video_ids, params.top_k, params.asked_window, params.test_overlap)


def without_names(data: Task, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """The proposals that count where nobody looks at names: overlaps thinned, as many as are kept."""
    if params.nms_per == "video":
        return proposals
    most = kept(data, params, proposals)
    return proposing.apply_nms(proposals, nms=params.nms, nms_tiou=params.nms_tiou, most=most)


def groups_beside(data: Task, params: Params, videos: Sequence[Video] | None = None) -> dict[str, Proposals] | None:
    """CLIP's own groups where proposals are scored by their agreement with these, else None; in the scored videos.

    Raises ValueError for an encoder that cannot be asked what background looks like.
    """
    if not params.agreement:
        return None
    if not data.reads_any_text:
        raise ValueError(
            f"agreement={params.agreement} asks what background looks like: it needs an encoder that reads any text, "
            f"got {data.encoder.name}; pass -p agreement 0"
        )
    return data.clip_proposals if videos is None else data.clip_proposals_in(videos)
