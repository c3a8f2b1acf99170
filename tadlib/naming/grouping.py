"""Proposals without a detector: consecutive snippets above thresholds of class probability."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.grid import Grid
from tadlib.detector.proposals import Proposals

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # thresholds, as fractions of the range of a curve within a video


def runs(curve: np.ndarray) -> list[tuple[int, int]]:
    """Runs [first, stop) of snippets above each threshold, without duplicates."""
    low, high = curve.min(), curve.max()
    found = set()
    for level in LEVELS:
        above = np.r_[False, curve > low + level * (high - low), False]
        edges = np.flatnonzero(above[1:] != above[:-1])
        found |= {(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)}
    return sorted(found)


def grouped(probability: Float[Tensor, "t k"], grid: Grid, duration: float) -> Proposals:
    """Group snippets of high class probability into proposals of a video of `duration` seconds, best first.

    The score is the mean class probability inside minus that in margins of half the length outside, at least 0. A
    segment proposed by several classes appears once, with its best score.
    """
    best: dict[tuple[int, int], float] = {}
    for curve in probability.double().numpy().T:
        sums = np.r_[0.0, curve.cumsum()]
        for first, stop in runs(curve):
            margin = max(1, (stop - first) // 2)
            left, right = max(0, first - margin), min(len(curve), stop + margin)
            outside, beyond = sums[first] - sums[left] + sums[right] - sums[stop], first - left + right - stop
            score = (sums[stop] - sums[first]) / (stop - first) - outside / max(1, beyond)
            best[first, stop] = max(best.get((first, stop), 0.0), score)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    segments = [[grid.seconds(first), min(grid.seconds(stop), duration)] for (first, stop), _ in ranked]
    return Proposals(
        torch.tensor(segments, dtype=torch.float32).reshape(-1, 2),
        torch.tensor([score for _, score in ranked], dtype=torch.float32).clamp(0, 1),
    )
