"""Should proposals be ranked by how well they are separated from hard negatives? (entry 65)"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.ideas import head_losses
from tadlib.ideas.head_training import HeadTraining, NamingHead, TrainableParts, score_of
from tadlib.ideas.trained_naming import bins_and_adjacent, class_texts, trained
from tadlib.naming.similarity import scale_of
from tadlib.task import Task


def proposals(
    found: Mapping[str, Proposals], data: Task, parts: TrainableParts, training: HeadTraining, rerank: float
) -> Mapping[str, Proposals]:
    """Rescore proposals by the weighted geometric mean of actionness and probability among hard negatives."""
    if rerank == 0:
        return found
    model = trained(data, parts, training)  # read once, for all videos
    videos, ranked = {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        probability = separation(data, videos[video_id], own.segments, model, training)
        ranked[video_id] = own._replace(scores=own.scores ** (1 - rerank) * probability.to(own.scores) ** rerank)
    return ranked


def separation(
    data: Task, video: Video, segments: Float[Tensor, "n 2"], model: NamingHead, training: HeadTraining
) -> Float[Tensor, " n"]:
    """Probability of each segment (seconds) for its most likely unseen class against the hard negatives of training:
    this class with its steps in wrong orders, and the adjacent regions.
    """
    score = score_of(model, training.head_loss, scale_of(data.encoder.logit_scale, training.logit_scale))
    steps = model.steps(class_texts(data, data.classes.unseen))
    bins, adjacent, in_video = bins_and_adjacent(data, video, segments, training.roi_bins)
    own_logits, own = score(bins, steps)[:, : len(data.classes.unseen)].max(dim=1, keepdim=True)
    rivals = [own_logits]
    devices.seed_all(training.seed)  # the same wrong orders in every run
    if training.hard_negatives in ("order", "all"):
        rivals.append(head_losses.wrong_orders(score, bins, own, steps, model.name_first))
    if training.hard_negatives in ("region", "all"):
        rivals.append(head_losses.wrong_regions(score, adjacent, in_video, own, steps))
    return torch.cat(rivals, dim=1).softmax(dim=1)[:, 0]
