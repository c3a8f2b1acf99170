"""Greedy matching of predictions to actions as in the ActivityNet toolkit, for all classes and videos at once.

The predictions of a class are ranked over all videos. In this order each takes the free action of its class in its
video that it overlaps most, if their tIoU reaches the threshold; thresholds are matched separately. Matches never
cross videos, so resampling videos needs no new matching.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tadlib.evaluation.ranking import Places, Ties, best_first, peer_order, ranks
from tadlib.evaluation.rows import Comparison

Segments = Float[np.ndarray, "n 2"]
MAX_PAIRS = 2_000_000  # largest number of (prediction, action) pairs held in memory
MAX_LOOKUP = 20_000_000  # largest lookup table from group to actions; beyond it binary search is used
ANY_OVERLAP = np.nextafter(0, 1)  # least tIoU of segments that overlap at all
MAX_UNFILTERED = 3  # with more actions in its group, a prediction is only compared with those it can overlap


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


def overlaps(
    found: Float[np.ndarray, "n 2"], true: Float[np.ndarray, "n 2"], at_a_point: float = 1.0
) -> Float[np.ndarray, " n"]:
    """Return the tIoU row by row; for two segments of length zero at the same time `at_a_point`, or NaN for 0/0.

    With NaN two segments of length zero at different times are also 0/0, as in the published scorers; otherwise 0.
    """
    shared = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0])
    touching = shared == 0
    np.maximum(shared, 0, out=shared)
    union = (true[:, 1] - true[:, 0]) + (found[:, 1] - found[:, 0]) - shared
    with np.errstate(invalid="ignore"):
        overlap = shared / union
    if not np.isnan(at_a_point):
        empty = np.flatnonzero(union == 0)
        overlap[empty] = np.where(touching[empty], at_a_point, 0.0)
    return overlap


def _candidates(
    group: Places, segments: Segments, action_group: Int[np.ndarray, " a"], true: Float[np.ndarray, "a 2"]
) -> tuple[Int[np.ndarray, " a"], Places, Places]:
    """Return actions by group, then start, and for each prediction the first and number of those to compare it with.

    These are the actions in its group; if they are many, only those it can overlap.
    """
    action = np.lexsort((true[:, 0], action_group))
    ranked, groups = action_group[action], int(max(group.max(initial=-1), action_group.max(initial=-1))) + 1
    if groups <= MAX_LOOKUP:
        counts = np.bincount(ranked, minlength=groups)
        first, number = (np.cumsum(counts) - counts)[group], counts[group]
    else:
        first = np.searchsorted(ranked, group, "left")
        number = np.searchsorted(ranked, group, "right") - first
    many = np.flatnonzero(number > MAX_UNFILTERED)
    if len(many):
        start, stop = _range_in_time(group[many], segments[many], ranked, true[action])
        start = np.maximum(start, first[many])
        number[many] = np.maximum(np.minimum(stop, first[many] + number[many]) - start, 0)
        first[many] = start
    return action, first, number


def _range_in_time(
    group: Places, segments: Segments, ranked: Int[np.ndarray, " a"], true: Float[np.ndarray, "a 2"]
) -> tuple[Places, Places]:
    """Return the range of actions, sorted by group and start, with all actions that a prediction can overlap.

    Group and time are combined into one sort key; a slack compensates its rounding error.
    """
    least = min(segments.min(), true.min())
    span = 1 + max(segments.max(), true.max()) - least
    slack = 1e-15 * span * (ranked[-1] + 2)
    ends = np.maximum.accumulate(ranked * span + (true[:, 1] - least))
    start = np.searchsorted(ends, group * span + (segments[:, 0] - least) - slack, "left")
    stop = np.searchsorted(ranked * span + (true[:, 0] - least), group * span + (segments[:, 1] - least) + slack)
    return start, stop


def expanded(
    rows: Int[np.ndarray, " r"], first: Places, number: Places
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Flatten the ranges of `number` indices from `first` of some rows, in portions of about MAX_PAIRS indices.

    Yields arrays (p,) with an entry for each index: the number of its row within the portion, its row, and the index.
    """
    total = np.cumsum(number[rows])
    edges = np.searchsorted(total, np.arange(MAX_PAIRS, total.max(initial=0), MAX_PAIRS), "right")
    for some in np.split(rows, np.unique(edges)):
        size = number[some]
        run = np.repeat(np.arange(len(some)), size)
        yield run, some.take(run), np.arange(len(run)) + (first[some] - (np.cumsum(size) - size)).take(run)


