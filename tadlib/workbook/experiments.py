"""Experiments: a flat YAML file becomes runs, each run its stages, each stage an executed notebook.

Every notebook is executed by papermill in a process of its own, with an explicit output path and no standard input.
What is finished is not run again; a run that fails is reported and the others go on.
"""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tadlib.files import read_json, write_json
from tadlib.workbook import runs
from tadlib.workbook.execution import finished
from tadlib.workbook.params import Params
from tadlib.workbook.sharing import obtain
from tadlib.workbook.stages import STAGES, code_version

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """A question and its runs: label -> parameters."""

    name: str
    question: str
    runs: Mapping[str, Mapping[str, Any]]


def plan(path: Path | str, changes: Mapping[str, Any] | None = None) -> Experiment:
    """The runs of an experiment file, one per combination of its sweep; all parameters checked.

    Raises ValueError naming the file and the parameter, before anything runs.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"no experiment file {path}; there are: {', '.join(sorted(map(str, path.parent.glob('*.yaml'))))}"
        )
    content = path.read_text(encoding="utf-8")
    try:
        given = yaml.safe_load(content) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} must hold names and values, got {type(given).__name__}")
    sweep = given.pop("sweep", None) or {}
    for name, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: sweep of {name} must be a list of values, got {values!r}")
    given |= changes or {}
    planned = {}
    for combination in itertools.product(*([(name, value) for value in values] for name, values in sweep.items())):
        parameters = given | dict(combination)
        try:
            Params.check(parameters)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        planned["_".join(f"{name}-{value}" for name, value in combination) or "run"] = parameters
    question = " ".join(line.lstrip("# ") for line in content.splitlines() if line.startswith("#"))
    return Experiment(path.stem, question, planned)


def version_dir(experiment: Experiment, new: bool = False) -> Path:
    """The directory of this execution: the latest one if it has the same plan and code, else a new one."""
    base = runs.project_root() / "outputs" / experiment.name
    wanted = {
        "runs": {label: dict(parameters) for label, parameters in experiment.runs.items()},
        "code": code_version(*STAGES),
    }
    latest = max((path.parent for path in base.glob("*/experiment.json")), default=None)
    if latest is not None and not new:
        record = read_json(latest / "experiment.json")
        if {name: record.get(name) for name in wanted} == wanted:
            return latest
    folder = base / runs.new_name()
    folder.mkdir(parents=True)
    write_json(
        folder / "experiment.json", wanted | {"commit": runs.commit(), "question": experiment.question, "status": {}}
    )
    return folder


def execute(experiment: Experiment, folder: Path, jobs: int = 1, say: Say = print) -> dict[str, str]:
    """Run all stages of all runs; the status of each run: "finished", or "failed in STAGE: why"."""
    status: dict[str, str] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(
                _run, folder / label, parameters, jobs, lambda text, label=label: say(f"{label}: {text}")
            ): label
            for label, parameters in experiment.runs.items()
        }
        try:
            for future in as_completed(futures):
                status[futures[future]] = future.result()
                say(f"{futures[future]}: {status[futures[future]]} ({len(status)} of {len(futures)} runs)")
                record = read_json(folder / "experiment.json")
                write_json(folder / "experiment.json", record | {"status": status})
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return status


def _run(folder: Path, parameters: Mapping[str, Any], jobs: int, say: Say) -> str:
    for stage in STAGES:
        if finished(folder / f"{stage}.ipynb"):
            say(f"{stage} is finished already")
            continue
        reason = obtain(stage, folder, parameters, jobs, say)
        if reason is not None:
            return f"failed in {stage}: {reason}"
    return "finished"


def comparison(folder: Path) -> list[dict[str, Any]]:
    """One row per finished run below a folder: its numbers beside its floor, baseline and ceiling."""
    rows = []
    for run in runs.load(folder):
        metrics = run["metrics"]
        if not metrics:
            continue
        by_role: dict[str, float] = {}
        for row in metrics["rows"]:  # the first row of a role counts: of the ceilings, our segments with true labels
            by_role.setdefault(row["role"], row["mAP"])
        rows.append(
            {"run": run["run"], "mAP": metrics["mAP"], "mAP@0.5": metrics["mAP@0.5"], "AR@100": metrics["AR@100"]}
            | {name: by_role[name] for name in ("floor", "baseline", "ceiling")}
            | {"seconds": round(run["seconds"])}
        )
    return rows


def as_text(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """The comparison as lines of a plain table, metrics in per cent."""
    if not rows:
        yield "no finished run"
        return
    names = list(rows[0])
    width = max(len(str(row["run"])) for row in rows) + 2
    yield "run".ljust(width) + "".join(name.rjust(10) for name in names[1:])
    for row in rows:
        cells = [f"{row[name]}" if name == "seconds" else f"{100 * row[name]:.1f}" for name in names[1:]]
        yield str(row["run"]).ljust(width) + "".join(cell.rjust(10) for cell in cells)


def report(notebook: Path) -> Path:
    """The HTML report beside an executed notebook."""
    subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "report", str(notebook)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    return notebook.with_suffix(".html")
