"""Mean average precision (mAP) and average recall: conventions, and differences from published scorers.

Conventions. Segments are in seconds; metrics are fractions. Scores only rank predictions. The rule is the ActivityNet
toolkit's, reproduced to 1e-12: the predictions of one class are ranked over all videos; each takes the free action of
its class in its video that it overlaps most, if the tIoU reaches the threshold, otherwise it is a false positive.
Thresholds are matched separately; further hits on an action are false positives. Precision is interpolated: made
non-increasing from the right and summed where recall changes (VOC 2011, every point). mAP is the mean over the
classes with actions: a class without predictions counts 0, one without actions is NaN in the table and left out of
the mean. `mAP` without a threshold is the mean over thresholds. Actions annotated twice count twice, also if labels
are ignored. See `recall` for average recall and AUC, and `thumos` for the THUMOS14 toolkit's rule.

Differences from published scorers, and how each changes the metric:
- equal scores: the toolkits sort unstably (`argsort()[::-1]`), so their order depends on the machine. Ours is the
  order given; `ties="peer"` repeats theirs: up to about a point of AP either way. Among actions with equal tIoU the
  last annotated is taken, as in the toolkits (there up to about forty actions only);
- two segments of length zero (0/0): at the same time a hit here and in the toolkit, a miss in recall in both; at
  different times a hit in the toolkit, a miss here: lower or equal;
- a reversed segment is a false positive in the toolkit, and a hit if it is as long as the action (0/0); a NaN time is
  a hit there, a NaN score ranks first. All three are errors here, or dropped on request: higher or equal for the
  first, either way for the others;
- a label without actions: an error in the toolkit, ignored here unless it is among `classes` (then AP is NaN);
- predictions in other videos than those given: false positives in the toolkit, ignored here: higher or equal. They
  count if every processed video is given, with or without actions;
- average recall counts the proposals of videos with actions, the toolkit all in the file: with more than 100 a video
  its cut is stricter: ours is higher or equal;
- OpenTAD and ActionFormer drop actions annotated twice, OpenTAD also those of length zero: usually higher than ours;
- GAP sums in single precision: differences of 1e-8 either way. It drops short actions and videos without unseen
  actions: higher than ours;
- T3AL and FreeZAD round each class's AP to 0.1 points before averaging (0.01 points either way) and count actions of
  videos with predictions only: higher than ours;
- the THUMOS14 toolkit matches action by action, needs a tIoU above the threshold, ignores predictions on ambiguous
  regions and does not interpolate: lower by up to 2 points on few predictions, by 8.5 on many overlapping ones.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from tadlib.evaluation.matching import Ties, match, numbered
from tadlib.evaluation.recall import COUNTS, average_recall  # noqa: F401  imported from here with the other metrics
from tadlib.evaluation.rows import Comparison


def precision_table(
    comparison: Comparison, tious: Sequence[float], ties: Ties = "stable"
) -> Float[np.ndarray, "k tious"]:
    """Return the AP of each class at each tIoU; NaN for a class without actions."""
    matches, shape = match(comparison, tious, ties), (comparison.classes, len(tious))
    group = comparison.predictions.label[matches.prediction] * len(tious) + matches.tiou
    rank = matches.rank[matches.prediction]
    order = np.lexsort((rank, group))
    group, rank = group[order], rank[order]
    best = best_to_come(numbered(group) / rank, group)  # precision falls at every miss, so only hits matter
    gained = np.bincount(group, weights=best, minlength=math.prod(shape)).reshape(shape)
    actions = np.bincount(comparison.actions.label, minlength=comparison.classes)[:, None]
    return np.where(actions > 0, gained / np.maximum(actions, 1), np.nan)


def best_to_come(values: Float[np.ndarray, " h"], group: Int[np.ndarray, " h"]) -> Float[np.ndarray, " h"]:
    """Return the maximum of each value and the later ones in its group; rows are sorted by group.

    The running maximum is taken over ordinals of the values, shifted by group, and is therefore exact.
    """
    if not len(values):
        return values
    distinct, ordinal = np.unique(values, return_inverse=True)
    shift = (group[-1] - group[::-1]) * len(distinct)
    return distinct[np.maximum.accumulate(ordinal[::-1] + shift) - shift][::-1]


def means(table: Float[np.ndarray, "k tious"], tious: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Return `mAP@t` at each tIoU and their mean `mAP`; the mean over classes leaves out classes without actions."""
    if np.isnan(table).all():
        raise ValueError("none of the classes has an action in these videos: nothing can be measured")
    at = np.nanmean(table, axis=0)
    each = {f"{prefix}mAP@{tiou:g}": float(value) for tiou, value in zip(tious, at, strict=True)}
    return each | {f"{prefix}mAP": float(at.mean())}


def generalised(
    table: Float[np.ndarray, "k tious"], seen: Sequence[str], unseen: Sequence[str], tious: Sequence[float]
) -> dict[str, float]:
    """Return the generalised zero-shot mAP: `base` (seen), `novel` (unseen) and their harmonic mean.

    `table` is the AP of the seen classes, then of the unseen ones; all must have been candidates of the detections.
    """
    if shared := set(seen) & set(unseen):
        raise ValueError(f"classes cannot be both seen and unseen, got {', '.join(sorted(shared))}")
    base = means(table[: len(seen)], tious)["mAP"]
    novel = means(table[len(seen) :], tious)["mAP"]
    harmonic = 2 * base * novel / (base + novel) if base + novel else 0.0
    return {"base": base, "novel": novel, "harmonic": harmonic}
