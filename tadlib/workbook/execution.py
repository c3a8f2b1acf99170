"""One notebook executed by papermill in a process of its own, and the status of an executed notebook."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml

from tadlib.files import LOG, temporary_path, write_text
from tadlib.project import cores
from tadlib.workbook import runs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
INTERRUPTED = "KeyboardInterrupt"  # how a notebook that was stopped, not one that failed, ends
ENDED = (-signal.SIGTERM, -signal.SIGINT)  # the status of a process that was asked to end, by a job's time limit, say
STATUSES = EXECUTED, FAILED, UNFINISHED, NEVER = "Executed", "Failed", "Did not finish", "Never executed"
UNREADABLE = "it is no whole notebook"
stopping = threading.Event()  # while a batch ends no notebook is started, and none tried again
alive: set[subprocess.Popen] = set()  # processes that execute notebooks or cells of them
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def execute_notebook(
    stage: str, target: Path, parameters: Mapping[str, Any], jobs: int = 1, log: Path | None = None
) -> str | None:
    """Execute one notebook of the project into `target`; None, or why it failed. How far it is goes to the `log`.

    An attempt writes to a file of its own, which takes the place of `target` at the end: a killed one leaves no trace
    under that name and is swept away by the next; an earlier failure gives way. It ends with the process that started
    it, however that ends.
    """
    if stopping.is_set():
        return f"{INTERRUPTED}: {stage} was not begun"
    root = runs.project_root()
    attempt = temporary_path(target)
    said = attempt.with_suffix(".stderr")
    arguments = ["papermill", str(root / "notebooks" / f"{stage}.ipynb"), str(attempt)]
    arguments += ["--no-progress-bar", "-y", yaml.safe_dump(dict(parameters))]
    told = {LOG: str(log.resolve())} if log else {}
    process = _start(arguments, environment(jobs) | told, root, said)
    alive.add(process)
    if stopping.is_set():  # since it was asked for above: whoever stops may not have seen this process
        process.terminate()
    try:
        status = process.wait()
        last = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no output"]
    finally:
        alive.discard(process)
        said.unlink(missing_ok=True)
    reason = failure(attempt) if attempt.is_file() else last[0]
    if reason == UNREADABLE:
        attempt.unlink()
        reason = last[0]
    if attempt.is_file():
        os.replace(attempt, target)
    if stopping.is_set() and (status or reason) or status in ENDED:
        return f"{INTERRUPTED}: {stage} was stopped"
    return (reason or f"papermill ended with status {status}") if status or reason else None


def _start(arguments: list[str], environment: Mapping[str, str], folder: Path, said: Path) -> subprocess.Popen:
    with open(said, "wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=stderr, env=environment, preexec_fn=end_with_parent, start_new_session=True,
        )  # fmt: skip


def end_with_parent() -> None:
    """Linux tells a process that its parent has died, even by kill -9; elsewhere it would run on to its end."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def stop(patience: float = 20.0) -> None:
    """End every notebook that this process is executing: as Ctrl-C does, and by force after `patience` seconds.

    None begins from here until `stopping` is cleared.
    """
    stopping.set()
    for process in list(alive):
        process.terminate()
    for process in list(alive):
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            continue
        process.kill()


def environment(jobs: int) -> dict[str, str]:
    """This environment with the cores divided among `jobs`, unless it already asks for fewer threads."""
    share = max(1, cores() // jobs)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = str(min(share, int(asked)) if asked.isdecimal() and int(asked) else share)
    return os.environ | {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class Status(NamedTuple):
    """What happened to a notebook: in a word or two, why, and which code cells did not run, or not in their order."""

    word: str  # one of STATUSES
    reason: str
    missing: tuple[str, ...]  # "8 (Learning)": the place among code cells and the heading above
    again: tuple[str, ...] = ()  # those that were executed after a later one: its outputs may be of other values


def status(notebook: Any) -> Status:
    """What happened to a notebook, read from its cells: what papermill says of the whole may be older."""
    missing, cut_off, ran, error, heading, place = [], [], 0, "", "", 0
    order: list[tuple[int, str]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        place += 1
        named = f"{place} ({heading})" if heading else str(place)
        if cell.execution_count is None:
            missing.append(named)
        else:  # a number is given when a cell begins: the one at work when all was killed has one too
            cut_off = [] if cell.metadata.get("papermill", {}).get("status") != "running" else [named]
            order.append((cell.execution_count, named))
            ran += 1
        for output in cell.get("outputs", []):
            if output.output_type == "error" and not error:
                error = re.sub(r"\x1b\[[0-9;]*m", "", f"{output.ename}: {output.evalue}").splitlines()[0]
    missing = cut_off + missing
    stopped = notebook.metadata.get("papermill", {}).get("stopped_by", "")
    if stopped and (INTERRUPTED in stopped or not error):
        return Status(UNFINISHED, stopped, tuple(missing))
    if error:
        return Status(FAILED, error, tuple(missing))
    if missing:
        return Status(UNFINISHED if ran else NEVER, "not all cells ran", tuple(missing))
    again = [named for at, (count, named) in enumerate(order) if any(count >= later for later, _ in order[at + 1 :])]
    return Status(EXECUTED, "", (), tuple(again))


def failure(path: Path) -> str | None:
    """Why an executed notebook is not a finished one, in one line; None if every cell ran."""
    import nbformat  # whose checks take over a second to import

    try:
        return status(nbformat.read(path, as_version=4)).reason or None
    except (ValueError, AttributeError):  # torn by a full disk or a power cut
        return UNREADABLE


def rename_folder(path: Path, before: str, after: str) -> None:
    """Write the new name of a folder wherever an executed notebook names it; JupyterLab trusts it as before."""
    import nbformat
    from nbformat.sign import NotebookNotary

    with open(path, encoding="utf-8") as written:
        text = written.read().replace(before, after)
    write_text(path, text)
    NotebookNotary().sign(nbformat.reads(text, as_version=4))


def finished(notebook: Path) -> bool:
    """Whether a notebook was executed from its first cell to its last."""
    return notebook.is_file() and failure(notebook) is None


@contextmanager
def held(notebook: str | None) -> Iterator[None]:
    """Hold an output notebook while it is executed: others see it `at_work` until this process ends, in any way."""
    if not notebook or notebook == "-" or not Path(notebook).parent.is_dir():  # standard output, a bucket
        yield
        return
    with open(notebook, "ab") as handle:
        _flock(handle)
        yield


def at_work(notebook: Path) -> bool:
    """Whether another process executes a notebook; unknown, and so False, where files cannot be held."""
    with open(notebook, "rb") as handle:
        return not _flock(handle)


def _flock(handle: IO[bytes]) -> bool:
    """Hold an open file until it is closed; False where another process holds it."""
    with suppress(OSError):  # a disk without locks
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
