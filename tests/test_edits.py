"""A run of an edited notebook is told from a plain one: in its record, in lists and reports, and by later stages."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import fabricate
import IPython
import pytest
import stubs
from conftest import ROOT
from IPython.core.inputtransformer2 import TransformerManager
from notebook import cells_of

from tadlib.files import read_json, write_json
from tadlib.workbook import comparing, edits, lab_log, runs
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.params import Params
from tadlib.workbook.stages import STAGES

NETWORK = 5  # the place of the code cell that makes the network and its loss
EDIT = {"digest": "0123456789ab", "lines": ["+ criterion.cost = my_cost"]}


def found(*added: str, old: str = "", new: str = "", without: int | None = None) -> dict:
    """What is found in a kernel that ran train.ipynb with cells `added`, a text replaced or a cell left out."""
    ran = [""]
    for place, text in enumerate(cells_of("train")):
        ran += [] if place == without else [text.replace(old, new) if old else text]
        ran += ["# Parameters\nsplit = 50\nepochs = 3\n"] if place == 0 else []
        ran += map(TransformerManager().transform_cell, added) if place == NETWORK else []
    source = (ROOT / "notebooks" / "train.ipynb").read_text(encoding="utf-8")
    return edits.compare(ran, source)


PARAMETERS, IMPORTS, *_ = cells_of("train")


@pytest.mark.parametrize("stage", [*STAGES, "detect"])
def test_a_notebook_as_it_is_committed_is_no_edit_however_often_it_ran(stage):
    ran = list(cells_of(stage))
    given = "# Parameters\nsplit = 50\nvideo = 'a.mp4'\nclasses = ['diving']\n"
    source = (ROOT / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8")
    assert edits.compare(["", ran[0], given, *ran[1:], *ran], source) == {}


@pytest.mark.parametrize(
    "cell",
    [
        *("# only a comment", "model", "print(model, len(windows))", "last = trainer.history[-1]\nlast['loss']"),
        "import matplotlib.pyplot as plt\nplt.plot([row['loss'] for row in trainer.history])",
        *("for name, value in model.state_dict().items():\n    print(name, value.shape)", "%matplotlib inline"),
        *("Trainer?", "!ls", "figures.losses(trainer.history)", "def my_cost(a):\n    return a.pop()"),
        *("this is no Python", f"%%time\n{IMPORTS}", IMPORTS.replace("\n", "  # a comment\n\n", 1)),
        PARAMETERS.replace("75", "50", 1),
    ],
)
def test_what_only_looks_is_no_edit(cell):
    assert found(cell) == {}


@pytest.mark.parametrize(
    "cell",
    [
        *("criterion.cost = my_cost", "params = params.but(lr=1.0)", "model.add(Count())", "trainer.history.clear()"),
        *("del texts", "from mine import patched", "import torch\ntorch.manual_seed(7)"),
        *("for window in windows:\n    window.features[:] = 0", "class to_proposals:\n    pass"),
        *("if True:\n    data.classes = None", "print(model.eval())", "%run mine.py"),
    ],
)
def test_what_may_change_the_result_is_an_edit(cell):
    assert found(cell)["lines"][-1].startswith("+ ")


def test_the_digest_holds_what_is_used_and_no_comment_or_layout():
    definition = "def my_cost(a):\n    return {} * a\n\ncriterion.cost = my_cost"
    first, again = found(definition.format(2)), found(definition.format("( 2 )") + "  # mine")
    other = found(definition.format(3))
    assert first["digest"] == again["digest"] != other["digest"]
    assert other["lines"] == ["+ def my_cost(a):", "+     return 3 * a", "+ criterion.cost = my_cost"]
    apart = found("def my_cost(a):\n    return 3 * a", "print(model)", "criterion.cost = my_cost")
    assert apart["digest"] == other["digest"], "how statements are divided into cells is layout"


def test_a_statement_that_never_ran_is_an_edit_and_a_figure_left_out_is_none():
    assert "- devices.seed_all(params.seed)" in found(without=NETWORK)["lines"]
    curves = next(place for place, text in enumerate(cells_of("train")) if text.startswith("figures.curves"))
    assert found(without=curves) == {}


CELLS = ("from tadlib.workbook import runs", "cost = 2.0", "run.finish({'mAP': 0.1, 'rows': []})")


def finished(folder: Path, monkeypatch, *cells: str, stage: str = "train") -> dict:
    """The record of a stage that finishes in a kernel which ran some cells after that of the parameters."""
    shell = SimpleNamespace(user_ns={"In": ["", stubs.PARAMETERS, *cells]}, events=MagicMock())
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setenv("TAD_ROOT", str(folder))
    run = runs.start(stage, Params.check({}))
    run.finish({"mAP": 0.1, "rows": []})
    return read_json(run.dir / "run.json")[stage]


def test_a_later_stage_says_that_its_detector_came_from_an_edited_notebook(tmp_path, monkeypatch, capsys):
    stubs.project(tmp_path, *CELLS)
    assert "edited" not in finished(tmp_path, monkeypatch, *CELLS)
    mine = finished(tmp_path, monkeypatch, CELLS[0], "cost = 3.0", CELLS[2])["edited"]
    assert mine["lines"] == ["- cost = 2.0", "+ cost = 3.0"]
    for folder in (tmp_path / "outputs" / "adhoc").iterdir():
        runs.start("classify", Params.check({"run_dir": str(folder)}))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"train of this run came from an edited notebook ({mine['digest']})")


def test_the_notebook_of_the_last_commit_is_compared_not_the_file_that_was_edited(tmp_path, monkeypatch):
    source = stubs.project(tmp_path, *CELLS)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "notebooks"], [*who, "commit", "-qm", "First"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    source.write_text(source.read_text(encoding="utf-8").replace("2.0", "3.0"), encoding="utf-8")
    assert finished(tmp_path, monkeypatch, CELLS[0], "cost = 3.0", CELLS[2])["edited"]["lines"]


@pytest.mark.notebooks
def test_papermill_and_a_copy_of_the_notebook_are_no_way_around(tmp_path):
    start = (
        "from tadlib.workbook.inheritance import parameters\nrun = runs.start('train', parameters('train', globals()))"
    )
    source = stubs.project(tmp_path, CELLS[0], start, *CELLS[1:])
    mine = tmp_path / "mine.ipynb"
    mine.write_text(source.read_text(encoding="utf-8").replace("2.0", "3.0"), encoding="utf-8")
    done = stubs.papermill("mine.ipynb", "out.ipynb", "-p", "run_dir", "r", "-p", "split", "50", cwd=tmp_path)
    record = read_json(tmp_path / "r" / "run.json")["train"]
    assert record["edited"]["lines"] == ["- cost = 2.0", "+ cost = 3.0"]
    said, *places = done.stderr.splitlines()[-1].split("; ")
    assert said.startswith("train finished: mAP of unseen classes 10.0 % (protocol strict), edited notebook ")
    assert places == ["run folder r", "notebook out.ipynb"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with an experiment of two variants; one more of its runs is made by an edited notebook."""
    fabricate.project(tmp_path)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(folder) -> None:
    """Make a finished run one of an edited notebook."""
    records = read_json(folder / "run.json")
    write_json(folder / "run.json", records | {"train": records["train"] | {"edited": EDIT}})


