"""Every figure of the workbook: data in, a picture out. The only place that imports matplotlib and seaborn."""

from tadlib.workbook.figures.comparing import class_differences, cost, effects, learning_curves
from tadlib.workbook.figures.data import action_statistics, film_strip, similarity_matrix, similarity_over_time
from tadlib.workbook.figures.detect import detected, detected_frames, word_curves
from tadlib.workbook.figures.detector import attention, curves
from tadlib.workbook.figures.errors import confusability, error_profile, reliability, sensitivities, verdicts
from tadlib.workbook.figures.health import feature_health, leakage
from tadlib.workbook.figures.learning import losses, proposals, query_positions, window
from tadlib.workbook.figures.naming import accuracy_by_text, certainty, fusion_curves, pooling_comparison
from tadlib.workbook.figures.results import (
    confusion,
    headline,
    naming_by_overlap,
    per_class,
    recall_curve,
    timelines,
)

__all__ = [
    "accuracy_by_text",
    "action_statistics",
    "attention",
    "certainty",
    "class_differences",
    "confusability",
    "confusion",
    "cost",
    "curves",
    "effects",
    "detected",
    "detected_frames",
    "feature_health",
    "error_profile",
    "film_strip",
    "fusion_curves",
    "headline",
    "leakage",
    "learning_curves",
    "losses",
    "naming_by_overlap",
    "per_class",
    "pooling_comparison",
    "proposals",
    "query_positions",
    "recall_curve",
    "reliability",
    "sensitivities",
    "similarity_matrix",
    "similarity_over_time",
    "timelines",
    "verdicts",
    "window",
    "word_curves",
]
