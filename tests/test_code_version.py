"""The version of a notebook's code changes with what it runs, and with nothing else."""

import json
from pathlib import Path

import pytest

from tadlib.workbook import stages
from tadlib.workbook.params import Params

FILES = {
    "__init__.py": '"""The package."""',
    "detector/__init__.py": "",
    "detector/network.py": "from tadlib.detector import layers\n\ndef forward(x):\n    return layers.add(x)\n",
    "detector/layers.py": "def add(x):\n    return x + 1\n",
    "ideas/__init__.py": "from importlib import import_module\ndef asked(name):\n    return import_module(name)\n",
    "ideas/salience.py": "ONE = 1\n",
    "naming/text.py": "ONE = 1\n",
    "naming/texts.json": "{}",
    "workbook/__init__.py": "",
    "workbook/cli.py": "ONE = 1\n",
    "workbook/display.py": "ONE = 1\n",
    "workbook/figures/__init__.py": "from tadlib.workbook.figures import bars\n",
    "workbook/figures/bars.py": "ONE = 1\n",
    "workbook/fitting.py": 'def fit():\n    """Fit."""\n    from tadlib.detector.network import forward\n',
    "workbook/telling.py": "from tadlib.naming.text import ONE\ndef say():\n    return ONE\n",
}
CELLS = ["# Train.\nfrom tadlib import ideas\nfrom tadlib.workbook import display, figures, fitting", "fitting.fit()"]
CELLS += ["ideas.asked('x')"]


def write(path: Path, *cells: str, title: str = "# Train") -> None:
    made = [{"cell_type": "markdown", "source": title}, *({"cell_type": "code", "source": each} for each in cells)]
    path.write_text(json.dumps({"cells": made}))


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook that imports from a small package beside it."""
    for name, text in FILES.items():
        path = tmp_path / "tadlib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(stages.tadlib, "__file__", str(tmp_path / "tadlib" / "__init__.py"))
    path = tmp_path / "train.ipynb"
    write(path, *CELLS)
    return path


@pytest.mark.parametrize(
    ("counts", "name", "text"),
    [
        (True, "detector/layers.py", "def add(x):\n    return x + 2\n"),
        (True, "ideas/salience.py", "ONE = 2\n"),
        (True, "naming/texts.json", '{"a": "b"}'),
        (False, "detector/layers.py", '"""Layers."""\n\n\ndef add(x):\n    """One more."""\n    return x + 1  # why\n'),
        (False, "naming/text.py", "ONE = 2\n"),
        (False, "workbook/cli.py", "ONE = 2\n"),
        (False, "workbook/figures/bars.py", "ONE = 2\n"),
        (False, "workbook/telling.py", "ONE = 2\n"),
        (False, "detector/.#layers.py", "what an editor leaves"),
    ],
)
def test_what_is_imported_counts_and_what_is_not_or_shows_or_explains_does_not(notebook, counts, name, text):
    before = stages.notebook_version(notebook)
    (notebook.parent / "tadlib" / name).write_text(text)
    assert (stages.notebook_version(notebook) != before) == counts


def test_cells_count_and_their_comments_and_texts_do_not(notebook):
    before = stages.notebook_version(notebook)
    write(notebook, *CELLS[:2], CELLS[2] + "  # why", title="# Other words")
    assert stages.notebook_version(notebook) == before
    write(notebook, *CELLS, "fitting.say()")
    assert stages.notebook_version(notebook) != before
    write(notebook, *CELLS, "%matplotlib inline")
    assert stages.notebook_version(notebook) != before


def test_modules_of_a_reader_that_a_notebook_or_a_file_of_ideas_imports_count(notebook, home):
    write(notebook, *CELLS, "import mine.layers, numpy")
    (home / "idea.py").write_text("from mine.layers import ONE\n")
    (home / "mine").mkdir()
    given, versions = Params.read({"ideas": "idea.py"}), []
    for text in ("ONE = 1\n", "ONE = 2\n"):
        (home / "mine" / "layers.py").write_text(text)
        versions += [stages.notebook_version(notebook), stages.data_version(given)]
    assert versions[0] != versions[2] and versions[1] != versions[3]


@pytest.mark.parametrize(("seed", "folder"), [(0, "demo"), (2, "demo-2")])
def test_class_splits_in_the_folder_of_the_demo_count(home, seed, folder):
    given = Params.read({"demo_seed": seed})
    before = stages.data_version(given)
    (home / "data" / folder).mkdir(parents=True)
    (home / "data" / folder / "splits.json").write_text("{}")
    assert stages.data_version(given) != before


def test_libraries_and_the_stages_before_are_part_of_a_version(home, monkeypatch):
    for stage in stages.STAGES:
        write(home / "notebooks" / f"{stage}.ipynb", "1")
    before = {stage: stages.code_version(stage) for stage in stages.STAGES}
    write(home / "notebooks" / "train.ipynb", "2")
    assert [stages.code_version(stage) != before[stage] for stage in stages.STAGES] == [False, True, True, True]
    before = stages.code_version("prepare")
    monkeypatch.setattr(stages, "_libraries", lambda: ["torch of tomorrow"])
    assert stages.code_version("prepare") != before
