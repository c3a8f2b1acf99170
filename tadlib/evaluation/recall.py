"""Average recall against the average number of proposals, as defined by the ActivityNet proposal task.

Labels are ignored. Only videos with actions count; without proposals all their actions are missed. At an average
number n, a video keeps floor(k * n / mean k) of its k proposals, best first, so a video with few proposals keeps few,
possibly none. If videos have more than `most` proposals on average, all are first cut by the same share. An action is
recalled at a threshold if any kept proposal reaches the tIoU; one proposal may recall several actions. Two segments
of length zero never recall each other (0/0, as in the toolkit).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from tadlib.data.annotations import Video
from tadlib.evaluation.matching import overlapping
from tadlib.evaluation.ranking import Ties, best_first, ranks
from tadlib.evaluation.rows import Comparison, Scored, compare

RECALL_TIOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
COUNTS = (1, 5, 10, 25, 50, 100)
NOT_RECALLED = np.iinfo(np.int64).max  # rank for actions that no proposal recalls
MAX_AVERAGE = 100  # largest average number of proposals per video


def recall_table(
    comparison: Comparison, tious: Sequence[float] = RECALL_TIOUS, most: int = MAX_AVERAGE, ties: Ties = "stable"
) -> Float[np.ndarray, "tious most"]:
    """Return recall at each tIoU with 1, 2, ... `most` proposals per video on average; NaN without actions."""
    actions, predictions = comparison.actions, comparison.predictions
    if not len(actions.video):
        return np.full((len(tious), most), np.nan)
    scored = np.bincount(actions.video, minlength=comparison.videos) > 0
    own = np.bincount(predictions.video, minlength=comparison.videos) * scored
    videos = float(scored.sum())
    own = np.minimum((own * (most * videos / max(own.sum(), 1))).astype(np.int64), own)  # truncated as in the toolkit
    # share of its proposals that every video keeps at each average number
    share = np.arange(1, most + 1) / float(most) * (most * videos / max(own.sum(), 1))
    rank = ranks(best_first(predictions.video, predictions.scores, ties), predictions.video)
    needed = _needed(comparison, rank, tious)
    least = _first_sufficient(needed, own[actions.video], share)
    first = np.bincount(
        (least + np.arange(len(tious))[:, None] * (most + 1)).ravel(), minlength=len(tious) * (most + 1)
    )
    return first.reshape(len(tious), most + 1)[:, :most].cumsum(axis=1) / len(actions.video)


def _first_sufficient(
    needed: Int[np.ndarray, "tious a"], own: Int[np.ndarray, " a"], share: Float[np.ndarray, " most"]
) -> Int[np.ndarray, "tious a"]:
    """Return the index of the first average number at which an action's video keeps the proposal ranked `needed`.

    It is `len(share)` if there is none. A video keeps floor(own * share) of its proposals, at most all. The index is
    estimated, then corrected by the same rounded arithmetic.
    """
    most = len(share)
    within = needed <= own
    wanted = np.where(within, needed, 0)
    guess = np.ceil(wanted / np.maximum(own * share[0], 1e-300)).clip(0, most).astype(np.int64) - 1
    place = np.maximum(guess - 1, 0)
    for _ in range(2):
        place += (own * share.take(place, mode="clip")).astype(np.int64) < wanted
    return np.where(within, np.minimum(place, most), most)


def _needed(comparison: Comparison, rank: Int[np.ndarray, " n"], tious: Sequence[float]) -> Int[np.ndarray, "tious a"]:
    """Return the rank of the best proposal that recalls each action at each tIoU; NOT_RECALLED if none does."""
    actions, predictions = comparison.actions, comparison.predictions
    pairs = overlapping(predictions.video, predictions.segments, actions.video, actions.segments, min(tious))
    has_length = actions.segments[:, 1] > actions.segments[:, 0]
    ascending = np.argsort(tious)
    level = np.searchsorted(np.asarray(tious)[ascending], pairs.overlap, "right") - 1  # highest tIoU reached
    reached = rank.take(pairs.prediction)
    last_first = np.argsort(-reached)
    # the last assignment to an index stays: the best rank
    best = np.full((len(tious), len(has_length)), NOT_RECALLED)
    best[level[last_first], pairs.action[last_first]] = reached[last_first]
    best[:, ~has_length] = NOT_RECALLED
    needed = np.empty_like(best)
    needed[ascending] = np.minimum.accumulate(best[::-1], axis=0)[::-1]
    return needed


def area(table: Float[np.ndarray, "tious most"]) -> float:
    """Return the AUC: area under average recall over the average number of proposals, divided by the largest number."""
    return float(np.trapezoid(table.mean(axis=0)) / table.shape[1])


def average_recall(
    videos: Sequence[Video], proposals: Mapping[str, Scored], counts: Sequence[int] = COUNTS
) -> dict[str, float]:
    """Return `AR@n` for each of `counts`: class-agnostic recall, averaged over tIoU; 0 without actions."""
    table = recall_table(compare(videos, proposals), most=max(MAX_AVERAGE, *counts)).mean(axis=0)
    return {f"AR@{count}": float(np.nan_to_num(table[count - 1])) for count in counts}
