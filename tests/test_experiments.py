"""Experiments: planned before anything runs, executed run by run, resumed where they stopped."""

import subprocess
import sys

import nbformat
import pytest
import stubs
from conftest import ROOT

from tadlib.files import read_json
from tadlib.workbook import cli, experiments
from tadlib.workbook.execution import failure
from tadlib.workbook.params import Params

EXPERIMENTS = sorted((ROOT / "params").glob("*.yaml"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project whose four stages take a second each, and whose training fails for split 50 until `mended` exists."""
    source = stubs.project(tmp_path, "1 + 1")
    for stage in experiments.STAGES:
        cells = ["import pathlib\nopen('calls', 'a').write('x')"]
        if stage == "train":
            cells.append("assert split != 50 or pathlib.Path('mended').exists(), 'not mended'")
        nbformat.write(stubs.notebook(*cells), source.with_name(f"{stage}.ipynb"))
    (tmp_path / "calls").touch()
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "two.yaml").write_text("# Does it go on?\nsweep:\n  split: [50, 75]\n")
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text: str):
    path = folder / "e.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_the_project_can_be_planned(path):
    planned = experiments.plan(path)
    assert planned.runs and planned.question.endswith((".", "?"))


def test_there_are_experiments():
    assert EXPERIMENTS


def test_a_sweep_becomes_one_run_per_combination(tmp_path):
    planned = experiments.plan(write(tmp_path, "# Why?\nseed: 1\nsweep:\n  split: [50, 75]\n  split_id: [0, 1]\n"))
    assert list(planned.runs) == [
        "split-50_split_id-0", "split-50_split_id-1", "split-75_split_id-0", "split-75_split_id-1",
    ]  # fmt: skip
    assert planned.runs["split-75_split_id-1"] == {"seed": 1, "split": 75, "split_id": 1}
    assert planned.question == "Why?"


def test_without_a_sweep_there_is_one_run(tmp_path):
    assert experiments.plan(write(tmp_path, "split: 50\n")).runs == {"run": {"split": 50}}


@pytest.mark.parametrize(
    "text, message",
    [
        ("spilt: 50\n", "did you mean 'split'"),
        ("sweep:\n  split_id: [0, 11]\n", "split_id must be a whole number >= 0 and <= 9; got 11"),
        ("sweep:\n  split: 50\n", "sweep of split must be a list"),
        ("split: [50\n", "not readable YAML"),
        ("- 1\n", "must hold names and values"),
    ],
)
def test_a_mistake_in_any_run_stops_the_plan_and_names_the_file(text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        experiments.plan(write(tmp_path, text))
    assert "e.yaml" in str(caught.value)


def test_a_missing_experiment_lists_those_there_are(tmp_path):
    write(tmp_path, "split: 50\n")
    with pytest.raises(ValueError, match=r"no experiment file .*other.yaml; there are: .*e.yaml"):
        experiments.plan(tmp_path / "other.yaml")


def test_changes_from_the_command_line_win(tmp_path):
    assert experiments.plan(write(tmp_path, "seed: 1\n"), {"seed": 2}).runs == {"run": {"seed": 2}}


def test_a_batch_survives_a_failing_run_and_goes_on_where_it_stopped(home, capsys):
    assert cli.main(["run", "params/two.yaml"]) == 1
    said = capsys.readouterr()
    assert "split-50 failed in train: AssertionError: not mended" in said.err
    assert "split-75: finished" in said.out
    (folder,) = (home / "outputs" / "two").iterdir()
    assert read_json(folder / "experiment.json")["status"]["split-75"] == "finished"
    assert failure(folder / "split-50" / "train.ipynb") == "AssertionError: not mended"
    assert (home / "calls").read_text() == "x" * (2 + 4)

    (home / "mended").touch()
    assert cli.main(["run", "params/two.yaml"]) == 0
    assert list((home / "outputs" / "two").iterdir()) == [folder], "the same plan goes on in its folder"
    assert (home / "calls").read_text() == "x" * (2 + 4 + 3), "only what was not finished ran again"
    assert all(failure(path) is None for path in folder.rglob("*.ipynb"))

    assert cli.main(["run", "params/two.yaml", "--new", "--jobs", "2"]) == 0
    assert len(list((home / "outputs" / "two").iterdir())) == 2
    assert (home / "calls").read_text() == "x" * (2 + 4 + 3), "a new version of the same code on the same data shares"


def test_a_dry_run_shows_the_plan_and_runs_nothing(home, capsys):
    assert cli.main(["run", "params/two.yaml", "--dry-run"]) == 0
    assert "2 runs: split-50, split-75" in capsys.readouterr().out
    assert not list((home / "outputs").iterdir())


def test_a_wrong_word_on_the_command_line_is_one_sentence(home, capsys):
    assert cli.main(["run", "params/two.yaml", "--set", "spilt=50"]) == 2
    assert "did you mean 'split'" in capsys.readouterr().err
    assert cli.main(["report", "outputs/none"]) == 2
    assert "run an experiment first" in capsys.readouterr().err


def test_attempts_that_were_killed_leave_no_notebook_under_its_name(home):
    target = home / "outputs" / "killed" / "a" / "b" / "train.ipynb"
    code = (
        "import os, threading, pathlib; from tadlib.workbook import execution\n"
        f"threading.Timer(1.5, lambda: os._exit(9)).start()\n"
        f"execution.execute_notebook('prepare', pathlib.Path({str(target)!r}), {{'run_dir': {str(target.parent)!r}}})"
    )
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert not target.exists()


def test_the_parameters_of_every_stage_are_in_the_vocabulary():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        (cell,) = [c for c in nbformat.read(path, as_version=4).cells if c.metadata.get("tags") == ["parameters"]]
        names = {line.split(":")[0] for line in cell.source.splitlines()}
        assert names <= set(Params.model_fields)
