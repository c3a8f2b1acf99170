"""Detection by CLIP alone, the whole way: groups of similar snippets, calibrated, thinned, named as a run names."""

from collections.abc import Sequence

from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals, thin
from tadlib.naming.fusion import Detections
from tadlib.workbook.params import Params
from tadlib.workbook.steps.answers import kept
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.heads import untrained
from tadlib.workbook.steps.naming import name

ALONE = {
    "target": "foreground",
    "reject": "none",
    "proposed_by": "detector",
    "ensemble": "none",
    "nms_per": "video",
}  # what else a run adds


def groups_beside(data: Data, params: Params, videos: Sequence[Video] | None = None) -> dict[str, Proposals] | None:
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
    return data.groups if videos is None else data.groups_in(videos)


def without_training(data: Data, params: Params) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """Proposals and detections of the scored videos, by nothing that was trained: class texts, and texts of background.

    CLIP's groups with overlaps thinned, and segments named by the parameters, as the proposals of a detector are.
    """
    most = kept(data, params, data.groups)
    proposals = thin(data.groups, nms=params.nms, nms_tiou=params.nms_tiou, most=most)
    return proposals, name(data, proposals, untrained(params).but(**ALONE))
