"""Execution of a stage by a process: its whole notebook by papermill, or its cells alone; status of executed notebooks.

Without papermill no figure is drawn and cells tagged `explains` are skipped: one process computes the results of many
runs, in seconds. All other code is the notebook's own, so the results are the same.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.files import LOG, temporary_path, write_text
from tadlib.foreign import yaml_out
from tadlib.locks import try_lock
from tadlib.project import cores
from tadlib.workbook import runs

INTERRUPTED = "KeyboardInterrupt"  # error of a notebook that was stopped and did not fail
ENDED = (-signal.SIGTERM, -signal.SIGINT)  # exit status of a process that was asked to end, e.g. at a job's time limit
EXECUTED, FAILED, UNFINISHED, NEVER = "Executed", "Failed", "Did not finish", "Never executed"
UNREADABLE = "it is no whole notebook"
stopping = threading.Event()  # set while a batch ends: no notebook is started or retried
alive: set[subprocess.Popen] = set()  # processes that execute notebooks or cells
PAGELESS = ("prepare", "classify", "evaluate")  # not train: it takes so long that a kernel costs nothing
EXPLAINS = "explains"  # tag of a cell that no result depends on
_worker = threading.local()  # `process`: the process of each thread that executes cells
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def execute_notebook(
    stage: str, target: Path, parameters: Mapping[str, Any], jobs: int = 1, log: Path | None = None
) -> str | None:
    """Execute one notebook of the project into `target`; return None, or the reason of a failure. Progress is logged.

    The notebook is written to a temporary file, which replaces `target` at the end, even if the execution failed.
    """
    if stopping.is_set():
        return f"{INTERRUPTED}: {stage} was not begun"
    attempt = temporary_path(target)
    stderr = attempt.with_suffix(".stderr")
    words = ["papermill", str(runs.project_root() / "notebooks" / f"{stage}.ipynb"), str(attempt)]
    words += ["--no-progress-bar", "-y", yaml_out(parameters)]
    logging = {LOG: str(log.resolve())} if log else {}
    with open(stderr, "wb") as handle:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": handle}
        process = start(words, environment(jobs) | logging, **streams)
    try:
        status = process.wait()
        last_line = (stderr.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"])[-1]
    finally:
        alive.discard(process)
        stderr.unlink(missing_ok=True)
    reason = failure(attempt) if attempt.is_file() else last_line
    if reason == UNREADABLE:
        attempt.unlink()
        reason = last_line
    if attempt.is_file():
        os.replace(attempt, target)
    if stopping.is_set() and (status or reason) or status in ENDED:
        return f"{INTERRUPTED}: {stage} was stopped"
    return (reason or f"papermill ended with status {status}") if status or reason else None


class NoFigures:
    """Substitute for `tadlib.workbook.figures` that draws nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def cell_sources(notebook: Path, given: Mapping[str, Any] | None = None, without: str = EXPLAINS) -> Iterator[str]:
    """Yield the source of every code cell without the tag; `given` parameters follow the parameters cell."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", ())
        if cell["cell_type"] == "code" and without not in tags:
            yield "".join(cell["source"])
            if "parameters" in tags and given is not None:
                yield "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in given.items())])


def run_cells(name: str, texts: Iterable[str], defined: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run the cells of a notebook in this process without figures, starting from `defined`; return all names."""
    names: dict[str, Any] = {"__name__": "__main__", "In": []} | dict(defined or {})
    for text in texts:
        names["In"].append(text)
        exec(compile(text, f"<{name}>", "exec"), names)
        if "figures" in names:
            names["figures"] = NoFigures()
    return names


def execute_cells(stage: str, given: Mapping[str, Any], jobs: int, log: Path) -> str | None:
    """Compute the results of a stage in this thread's worker process; return None, or the reason of a failure."""
    if stopping.is_set():
        return f"{INTERRUPTED}: {stage} was not begun"
    process = getattr(_worker, "process", None)
    if process is None:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        process = _worker.process = start(["tadlib.workbook.execution"], environment(jobs), **streams)
    notebook = runs.project_root() / "notebooks" / f"{stage}.ipynb"
    task = {"notebook": str(notebook), "given": dict(given), "log": str(log.resolve())}
    try:
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if answer:
        return json.loads(answer)
    _worker.process, status = None, process.wait()
    alive.discard(process)
    if stopping.is_set() or status in ENDED:
        return f"{INTERRUPTED}: {stage} was stopped"
    return f"the process that executes cells ended with status {status}"


