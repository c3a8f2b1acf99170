"""Proposals named as the parameters ask for it, and detection by CLIP alone."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from tadlib import ideas
from tadlib.detector.proposals import Proposals, apply_nms
from tadlib.naming import fusion
from tadlib.naming.fusion import Detections
from tadlib.task import Task
from tadlib.workbook.params import Params
from tadlib.workbook.proposed import kept

ALONE = {  # what a run adds to CLIP
    "target": "foreground",
    "reject": "none",
    "proposed_by": "detector",
    "ensemble": "none",
    "nms_per": "video",
}


def name(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Detections: proposals named by CLIP, or by the detector itself if it was trained to classify."""
    proposals = ideas.proposals(proposals, data, params)
    return fused(data, proposals, class_logits(data, proposals, params), params)


def class_logits(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "_ _"]]:
    """Logits (n, k) of the proposals of every video: for the unseen classes, then for the seen ones if they compete."""
    opinion, videos = ideas.logits(ideas.classify(data, params), data, params), {each.id: each for each in data.scored}
    return {video_id: opinion(videos[video_id], found) for video_id, found in proposals.items()}


def fused(
    data: Task,
    proposals: Mapping[str, Proposals],
    logits: Mapping[str, Float[Tensor, "_ _"]],
    params: Params,
    classes: Sequence[str] = (),
) -> dict[str, Detections]:
    """Detections from proposals and their class logits.

    `classes` names the first columns of the logits that may be detected; without, the unseen ones.
    """
    words = (params.fusion, params.fusion_weight, params.probability)
    return fusion.to_detections(
        proposals,
        {video_id: fusion.fuse(found.scores, logits[video_id], *words) for video_id, found in proposals.items()},
        classes or data.classes.unseen,
        kept(data, params, proposals),
        keep=params.keep,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        videos=ideas.whole_videos(data, proposals, params) if params.keep == "class_video" else {},
    )


def by_clip_alone(data: Task, params: Params) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """Proposals and detections of the scored videos, by nothing that was trained: class texts, and texts of background.

    CLIP's groups with overlaps thinned, and segments named by the parameters, as the proposals of a detector are.
    """
    most = kept(data, params, data.clip_proposals)
    proposals = apply_nms(data.clip_proposals, nms=params.nms, nms_tiou=params.nms_tiou, most=most)
    return proposals, name(data, proposals, untrained(params).but(**ALONE))


def untrained(params: Params) -> Params:
    """The parameters without anything that is trained to name segments: frozen CLIP alone."""
    return params.but(**ideas.trained_naming.frozen(params.pooling))
