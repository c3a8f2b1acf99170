"""The THUMOS14 toolkit's scoring, which differs from ActivityNet's in matching, ambiguous regions and area.

- Actions take turns in the order of annotation; each takes the free prediction of its class in its video that it
  overlaps most (ties: the highest score), if the tIoU is above the threshold.
- A prediction that is no hit and overlaps an ambiguous region of its video is ignored.
- AP is the mean over actions of the precision at each hit, without interpolation. A tight fit of a low score is
  preferred to a loose fit of a high one, which lowers AP where many predictions overlap one action.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from tadlib.evaluation.matching import Pairs, best_first, greedy, numbered, overlapping, ranks
from tadlib.evaluation.rows import Ambiguous, Comparison


def precision_table(
    comparison: Comparison, tious: Sequence[float], ambiguous: Ambiguous
) -> Float[np.ndarray, "k tious"]:
    """Return the AP of each class at each tIoU by the THUMOS14 toolkit's rule; NaN for a class without actions."""
    classes, columns = comparison.classes, []
    number = np.bincount(comparison.actions.label, minlength=classes)
    for order, hit in ranked(comparison, tious, ambiguous):
        own, right = comparison.predictions.label[order], hit[order]
        precision = numbered(own[right]) / numbered(own)[right]
        gained = np.bincount(own[right], weights=precision, minlength=classes)
        columns.append(np.where(number > 0, gained / np.maximum(number, 1), np.nan))
    return np.stack(columns, axis=1)


def ranked(
    comparison: Comparison, tious: Sequence[float], ambiguous: Ambiguous
) -> Iterator[tuple[Int[np.ndarray, " m"], Bool[np.ndarray, " n"]]]:
    """Yield for each tIoU the predictions that count, class by class and best first, and which of all are hits."""
    predictions, (group, action_group) = comparison.predictions, comparison.groups()
    order = best_first(predictions.label, predictions.scores)
    rank = ranks(order, predictions.label)
    pairs = overlapping(group, predictions.segments, action_group, comparison.actions.segments, min(tious))
    by_action = np.lexsort((rank[pairs.prediction], -pairs.overlap, pairs.action))
    pairs = Pairs(*(column[by_action] for column in pairs))
    in_region = overlapping(predictions.video, predictions.segments, ambiguous.video, ambiguous.segments)
    unclear = np.zeros(len(order), dtype=bool)
    unclear[in_region.prediction] = True
    for tiou in tious:
        reach = np.flatnonzero(pairs.overlap > tiou)
        won = reach[greedy(pairs.action[reach], pairs.prediction[reach], len(predictions.label))]
        hit = np.zeros(len(predictions.label), dtype=bool)
        hit[pairs.prediction[won]] = True
        yield order[(hit | ~unclear)[order]], hit
