"""Small projects and notebooks for tests of the machinery: each does one thing, in a second or two."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = (
    'split: int = 75  # per cent\nema: bool = False  # average\nlr: float | None = None  # rate\nrun_dir: str = ""'
)


def notebook(*cells: str, ours: bool = True) -> nbformat.NotebookNode:
    """A notebook of a title, the parameters cell and `cells`; `ours` marks it as one of the project."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    made = new_notebook(cells=[new_markdown_cell("# Stub"), parameters, *map(new_code_cell, cells)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.metadata["language_info"] = {"name": "python"}
    if ours:
        made.metadata["tadlib"] = {"stage": "train"}
    return made


def project(folder: Path, *cells: str, ours: bool = True) -> Path:
    """A project whose only notebook is `notebooks/train.ipynb`; returns the notebook's path."""
    for name in ("notebooks", "outputs", "params"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    path = folder / "notebooks" / "train.ipynb"
    nbformat.write(notebook(*cells, ours=ours), path)
    return path


def digest(path: Path) -> str:
    """What stands for the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def papermill(*words: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Papermill's command line, as a user calls it."""
    options = {"stdin": subprocess.DEVNULL, "timeout": 120, "env": environment()} | options
    return subprocess.run(command(*words), cwd=cwd, capture_output=True, text=True, **options)


def command(*words: str) -> list[str]:
    """The words of papermill's command line."""
    return [sys.executable, "-m", "papermill", *words]


def environment() -> dict[str, str]:
    """This process's environment without what would point a stub at the real project."""
    return {name: value for name, value in os.environ.items() if name != "TAD_ROOT"}


def started(*words: str, cwd: Path) -> subprocess.Popen:
    """Papermill's command line at work, in a process group of its own."""
    return subprocess.Popen(
        command(*words), cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which background jobs of a shell ignore
    )  # fmt: skip


def waited(found: Callable[[], object], seconds: float, what: str):
    """The first true value that a call gives within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds:g} s: {what}")


def output_texts(path: Path) -> list[str]:
    """What the cells of an executed notebook printed, one text for each output."""
    cells = nbformat.read(path, as_version=4).cells
    return [output.text for cell in cells for output in cell.get("outputs", ()) if "text" in output]


def outputs(source: Path) -> list[Path]:
    """The executed notebooks below the outputs of a stub project."""
    return sorted((source.parents[1] / "outputs").rglob("*.ipynb"))
