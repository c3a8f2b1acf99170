"""The measures once more, as slow loops written straight from their definitions: to test against and to time against.

Nothing else uses this module. One prediction, one threshold, one video at a time, in the order in which the published
scorers proceed, including their unstable order of equal scores.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.evaluation.rows import Comparison
from tadlib.segments import pairwise_tiou


def tious_with(segment: Float[np.ndarray, " 2"], others: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """tIoU of one segment with others; 0/0 is NaN."""
    shared = (np.minimum(segment[1], others[:, 1]) - np.maximum(segment[0], others[:, 0])).clip(0)
    with np.errstate(invalid="ignore"):
        return shared / ((others[:, 1] - others[:, 0]) + (segment[1] - segment[0]) - shared)


def precision_table(comparison: Comparison, tious: Sequence[float]) -> Float[np.ndarray, "k tious"]:
    """AP of each class at each tIoU, as the ActivityNet toolkit computes it."""
    return np.stack([_precision(comparison, label, tious) for label in range(comparison.classes)])


def _precision(comparison: Comparison, label: int, tious: Sequence[float]) -> Float[np.ndarray, " tious"]:
    actions, predictions = comparison.actions, comparison.predictions
    own = np.flatnonzero(actions.label == label)
    if not len(own):
        return np.full(len(tious), np.nan)
    of_video: dict[int, list[int]] = {}
    for row in own:
        of_video.setdefault(int(actions.video[row]), []).append(int(row))
    rows = np.flatnonzero(predictions.label == label)
    rows = rows[predictions.scores[rows].argsort()[::-1]]
    hits = np.zeros((len(tious), len(rows)))
    taken: list[set[int]] = [set() for _ in tious]
    for place, row in enumerate(rows):
        others = of_video.get(int(predictions.video[row]))
        if others is None:
            continue
        overlap = tious_with(predictions.segments[row], actions.segments[others])
        wishes = overlap.argsort()[::-1]
        for column, tiou in enumerate(tious):
            for wish in wishes:
                if overlap[wish] < tiou:
                    break
                if others[wish] not in taken[column]:
                    taken[column].add(others[wish])
                    hits[column, place] = 1
                    break
    return np.array([_area(hit, len(own)) for hit in hits])


def _area(hits: Float[np.ndarray, " n"], actions: int) -> float:
    """Area under precision, made non-increasing from the right, over recall."""
    precision, recall, found, best = [], [], 0, 0.0
    for place, hit in enumerate(hits.tolist(), start=1):
        found += hit
        precision.append(found / place)
        recall.append(found / actions)
    total = 0.0
    for place in range(len(hits) - 1, -1, -1):
        best = max(best, precision[place])
        total += best * (recall[place] - (recall[place - 1] if place else 0.0))
    return total


def recall_table(comparison: Comparison, tious: Sequence[float], most: int = 100) -> Float[np.ndarray, "tious most"]:
    """Recall at each tIoU and average number of proposals, as the ActivityNet toolkit computes it."""
    actions, predictions = comparison.actions, comparison.predictions
    videos = [int(video) for video in np.unique(actions.video)]
    rows = {video: np.flatnonzero(predictions.video == video) for video in videos}
    total = sum(len(own) for own in rows.values())
    share = most * float(len(videos)) / total if total else 0.0
    overlap = {}
    for video, own in rows.items():
        own = own[predictions.scores[own].argsort()[::-1]]
        own = own[: min(int(len(own) * share), len(own))]
        true = actions.segments[actions.video == video]
        overlap[video] = np.array([tious_with(predictions.segments[row], true) for row in own]).reshape(-1, len(true))
    total = sum(len(table) for table in overlap.values())
    recall = np.zeros((len(tious), most))
    share = most * float(len(videos)) / total if total else 0.0
    for place, tiou in enumerate(tious):
        for table in overlap.values():
            reach = table >= tiou
            for column in range(most):
                kept = min(int(len(table) * ((column + 1) / float(most) * share)), len(table))
                recall[place, column] += np.count_nonzero(reach[:kept].any(axis=0))
    return recall / len(actions.video)


def soft_nms(segments: Tensor, scores: Tensor, sigma: float = 0.5) -> Tensor:
    """Gaussian soft-NMS: the scores after each segment was lowered by every better one that overlaps it."""
    decay = torch.exp(-pairwise_tiou(segments, segments).square() / sigma)
    scores = scores.clone()
    rest = torch.ones_like(scores, dtype=torch.bool)
    for _ in range(len(scores)):
        best = torch.where(rest, scores, -torch.inf).argmax()
        rest[best] = False
        scores = torch.where(rest, scores * decay[best], scores)
    return scores
