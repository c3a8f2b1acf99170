"""Should proposals be ranked by how well they are separated from hard negatives? (entry 65)"""

from collections.abc import Mapping

import torch

from tadlib import devices
from tadlib.detector.proposals import Proposals
from tadlib.ideas.head_training import HeadTraining
from tadlib.ideas.trained_naming import class_texts, segment_examples, trained
from tadlib.task import Task


def proposals(
    found: Mapping[str, Proposals], data: Task, training: HeadTraining, rerank: float
) -> Mapping[str, Proposals]:
    """Rescore proposals by the weighted geometric mean of actionness and probability among hard negatives.

    The probability is that of the most likely unseen class of a proposal against the hard negatives of training: this
    class with its steps in wrong orders, and the adjacent regions.
    """
    if rerank == 0:
        return found
    model, unseen = trained(data, training), data.classes.unseen  # read once, for all videos
    steps, videos, ranked = model.steps(class_texts(data, unseen)), {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        nothing = torch.zeros(len(own.scores), dtype=torch.int64)
        segments = segment_examples(data, videos[video_id], own.segments, nothing, training.roi_bins)
        logits = model.logits(segments.bins, steps)[:, : len(unseen)]
        best, labels = logits.max(dim=1)
        devices.seed_all(training.seed)  # the same wrong orders in every run
        negatives = model.hard_negatives(segments._replace(labels=labels), steps)
        probability = torch.cat([best[:, None], *negatives.values()], dim=1).softmax(dim=1)[:, 0]
        ranked[video_id] = own._replace(scores=own.scores ** (1 - rerank) * probability.to(own.scores) ** rerank)
    return ranked