def main() -> None:
    """Read one task (JSON) per line of standard input; answer each with the reason of its failure, or null."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # discards what cells print
    for line in sys.stdin:
        task, reason = json.loads(line), None
        os.environ[LOG] = task["log"]
        try:
            run_cells(task["notebook"], cell_sources(Path(task["notebook"]), task["given"]))
        except Exception as error:  # a cell may raise anything, and the process must take the next task
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(reason), file=answers, flush=True)


def start(words: Sequence[str], environment: Mapping[str, str], **streams: Any) -> subprocess.Popen:
    """Start `python -m` with `words` in the project's folder; the process ends with this thread, or by `stop`."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=runs.project_root(), env=environment, start_new_session=True,
        preexec_fn=_end_with_parent, **streams,
    )  # fmt: skip
    alive.add(process)
    if stopping.is_set():  # set after the caller's check: `stop` may not have seen this process
        process.terminate()
    return process


def _end_with_parent() -> None:
    """Make this process end when its parent dies, even by kill -9; only on Linux."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop() -> None:
    """End all processes in `alive`, by force if they need more than 20 s; none starts until `stopping` is cleared."""
    stopping.set()
    for process in list(alive):
        process.terminate()
    for process in list(alive):
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def environment(jobs: int) -> dict[str, str]:
    """Return the environment with the cores divided among `jobs`; a smaller number of threads set in it is kept."""
    share = max(1, cores() // jobs)
    present = os.environ.get("OMP_NUM_THREADS", "")
    threads = str(min(share, int(present)) if present.isdecimal() and int(present) else share)
    return os.environ | {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class Status(NamedTuple):
    """Status of an executed notebook, its reason, and code cells that did not run or ran out of order."""

    word: str  # EXECUTED, FAILED, UNFINISHED or NEVER
    reason: str
    missing: tuple[str, ...]  # "8 (Learning)": the number of the code cell and the heading above it


def status(notebook: Any) -> Status:
    """Read the status of a notebook from its cells: papermill's metadata of the whole notebook may be older."""
    missing, cut_off, ran, error, heading, number = [], [], 0, "", "", 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        label = f"{number} ({heading})" if heading else str(number)
        if cell.execution_count is None:
            missing.append(label)
        else:  # counts are assigned when a cell begins: a cell that was running when killed has one too
            cut_off = [] if cell.metadata.get("papermill", {}).get("status") != "running" else [label]
            ran += 1
        for output in cell.get("outputs", []):
            if output.output_type == "error" and not error:
                error = re.sub(r"\x1b\[[0-9;]*m", "", f"{output.ename}: {output.evalue}").splitlines()[0]
    missing = (*cut_off, *missing)
    stopped = notebook.metadata.get("papermill", {}).get("stopped_by", "")
    if stopped and (INTERRUPTED in stopped or not error):
        return Status(UNFINISHED, stopped, missing)
    if error:
        return Status(FAILED, error, missing)
    if missing:
        return Status(UNFINISHED if ran else NEVER, "not all cells ran", missing)
    return Status(EXECUTED, "", ())


def failure(path: Path) -> str | None:
    """Return in one line why an executed notebook is not finished; None if every cell ran."""
    import nbformat  # takes over a second to import

    try:
        return status(nbformat.read(path, as_version=4)).reason or None
    except (ValueError, AttributeError):  # truncated by a full disk or a power cut
        return UNREADABLE


def rename_folder(path: Path, before: str, after: str) -> None:
    """Replace the name of a folder throughout an executed notebook, and sign the notebook again for JupyterLab."""
    import nbformat
    from nbformat.sign import NotebookNotary

    with open(path, encoding="utf-8") as written:
        text = written.read().replace(before, after)
    write_text(path, text)
    NotebookNotary().sign(nbformat.reads(text, as_version=4))


@contextmanager
def held(notebook: str | None) -> Iterator[None]:
    """Lock an output notebook while it is executed, so that no other process sets it aside."""
    on_disk = notebook and notebook != "-" and Path(notebook).parent.is_dir()  # not standard output or cloud storage
    with open(notebook if on_disk else os.devnull, "ab") as handle:
        if on_disk:
            try_lock(handle)
        yield


if __name__ == "__main__":
    main()
