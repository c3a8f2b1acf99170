"""Ranking and greedy matching of predictions as in the ActivityNet toolkit, for all classes and videos at once.

The predictions of a class are ranked over all videos. In this order each takes the free action of its class in its
video that it overlaps most, if their tIoU reaches the threshold; thresholds are matched separately. Matches never
cross videos, so resampling videos needs no new matching.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tadlib.evaluation.rows import Comparison

Ties = Literal["stable", "peer"]
Places = Int[np.ndarray, " n"]
Segments = Float[np.ndarray, "n 2"]
MAX_PAIRS = 100_000  # (prediction, action) pairs compared at once: few enough for the processor's cache
ANY_OVERLAP = np.nextafter(0, 1)  # least tIoU of segments that overlap at all


class Matches(NamedTuple):
    """Hits (h,) as indices of prediction, action and threshold, and every prediction's rank within its class."""

    rank: Int[np.ndarray, " n"]  # 1 = best
    prediction: Int[np.ndarray, " h"]
    action: Int[np.ndarray, " h"]
    tiou: Int[np.ndarray, " h"]


class Pairs(NamedTuple):
    """Overlapping pairs of a prediction and an action, with their tIoU."""

    prediction: Int[np.ndarray, " p"]
    action: Int[np.ndarray, " p"]
    overlap: Float[np.ndarray, " p"]


def best_first(group: Places, scores: Float[np.ndarray, " n"], ties: Ties = "stable") -> Places:
    """Sort rows by group, then by decreasing score; ties keep the order given (`stable`).

    With `peer` each group is sorted as `argsort()[::-1]` of this group alone would, like the published scorers: numpy's
    default sort is not stable, so the order of ties depends on the number of rows and the machine.
    """
    if ties == "stable":
        return np.lexsort((-scores, group))
    order = np.argsort(group, kind="stable")
    _, counts = np.unique(group, return_counts=True)
    parts = np.split(order, np.cumsum(counts)[:-1])
    return np.concatenate([part[np.argsort(scores[part])[::-1]] for part in parts])


def ranks(order: Places, group: Places) -> Places:
    """Return the rank of every row within its group, 1 = best, from rows sorted by group and score."""
    rank = np.empty_like(order)
    rank[order] = numbered(group)
    return rank


def numbered(group: Places) -> Places:
    """Number the rows of each group 1, 2, ... in the order of rows sorted by group; `group` may be in any order."""
    counts = np.bincount(group)
    return np.arange(1, len(group) + 1) - np.repeat(np.cumsum(counts) - counts, counts)


def overlaps(found: Float[np.ndarray, "n 2"], true: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Return the tIoU row by row: 1 for two segments of length zero at the same time, 0 at different times."""
    shared = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0])
    touching = shared == 0
    np.maximum(shared, 0, out=shared)
    union = (true[:, 1] - true[:, 0]) + (found[:, 1] - found[:, 0]) - shared
    with np.errstate(invalid="ignore"):
        return np.where(union == 0, touching, shared / union)


def overlapping(
    group: Places,
    segments: Segments,
    action_group: Int[np.ndarray, " a"],
    true: Float[np.ndarray, "a 2"],
    least: float = ANY_OVERLAP,
) -> Pairs:
    """Return pairs of a prediction, in the order given, and an action of its group with a tIoU of at least `least`.

    Predictions are compared with all actions of their group, in portions of about MAX_PAIRS pairs.
    """
    by_group = np.argsort(action_group, kind="stable")
    first, last = (np.searchsorted(action_group[by_group], group, side) for side in ("left", "right"))
    rows = np.flatnonzero(last > first)
    total = np.cumsum((last - first)[rows])
    parts = []
    for some in np.split(rows, total.searchsorted(np.arange(MAX_PAIRS, total.max(initial=0), MAX_PAIRS), "right")):
        size = (last - first)[some]
        prediction = np.repeat(some, size)
        action = by_group[np.arange(size.sum()) + np.repeat(first[some] - (np.cumsum(size) - size), size)]
        overlap = overlaps(segments.T.take(prediction, axis=1).T, true.T.take(action, axis=1).T)
        near = np.flatnonzero(overlap >= least)
        parts.append((prediction[near], action[near], overlap[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def greedy(taker: Int[np.ndarray, " p"], wanted: Int[np.ndarray, " p"], number: int) -> Int[np.ndarray, " m"]:
    """Match greedily: rows in order, each takes its first free column; returns the indices of the matched pairs.

    The pairs of a row (`taker`) are adjacent, best first; `wanted` is the column, one of `number`. Each round settles
    all rows whose first free column no earlier unmatched row can still take, so there are at most as many rounds as
    columns in a group.
    """
    places, matched = np.arange(len(taker)), []
    while len(places):
        row, column = taker[places], wanted[places]
        head = np.ones(len(places), dtype=bool)
        head[1:] = row[1:] != row[:-1]
        run = np.cumsum(head) - 1
        earliest = np.empty(number, dtype=np.int64)
        earliest[column[::-1]] = run[::-1]  # the last assignment to an index stays: the earliest row
        wins = head & (earliest[column] == run)
        matched.append(places[wins])
        served, taken = np.zeros(run[-1] + 1, dtype=bool), np.zeros(number, dtype=bool)
        served[run[wins]] = True
        taken[column[wins]] = True
        places = places[~(served[run] | taken[column])]
    return np.concatenate(matched) if matched else places


def match(comparison: Comparison, tious: Sequence[float], ties: Ties = "stable") -> Matches:
    """Match predictions to actions one-to-one at every threshold.

    Among actions with equal tIoU the last annotated comes first, as in the published scorers.
    """
    (group, action_group), predictions = comparison.groups(), comparison.predictions
    order = best_first(predictions.label, predictions.scores, ties)
    rank = ranks(order, predictions.label)
    pairs = overlapping(group, predictions.segments, action_group, comparison.actions.segments, min(tious))
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    chosen = np.lexsort((-pairs.action, -pairs.overlap, turn[pairs.prediction]))
    pairs, hits = Pairs(*(column.take(chosen) for column in pairs)), []
    for place, tiou in enumerate(tious):
        reach = np.flatnonzero(pairs.overlap >= tiou)
        hit = reach[greedy(pairs.prediction[reach], pairs.action[reach], len(comparison.actions.label))]
        hits.append((pairs.prediction[hit], pairs.action[hit], np.full(len(hit), place)))
    return Matches(rank, *(np.concatenate(column) for column in zip(*hits, strict=True)))
