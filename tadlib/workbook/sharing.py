"""Stages made once: a store of finished stages, from which every run that depends on the same takes its own.

A stage is executed in a folder of its own attempt with nothing but the parameters it depends on, and enters the store
whole, by one renaming. A run gets its notebook, saying where it came from, its record, and its files as hard links
(copies where the disk has none): a run stays complete when the store is deleted. What ends an attempt, be it kill -9,
leaves neither half a stage in the store nor a lock.
"""

import html
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary

from tadlib.files import Progress, atomic, digest, locked, read_json, write_json
from tadlib.workbook import execution, runs, stages
from tadlib.workbook.execution import INTERRUPTED, execute_notebook
from tadlib.workbook.params import Params

STOP = ".stop"  # a file of a version's folder: workers elsewhere, whom no signal reaches, begin nothing more
NAMED_BY_DEFAULT = {"proposals.parquet", "detections.json", "metrics.json"}  # train's own, which no run may take over
Say = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """How runs are executed: so many at once, failed stages so often again, with stages shared or not."""

    jobs: int = 1
    retries: int = 0
    share: bool = True


def obtain(stage: str, folder: Path, given: Mapping[str, Any], way: Way = Way(), say: Say = print) -> str | None:
    """See that a run's folder has a stage: from the store, or made now and stored; None, or why it failed.

    Of several runs that want it at once one makes it and the others wait; where it fails, it fails for all of the
    batch. Without `way.share` it is made anew and kept to the run.
    """
    key = stages.key(stage, given, runs.device_name(Params.read(given).device))
    store = stages.stored_at(stage, key)
    if not way.share:  # under a name of its own: what has the store's a sharing run may take for dead
        store = store.with_name(f"{store.name}.own{digest(relative(folder))}")
    try:
        with locked(store, _patience(folder, say)):
            for stale in store.parent.glob(f".{store.name}-*/"):  # only this lock's holder makes them: theirs are dead
                shutil.rmtree(stale, ignore_errors=True)
            return _obtain(stage, store, folder, given, way, say)
    except _Stopped:
        return f"{INTERRUPTED}: {stage} was not begun"


class _Stopped(Exception):
    """The batch ends while one of its runs waits for what another batch is making."""


def _patience(folder: Path, say: Say) -> Progress:
    """Waiting that says so once, and ends with its batch."""
    said = []

    def wait(done: int, total: int, text: str) -> None:
        if execution.stopping.is_set() or (folder.parent / STOP).exists():
            raise _Stopped
        if not said:
            say(text)
            said.append(text)

    return wait


def _obtain(stage: str, store: Path, folder: Path, given: Mapping[str, Any], way: Way, say: Say) -> str | None:
    """See to it while nobody else does."""
    if not way.share:
        made, reason = _make(stage, store, folder, given, way, say)
        if reason is None:
            _take(stage, made, folder, given)
        shutil.rmtree(made.parent, ignore_errors=True)
        return reason
    if stages.stored(store):
        say(f"{stage} is shared: {relative(store)}")
        _take(stage, store, folder, given)
        return None
    failed = folder.parent / ".failed" / f"{store.name}.json"
    if failed.is_file():
        return read_json(failed)
    made, reason = _make(stage, store, folder, given, way, say)
    if reason is None:
        shutil.rmtree(store, ignore_errors=True)
        os.rename(made, store)
    shutil.rmtree(made.parent, ignore_errors=True)
    if reason is None:
        _take(stage, store, folder, given)
    elif failed.parent.is_dir() and INTERRUPTED not in reason:
        write_json(failed, f"{reason} (as in {folder.name})")
    return reason


def relative(path: Path) -> str:
    """A path as it is recorded: from the project's root where it is below it."""
    root = runs.project_root()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _make(
    stage: str, store: Path, folder: Path, given: Mapping[str, Any], way: Way, say: Say
) -> tuple[Path, str | None]:
    """Execute a stage until it succeeds or was tried often enough; the attempt's folder, and None or why it failed."""
    for left in range(way.retries, -1, -1):
        made, reason = _attempt(stage, store, folder, given, way.jobs, say)
        if reason is None or INTERRUPTED in reason or not left:
            break
        say(f"{stage} failed, {left} more to try: {reason}")
        shutil.rmtree(made.parent, ignore_errors=True)
    return made, reason


