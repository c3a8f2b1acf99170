"""Should proposals rank by how well they are told from hard negatives? (entry 65)"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.ideas import head_training
from tadlib.ideas.head_training import HeadTraining, NamingHead, TrainableParts, score_of
from tadlib.ideas.trained_naming import bins_beside, class_texts, trained
from tadlib.naming.similarity import scale_of
from tadlib.task import Task


def proposals(
    found: Mapping[str, Proposals], data: Task, parts: TrainableParts, training: HeadTraining, rerank: float
) -> Mapping[str, Proposals]:
    """Proposals scored by the geometric mean of actionness and of how well each is told from its hard negatives."""
    if rerank == 0:
        return found
    model = trained(data, parts, training)  # read once, for all videos
    videos, ranked = {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        told = told_apart(data, videos[video_id], own.segments, model, training)
        ranked[video_id] = own._replace(scores=own.scores ** (1 - rerank) * told.to(own.scores) ** rerank)
    return ranked


def told_apart(
    data: Task, video: Video, segments: Float[Tensor, "n 2"], model: NamingHead, training: HeadTraining
) -> Float[Tensor, " n"]:
    """The probability that each segment (seconds) belongs to the text of its most likely unseen class, among this text
    in wrong orders and the stretches beside the segment, whichever of these training told it from.
    """
    say = score_of(model, training.head_loss, scale_of(data.encoder.logit_scale, training.logit_scale))
    steps = model.steps(class_texts(data, data.classes.unseen))
    bins, beside, there = bins_beside(data, video, segments, training.roi_bins)
    right, own = say(bins, steps)[:, : len(data.classes.unseen)].max(dim=1, keepdim=True)
    rivals = [right]
    devices.seed_all(training.seed)  # the wrong orders of one run are those of another
    if training.hard_negatives in ("order", "all"):
        rivals.append(head_training.wrong_orders(say, bins, own, steps, model.led))
    if training.hard_negatives in ("region", "all"):
        rivals.append(head_training.wrong_regions(say, beside, there, own, steps))
    return torch.cat(rivals, dim=1).softmax(dim=1)[:, 0]
