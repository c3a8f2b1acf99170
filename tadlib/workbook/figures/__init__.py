"""All figures of the workbook: functions from data to a picture. Only this package imports matplotlib and seaborn."""

# ruff: noqa: F401
from tadlib.workbook.figures.classify import (
    accuracy_by_text,
    confusion,
    fusion_curves,
    naming_by_overlap,
    pooling_comparison,
)
from tadlib.workbook.figures.comparing import class_differences, effects, learning_curves
from tadlib.workbook.figures.evaluate import (
    detected,
    detected_frames,
    error_profile,
    headline,
    per_class,
    recall_curve,
    reliability,
    sensitivities,
    timelines,
    verdicts,
    word_curves,
)
from tadlib.workbook.figures.prepare import (
    action_statistics,
    feature_health,
    film_strip,
    leakage,
    similarity_matrix,
    similarity_over_time,
)
from tadlib.workbook.figures.train import attention, curves, losses, proposals, query_positions, window
