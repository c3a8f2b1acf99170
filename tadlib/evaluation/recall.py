"""Average recall against the average number of proposals, as the ActivityNet proposal task defines it.

Labels are ignored. Videos are those with actions; one without proposals has all its actions missed. AN is an average:
at AN = n a video keeps floor(k * n / mean k) of its k proposals, best first, so that a video with few proposals keeps
few, possibly none. If videos have more than `most` proposals on average, all are first cut to the same share. An
action is recalled at a threshold if any kept proposal reaches the tIoU; one proposal may recall several actions. Two
segments of no length never recall each other (0/0, as in the toolkit).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from tadlib.data.annotations import Video
from tadlib.evaluation.matching import Pairs, candidates, overlapping
from tadlib.evaluation.ranking import Ties, best_first, ranks
from tadlib.evaluation.rows import Comparison, Scored, compare

RECALL_TIOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
COUNTS = (1, 5, 10, 25, 50, 100)
MOST = 100  # proposals per video on average, at most


def recall_table(
    comparison: Comparison, tious: Sequence[float] = RECALL_TIOUS, most: int = MOST, ties: Ties = "stable"
) -> Float[np.ndarray, "tious most"]:
    """Recall at each tIoU with 1, 2, ... `most` proposals a video on average; without actions NaN."""
    actions, predictions = comparison.actions, comparison.predictions
    if not len(actions.video):
        return np.full((len(tious), most), np.nan)
    scored = np.bincount(actions.video, minlength=comparison.videos) > 0
    own = np.bincount(predictions.video, minlength=comparison.videos) * scored
    rank = ranks(best_first(predictions.video, predictions.scores, ties), predictions.video)
    needed = _needed(comparison, rank, tious)
    kept = _kept(own, int(scored.sum()), most)
    recalled = [np.count_nonzero(needed <= share[actions.video], axis=1) for share in kept]
    return np.stack(recalled, axis=1) / len(actions.video)


def _kept(own: Int[np.ndarray, " v"], videos: int, most: int) -> Int[np.ndarray, "most v"]:
    """How many proposals each video keeps at each average number; the toolkit's arithmetic, which is truncated."""
    if not own.sum():
        return np.zeros((most, len(own)), dtype=np.int64)
    own = np.minimum((own * (most * float(videos) / own.sum())).astype(np.int64), own)
    if not own.sum():
        return np.zeros((most, len(own)), dtype=np.int64)
    share = np.arange(1, most + 1) / float(most) * (most * float(videos) / own.sum())
    return np.minimum((own * share[:, None]).astype(np.int64), own)


def _needed(comparison: Comparison, rank: Int[np.ndarray, " n"], tious: Sequence[float]) -> Int[np.ndarray, "tious a"]:
    """Rank of the best proposal of its video that recalls each action at each tIoU; out of reach where none does."""
    actions, predictions = comparison.actions, comparison.predictions
    needed = np.full((len(tious), len(actions.video)), np.iinfo(np.int64).max)
    of = candidates(predictions.video, predictions.segments, actions.video, actions.segments)
    pairs = overlapping(predictions.segments, of, actions.segments, min(tious))
    last_first = np.argsort(-rank[pairs.prediction])
    pairs = Pairs(*(column[last_first] for column in pairs))
    has_length = actions.segments[pairs.action, 1] > actions.segments[pairs.action, 0]
    for column, tiou in enumerate(tious):
        reach = np.flatnonzero((pairs.overlap >= tiou) & has_length)
        # of repeated places the last assigned stays: the best rank
        needed[column, pairs.action[reach]] = rank[pairs.prediction[reach]]
    return needed


def area(table: Float[np.ndarray, "tious most"]) -> float:
    """AUC: area under average recall over the average number of proposals, divided by the largest number."""
    return float(np.trapezoid(table.mean(axis=0)) / table.shape[1])


def average_recall(
    videos: Sequence[Video],
    proposals: Mapping[str, Scored],
    counts: Sequence[int] = COUNTS,
    tious: Sequence[float] = RECALL_TIOUS,
    ties: Ties = "stable",
) -> dict[str, float]:
    """`AR@n` for each of `counts`: recall of actions, whatever their name, averaged over tIoU; 0 without actions."""
    table = recall_table(compare(videos, proposals), tious, max(MOST, *counts), ties).mean(axis=0)
    return {f"AR@{count}": float(np.nan_to_num(table[count - 1])) for count in counts}
