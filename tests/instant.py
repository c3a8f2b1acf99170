"""Stages that take no time: `tad run` with everything of an experiment but kernels and science.

`python tests/instant.py run FILE ...` is `tad run` with such stages, in a process that can be killed.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nbformat
import stubs

from tadlib.files import read_json, write_json
from tadlib.workbook import execution, finished_runs, runs, variants
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.params import Params
from tadlib.workbook.stages import METRICS, STAGES, record_name

PRELOAD = """import sys
if "submitit.core._submit" in sys.orig_argv:  # the process of a job, and not the one that waits for it
    import instant; instant.install()
"""
SOURCE = '{"cells": []}'  # a notebook whose imports are found at once
ROLES = [{"role": role, "mAP": 0.5} for role in ("floor", "baseline", "ceiling")]


def project(folder: Path) -> Path:
    """A project of such stages; the source of a notebook says whether it does not work: "fail", or "once"."""
    stubs.project(folder, "1")
    for stage in STAGES:
        (folder / "notebooks" / f"{stage}.ipynb").write_text(SOURCE)
    return folder


def execute(stage: str, target: Path, parameters: dict, jobs: int = 1, log: Path | None = None) -> str | None:
    """What a stage leaves: a notebook, its record, small files handed on; every start and end is in `calls`.

    It fails while its source says "fail", and the first time only where it says "once".
    """
    if execution.stopping.is_set():
        return f"{execution.INTERRUPTED}: {stage} was not begun"
    root, folder = runs.project_root(), runs.resolve(parameters["run_dir"])
    if stage == "report":
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(stubs.notebook("1"), target)
        found, _ = finished_runs.read(map(runs.resolve, ReportParams.check(parameters).folders))
        told = [each for study in variants.studies(found) for each in variants.records(study, "mAP")]
        write_json(folder / "report.json", told)
        note(root, f"report {parameters['experiments']}")
        return None
    params = Params.check(parameters)
    note(root, f"begin {stage} {target.parent.parent.name.split('-')[1]}")
    source = (root / "notebooks" / f"{stage}.ipynb").read_text()
    seconds = os.environ.get("TAD_TEST_SECONDS", "0")
    if seconds != "0" and subprocess.run(["sleep", seconds]).returncode:  # a child, which what ends a job ends too
        return "KeyboardInterrupt: terminated"
    notebook = stubs.notebook(f"run_dir = {parameters['run_dir']!r}")
    notebook.metadata["papermill"] = {"parameters": parameters}
    for cell in notebook.cells[1:]:
        cell.execution_count = 1
    if source == "fail" or (source == "once" and (root / "calls").read_text().count(f"begin {stage}") == 1):
        notebook.cells[-1].outputs = [nbformat.v4.new_output("error", ename="KeyError", evalue="bad", traceback=[])]
    nbformat.write(notebook, target)
    record = {"parameters": params.model_dump(), "status": "finished", "seconds": 2.0}
    write_json(folder / "run.json", {record_name(stage, params): record})
    if stage == "train":
        write_json(folder / "checkpoint.json", params.lr)
        write_json(folder / "metrics.json", "by default")
    if stage == "classify":
        write_json(folder / "detections.json", read_json(folder / "checkpoint.json") + params.top_k)
    if stage == "evaluate":
        value = read_json(folder / "detections.json")
        metrics = METRICS[record_name(stage, params)]
        write_json(folder / metrics, {"mAP": value, "mAP@0.5": value, "AR@100": value, "rows": ROLES})
    note(root, f"end {stage} {target.parent.parent.name.split('-')[1]}")
    return execution.failure(target)


def execute_cells(stage: str, given: dict, jobs: int = 1, log: Path | None = None) -> str | None:
    """What such a stage leaves without its notebook."""
    target = runs.resolve(given["run_dir"]) / f"{stage}.ipynb"
    reason = execute(stage, target, given, jobs, log)
    target.unlink()
    return reason


def versions(home: Path, name: str) -> list[Path]:
    """The folders of an experiment's executions, oldest first; the report lies beside them."""
    return sorted(path for path in (home / "outputs" / name).iterdir() if path.is_dir())


def told(home: Path, start: str = "") -> list[str]:
    """The lines of the calls that begin so."""
    path = home / "calls"
    return [line for line in path.read_text().splitlines() if line.startswith(start)] if path.is_file() else []


def executed(home: Path) -> Counter:
    """How often each stage was begun."""
    return Counter(line.split()[1] for line in told(home, "begin"))


def note(root: Path, text: str) -> None:
    """Add a line to the calls, whole even when several processes do."""
    handle = os.open(root / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


def start(home: Path, *words: str, within: Sequence[str] = (), **environment: str) -> subprocess.Popen:
    """`tad run` with such stages, in a process group of its own; `within` starts what starts it."""
    environment = os.environ | {"TAD_ROOT": str(home), "TAD_TEST_SECONDS": "0.05"} | environment
    return subprocess.Popen(
        [*within, sys.executable, __file__, "run", *words],
        cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a background shell starts it
    )  # fmt: skip


def nothing_lacks(*words: object) -> list[str]:
    """What a job says of features where there is no data."""
    return []


def install() -> None:
    """Let this process execute such stages."""
    from tadlib.workbook import report, stage_store

    stage_store.execute_notebook = execution.execute_notebook = execute
    runs.device_name = lambda device: device
    report.page = lambda notebook: notebook.with_suffix(".html")


if __name__ == "__main__":
    from tadlib.workbook import batch, cli

    install()
    batch.encode = nothing_lacks
    sys.exit(cli.main(sys.argv[1:]))
