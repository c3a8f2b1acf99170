"""Detection by CLIP alone, the whole way: groups of similar snippets, calibrated, thinned, named as a run names."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals, thin
from tadlib.evaluation import baselines
from tadlib.naming.fusion import Detections
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.heads import untrained
from tadlib.workbook.steps.naming import name

TRIED = 10  # classes that CLIP alone looks for in a video: those nearest to it
ALONE = {
    "target": "foreground",
    "reject": "none",
    "proposed_by": "detector",
    "ensemble": "none",
}  # what else a run adds


def groups(data: Data, videos: Sequence[Video], background: Float[Tensor, "b c"]) -> dict[str, Proposals]:
    """What `baselines.training_free` proposes in videos, its similarity to texts of `background` taken off."""
    classes, texts, found = data.classes.unseen, data.text(data.classes.unseen), {}
    for video in videos:
        each = baselines.training_free(
            video, data.store.read(video.id), texts, classes, data.grid(video), background=background, candidates=TRIED
        )
        found[video.id] = Proposals(each.segments.float(), each.scores.clamp(0, 1).float())
    return found


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
    return groups(data, data.scored if videos is None else videos, data.background())


def without_training(
    data: Data, videos: Sequence[Video], params: Params, background: Float[Tensor, "b c"]
) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """Proposals and detections of videos, by nothing that was trained: class texts, and texts of `background`.

    Groups with overlaps thinned, and segments named by the parameters, as the proposals of a detector are.
    """
    found = groups(data, videos, background)
    proposals = thin(found, how=params.nms, threshold=params.nms_tiou, top_k=params.top_k)
    return proposals, name(data, proposals, untrained(params).model_copy(update=ALONE))
