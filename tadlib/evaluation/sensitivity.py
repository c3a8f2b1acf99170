"""Sensitivity analysis (DETAD): missed actions and normalised AP by length, coverage and number of instances.

Characteristics of an action: `length` (s), `coverage` (length over the video's duration) and `instances` (actions of
its class in its video). Normalised AP counts only the actions of one bin; predictions that hit actions of other bins
are ignored; false positives are those of the whole class. Precision is normalised by the mean number of actions per
class, so that bins of different size are comparable. Bins without actions are NaN.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from tadlib.data.annotations import Video
from tadlib.evaluation.errors import Judged, areas, judge
from tadlib.evaluation.rows import Comparison

LONG = {  # DETAD's for ActivityNet: upper limits of the bins; the last bin is open
    "coverage": (0.2, 0.4, 0.6, 0.8),
    "length": (30.0, 60.0, 120.0, 180.0),
    "instances": (1, 4, 8),
}
# finer than DETAD's for THUMOS14: coverage 0.02 to 0.08, 3 to 18 s, 1, 40 and 80 instances
SHORT = {"coverage": (0.01, 0.02, 0.04, 0.08), "length": (1.0, 2.0, 4.0, 8.0), "instances": (1, 5, 20)}
LONG_MEDIAN = 10.0  # median length in seconds from which ActivityNet's bins are used


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
