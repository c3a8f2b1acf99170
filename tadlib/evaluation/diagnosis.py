"""Diagnosis: oracle labels (upper bound), confusion matrix, AP of each video, calibration of scores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from tadlib.data.annotations import Video
from tadlib.data.windows import spans
from tadlib.evaluation.scoring import class_table
from tadlib.naming.fusion import Detections
from tadlib.segments import pairwise_tiou

BINS = 10  # of a reliability diagram


def oracle_label(videos: Sequence[Video], detections: Mapping[str, Detections]) -> dict[str, Detections]:
    """Return an upper bound of classification: detected segments in order, with true labels of the nearest action.

    Each segment counts once, with its best score over classes, and takes all labels of the action it overlaps most, or
    of the nearest one if it overlaps none. Videos without actions have no detections.
    """
    found = {}
    for video in videos:
        if not video.actions or video.id not in detections or not len(detections[video.id].scores):
            continue
        segments, of = torch.unique(detections[video.id].segments, dim=0, return_inverse=True)
        scores = detections[video.id].scores
        scores = scores.new_zeros(len(segments)).scatter_reduce(0, of, scores, "amax", include_self=False)
        true = spans(video.actions)
        overlap = pairwise_tiou(segments.float(), true)
        middle = (segments.float().mean(dim=1)[:, None] - true.mean(dim=1)[None]).abs()
        nearest = (overlap - 1e-6 * middle / (1 + middle)).argmax(dim=1).tolist()
        rows = []
        for place, action in enumerate(nearest):
            chosen = video.actions[action]
            same = {a.label for a in video.actions if (a.start, a.end) == (chosen.start, chosen.end)}
            rows += [(place, label) for label in sorted(same)]
        index = torch.tensor([place for place, _ in rows], dtype=torch.int64)
        found[video.id] = Detections(segments[index], scores[index], tuple(label for _, label in rows))
    return found


def confusion(
    true: Sequence[int] | Int[np.ndarray, " n"], named: Sequence[int] | Int[np.ndarray, " n"], classes: int
) -> np.ndarray:
    """Return the confusion matrix of counts (true, predicted)."""
    pairs = np.asarray(true, int) * classes + np.asarray(named, int)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def video_precision(
    videos: Sequence[Video], detections: Mapping[str, Detections], classes: Sequence[str], tious: Sequence[float]
) -> dict[str, float]:
    """Return the mAP of each video with actions, over its own classes, as if it were the only video."""
    scores = {}
    for video in videos:
        if video.actions:
            own = sorted({action.label for action in video.actions} & set(classes))
            scores[video.id] = float(np.nanmean(class_table([video], detections, own, tious)))
    return scores


class Reliability(NamedTuple):
    """Reliability diagram: predictions in bins of equal number, from the lowest scores to the highest."""

    score: Float[np.ndarray, " bins"]  # mean score
    right: Float[np.ndarray, " bins"]  # share of hits
    number: Int[np.ndarray, " bins"]
    error: float  # expected calibration error: mean distance of score and share of hits, by number; NaN without bins


def reliability(scores: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"]) -> Reliability:
    """Return the share of hits by score; ValueError if scores are no probabilities. No predictions give no bins."""
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        raise ValueError(f"scores must be probabilities (0..1), got {scores.min():g}..{scores.max():g}")
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    score = np.array([scores[part].mean() for part in parts])
    right = np.array([hit[part].mean() for part in parts])
    number = np.array([len(part) for part in parts])
    error = float(np.average(np.abs(score - right), weights=number)) if parts else np.nan
    return Reliability(score, right, number, error)
