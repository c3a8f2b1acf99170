"""Where parameters meet the science: each step of the pipeline as one call of a notebook.

A step takes the checked parameters apart into plain arguments, calls `data`, `detector`, `naming` and `evaluation`,
and puts together what they answer: the rows of a table, the floors and ceilings beside a run, the record of a run.
"""

from tadlib.workbook.steps.answers import propose, texts_read
from tadlib.workbook.steps.comparing import compare_runs
from tadlib.workbook.steps.data import Data, class_pictures, inventory
from tadlib.workbook.steps.detect import ask, detect
from tadlib.workbook.steps.detected import answer_viewer, begin, finish, notes, pictures, word_curves, words_found
from tadlib.workbook.steps.detector import (
    attention,
    key_of,
    load_detector,
    load_proposals,
    origin,
    save_detector,
    save_proposals,
    window_counts,
)
from tadlib.workbook.steps.errors import examine, under_every_protocol, verdicts
from tadlib.workbook.steps.evaluated import beside_test, evaluated
from tadlib.workbook.steps.gathering import gather
from tadlib.workbook.steps.health import feature_health, findings, frames, leaks, overview
from tadlib.workbook.steps.held_out import divided
from tadlib.workbook.steps.naming import best_detections, class_logits, compare_fusions, confusion, name, named_segments
from tadlib.workbook.steps.naming_study import (
    WEIGHTS,
    accuracy_by_text,
    certainties,
    compare_poolings,
    fusion_curves,
    token_places,
    token_table,
)
from tadlib.workbook.steps.results import (
    actions_per_class,
    best_and_worst,
    class_precision,
    compare,
    compared,
    generalised,
    recall_curves,
    rows,
    summarise,
    true_label_precision,
)
from tadlib.workbook.steps.watching import selected, watch_epochs
from tadlib.workbook.steps.without_training import groups_beside

__all__ = [
    "Data",
    "WEIGHTS",
    "accuracy_by_text",
    "actions_per_class",
    "answer_viewer",
    "ask",
    "attention",
    "begin",
    "beside_test",
    "best_and_worst",
    "best_detections",
    "certainties",
    "class_logits",
    "class_pictures",
    "class_precision",
    "compare",
    "compare_fusions",
    "compare_poolings",
    "compare_runs",
    "compared",
    "confusion",
    "detect",
    "divided",
    "evaluated",
    "examine",
    "feature_health",
    "findings",
    "finish",
    "frames",
    "fusion_curves",
    "gather",
    "generalised",
    "groups_beside",
    "inventory",
    "key_of",
    "leaks",
    "load_detector",
    "load_proposals",
    "name",
    "named_segments",
    "notes",
    "origin",
    "overview",
    "pictures",
    "propose",
    "recall_curves",
    "rows",
    "save_detector",
    "save_proposals",
    "selected",
    "summarise",
    "texts_read",
    "token_places",
    "token_table",
    "true_label_precision",
    "under_every_protocol",
    "verdicts",
    "watch_epochs",
    "window_counts",
    "word_curves",
    "words_found",
]
