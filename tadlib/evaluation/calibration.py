"""Calibration of scores: reliability diagrams and expected calibration error."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 10


class Reliability(NamedTuple):
    """Reliability diagram: predictions in bins of equal number, from the lowest scores to the highest."""

    score: Float[np.ndarray, " bins"]  # mean score
    right: Float[np.ndarray, " bins"]  # share of hits
    number: Int[np.ndarray, " bins"]
    error: float  # expected calibration error: mean distance of score and share of hits, by number; NaN without bins


def reliability(scores: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """Return the share of hits by score; ValueError if scores are no probabilities. No predictions give no bins."""
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        raise ValueError(f"scores must be probabilities (0..1), got {scores.min():g}..{scores.max():g}")
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    score = np.array([scores[part].mean() for part in parts])
    right = np.array([hit[part].mean() for part in parts])
    number = np.array([len(part) for part in parts])
    error = float(np.average(np.abs(score - right), weights=number)) if parts else np.nan
    return Reliability(score, right, number, error)
