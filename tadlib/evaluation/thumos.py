"""The THUMOS14 toolkit's scoring, which differs from ActivityNet's in matching, ambiguous regions and area.

- Actions take turns in the order of annotation; each takes the free prediction of its class in its video that it
  overlaps most (ties: the highest score), if the tIoU is above the threshold.
- A prediction that is no hit and overlaps an ambiguous region of its video is ignored.
- AP is the mean over actions of the precision at each hit, without interpolation.

A prediction with a low score and a tight fit is preferred to one with a high score and a loose fit, which lowers AP
where many predictions overlap one action.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from tadlib.evaluation.matching import Pairs, candidates, greedy, overlapping
from tadlib.evaluation.ranking import best_first, ranks
from tadlib.evaluation.rows import Comparison


class Ambiguous(NamedTuple):
    """Regions where it is unclear whether there is an action."""

    video: Int[np.ndarray, " m"]
    segments: Float[np.ndarray, "m 2"]


def precision_table(
    comparison: Comparison, tious: Sequence[float], ambiguous: Ambiguous
) -> Float[np.ndarray, "k tious"]:
    """Return the AP of each class at each tIoU by the THUMOS14 toolkit's rule; NaN for a class without actions."""
    predictions, classes = comparison.predictions, comparison.classes
    number = np.bincount(comparison.actions.label, minlength=classes)
    table = np.full((classes, len(tious)), np.nan)
    for column, (order, hit) in enumerate(ranked(comparison, tious, ambiguous)):
        gained = _precision_at_hits(order, hit, predictions.label, classes)
        table[:, column] = np.where(number > 0, gained / np.maximum(number, 1), np.nan)
    return table


def ranked(
    comparison: Comparison, tious: Sequence[float], ambiguous: Ambiguous
) -> Iterator[tuple[Int[np.ndarray, " m"], Bool[np.ndarray, " n"]]]:
    """Yield for each tIoU the predictions that count, class by class and best first, and which of all are hits."""
    predictions = comparison.predictions
    order = best_first(predictions.label, predictions.scores)
    pairs = _preferred_pairs(comparison, ranks(order, predictions.label), min(tious))
    unclear = _overlaps_ambiguous(comparison, ambiguous)
    for tiou in tious:
        reach = np.flatnonzero(pairs.overlap > tiou)
        won = reach[greedy(pairs.action[reach], pairs.prediction[reach], len(predictions.label))]
        hit = np.zeros(len(predictions.label), dtype=bool)
        hit[pairs.prediction[won]] = True
        yield order[(hit | ~unclear)[order]], hit


def _preferred_pairs(comparison: Comparison, rank: Int[np.ndarray, " n"], least: float) -> Pairs:
    """Return pairs with a tIoU of at least `least`, sorted by action, then by decreasing tIoU of the predictions."""
    actions, predictions, classes = comparison.actions, comparison.predictions, comparison.classes
    of = candidates(
        predictions.video * classes + predictions.label,
        predictions.segments,
        actions.video * classes + actions.label,
        actions.segments,
    )
    pairs = overlapping(predictions.segments, of, actions.segments, least)
    order = np.lexsort((rank[pairs.prediction], -pairs.overlap, pairs.action))
    return Pairs(*(column[order] for column in pairs))


def _overlaps_ambiguous(comparison: Comparison, ambiguous: Ambiguous) -> Bool[np.ndarray, " n"]:
    predictions = comparison.predictions
    of = candidates(predictions.video, predictions.segments, ambiguous.video, ambiguous.segments)
    overlaps = np.zeros(len(predictions.video), dtype=bool)
    overlaps[overlapping(predictions.segments, of, ambiguous.segments, np.nextafter(0, 1)).prediction] = True
    return overlaps


def _precision_at_hits(
    order: Int[np.ndarray, " m"], hit: Bool[np.ndarray, " n"], label: Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, " k"]:
    """Return the sum of precision over the hits of each class; `order` has the counted predictions, class by class."""
    counts = np.bincount(label[order], minlength=classes)
    first = np.cumsum(counts) - counts
    places = np.flatnonzero(hit[order])
    own = label[order[places]]
    hits = np.bincount(own, minlength=classes)
    found = np.arange(1, len(places) + 1) - np.repeat(np.cumsum(hits) - hits, hits)
    return np.bincount(own, weights=found / (places - first[own] + 1), minlength=classes).astype(np.float64)
