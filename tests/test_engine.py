"""What an executed notebook says when a run ends early: always the truth."""

import os
import signal
from types import SimpleNamespace

import nbformat
import papermill  # loads the engine, which cannot come first
import pytest
import stubs
from nbformat.sign import NotebookNotary

from tadlib.workbook import engine, papermill_arguments
from tadlib.workbook.execution import failure

pytestmark = pytest.mark.notebooks
SLEEP = "import time\nopen('started', 'w').close()\ntime.sleep(60)"


def left(path) -> tuple[str, list[str]]:
    """The banner's text and the recorded status of every code cell."""
    notebook = nbformat.read(path, as_version=4)
    statuses = [cell.metadata.papermill.status for cell in notebook.cells if cell.cell_type == "code"]
    return notebook.cells[0].source, statuses


PRINTS = "import time\nfor n in range(5):\n    print(n, flush=True)\n    time.sleep(0.2)"
BARS = """from tadlib.workbook.display import Progress
progress = Progress()
for done in range(1, 6):
    progress(done, 5, f"training, loss {done}")
    progress(done, 9, "scoring")
"""


def test_a_finished_run_is_trusted_its_prints_and_bars_are_one_output_each_whatever_its_paths(tmp_path):
    """In a checkout whose path has spaces and quotes, and beside a folder too long for the names of sockets."""
    root, folder = tmp_path / "a b c%20d'é\"q", tmp_path / ("t" * 100)
    source = stubs.project(root, BARS, PRINTS)
    folder.mkdir()
    environment = stubs.environment() | {"TMPDIR": str(folder)}
    done = stubs.papermill("notebooks/train.ipynb", cwd=root, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = stubs.outputs(source)
    assert done.stderr.splitlines()[-1] == f"train finished; notebook {made.relative_to(root)}"
    assert failure(made) is None
    notebook = nbformat.read(made, as_version=4)
    assert NotebookNotary().check_signature(notebook), "or JupyterLab strips its figures"
    (bars, prints) = stubs.output_texts(made)
    assert prints == "0\n1\n2\n3\n4\n"
    assert bars.count("training, loss 5: 5/5 [") == 1 and "loss 1" not in bars and bars.count("\n") <= 2


@pytest.mark.parametrize(
    ("cell", "options", "told"),
    [
        ("1 / 0", (), "ZeroDivisionError: division by zero"),
        ("import os\nos.kill(os.getpid(), 9)", (), "died"),
        pytest.param(SLEEP, ("--execution-timeout", "2"), "Timeout", marks=pytest.mark.long),
    ],
    ids=["error", "dead kernel", "time-out"],
)
def test_what_ended_a_run_is_told_in_its_notebook(cell, options, told, tmp_path):
    source = stubs.project(tmp_path, cell, "'never'")
    done = stubs.papermill("notebooks/train.ipynb", *options, cwd=tmp_path)
    (made,) = stubs.outputs(source)
    banner, statuses = left(made)
    assert done.returncode != 0 and "train finished" not in done.stderr and statuses[-2:] == ["failed", "pending"]
    assert told in banner + failure(made) and ("did not finish" in banner) != (cell == "1 / 0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_notebook_at_work_is_no_output_and_an_interruption_is_told(number, tmp_path):
    source, made = stubs.project(tmp_path, "'before'", SLEEP, "'never'"), tmp_path / "out.ipynb"
    job = stubs.started("notebooks/train.ipynb", made.name, "--no-progress-bar", cwd=tmp_path)
    stubs.waited((tmp_path / "started").exists, 60, "the second cell")
    with pytest.raises(ValueError, match="is being written by another papermill"):
        papermill_arguments.complete([str(source), str(made)], lambda text: None)
    os.killpg(job.pid, number)
    assert job.wait(timeout=60) != 0
    banner, statuses = left(made)
    assert "did not finish" in banner and "Interrupt" in banner
    assert statuses[-3:] == ["completed", "failed", "pending"]
    assert failure(made) is not None


def test_a_program_that_calls_papermill_is_stopped_as_well(tmp_path):
    source = stubs.project(tmp_path, "1 + 1")
    with pytest.raises(ValueError, match="unknown parameter 'spilt'; did you mean 'split'"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", {"spilt": 50}, progress_bar=False)


def test_a_terminal_is_told_of_progress_in_few_lines(monkeypatch):
    seconds, told = iter([0.0, *range(100)]), []
    monkeypatch.setattr(engine.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(
        engine.PapermillNotebookClient, "__init__", lambda self, nb_man: setattr(self, "nb_man", nb_man)
    )
    monkeypatch.setattr(engine.PapermillNotebookClient, "process_message", lambda self, message: None)
    pbar = SimpleNamespace(write=lambda line, file: told.append(line))
    client = engine._Client(SimpleNamespace(pbar=pbar))
    for done in range(90):
        text = f"\rreading texts: 3/3 [00:01<00:00]\n\rrendering videos: {done}/90 [01:10<00:20]"
        client.process_message({"msg_type": "stream", "content": {"text": text}})
        client.process_message({"msg_type": "stream", "content": {"text": "a print: 1/2"}})
        client.process_message({"msg_type": "display_data", "content": {"data": {"text/plain": "a figure"}}})
    assert len(told) == 5 and all(line.startswith("rendering videos: ") for line in told)
