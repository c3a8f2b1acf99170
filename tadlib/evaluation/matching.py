"""Which prediction hits which action: the ActivityNet toolkit's greedy matching, for all classes and videos at once.

Predictions of a class take their turns over all videos, best first. Each takes the action of its class in its video
that it overlaps most among the free ones, if their tIoU reaches the threshold; thresholds are matched separately.
Matching never crosses videos, so that resampling videos needs no new matching.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tadlib.evaluation.rows import Comparison

Ties = Literal["stable", "peer"]
Places = Int[np.ndarray, " n"]
AT_ONCE = 2_000_000  # pairs of a prediction and an action held at a time: bounds memory
LOOKUP = 20_000_000  # largest table from group to actions; beyond it groups are searched


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
    inside = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0])
    shared = np.clip(inside, 0, None)
    union = (true[:, 1] - true[:, 0]) + (found[:, 1] - found[:, 0]) - shared
    with np.errstate(invalid="ignore"):
        overlap = shared / union
    if np.isnan(at_a_point):
        return overlap
    return np.where(union == 0, np.where(inside == 0, at_a_point, 0.0), overlap)


def peer_order(group: Places, values: Float[np.ndarray, " n"]) -> Places:
    """Rows by group, in each group as `argsort()[::-1]` of that group alone orders them: the published scorers' way.

    numpy's default sort is not stable, so equal values come in an order that depends on the number of rows and on
    the machine; groups of one size are sorted together, row by row, which gives the same order.
    """
    rows = np.argsort(group, kind="stable")
    _, first, counts = np.unique(group[rows], return_index=True, return_counts=True)
    order = np.empty_like(rows)
    for size in np.unique(counts):
        places = first[counts == size][:, None] + np.arange(size)
        own = np.argsort(values[rows[places]], axis=1)[:, ::-1]
        order[places] = np.take_along_axis(rows[places], own, axis=1)
    return order


def best_first(group: Places, scores: Float[np.ndarray, " n"], ties: Ties = "stable") -> Places:
    """Rows by group, in each group from the highest score down; equal scores in the order given (`stable`)."""
    if ties == "peer":
        return peer_order(group, scores)
    falling = -scores
    order = np.argsort(falling)
    ranked = falling[order]
    equal = ranked[1:] == ranked[:-1]
    if equal.any():  # the fast sort is not stable: put runs of equal scores back into the order given
        run = np.cumsum(np.r_[True, ~equal])
        tied = np.flatnonzero(np.r_[False, equal] | np.r_[equal, False])
        order[tied] = order[tied][np.lexsort((order[tied], run[tied]))]
    narrow = group.astype(np.uint16) if len(group) and group.max() < 2**16 else group  # short keys sort by radix
    return order[np.argsort(narrow[order], kind="stable")]


def ranks(order: Places, group: Places) -> Places:
    """Rank of every row within its group, 1 = best, from rows sorted by group and score."""
    if not len(order):
        return order
    counts = np.bincount(group)
    rank = np.empty_like(order)
    rank[order] = np.arange(1, len(order) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


class Candidates(NamedTuple):
    """For every prediction the run of actions in its group: actions sorted by group, where its run starts, how many."""

    action: Int[np.ndarray, " a"]
    first: Int[np.ndarray, " n"]
    number: Int[np.ndarray, " n"]


def candidates(group: Places, action_group: Int[np.ndarray, " a"], groups: int) -> Candidates:
    """The actions in the group (video, or video and class) of each prediction."""
    action = np.argsort(action_group, kind="stable")
    if groups <= LOOKUP:
        counts = np.bincount(action_group, minlength=groups)
        starts = np.cumsum(counts) - counts
        return Candidates(action, starts[group], counts[group])
    ranked = action_group[action]
    first = np.searchsorted(ranked, group, "left")
    return Candidates(action, first, np.searchsorted(ranked, group, "right") - first)


def expand(first: Places, number: Places) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Runs of `number` places from `first` laid out flat: which run, which place."""
    run = np.repeat(np.arange(len(number)), number)
    within = np.arange(len(run)) - np.repeat(np.cumsum(number) - number, number)
    return run, first[run] + within


def portions(number: Places) -> list[slice]:
    """Slices of rows whose runs together hold at most AT_ONCE places (a longer run alone holds its own)."""
    total = np.cumsum(number)
    if not len(total) or total[-1] <= AT_ONCE:
        return [slice(0, len(number))]
    edges = np.unique(np.searchsorted(total, np.arange(0, total[-1] + AT_ONCE, AT_ONCE), "left").clip(0, len(number)))
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)] + (
        [slice(edges[-1], len(number))] if edges[-1] < len(number) else []
    )


def preferred_pairs(comparison: Comparison, order: Places, least: float, ties: Ties) -> Pairs:
    """Pairs that reach tIoU `least`, predictions in their `order`, for each the action it overlaps most first."""
    actions, predictions = comparison.actions, comparison.predictions
    classes = comparison.classes
    of_prediction = candidates(
        predictions.video * classes + predictions.label,
        actions.video * classes + actions.label,
        comparison.videos * classes,
    )
    busy = order[of_prediction.number[order] > 0]
    parts = []
    for portion in portions(of_prediction.number[busy]):
        rows = busy[portion]
        run, place = expand(of_prediction.first[rows], of_prediction.number[rows])
        action = of_prediction.action[place]
        overlap = overlaps(
            predictions.segments[rows[run]], actions.segments[action], 1.0 if ties == "stable" else np.nan
        )
        if ties == "peer":
            chosen = peer_order(run, overlap)
            chosen = chosen[~(overlap[chosen] < least)]
        else:
            near = np.flatnonzero(overlap >= least)
            chosen = near[np.lexsort((-overlap[near], run[near]))]
        parts.append(Pairs(rows[run[chosen]], action[chosen], overlap[chosen]))
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
