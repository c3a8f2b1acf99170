"""Execution of notebook cells without papermill: one process computes the results of many runs, without pages.

Cells tagged `explains` are skipped and no figure is drawn. All other code is the notebook's own, so the results are the
same, in seconds.
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

PAGELESS = ("prepare", "classify", "evaluate")  # not train: it takes so long that a kernel costs nothing
EXPLAINS = "explains"  # tag of a cell that no result depends on
_own = threading.local()  # `process`: the worker process of each thread


class NoFigures:
    """Substitute for `tadlib.workbook.figures` that draws nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def sources(notebook: Path, given: Mapping[str, Any] | None = None, without: str = EXPLAINS) -> Iterator[str]:
    """Yield the source of every code cell without the tag; `given` parameters follow the parameters cell."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", ())
        if cell["cell_type"] == "code" and without not in tags:
            yield "".join(cell["source"])
            if "parameters" in tags and given is not None:
                yield "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in given.items())])


def run(name: str, texts: Iterable[str], defined: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run the cells of a notebook in this process without figures, starting from `defined`; return all names."""
    names: dict[str, Any] = {"__name__": "__main__", "In": []} | dict(defined or {})
    for text in texts:
        names["In"].append(text)
        exec(compile(text, f"<{name}>", "exec"), names)
        if "figures" in names:
            names["figures"] = NoFigures()
    return names


def execute(stage: str, given: Mapping[str, Any], jobs: int, log: Path) -> str | None:
    """Compute the results of a stage in this thread's worker process; return None, or the reason of a failure."""
    if execution.stopping.is_set():
        return f"{execution.INTERRUPTED}: {stage} was not begun"
    process = getattr(_own, "process", None)
    if process is None:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        process = _own.process = execution.start(["tadlib.workbook.cells"], execution.environment(jobs), **streams)
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
    _own.process, status = None, process.wait()
    execution.alive.discard(process)
    if execution.stopping.is_set() or status in execution.ENDED:
        return f"{execution.INTERRUPTED}: {stage} was stopped"
    return f"the process that executes cells ended with status {status}"


def main() -> None:
    """Read one task (JSON) per line of standard input; answer each with the reason of its failure, or null."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # discards what cells print
    for line in sys.stdin:
        task, reason = json.loads(line), None
        os.environ[LOG] = task["log"]
        try:
            run(task["notebook"], sources(Path(task["notebook"]), task["given"]))
        except Exception as error:  # a cell may raise anything, and the process must take the next task
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(json.dumps(reason), file=answers, flush=True)


if __name__ == "__main__":
    main()
