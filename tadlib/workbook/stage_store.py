"""Store of stages shared by runs: `outputs/.stages/STAGE-KEY/`, to whose files the folders of the runs link.

A stage is executed under a file lock in a temporary folder next to its final one, which is then renamed, so a folder of
the final name is always complete.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tadlib.files import dangling, read_json, temporary_path, write_json
from tadlib.locks import locked
from tadlib.workbook import execution, runs, stages
from tadlib.workbook.execution import INTERRUPTED, execute_cells, execute_notebook
from tadlib.workbook.params import Params
from tadlib.workbook.stages import record_name

FAILED = ".failed"  # folder of a version with the errors of failed shared stages, which fail all runs that need them
NAMED_BY_DEFAULT = {"proposals.parquet", "detections.json", "metrics.json"}  # of train itself, not linked into runs
NO_PAGE = ".numbers"  # suffix of a stage without executed notebook; without hyphen, which precedes the id of an attempt
Say = Callable[[str], None]


def stored_at(stage: str, given: Mapping[str, Any], pages: str) -> Path:
    """Return the folder of a stage: without executed notebook a separate one, unless one with the notebook exists."""
    key = stages.key(stage, given, runs.device_name(Params.read(given).device))
    place = runs.project_root() / "outputs" / ".stages" / f"{stage}-{key}"
    return place.with_name(place.name + NO_PAGE) if _pageless(stage, pages) and not place.is_dir() else place


def finished(stage: str, folder: Path, given: Mapping[str, Any], pages: str) -> bool:
    """Whether a stage of a run has finished and its files exist, with its notebook if `pages` asks for one."""
    record = runs.records(folder).get(record_name(stage, Params.read(given)), {})
    whole = record.get("status") == "finished" and not dangling(folder)
    return whole and (_pageless(stage, pages) or (folder / f"{stage}.ipynb").is_file())


def _pageless(stage: str, pages: str) -> bool:
    return pages != "all" and stage in execution.PAGELESS


def obtain(
    stage: str, folder: Path, given: Mapping[str, Any], jobs: int = 1, say: Say = print, pages: str = "all"
) -> str | None:
    """Link a stage into a run's folder, executing it first if needed; return None, or the reason of a failure.

    If several runs need the stage at once, one executes it and the others wait, or end if their batch is stopped.
    """
    store = stored_at(stage, given, pages)
    failed = folder.parent / FAILED / f"{store.name}.json"
    say_once = cache(say)

    def wait(done: int, total: int, text: str) -> None:
        if execution.stopping.is_set():
            raise InterruptedError
        say_once(text)

    try:
        with locked(store, wait):
            if store.is_dir():
                say(f"{stage} is shared: {relative(store)}")
            elif failed.is_file():
                reason = read_json(failed)
                _record(folder, stage, {"status": "failed", "reason": reason, "files": []}, given)
                return reason
            else:
                say(f"{stage} ...")
                if (reason := _make(stage, store, folder, given, jobs)) is not None:
                    if failed.parent.is_dir() and INTERRUPTED not in reason:
                        write_json(failed, f"{reason} (as in {folder.name})")
                    return reason
    except InterruptedError:
        return f"{INTERRUPTED}: {stage} was not begun"
    record = runs.records(store)[record_name(stage, Params.read(given))]
    for file in record["files"]:
        link_or_copy(store / file, folder / file)
    _record(folder, stage, record | {"made_in": relative(store)}, given)
    page = store / f"{stage}.ipynb"
    if page.is_file():  # linked last, because it marks the stage as finished
        link_or_copy(page, folder / page.name)
    return None


def _make(stage: str, store: Path, folder: Path, given: Mapping[str, Any], jobs: int) -> str | None:
    for stale in store.parent.glob(f".{store.name}-*/"):  # made only under the lock, so their makers are dead
        shutil.rmtree(stale, ignore_errors=True)
    # unique, as a killed maker may still write into its own; the last part is the run's name in the notebook
    attempt = store.with_name(f".{store.name}-{secrets.token_hex(3)}") / folder.name
    try:
        page = not store.name.endswith(NO_PAGE)
        reason = _attempt(stage, attempt, folder, given, jobs, page=page)
        if reason is None and stages.key(stage, given, runs.device_name(Params.read(given).device)) not in store.name:
            reason = "code or data changed while it was executed"  # of which it was made, nobody knows
            _record(folder, stage, {"status": "failed", "reason": reason, "files": []}, given)
        if reason is None:
            if page:
                execution.rename_folder(attempt / f"{stage}.ipynb", relative(attempt), relative(store))
            os.rename(attempt, store)
        return reason
    finally:
        shutil.rmtree(attempt.parent, ignore_errors=True)


def _attempt(stage: str, attempt: Path, folder: Path, given: Mapping[str, Any], jobs: int, *, page: bool) -> str | None:
    """Execute a stage in a new folder with links to earlier stages; return None, or the reason of a failure."""
    attempt.mkdir(parents=True)
    before = stages.STAGES[: stages.STAGES.index(stage)]
    earlier = {name: record for name, record in runs.records(folder).items() if name in before}
    for record in earlier.values():
        for file in record.get("files", []):
            link_or_copy(folder / file, attempt / file)
    if earlier:
        write_json(attempt / "run.json", earlier)
    old = {path: path.stat().st_mtime_ns for path in _files(attempt)}
    notebook = attempt / f"{stage}.ipynb"
    parameters = stages.reduced(stage, given) | {"run_dir": relative(attempt)}
    if stage == "evaluate":  # the plan decides which metrics a run has, whatever the notebook's own cell sets
        parameters["evaluate_on"] = Params.read(given).evaluate_on
    if page:
        reason = execute_notebook(stage, notebook, parameters, jobs, folder / "run.log")
    else:
        reason = execute_cells(stage, parameters, jobs, folder / "run.log")
    name = record_name(stage, Params.read(given))
    record = runs.records(attempt).get(name, {})
    if reason is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if notebook.is_file():
            os.replace(notebook, folder / notebook.name)
        status = "interrupted" if INTERRUPTED in reason else "failed"
        _record(folder, stage, record | {"status": status, "reason": reason, "files": []}, given)
        return reason
    for path in _files(attempt):
        if old.get(path) == path.stat().st_mtime_ns:
            path.unlink()
    not_linked = {"run.json", notebook.name} | (NAMED_BY_DEFAULT if stage == "train" else set())
    files = sorted(str(path.relative_to(attempt)) for path in _files(attempt) if path.name not in not_linked)
    write_json(attempt / "run.json", earlier | {name: record | {"status": "finished", "files": files}})
    return None


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("[!.]*") if path.is_file()]  # locks are hidden


def link_or_copy(source: Path, target: Path) -> None:
    """Replace `target` by a relative link to `source`, or by a copy if the file system has no links."""
    temporary = temporary_path(target)
    try:
        os.symlink(os.path.relpath(source.resolve(), target.parent.resolve()), temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)


def _record(folder: Path, stage: str, record: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Write a stage's record to a run: the parameters that the stage used, and the run's where it uses none."""
    params = Params.read(given | {"run_dir": relative(folder)})
    used, names = record.get("parameters", {}), stages.depends_on(stage, params)  # a notebook's own cell may set some
    parameters = params.model_dump() | {name: value for name, value in used.items() if name in names}
    runs.write_record(folder, record_name(stage, params), {**record, "parameters": parameters})


def relative(path: Path) -> str:
    """Return a path relative to the project's root if it is below it, else the path unchanged."""
    root = runs.project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