def _attempt(
    stage: str, store: Path, folder: Path, given: Mapping[str, Any], jobs: int, say: Say
) -> tuple[Path, str | None]:
    """Execute a stage in a folder of its own; that folder, and None or why it failed.

    What the run has from earlier stages is linked there first, with their records. A failed notebook goes to the run.
    """
    say(f"{stage} ...")
    attempt = store.with_name(f".{store.name}-{secrets.token_hex(3)}") / folder.name
    attempt.mkdir(parents=True)
    earlier = runs.records(folder)
    for other in stages.STAGES[: stages.STAGES.index(stage)]:
        for file in earlier.get(other, {}).get("files", []):
            _link(folder / file, attempt / file)
    if earlier:
        write_json(attempt / "run.json", earlier)
    before = {path: path.stat().st_mtime_ns for path in attempt.rglob("*") if path.is_file()}
    parameters = stages.reduced(stage, given) | {"run_dir": relative(attempt)}
    notebook = attempt / f"{stage}.ipynb"
    reason = execute_notebook(stage, notebook, parameters, jobs, folder / "run.log")
    record = runs.records(attempt).get(stage, {})
    if reason is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if notebook.is_file():
            os.replace(notebook, folder / notebook.name)
        _record(folder, stage, record | {"status": "failed", "reason": reason, "files": []}, given)
        return attempt, reason
    left = {"run.json", notebook.name} | (NAMED_BY_DEFAULT if stage == "train" else set())
    files = sorted(
        str(path.relative_to(attempt))
        for path in attempt.rglob("*")
        if path.is_file() and path.name not in left and before.get(path) != path.stat().st_mtime_ns
    )
    write_json(
        attempt / "shared.json",
        {"stage": stage, "name": store.name, "made_for": relative(folder)}
        | {"parameters": stages.read_by(stage, Params.read(given))}
        | {"record": record | {"status": "finished", "files": files}},
    )
    return attempt, None


def _take(stage: str, store: Path, folder: Path, given: Mapping[str, Any]) -> None:
    """Give a run a finished stage: files, record, and last of all the notebook, which says that it is there."""
    content = read_json(store / "shared.json")
    folder.mkdir(parents=True, exist_ok=True)
    for file in content["record"]["files"]:
        _link(store / file, folder / file)
    made_here = content["made_for"] == relative(folder)
    shared = {"name": content["name"], "made_for": content["made_for"]}
    _record(folder, stage, content["record"] | ({} if made_here else {"shared": shared}), given)
    notebook = _moved(nbformat.read(store / f"{stage}.ipynb", as_version=4), relative(folder))
    notebook.metadata.setdefault("tadlib", {})["shared"] = shared
    if not made_here:
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(_banner(stage, shared)))
    with atomic(folder / f"{stage}.ipynb") as temporary:
        nbformat.write(notebook, temporary)
    NotebookNotary().sign(notebook)


def _moved(notebook: NotebookNode, folder: str) -> NotebookNode:
    """A notebook that names the folder of its run, not that of its attempt, which is gone: cells can be run again."""
    attempt = notebook.metadata.get("papermill", {}).get("parameters", {}).get("run_dir")
    return nbformat.reads(nbformat.writes(notebook).replace(attempt, folder), 4) if attempt else notebook


def _banner(stage: str, shared: Mapping[str, str]) -> str:
    naming = " Its last figures name proposals in the default way; this run's numbers are in evaluate.ipynb."
    return (
        '<div style="border-left:6px solid #27c;background:#e8f1fc;padding:.6em 1em"><b>Shared stage.</b> '
        f"It was executed once, for {html.escape(shared['made_for'])}, and serves every run that does not differ in "
        f"what {stage} depends on ({shared['name']}).{naming if stage == 'train' else ''}</div>"
    )


def _record(folder: Path, stage: str, record: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Keep a stage's record with the run's own parameters, those that the stage does not depend on included."""
    parameters = Params.read(given | {"run_dir": relative(folder)}).model_dump()
    write_json(folder / "run.json", runs.records(folder) | {stage: {**record, "parameters": parameters}})


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no links. Takes the place of an older one."""
    with atomic(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
