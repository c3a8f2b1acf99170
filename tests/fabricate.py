"""Run folders as `tad run` leaves them, with numbers that a test chooses; nothing is trained."""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import nbformat
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from tadlib.files import read_json, write_json
from tadlib.workbook.finished_runs import planned
from tadlib.workbook.params import Params
from tadlib.workbook.stages import METRICS, record_name

COMMENT = "Do convolutions help? Log: really effective, later not much use. Rows: 12."
SWEEP = {"conv_layers": [0, 1], "split_id": [0, 1, 2], "seed": [0, 1]}
CLASSES = ("Diving", "HighJump", "Shotput")
Score = Callable[[Mapping[str, object]], float]  # parameters -> mAP, a fraction


def experiment(
    outputs: Path, name: str, score: Score, sweep=SWEEP, comment=COMMENT, version="20260101T000000Z_0000"
) -> Path:
    """An experiment of finished runs, one per combination of the sweep; returns the folder of its version."""
    folder = outputs / name / version
    names, runs = list(sweep), {}
    for values in product(*sweep.values()):
        given = {"split": 50} | dict(zip(names, values, strict=True))
        label = "_".join(f"{name}-{value}" for name, value in zip(names, values, strict=True))
        runs[label] = given
        run(folder / label, given, score(given))
    write_json(folder / "experiment.json", {"runs": runs, "commit": "abc", "question": comment, "status": {}})
    return folder


def run(folder: Path, given: Mapping[str, object], mean: float, **facts) -> Path:
    """One finished run: records of two stages, metrics, a history of three epochs, an executed notebook."""
    params = Params.check(given)
    parameters = params.model_dump() | {"run_dir": str(folder)}
    evaluated = record_name("evaluate", params)
    record = {"parameters": parameters, "status": "finished", "seconds": 30.0, "peak_memory_mb": 900.0}
    record |= {"device": "cpu: a test, 2 cores", "commit": "abc", "python": "3.11", "platform": "Linux", "data": "d0"}
    record |= {"versions": {"torch": "2.11.0"}} | facts
    write_json(folder / "run.json", {"train": record, evaluated: record | {"seconds": 10.0, "peak_memory_mb": 700.0}})
    classes = {label: mean + 0.01 * place for place, label in enumerate(CLASSES)}
    metrics = {"mAP": mean, "mAP@0.5": mean, "AR@100": 0.6, "per_class": classes, "rows": []}
    write_json(folder / METRICS[evaluated], metrics)
    history = [{"epoch": e, "loss": 3 / e, "matched_tiou": 0.3 + e / 10, "lr": 1e-3} for e in (1, 2, 3)]
    write_json(folder / "history.json", history)
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1", execution_count=1)]), folder / "evaluate.ipynb")
    return folder


def project(folder: Path) -> Path:
    """A project that borrows the real notebooks and parameters files and has outputs of its own."""
    (folder / "outputs").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "params").symlink_to(ROOT / "params")
    return folder


def load(outputs: Path) -> list[dict]:
    """The runs below a folder: the name, the parameters of the first stage and the metrics of each."""
    folders = [path.parent for path in sorted(outputs.rglob("run.json")) if ".stages" not in path.parts]
    found = []
    for folder in folders:
        stages, metrics = planned(folder)
        parameters = next(iter(stages.values()))["parameters"]
        metrics = read_json(metrics) if metrics.is_file() else {}
        found.append({"run": folder.name, "parameters": parameters, "metrics": metrics})
    return found
