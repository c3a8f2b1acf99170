"""What a detector answers about windows of videos, with the texts it needs, and the proposals that come of it."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.data.batches import Shelf, WindowSet
from tadlib.data.windows import cover
from tadlib.detector import proposals as proposing
from tadlib.detector.proposals import Proposals
from tadlib.naming import text
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.sources import target_wording


def propose(
    answers: proposing.Answers, windows: WindowSet, params: Params, groups: Mapping[str, Proposals] | None = None
) -> dict[str, Proposals]:
    """Proposals of every video of the windows; `groups` as `without_training.groups_beside` gives them."""
    return proposing.merge(
        answers,
        windows,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        top_k=params.top_k,
        filter_threshold=params.filter_threshold,
        groups=groups,
        agreement=params.agreement,
    )


def windows_of(videos: Sequence[Video], data: Data, params: Params) -> WindowSet:
    """Every window of some videos, cut as for the test."""
    return data.test_windows(videos, window=params.asked_window, overlap=params.test_overlap, rescale=params.rescale)


def kept(data: Data, params: Params, video_ids: Iterable[str]) -> dict[str, int]:
    """How many proposals, and then detections, are kept of each video: `top_k` for each of its test windows."""
    shelf = Shelf(data.store)
    lengths = {video_id: len(shelf.read(video_id)) for video_id in video_ids}
    return {
        video_id: params.top_k * len(cover(video_id, length, params.asked_window, params.test_overlap))
        for video_id, length in lengths.items()
    }


def without_names(data: Data, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """The proposals that count where nobody looks at names: overlaps thinned, as many as are kept."""
    if params.nms_per == "video":
        return proposals
    most = kept(data, params, proposals)
    return proposing.thin(proposals, nms=params.nms, nms_tiou=params.nms_tiou, most=most)


def texts_read(data: Data, params: Params, classes: Sequence[str]) -> Float[Tensor, "k c"] | None:
    """The texts of classes as the detector reads them: the seen ones in training, then those that compete.

    None for a detector that does nothing with text.
    """
    if params.target != "foreground":
        return target_texts(data, params, classes)
    return data.text(classes) if params.fuse_text or params.segmentation != "none" else None


def target_texts(data: Data, params: Params, classes: Sequence[str]) -> Float[Tensor, "k c"]:
    """Unit-length embeddings of classes, of the kind that a classifying detector is trained on.

    Without text a class is its place among the seen ones: one number is 1, the others 0.
    """
    if params.target == "none":
        return torch.eye(len(data.classes.seen))[[data.classes.seen.index(name) for name in classes]]
    return text.class_embeddings(data.encoder, classes, target_wording(params), data.benchmark.cache)
