"""The two evaluations of a run, on test and on training videos, each with a record and files of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadlib.workbook.params import Params

# what is evaluated -> the record of it in run.json, and the file of its metrics
EVALUATIONS = {
    "test": ("evaluate", "metrics.json"),
    "training": ("evaluate_on_training", "metrics_on_training.json"),
}
DETECTIONS_ON_TRAINING = "detections_on_training.json"
OUTDATED = "outdated"  # the status of a finished evaluation whose detections are no longer the run's
# what describes an artefact, and no other one
DESCRIBED_BY = {"detections.json": (*dict(EVALUATIONS.values()).values(), DETECTIONS_ON_TRAINING)}


def record_name(stage: str, params: Params) -> str:
    """The name of a stage's record in run.json: its own, but for an evaluation on the training videos."""
    return EVALUATIONS[params.evaluate_on][0] if stage == "evaluate" else stage


def metrics_name(record: str) -> str:
    """The file of the metrics that belong to a record."""
    return dict(EVALUATIONS.values()).get(record, "metrics.json")


def evaluated_on(parameters: Mapping[str, Any]) -> str:
    """The videos that a run evaluates, by its parameters of whatever age."""
    return parameters.get("evaluate_on", "test")


def planned(records: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], Path]:
    """A run's records and the place of its metrics, both without those of a second evaluation on other videos.

    The one that counts is on the videos that the run's first stage was given as `evaluate_on`.
    """
    on = evaluated_on(next(iter(records.values()), {}).get("parameters", {}))
    others = {name for side, (name, _) in EVALUATIONS.items() if side != on}
    return {name: record for name, record in records.items() if name not in others}, folder / EVALUATIONS[on][1]
