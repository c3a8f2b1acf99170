"""Average recall against the average number of proposals, as defined by the ActivityNet proposal task.

Labels are ignored. Only videos with actions count; without proposals all their actions are missed. At an average
number n, a video keeps floor(k * n / mean k) of its k proposals, best first, so a video with few proposals keeps few,
possibly none. If videos have more than `most` proposals on average, all are first cut by the same share. An action is
recalled at a threshold if any kept proposal reaches the tIoU; one proposal may recall several actions. Two segments
of length zero never recall each other (0/0, as in the toolkit).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from tadlib.data.annotations import Video
from tadlib.evaluation.matching import Ties, best_first, overlapping, ranks
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
    # share of its proposals that every video keeps at each average number, and their number for each action's video
    share = np.arange(1, most + 1) / float(most) * (most * videos / max(own.sum(), 1))
    kept = np.minimum((own[:, None] * share).astype(np.int64), own[:, None])[actions.video]
    rank = ranks(best_first(predictions.video, predictions.scores, ties), predictions.video)
    pairs = overlapping(predictions.video, predictions.segments, actions.video, actions.segments, min(tious))
    has_length = (actions.segments[:, 1] > actions.segments[:, 0])[pairs.action]
    table = []
    for tiou in tious:
        reach = has_length & (pairs.overlap >= tiou)
        needed = np.full(len(actions.video), NOT_RECALLED)  # rank of the best proposal that recalls each action
        np.minimum.at(needed, pairs.action[reach], rank[pairs.prediction[reach]])
        table.append((needed[:, None] <= kept).mean(axis=0))
    return np.stack(table)


def area(table: Float[np.ndarray, "tious most"]) -> float:
    """Return the AUC: area under average recall over the average number of proposals, divided by the largest number."""
    return float(np.trapezoid(table.mean(axis=0)) / table.shape[1])


def average_recall(
    videos: Sequence[Video], proposals: Mapping[str, Scored], counts: Sequence[int] = COUNTS
) -> dict[str, float]:
    """Return `AR@n` for each of `counts`: class-agnostic recall, averaged over tIoU; 0 without actions."""
    table = recall_table(compare(videos, proposals), most=max(MAX_AVERAGE, *counts)).mean(axis=0)
    return {f"AR@{count}": float(np.nan_to_num(table[count - 1])) for count in counts}