def picked(segments: Segments, places: Int[np.ndarray, " p"]) -> Float[np.ndarray, "p 2"]:
    """Return the rows of segments at `places`, stored by column: several times faster than `segments[places]`."""
    columns = np.empty((2, len(places)))
    columns[0], columns[1] = segments[:, 0].take(places), segments[:, 1].take(places)
    return columns.T


def overlapping(
    group: Places,
    segments: Segments,
    action_group: Int[np.ndarray, " a"],
    true: Float[np.ndarray, "a 2"],
    least: float = ANY_OVERLAP,
) -> Pairs:
    """Return pairs of a prediction, in the order given, and an action of its group with a tIoU of at least `least`."""
    all_actions, first, number = _candidates(group, segments, action_group, true)
    parts = []
    for _, prediction, place in expanded(np.flatnonzero(number), first, number):
        action = all_actions.take(place)
        overlap = overlaps(picked(segments, prediction), picked(true, action))
        near = np.flatnonzero(overlap >= least)
        parts.append((prediction[near], action[near], overlap[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _preferred_pairs(comparison: Comparison, order: Places, least: float) -> Pairs:
    """Return pairs with a tIoU of at least `least`, sorted by the `order` of predictions, then by decreasing tIoU.

    Among actions with equal tIoU the last annotated comes first, as in the published scorers.
    """
    (group, action_group), predictions = comparison.groups(), comparison.predictions
    pairs = overlapping(group, predictions.segments, action_group, comparison.actions.segments, least)
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    chosen = np.lexsort((-pairs.action, -pairs.overlap, turn[pairs.prediction]))
    return Pairs(*(column.take(chosen) for column in pairs))


def _peer_pairs(comparison: Comparison, order: Places, least: float) -> Pairs:
    """Variant of `_preferred_pairs` with the published scorers' order of actions with equal tIoU (tIoU 0 included)."""
    actions, predictions, (group, action_group) = comparison.actions, comparison.predictions, comparison.groups()
    action = np.argsort(action_group, kind="stable")
    first = np.searchsorted(action_group[action], group, "left")
    number = np.searchsorted(action_group[action], group, "right") - first
    parts = []
    for run, prediction, place in expanded(order[number[order] > 0], first, number):
        overlap = overlaps(predictions.segments[prediction], actions.segments[action[place]], np.nan)
        chosen = peer_order(run, overlap)
        chosen = chosen[~(overlap[chosen] < least)]
        parts.append((prediction[chosen], action[place[chosen]], overlap[chosen]))
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
    """Match predictions to actions one-to-one at every threshold."""
    predictions = comparison.predictions
    order = best_first(predictions.label, predictions.scores, ties)
    pairs = (_peer_pairs if ties == "peer" else _preferred_pairs)(comparison, order, min(tious))
    hits = []
    for place, tiou in enumerate(tious):
        reach = np.flatnonzero(~(pairs.overlap < tiou))
        hit = reach[greedy(pairs.prediction[reach], pairs.action[reach], len(comparison.actions.label))]
        hits.append((pairs.prediction[hit], pairs.action[hit], np.full(len(hit), place)))
    rank = ranks(order, predictions.label)
    return Matches(rank, *(np.concatenate(column) for column in zip(*hits, strict=True)))
