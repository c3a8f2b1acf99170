"""Statistical comparison of results: intervals over class splits, and paired bootstrap over videos.

Over videos: test videos are drawn with replacement, the same for both runs, and the whole mAP is recomputed for each
draw. Matching never crosses videos, so it is done once; a video drawn m times has m adjacent copies in the ranking. A
class without actions in a draw is left out of that draw's mean, in both runs. Interpolated precision is biased upwards
by chance, more so with fewer distinct videos: draws are above the result as the result is above the truth. Therefore
the basic bootstrap interval is used, which reflects the draws at the result: on simulated results it covers the truth
in 95 of 100 cases (100 videos; percentiles in 71) and a difference of two runs in about 90: it is somewhat too narrow.

Over class splits: Student's t from one number per split. "better" and "worse" are used only if the whole interval lies
on one side of 0. Intervals show the variation over videos or splits; that over seeds only if the runs have several.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # imports its submodules on first use
from jaxtyping import Bool, Float, Int

from tadlib.evaluation import thumos
from tadlib.evaluation.matching import Ties, match
from tadlib.evaluation.protocols import PROTOCOLS
from tadlib.evaluation.rows import Comparison

RESAMPLES = 1000
LEVEL = 0.95
MAX_BLOCK = 4_000_000  # largest product of resamples and predictions held in memory


class Verdict(NamedTuple):
    """Difference (first minus second), its interval, and the verdict on the first."""

    difference: float
    low: float
    high: float
    verdict: str  # better, worse, cannot tell


class Spread(NamedTuple):
    """Statistics of several splits or seeds."""

    mean: float
    deviation: float  # standard deviation of the values; NaN if fewer than two
    error: float  # standard error of the mean
    low: float  # interval of the mean, by Student's t
    high: float
    number: int


def spread(values: Sequence[float]) -> Spread:
    """Return mean, deviation and interval over independent splits or seeds; raises ValueError without values."""
    found = np.asarray(values, dtype=np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise ValueError(f"expected one finite number per split or seed, got {list(values)}")
    mean, number = float(found.mean()), len(found)
    if number < 2:
        return Spread(mean, float("nan"), float("nan"), float("nan"), float("nan"), number)
    deviation = float(found.std(ddof=1))
    error = deviation / number**0.5
    reach = float(scipy.special.stdtrit(number - 1, (1 + LEVEL) / 2)) * error
    return Spread(mean, deviation, error, mean - reach, mean + reach, number)


def verdict(difference: float, low: float, high: float) -> Verdict:
    """Return the verdict from the interval of a difference."""
    word = "better" if low > 0 else "worse" if high < 0 else "cannot tell"
    return Verdict(float(difference), float(low), float(high), word)


def compare_splits(first: Sequence[float], second: Sequence[float]) -> Verdict:
    """Return the paired difference over the same class splits (or seeds), with Student's interval of its mean.

    With fewer than two pairs the verdict is "cannot tell".
    """
    found = spread(np.subtract(first, second).tolist())
    if found.number < 2:
        return Verdict(found.mean, float("-inf"), float("inf"), "cannot tell")
    return verdict(found.mean, found.low, found.high)


def p_value(values: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's test that values of splits or seeds have mean 0; None for fewer than two."""
    found = spread(values)
    t = -abs(found.mean) / max(found.error, 1e-300)
    return float(2 * scipy.special.stdtr(found.number - 1, t)) if found.number > 1 else None


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return for each test whether it rejects after Holm's step-down correction (1979)."""
    rejected = [False] * len(p_values)
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        if p_values[place] > (1 - level) / (len(p_values) - done):
            break
        rejected[place] = True
    return rejected


