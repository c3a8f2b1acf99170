"""Which prediction hits which action: the ActivityNet toolkit's greedy matching, for all classes and videos at once.

Predictions of a class take their turns over all videos, best first. Each takes the action of its class in its video
that it overlaps most among the free ones, if their tIoU reaches the threshold; thresholds are matched separately.
Matching never crosses videos, so that resampling videos needs no new matching.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tadlib.evaluation.ranking import Places, Ties, best_first, peer_order, ranks
from tadlib.evaluation.rows import Comparison

Segments = Float[np.ndarray, "n 2"]
AT_ONCE = 2_000_000  # pairs of a prediction and an action held at a time: bounds memory
LOOKUP = 20_000_000  # largest table from group to actions; beyond it groups are searched
FEW = 3  # with more actions in its group than this, a prediction first looks which of them it may overlap


class Matches(NamedTuple):
    """Hits (h,) as places of prediction, action and threshold, and every prediction's rank within its class."""

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
    """tIoU row by row; two segments of no length at the same place have `at_a_point`, NaN for 0/0 as it is.

    With NaN two of no length at different places are 0/0 too, as in the published scorers; otherwise they have 0.
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


class Candidates(NamedTuple):
    """For every prediction the run of actions it is compared with: where it starts in `action`, and how long it is."""

    action: Int[np.ndarray, " a"]  # places of actions, by group, then start
    first: Int[np.ndarray, " n"]
    number: Int[np.ndarray, " n"]


def candidates(
    group: Places, segments: Segments, action_group: Int[np.ndarray, " a"], true: Float[np.ndarray, "a 2"]
) -> Candidates:
    """The actions in the group (video, or video and class) of each prediction; of many, those that may overlap it."""
    if not len(group) or not len(action_group):
        return Candidates(np.zeros(0, dtype=np.int64), np.zeros_like(group), np.zeros_like(group))
    action = np.lexsort((true[:, 0], action_group))
    ranked, groups = action_group[action], int(max(group.max(), action_group.max())) + 1
    if groups <= LOOKUP:
        counts = np.bincount(ranked, minlength=groups)
        first, number = (np.cumsum(counts) - counts)[group], counts[group]
    else:
        first = np.searchsorted(ranked, group, "left")
        number = np.searchsorted(ranked, group, "right") - first
    many = np.flatnonzero(number > FEW)
    if len(many):
        start, stop = _reach(group[many], segments[many], ranked, true[action])
        start = np.maximum(start, first[many])
        number[many] = np.maximum(np.minimum(stop, first[many] + number[many]) - start, 0)
        first[many] = start
    return Candidates(action, first, number)


def _reach(
    group: Places, segments: Segments, ranked: Int[np.ndarray, " a"], true: Float[np.ndarray, "a 2"]
) -> tuple[Places, Places]:
    """First and stop of the actions, sorted by group and start, among which are all that a prediction may overlap.

    Group and time become one key; what its rounding may lose is given back as slack, so that none is missed.
    """
    least = min(segments.min(), true.min())
    span = 1 + max(segments.max(), true.max()) - least
    slack = 1e-15 * span * (ranked[-1] + 2)
    ends = np.maximum.accumulate(ranked * span + (true[:, 1] - least))
    start = np.searchsorted(ends, group * span + (segments[:, 0] - least) - slack, "left")
    stop = np.searchsorted(ranked * span + (true[:, 0] - least), group * span + (segments[:, 1] - least) + slack)
    return start, stop


def expand(first: Places, number: Places) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Runs of `number` places from `first` laid out flat: which run, which place."""
    run = np.repeat(np.arange(len(number)), number)
    return run, np.arange(len(run)) + (first - (np.cumsum(number) - number)).take(run)


def portions(number: Places) -> list[slice]:
    """Slices of rows whose runs together hold about AT_ONCE places (a longer run alone holds its own)."""
    total = np.cumsum(number)
    if not len(total) or total[-1] <= AT_ONCE:
        return [slice(0, len(number))]
    edges = np.searchsorted(total, np.arange(0, total[-1], AT_ONCE), "right")
    edges = np.unique(np.r_[0, edges, len(number)])
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def picked(segments: Segments, places: Int[np.ndarray, " p"]) -> Float[np.ndarray, "p 2"]:
    """Segments at `places`, column by column in memory: several times faster than `segments[places]`."""
    columns = np.empty((2, len(places)))
    columns[0], columns[1] = segments[:, 0].take(places), segments[:, 1].take(places)
    return columns.T


