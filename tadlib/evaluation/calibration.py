"""Calibration of scores (reliability, ECE), and correlation of confusions with text similarity."""

from typing import NamedTuple

import numpy as np
import scipy  # imports its submodules on first use
from jaxtyping import Bool, Float, Int

BINS = 10


class Reliability(NamedTuple):
    """Reliability diagram: predictions in bins of equal number, from the lowest scores to the highest."""

    score: Float[np.ndarray, " bins"]  # mean score
    right: Float[np.ndarray, " bins"]  # share of hits
    number: Int[np.ndarray, " bins"]
    error: float  # expected calibration error: mean distance of score and share of hits, weighted by number


def reliability(scores: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """Return the share of hits by score; raises ValueError without predictions, or if scores are no probabilities."""
    if not len(scores):
        raise ValueError("there are no predictions: nothing can be said about their scores")
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"scores must be probabilities (0..1), got {scores.min():g}..{scores.max():g}")
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    score = np.array([scores[part].mean() for part in parts])
    right = np.array([hit[part].mean() for part in parts])
    number = np.array([len(part) for part in parts])
    return Reliability(score, right, number, float(np.average(np.abs(score - right), weights=number)))


class Confusability(NamedTuple):
    """Ordered pairs of different classes, where the first is the true class of some prediction."""

    true: Int[np.ndarray, " p"]
    named: Int[np.ndarray, " p"]
    cosine: Float[np.ndarray, " p"]  # between their texts
    share: Float[np.ndarray, " p"]  # share of the first that is classified as the second
    correlation: float  # Spearman's, of cosine and share; NaN if either is constant


def confusability(counts: Int[np.ndarray, "k k"], texts: Float[np.ndarray, "k c"]) -> Confusability:
    """Compare text similarity of classes with the share classified as the other (`counts`: true, predicted)."""
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    shown = counts.sum(axis=1)
    true, named = np.nonzero((shown[:, None] > 0) & ~np.eye(len(counts), dtype=bool))
    cosine, share = (unit @ unit.T)[true, named].astype(np.float64), counts[true, named] / shown[true]
    constant = len(true) < 2 or np.ptp(cosine) == 0 or np.ptp(share) == 0
    correlation = float("nan") if constant else float(scipy.stats.spearmanr(cosine, share).statistic)
    return Confusability(true, named, cosine, share, correlation)
