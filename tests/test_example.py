"""The one committed run: it shows today's notebook, whole, with its figures, in less than a megabyte."""

import nbformat
from conftest import ROOT

from tadlib.files import read_json
from tadlib.workbook.execution import failure

EXAMPLE = ROOT / "outputs" / "example"
COMMITTED = ("train.ipynb", "run.json", "history.json", "metrics.json", "headline.png")


def test_the_example_is_a_finished_run_with_pictures():
    assert failure(EXAMPLE / "train.ipynb") is None
    cells = nbformat.read(EXAMPLE / "train.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert sum((EXAMPLE / name).stat().st_size for name in COMMITTED) < 1_000_000
    assert (EXAMPLE / "headline.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_is_made_from_the_notebook_as_it_is():
    shown, source = (
        [cell.source for cell in nbformat.read(path, as_version=4).cells if "injected" not in str(cell.metadata)]
        for path in (EXAMPLE / "train.ipynb", ROOT / "notebooks" / "train.ipynb")
    )
    assert shown == source


def test_the_examples_numbers_are_those_in_the_readme():
    metrics = read_json(EXAMPLE / "metrics.json")
    assert f"{100 * metrics['mAP']:.1f}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_names_no_folder_of_the_machine_it_ran_on():
    for name in COMMITTED:
        text = (EXAMPLE / name).read_text(encoding="utf-8", errors="ignore")
        assert str(ROOT) not in text and "/home/" not in text and "/root/" not in text, name