def overlapping(segments: Segments, of: Candidates, true: Float[np.ndarray, "a 2"], least: float) -> Pairs:
    """Pairs of every prediction, in the order given, with those of its candidates that reach tIoU `least`."""
    busy = np.flatnonzero(of.number)
    parts = []
    for portion in portions(of.number[busy]):
        run, place = expand(of.first[busy[portion]], of.number[busy[portion]])
        prediction, action = busy[portion].take(run), of.action.take(place)
        overlap = overlaps(picked(segments, prediction), picked(true, action))
        near = np.flatnonzero(overlap >= least)
        parts.append((prediction[near], action[near], overlap[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def preferred_pairs(comparison: Comparison, order: Places, least: float, ties: Ties) -> Pairs:
    """Pairs that reach tIoU `least`, predictions in their `order`, for each the action it overlaps most first.

    Of actions with equal tIoU the last annotated comes first, as in the published scorers.
    """
    actions, predictions, classes = comparison.actions, comparison.predictions, comparison.classes
    group = predictions.video * classes + predictions.label
    action_group = actions.video * classes + actions.label
    if ties == "peer":
        return _peer_pairs(comparison, order, group, action_group, least)
    of = candidates(group, predictions.segments, action_group, actions.segments)
    pairs = overlapping(predictions.segments, of, actions.segments, least)
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    chosen = np.lexsort((-pairs.action, -pairs.overlap, turn[pairs.prediction]))
    return Pairs(*(column.take(chosen) for column in pairs))


def _peer_pairs(
    comparison: Comparison, order: Places, group: Places, action_group: Int[np.ndarray, " a"], least: float
) -> Pairs:
    """As `preferred_pairs`, actions of equal tIoU as the published scorers order them (the distant ones matter too)."""
    actions, predictions = comparison.actions, comparison.predictions
    action = np.argsort(action_group, kind="stable")
    first = np.searchsorted(action_group[action], group, "left")
    number = np.searchsorted(action_group[action], group, "right") - first
    busy = order[number[order] > 0]
    parts = []
    for portion in portions(number[busy]):
        run, place = expand(first[busy[portion]], number[busy[portion]])
        prediction = busy[portion][run]
        overlap = overlaps(predictions.segments[prediction], actions.segments[action[place]], np.nan)
        chosen = peer_order(run, overlap)
        chosen = chosen[~(overlap[chosen] < least)]
        parts.append((prediction[chosen], action[place[chosen]], overlap[chosen]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def greedy(turn: Int[np.ndarray, " p"], wanted: Int[np.ndarray, " p"], number: int) -> Int[np.ndarray, " m"]:
    """Which pairs become matches, when takers come one after the other and each takes its first free wish.

    Pairs come by taker, then by preference; `wanted` is one of `number` things. Each round settles at once every
    taker whose first free wish no earlier open taker could still want, so that there are at most as many rounds as
    things in one group.
    """
    places, won = np.arange(len(turn)), []
    while len(places):
        taker, thing = turn[places], wanted[places]
        head = np.ones(len(places), dtype=bool)
        head[1:] = taker[1:] != taker[:-1]
        run = np.cumsum(head) - 1
        earliest = np.empty(number, dtype=np.int64)
        earliest[thing[::-1]] = run[::-1]  # of repeated places the last assigned stays: the earliest taker
        wins = head & (earliest[thing] == run)
        won.append(places[wins])
        served, taken = np.zeros(run[-1] + 1, dtype=bool), np.zeros(number, dtype=bool)
        served[run[wins]] = True
        taken[thing[wins]] = True
        places = places[~(served[run] | taken[thing])]
    return np.concatenate(won) if won else places


def match(comparison: Comparison, tious: tuple[float, ...], ties: Ties = "stable") -> Matches:
    """Hits of a comparison at every threshold; a prediction hits at most one action, an action is hit at most once."""
    predictions = comparison.predictions
    order = best_first(predictions.label, predictions.scores, ties)
    rank = ranks(order, predictions.label)
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    pairs = preferred_pairs(comparison, order, min(tious), ties)
    hits = []
    for place, tiou in enumerate(tious):
        reach = np.flatnonzero(~(pairs.overlap < tiou))
        hit = reach[greedy(turn[pairs.prediction[reach]], pairs.action[reach], len(comparison.actions.label))]
        hits.append((pairs.prediction[hit], pairs.action[hit], np.full(len(hit), place)))
    return Matches(rank, *(np.concatenate(column) for column in zip(*hits, strict=True)))
