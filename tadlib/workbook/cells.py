"""Results without executed notebooks: the cells that compute them, run for many runs in one process.

Papermill starts a kernel for every notebook, which explains and draws what it found; a naming takes seconds in a
process that has torch loaded. Cells tagged `explains` are left out and no figure is drawn. All else is the notebook's
own code, so results are the same.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tadlib.files import LOG
from tadlib.workbook import execution, runs

PAGELESS = ("prepare", "classify", "evaluate")  # training takes long enough for a page
EXPLAINS = "explains"  # the tag of a cell that no result needs
_own = threading.local()  # `process`: that of a thread


class NoFigures:
    """Stands in for `tadlib.workbook.figures`, and draws nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def sources(notebook: Path, given: Mapping[str, Any] | None = None, without: str = EXPLAINS) -> Iterator[str]:
    """The text of every code cell but those with a tag, `given` parameters set below those of the notebook."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", ())
        if cell["cell_type"] == "code" and without not in tags:
            yield "".join(cell["source"])
            if "parameters" in tags and given is not None:
                yield "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in given.items())])


def run(name: str, texts: Iterable[str], defined: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is defined after cells of a notebook, run in this process without a figure, given what was before them."""
    names: dict[str, Any] = {"__name__": "__main__", "In": []} | dict(defined or {})
    for text in texts:
        names["In"].append(text)
        exec(compile(text, f"<{name}>", "exec"), names)
        if "figures" in names:
            names["figures"] = NoFigures()
    return names


def execute(stage: str, given: Mapping[str, Any], jobs: int = 1, log: Path | None = None) -> str | None:
    """Make the results of a stage in the process that belongs to this thread; None, or why it failed."""
    if execution.stopping.is_set():
        return f"{execution.INTERRUPTED}: {stage} was not begun"
    process = getattr(_own, "process", None) or _start(jobs)
    task = {"notebook": str(runs.project_root() / "notebooks" / f"{stage}.ipynb"), "given": dict(given)}
    try:
        process.stdin.write(json.dumps(task | {"log": str(log.resolve()) if log else ""}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if answer:
        return json.loads(answer)
    _own.process, status = None, process.wait()
    execution.alive.discard(process)
    if execution.stopping.is_set() or status in execution.ENDED:
        return f"{execution.INTERRUPTED}: {stage} was stopped"
    return f"the process that executes cells ended with status {status}"


def _start(jobs: int) -> subprocess.Popen:
    """A process for this thread, which ends with the thread."""
    _own.process = subprocess.Popen(
        [sys.executable, "-m", "tadlib.workbook.cells"], cwd=runs.project_root(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=execution.environment(jobs),
        preexec_fn=execution.end_with_parent, start_new_session=True,
    )  # fmt: skip
    execution.alive.add(_own.process)
    return _own.process


def main() -> None:
    """Read a task from every line of standard input, and answer why it failed, or null."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # cells print
    for line in sys.stdin:
        task, reason = json.loads(line), None
        os.environ.pop(LOG, None)
        os.environ |= {LOG: task["log"]} if task["log"] else {}
        try:
            run(task["notebook"], sources(Path(task["notebook"]), task["given"]))
        except Exception as error:  # a cell may raise anything, and the next task has to be done as well
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(reason), file=answers, flush=True)


if __name__ == "__main__":
    main()
