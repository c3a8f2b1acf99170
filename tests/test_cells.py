"""Results without pages: the same numbers from the same cells, in one process for many runs."""

import os
import signal
import threading

import nbformat
import pytest
import stubs
from nbformat.v4 import new_code_cell

from tadlib.workbook import execution


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose classify notebook divides ten by `split`."""
    source = stubs.project(tmp_path)
    figures = new_code_cell("figures = 1", metadata={"tags": [execution.EXPLAINS]})
    made = stubs.notebook(
        "import pathlib", "figures = None", "figures.drawn(1)", "pathlib.Path('made').write_text(f'{10 / split}')"
    )
    made.cells.insert(3, figures)
    nbformat.write(made, source.with_name("classify.ipynb"))
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    yield tmp_path
    if process := getattr(execution._worker, "process", None):
        process.terminate()
        process.wait()
        execution._worker.process = None


@pytest.mark.notebooks
def test_one_process_does_every_task_of_a_thread_and_says_why_one_fails(project):
    def execute(split):
        return execution.execute_cells("classify", {"split": split}, 1, project / "run.log")

    for split in (2, 0, 5):
        assert execute(split) == (None if split else "ZeroDivisionError: division by zero")
    assert (project / "made").read_text() == "2.0"
    first = execution._worker.process
    os.kill(first.pid, signal.SIGKILL)
    assert execute(4) == "the process that executes cells ended with status -9"
    assert execute(4) is None and (project / "made").read_text() == "2.5"
    started = []

    def elsewhere():
        started.append((execute(10), execution._worker.process))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    ((answer, process),) = started
    assert answer is None and process is not execution._worker.process
    if os.uname().sysname == "Linux":
        assert process.wait(20) == -signal.SIGTERM, "it ends with its thread"
