"""Do scores mean what they say: how often predictions of a score are right, and whether text explains confusion."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

BINS = 10


class Reliability(NamedTuple):
    """Predictions in bins of equal number, from the lowest scores to the highest."""

    score: Float[np.ndarray, " bins"]  # mean score
    right: Float[np.ndarray, " bins"]  # share of hits
    number: Int[np.ndarray, " bins"]
    error: float  # mean distance of score and share of hits, weighted by number (expected calibration error)


def reliability(scores: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """Share of hits by score. Raises ValueError where scores are no probabilities, or where there are none."""
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
    """Ordered pairs of different classes, of which the first was shown in some prediction."""

    true: Int[np.ndarray, " p"]
    named: Int[np.ndarray, " p"]
    cosine: Float[np.ndarray, " p"]  # of their texts
    share: Float[np.ndarray, " p"]  # how often the first is named as the second
    correlation: float  # Spearman's, of cosine and share; NaN if either is constant


def confusability(counts: Int[np.ndarray, "k k"], texts: Float[np.ndarray, "k c"]) -> Confusability:
    """Similarity of classes in text space against how often one is named as the other (`counts`: true, named)."""
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    shown = counts.sum(axis=1)
    true, named = np.nonzero((shown[:, None] > 0) & ~np.eye(len(counts), dtype=bool))
    cosine, share = (unit @ unit.T)[true, named].astype(np.float64), counts[true, named] / shown[true]
    constant = len(true) < 2 or np.ptp(cosine) == 0 or np.ptp(share) == 0
    correlation = float("nan") if constant else float(stats.spearmanr(cosine, share).statistic)
    return Confusability(true, named, cosine, share, correlation)
