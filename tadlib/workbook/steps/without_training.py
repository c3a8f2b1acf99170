"""Detection by CLIP alone, the whole way: groups of similar snippets, calibrated, thinned, named as a run names."""

from collections.abc import Sequence

import torch

from tadlib import segments
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
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


def without_training(
    data: Data, videos: Sequence[Video], params: Params, background: Sequence[str]
) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """Proposals and detections of videos, by nothing that was trained: class texts, and texts of `background`.

    What `baselines.training_free` finds, with its similarity to texts of background taken off, overlaps thinned and
    segments named by the parameters, as the proposals of a detector are.
    """
    classes, texts = data.classes.unseen, data.text(data.classes.unseen)
    usual, proposals = data.text(background), {}
    for video in videos:
        found = baselines.training_free(
            video, data.store.read(video.id), texts, classes, data.grid(video), background=usual, candidates=TRIED
        )
        proposals[video.id] = _thinned(Proposals(found.segments.float(), found.scores.clamp(0, 1).float()), params)
    return proposals, name(data, proposals, untrained(params).model_copy(update=ALONE))


def _thinned(found: Proposals, params: Params) -> Proposals:
    """Proposals with overlaps thinned as the parameters ask for it, best first."""
    one, scores = torch.zeros(len(found.scores), dtype=torch.int64), found.scores
    if not len(scores):
        return found
    if params.nms == "hard":
        kept = segments.nms(found.segments, scores, one, params.nms_tiou)
    else:
        if params.nms == "soft":
            scores = segments.soft_nms_of_groups(found.segments, scores, one, sigma=params.nms_tiou)
        kept = scores.argsort(descending=True, stable=True)
    kept = kept[: params.top_k]
    return Proposals(found.segments[kept], scores[kept])
