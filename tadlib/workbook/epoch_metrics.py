"""Metrics after every epoch: mAP and recall of seen classes, unseen classes and training videos, and matched queries.

Nothing here changes the training, and the selected epoch never depends on unseen classes.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import ideas
from tadlib.data.annotations import Video
from tadlib.data.batches import WindowSet, collate
from tadlib.detector.losses import class_logits
from tadlib.detector.matching import Cost, match
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation import metrics, protocols, scoring
from tadlib.task import Task
from tadlib.workbook.inference import class_agnostic, clip_proposals, inference_windows, name, propose
from tadlib.workbook.params import Params

SEEN, UNSEEN = "mAP of seen classes", "mAP of unseen classes"
NAMED = "mAP of unseen classes, named"
TRAINING, LEARNED = "mAP of training videos", "training videos looked at"
MAX_TRAINING_VIDEOS = 40  # measured, a fixed random sample: a training set may be far larger than the test set
MATCHED = "query of action "
COUNTS = (10, 100)  # proposals a video at which average recall is measured


class EpochWindows(NamedTuple):
    """Windows for one pass of the detector, and the videos with the actions of each side measured on them."""

    windows: WindowSet
    texts: Float[Tensor, "k c"] | None
    sides: Mapping[str, Sequence[Video]]
    of_clip: Mapping[str, Proposals] | None = None  # CLIP's own proposals, for the classes of all sides but SEEN


def selected(params: Params) -> str:
    """Return the metric by which the epoch is selected, or "last"."""
    return SEEN if params.select == "validation" else "last"


def measure_epochs(
    data: Task, windows: WindowSet, params: Params, texts: Float[Tensor, "k e"] | None, cost: Cost
) -> Callable[[ConditionalDETR], Mapping[str, float]]:
    """Return a function that measures a model after an epoch: every side, and the query matched to each action."""
    to_measure = epoch_windows(data, params, texts)

    def measure(model: ConditionalDETR) -> dict[str, float]:
        found = matched_queries(model, windows, texts, cost)
        for each in to_measure:
            predictions = predict(model, each.windows, texts=each.texts)
            for side, videos in each.sides.items():
                found |= {LEARNED: float(len(videos))} if side == TRAINING else {}
                proposals = propose(predictions, each.windows, params, None if side == SEEN else each.of_clip)
                found |= measured(side, videos, proposals, data, params)
        return found

    return measure


def epoch_windows(data: Task, params: Params, texts: Float[Tensor, "k e"] | None) -> list[EpochWindows]:
    """Return what to measure after an epoch: seen classes on held-out videos; with `curves` also test and training."""
    held_out = data.learned_and_held_out[1]
    to_measure = [EpochWindows(inference_windows(held_out, data, params), texts, {SEEN: held_out})] if held_out else []
    if not params.curves:
        return to_measure
    sides, seen = {UNSEEN: data.scored}, sorted(set(data.classes.seen) - set(data.classes.unseen))
    if seen and not held_out:
        videos = protocols.scored_videos(data.benchmark, seen, data.protocol, data.stride)
        sides[SEEN] = tuple(video for video in videos if video.subset == data.benchmark.test_subset)
    sides = {side: videos for side, videos in sides.items() if any(video.actions for video in videos)}
    videos = list({video.id: video for videos in sides.values() for video in videos}.values())
    competing, of_clip = ideas.texts(data, data.competing, params), clip_proposals(data, params, videos)
    to_measure.append(EpochWindows(inference_windows(videos, data, params), competing, sides, of_clip))
    training = data.on_training()
    learned = random.Random(params.seed).sample(training.scored, min(MAX_TRAINING_VIDEOS, len(training.scored)))
    if any(video.actions for video in learned):
        of_clip = clip_proposals(training, params, learned)
        to_measure.append(EpochWindows(inference_windows(learned, data, params), texts, {TRAINING: learned}, of_clip))
    return to_measure


def measured(
    side: str, videos: Sequence[Video], proposals: Mapping[str, Proposals], data: Task, params: Params
) -> dict[str, float]:
    """Return class-agnostic mAP and average recall of a side, for unseen classes also mAP with predicted classes."""
    tious, found = data.benchmark.tious, {video.id: proposals[video.id] for video in videos}

    def precision(detections: Mapping, classes: Sequence[str] | None) -> float:
        if not protocols.with_detections(detections):  # some protocols then count no video
            return 0.0
        return metrics.means(scoring.class_table(videos, detections, classes, tious, data.protocol), tious)["mAP"]

    agnostic, suffix = class_agnostic(data, found, params), side.removeprefix("mAP")
    row = {side: precision(agnostic, None)}
    row |= {f"{metric}{suffix}": value for metric, value in metrics.average_recall(videos, agnostic, COUNTS).items()}
    return row | ({NAMED: precision(name(data, found, params), data.classes.unseen)} if side == UNSEEN else {})


@torch.inference_mode()
def matched_queries(
    model: ConditionalDETR, windows: WindowSet, texts: Float[Tensor, "k e"] | None, cost: Cost
) -> dict[str, float]:
    """Return the query matched by `cost` to each action of the example window."""
    device = next(model.parameters()).device
    texts = None if texts is None else texts.to(device)
    batch = collate([windows.example])
    outputs = model.eval()(batch.features.to(device), batch.padding.to(device), texts)
    ((query_ix, target_ix),) = match(outputs.segments_cw, class_logits(outputs, texts), batch.targets, cost)
    pairs = sorted(zip(target_ix.tolist(), query_ix.tolist(), strict=True))
    return {f"{MATCHED}{action + 1}": float(query) for action, query in pairs}
