"""Should proposals rank by how well they are told from hard negatives? (entry 65)"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.ideas import head_training
from tadlib.ideas.head_training import Lesson
from tadlib.ideas.semantics import Parts, Semantics, score_of
from tadlib.ideas.trained_naming import bins_beside, said, trained
from tadlib.naming.similarity import scale_of
from tadlib.task import Task


def proposals(
    found: Mapping[str, Proposals], data: Task, parts: Parts, lesson: Lesson, rerank: float
) -> Mapping[str, Proposals]:
    """Proposals scored by the geometric mean of actionness and of how well each is told from its hard negatives."""
    if rerank == 0:
        return found
    semantics = trained(data, parts, lesson)  # read once, for all videos
    videos, ranked = {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        told = told_apart(data, videos[video_id], own.segments, semantics, lesson)
        ranked[video_id] = own._replace(scores=own.scores ** (1 - rerank) * told.to(own.scores) ** rerank)
    return ranked


def told_apart(
    data: Task, video: Video, segments: Float[Tensor, "n 2"], semantics: Semantics, lesson: Lesson
) -> Float[Tensor, " n"]:
    """The probability that each segment (seconds) belongs to the text of its most likely unseen class, among this text
    in wrong orders and the stretches beside the segment, whichever of these training told it from.
    """
    say = score_of(semantics, lesson.head_loss, scale_of(data.encoder.logit_scale, lesson.logit_scale))
    steps = semantics.steps(said(data, data.classes.unseen))
    bins, beside, there = bins_beside(data, video, segments, lesson.roi_bins)
    right, own = say(bins, steps)[:, : len(data.classes.unseen)].max(dim=1, keepdim=True)
    rivals = [right]
    devices.seed_all(lesson.seed)  # the wrong orders of one run are those of another
    if lesson.hard_negatives in ("order", "all"):
        rivals.append(head_training.wrong_orders(say, bins, own, steps, semantics.led))
    if lesson.hard_negatives in ("region", "all"):
        rivals.append(head_training.wrong_regions(say, beside, there, own, steps))
    return torch.cat(rivals, dim=1).softmax(dim=1)[:, 0]
