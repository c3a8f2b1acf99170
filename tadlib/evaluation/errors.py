"""Error analysis as in DETAD (Alwassel et al. 2018): types of false positives and their cost in mAP, and sensitivity.

A false positive is compared with the action of any class in its video that it overlaps most; ties go to the action of
its own class, then to the last annotated. At a tIoU threshold t:
- double detection: at least t, own class (the action was hit by a prediction with a higher score);
- wrong label: at least t, another class;
- localisation: at least 0.1 and below t, own class; confusion: the same with another class;
- background: below 0.1.
Differences from the published tool: in videos without actions, it compares all but the first false positive with the
actions of the previous video, so that background is counted as other errors; here these are background. It uses only
the best 10 predictions per action; here gains refer to the whole result, like the headline mAP.

Sensitivity: missed actions and normalised AP by a characteristic of actions: `length` (s), `coverage` (length over
the video's duration) or `instances` (actions of its class in its video). Normalised AP counts only the actions of one
bin; predictions that hit actions of other bins are ignored; false positives are those of the whole class. Precision
is normalised by the mean number of actions per class, so that bins of different size are comparable. Bins without
actions are NaN.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from tadlib.data.annotations import Video
from tadlib.evaluation.diagnosis import confusion
from tadlib.evaluation.matching import match, numbered, overlapping
from tadlib.evaluation.metrics import best_to_come
from tadlib.evaluation.rows import Comparison

TYPES = ("true positive", "double detection", "wrong label", "localisation", "confusion", "background")
BACKGROUND_BELOW = 0.1
MULTIPLES = tuple(range(1, 11))
LONG = {  # DETAD's for ActivityNet: upper limits of the bins; the last bin is open
    "coverage": (0.2, 0.4, 0.6, 0.8),
    "length": (30.0, 60.0, 120.0, 180.0),
    "instances": (1, 4, 8),
}
# finer than DETAD's for THUMOS14: coverage 0.02 to 0.08, 3 to 18 s, 1, 40 and 80 instances
SHORT = {"coverage": (0.01, 0.02, 0.04, 0.08), "length": (1.0, 2.0, 4.0, 8.0), "instances": (1, 5, 20)}
LONG_MEDIAN = 10.0  # median length in seconds from which ActivityNet's bins are used


class Judged(NamedTuple):
    """The error type of every prediction at one threshold, with its nearest action."""

    kind: Int[np.ndarray, " n"]  # index in TYPES
    action: Int[np.ndarray, " n"]  # index of the action it overlaps most, -1 if none
    overlap: Float[np.ndarray, " n"]  # their tIoU
    hit: Int[np.ndarray, " n"]  # index of the action it hits, -1 if none
    rank: Int[np.ndarray, " n"]  # within its class, 1 = best


def judge(comparison: Comparison, tiou: float) -> Judged:
    """Assign a type to every prediction at a threshold."""
    matches, predictions, actions = match(comparison, (tiou,)), comparison.predictions, comparison.actions
    pairs = overlapping(predictions.video, predictions.segments, actions.video, actions.segments)
    own = predictions.label[pairs.prediction] == actions.label[pairs.action]
    order = np.lexsort((pairs.action, own, pairs.overlap))  # the last assignment to an index stays: the best pair
    action, overlap = np.full(len(predictions.video), -1), np.zeros(len(predictions.video))
    action[pairs.prediction[order]] = pairs.action[order]
    overlap[pairs.prediction[order]] = pairs.overlap[order]
    hit = np.full(len(action), -1)
    hit[matches.prediction] = matches.action
    own, near = np.append(actions.label, -1)[action] == predictions.label, overlap >= BACKGROUND_BELOW
    reach = overlap >= tiou
    kind = np.select([hit >= 0, reach & own, reach, near & own, near], range(5), default=5)  # in the order of TYPES
    return Judged(kind, action, overlap, hit, matches.rank)


def shares(comparison: Comparison, judged: Judged) -> Float[np.ndarray, "multiples types"]:
    """Return the share of each type among the best m·G predictions of a class with G actions, for each multiple m."""
    actions = np.bincount(comparison.actions.label, minlength=comparison.classes)[comparison.predictions.label]
    table = np.zeros((len(MULTIPLES), len(TYPES)))
    for row, multiple in enumerate(MULTIPLES):
        counts = np.bincount(judged.kind[judged.rank <= multiple * actions], minlength=len(TYPES))
        table[row] = counts / max(counts.sum(), 1)
    return table


def gains(
    comparison: Comparison, tious: tuple[float, ...], window: Float[np.ndarray, " videos"] | None = None
) -> dict[str, float]:
    """Return the gain in mAP (mean over tIoU) if all predictions of one error type, or `in empty videos`, were removed.

    `in empty videos` are predictions in videos without an action of any class, which some protocols leave out. With the
    length of a `window` (seconds, by video) also those `in empty windows`, which include empty videos.
    """
    filled = np.zeros(comparison.videos, dtype=bool)
    filled[comparison.actions.video] = True
    in_filled = filled[comparison.predictions.video]
    everything = np.ones(len(in_filled), dtype=bool)
    places = {"in empty videos": in_filled}
    if window is not None:
        places["in empty windows"] = ~in_empty_windows(comparison, window)
    gained = {name: 0.0 for name in (*TYPES[1:], *places)}
    for tiou in tious:
        judged = judge(comparison, tiou)
        whole = mean_precision(comparison, judged, everything)
        kept = {name: judged.kind != TYPES.index(name) for name in TYPES[1:]} | places
        for name, left in kept.items():
            gained[name] += (mean_precision(comparison, judged, left) - whole) / len(tious)
    return gained


def in_empty_windows(comparison: Comparison, window: Float[np.ndarray, " videos"]) -> Bool[np.ndarray, " n"]:
    """Whether the window around the middle of each prediction contains no action of any class.

    Windows are adjacent from the start of the video, each `window` seconds long.
    """
    predictions, actions = comparison.predictions, comparison.actions
    length = window[predictions.video]
    start = np.floor(predictions.segments.mean(axis=1) / length) * length
    spans = np.column_stack([start, start + length])
    empty = np.ones(len(start), dtype=bool)
    empty[overlapping(predictions.video, spans, actions.video, actions.segments).prediction] = False
    return empty


def mean_precision(comparison: Comparison, judged: Judged, kept: Bool[np.ndarray, " n"]) -> float:
    """Return the mAP of the `kept` predictions over classes with actions; hits keep their actions."""
    actions = np.bincount(comparison.actions.label, minlength=comparison.classes)
    table = areas(comparison, judged, kept, judged.hit >= 0, actions)
    return float(np.nanmean(table)) if (actions > 0).any() else float("nan")


def areas(
    comparison: Comparison,
    judged: Judged,
    kept: Bool[np.ndarray, " n"],
    hit: Bool[np.ndarray, " n"],
    actions: Int[np.ndarray, " k"],
    normal: float = 0.0,
) -> Float[np.ndarray, " k"]:
    """Return the AP of each class over the `kept` predictions, from their `hit` and the number of `actions` by class.

    With `normal` (DETAD's N, Hoiem et al. 2012) precision is that of a class with N actions, at the same recall and
    with the same false positives, so that rare and frequent classes are comparable. NaN for a class without actions.
    """
    label = comparison.predictions.label
    order = np.lexsort((judged.rank, label))
    order = order[kept[order]]
    right, own = hit[order], label[order]
    group = own[right]
    found = numbered(group)
    wrong = numbered(own)[right] - found
    true = found / np.maximum(actions[group], 1) * normal if normal else found
    best = best_to_come(true / (true + wrong), group)
    gained = np.bincount(group, weights=best, minlength=comparison.classes)
    return np.where(actions > 0, gained / np.maximum(actions, 1), np.nan)


def confusion_counts(comparison: Comparison, judged: Judged, tiou: float) -> Int[np.ndarray, "k k"]:
    """Return the confusion matrix (true, predicted class) of segments with a tIoU of at least `tiou`.

    A segment that was detected as several classes counts once, as that of the highest score.
    """
    found, near = comparison.predictions, np.flatnonzero(judged.overlap >= tiou)
    near = near[np.argsort(-found.scores[near], kind="stable")]
    near = near[np.unique(np.column_stack([found.video, found.segments])[near], axis=0, return_index=True)[1]]
    true, named = comparison.actions.label[judged.action[near]], comparison.predictions.label[near]
    return confusion(true, named, comparison.classes)


class Sensitivity(NamedTuple):
    """Bins of one characteristic: number of actions, and missed share and normalised AP as means over thresholds."""

    bins: tuple[str, ...]
    actions: Int[np.ndarray, " bins"]
    missed: Float[np.ndarray, " bins"]
    precision: Float[np.ndarray, " bins"]


def characteristics(comparison: Comparison, videos: Sequence[Video]) -> dict[str, Float[np.ndarray, " a"]]:
    """Return the characteristics of each action; coverage needs the durations of all videos."""
    actions = comparison.actions
    length = actions.segments[:, 1] - actions.segments[:, 0]
    group = actions.video * comparison.classes + actions.label
    _, place, number = np.unique(group, return_inverse=True, return_counts=True)
    found = {"length": length, "instances": number[place].astype(np.float64)}
    duration = np.array([video.duration for video in videos])[actions.video]
    return found | ({"coverage": length / duration} if (duration > 0).all() else {})


def sensitivity(
    comparison: Comparison,
    videos: Sequence[Video],
    tious: Sequence[float],
    edges: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Sensitivity]:
    """Return missed actions and normalised AP in every bin of every characteristic, and for `all` actions.

    `edges` are upper limits of bins, by default DETAD's for ActivityNet if actions are long, otherwise finer ones.
    """
    values = characteristics(comparison, videos)
    long = len(values["length"]) > 0 and np.median(values["length"]) >= LONG_MEDIAN
    edges = edges or (LONG if long else SHORT)
    places = {name: np.searchsorted(edges[name], value, "left") for name, value in values.items()}
    names = {name: bin_names(name, edges[name]) for name in values}
    places["all"], names["all"] = np.zeros(len(comparison.actions.label), dtype=np.int64), ("all",)
    judged = [judge(comparison, tiou) for tiou in tious]
    result = {}
    for name, place in places.items():
        rows = [[_of_bin(comparison, each, place == number) for each in judged] for number in range(len(names[name]))]
        table = np.array(rows).mean(axis=1)
        counts = np.bincount(place, minlength=len(names[name]))
        result[name] = Sensitivity(names[name], counts, table[:, 0], table[:, 1])
    return result


def _of_bin(comparison: Comparison, judged: Judged, inside: Bool[np.ndarray, " a"]) -> tuple[float, float]:
    """Return the share missed and the normalised AP of the actions `inside` a bin at one threshold."""
    if not inside.any():
        return float("nan"), float("nan")
    found = judged.hit[judged.hit >= 0]
    missed = 1 - inside[found].sum() / inside.sum()
    hit = judged.hit >= 0
    hit[hit] = inside[found]
    every = np.bincount(comparison.actions.label, minlength=comparison.classes)
    actions = np.bincount(comparison.actions.label[inside], minlength=comparison.classes)
    normal = every.sum() / (every > 0).sum()
    table = areas(comparison, judged, hit | (judged.hit < 0), hit, actions, normal)
    return float(missed), float(np.nanmean(table))


def bin_names(characteristic: str, edges: Sequence[float]) -> tuple[str, ...]:
    """Return names of bins with upper limits `edges`, the last one open: in seconds, per cent, or whole numbers."""
    if characteristic == "instances":
        firsts = [1, *(int(edge) + 1 for edge in edges)]
        closed = [str(a) if a == b else f"{a}-{b}" for a, b in zip(firsts[:-1], map(int, edges), strict=True)]
        return (*closed, f"{firsts[-1]}+")
    shown = [100 * edge if characteristic == "coverage" else edge for edge in edges]
    return (*(f"{low:g}-{high:g}" for low, high in zip([0, *shown[:-1]], shown, strict=True)), f"{shown[-1]:g}+")