def draws(videos: int, resamples: int = RESAMPLES, seed: int = 0) -> Int[np.ndarray, "r v"]:
    """Return how often each video is in each draw; the same seed gives the same draws for all compared runs."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, videos, (resamples, videos)) + np.arange(resamples)[:, None] * videos
    return np.bincount(chosen.ravel(), minlength=resamples * videos).reshape(resamples, videos)


def resampled(
    comparison: Comparison,
    tious: Sequence[float],
    counts: Int[np.ndarray, "r v"],
    protocol: str = "plain",
    ties: Ties = "stable",
) -> Float[np.ndarray, " r"]:
    """Return the mAP (mean over tIoU) of each draw of videos; NaN for a draw without actions.

    AP is not rounded, also under a protocol that rounds it to three digits (a difference below 0.05 points).
    """
    predictions, actions, classes = comparison.predictions, comparison.actions, comparison.classes
    number = np.stack([counts[:, actions.video[actions.label == label]].sum(axis=1) for label in range(classes)], 1)
    gained = np.zeros(number.shape)
    for order, hits in _ranked(comparison, tious, protocol, ties):
        own = np.split(order, np.cumsum(np.bincount(predictions.label[order], minlength=classes)))
        for label in range(classes):
            places = [np.flatnonzero(hit[own[label]]) for hit in hits]
            gained[:, label] += _areas(counts, predictions.video[own[label]], places, not PROTOCOLS[protocol].thumos)
    present = number > 0
    sums = (gained / np.maximum(number * len(tious), 1)).sum(axis=1)  # a class without actions adds 0
    return np.where(present.any(axis=1), sums / np.maximum(present.sum(axis=1), 1), np.nan)


def _ranked(
    comparison: Comparison, tious: Sequence[float], protocol: str, ties: Ties
) -> Iterator[tuple[Int[np.ndarray, " m"], Sequence[Bool[np.ndarray, " n"]]]]:
    """Yield predictions that count, class by class and best first, with the hits of the thresholds they count at."""
    if PROTOCOLS[protocol].thumos:
        yield from ((order, [hit]) for order, hit in thumos.ranked(comparison, tious, comparison.ambiguous))
        return
    matches = match(comparison, tious, ties)
    hits = np.zeros((len(tious), len(comparison.predictions.label)), dtype=bool)
    hits[matches.tiou, matches.prediction] = True
    yield np.lexsort((matches.rank, comparison.predictions.label)), hits


def _areas(
    counts: Int[np.ndarray, "r v"],
    video: Int[np.ndarray, " n"],
    ranked: Sequence[Int[np.ndarray, " _"]],
    interpolated: bool,
) -> Float[np.ndarray, " r"]:
    """Return for each draw the AP of one class times its number of actions, summed over thresholds.

    `video` has the videos of its predictions, best first; `ranked` the positions of hits at each threshold.
    """
    places = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *ranked]))
    total = np.zeros(len(counts))
    if not len(places):
        return total
    for part in np.array_split(np.arange(len(counts)), 1 + len(counts) * len(video) // MAX_BLOCK):
        drawn = counts[part].astype(np.float32)[:, video]  # integers below 2^24 are exact
        above = np.add.reduceat(drawn[:, : places[-1] + 1], np.r_[0, places[:-1] + 1], axis=1)
        above = np.cumsum(above, axis=1, dtype=np.float64)  # number of predictions up to each hit
        for hits in ranked:
            weight = drawn[:, hits].astype(np.float64)
            found, rank = np.cumsum(weight, axis=1), np.maximum(above[:, np.searchsorted(places, hits)], 1)
            if interpolated:  # the last of the copies of a hit has the highest precision
                best = np.maximum.accumulate((found / rank)[:, ::-1], axis=1)[:, ::-1]
                total[part] += (best * weight).sum(axis=1)
            for copy in range(0 if interpolated else int(weight.max(initial=0))):
                total[part] += ((found - copy) / np.maximum(rank - copy, 1) * (weight > copy)).sum(axis=1)
    return total


def interval(values: Float[np.ndarray, " r"], whole: float) -> tuple[float, float]:
    """Return the basic bootstrap interval of a number that is `whole` for all videos and `values` for the draws."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(2 * whole - high), float(2 * whole - low)


def compare_videos(
    rows: Mapping[str, Comparison],
    ours: str,
    tious: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    protocol: str = "plain",
    ties: Ties = "stable",
) -> dict[str, Verdict]:
    """Return by name the difference in mAP of `ours` to every other result, with a paired bootstrap over videos.

    `ours` itself stands first, with its mAP in place of a difference. With actions in fewer than two videos nothing is
    known of its variation, and the interval is -1 to 1. All are of the same videos and classes (`scoring.same_videos`).
    """
    counts = np.insert(draws(rows[ours].videos, resamples, seed), 0, 1, axis=0)  # all videos once, then the draws
    values = {name: resampled(each, tious, counts, protocol, ties) for name, each in rows.items()}
    known = len(np.unique(rows[ours].actions.video)) > 1
    found = {}
    for name in (ours, *(other for other in rows if other != ours)):
        difference = values[ours] - (0 if name == ours else values[name])
        low, high = interval(difference[1:], difference[0]) if known else (-1.0, 1.0)
        found[name] = verdict(difference[0], low, high)
    return found


def verdicts(
    rows: Mapping[str, Comparison], ours: str, tious: Sequence[float], seed: int = 0, protocol: str = "plain"
) -> list[dict[str, object]]:
    """Return a table of `compare_videos`: the mAP of the result `ours`, and its difference to every other result."""
    return [
        {
            "what": name if name == ours else f"{ours} minus {name}",
            "mAP": each.difference,
            "mAP from": each.low,
            "mAP to": each.high,
            "this run is": each.verdict if name != ours else "",
        }
        for name, each in compare_videos(rows, ours, tious, seed=seed, protocol=protocol).items()
    ]
