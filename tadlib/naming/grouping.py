"""Snippets that look like one class, grouped into segments: proposals without a detector."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.grid import Grid
from tadlib.detector.proposals import Proposals

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # thresholds, as shares of the range of a curve within a video


def runs(curve: np.ndarray) -> list[tuple[int, int]]:
    """Runs [first, stop) of snippets above each level, every run once."""
    low, high = curve.min(), curve.max()
    found = set()
    for level in LEVELS:
        above = np.r_[False, curve > low + level * (high - low), False]
        edges = np.flatnonzero(above[1:] != above[:-1])
        found |= {(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)}
    return sorted(found)


def grouped(probability: Float[Tensor, "t k"], grid: Grid, duration: float) -> Proposals:
    """Groups of snippets of every class as proposals of a video of `duration` seconds, best first.

    A group scores the mean probability of its class inside less that of as much just outside, but never less than 0.
    A stretch that several classes propose is there once, with its best score.
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