def compared(folder: str):
    return comparing.compare_runs(ReportParams.check({"experiments": folder}))


@pytest.mark.parametrize("first", ["plain", "edited"])
def test_in_a_report_edited_runs_stand_apart_and_are_never_the_baseline(first, home):
    names = {"edited": "a", "plain": "b"} if first == "edited" else {"plain": "a", "edited": "b"}
    for kind, mean in (("plain", 0.1), ("edited", 0.5)):
        fabricate.run(home / "outputs" / "adhoc" / names[kind], {}, mean)
    edit(home / "outputs" / "adhoc" / names["edited"])
    found = compared("outputs/adhoc")
    plain, mine = found.records
    assert (plain["variant"], mine["variant"]) == ("as it is", "as it is, edited notebook 0123456789ab")
    assert (plain["values"]["mean"], mine["values"]["mean"]) == (0.1, 0.5) and mine["baseline"] == "as it is"
    assert mine["not alike"] == ["notebook"] and found.left_out().rows == []


def test_the_lab_log_takes_no_edited_run(home):
    fabricate.experiment(home / "outputs", "backbone", lambda given: 0.3 + 0.1 * given["conv_layers"])
    for folder in (home / "outputs" / "backbone").glob("*/conv_layers-1*"):
        edit(folder)
    found = compared("outputs/backbone").records
    assert [each["edited"] for each in found] == ["", "0123456789ab"]
    assert lab_log.update(home, found) and [each["variant"] for each in lab_log.read(home)["backbone"]["demo"]] == [
        "conv_layers=0"
    ]
