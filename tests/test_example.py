"""The README's first command, `papermill notebooks/train.ipynb -p split 50`, at full size, and its committed run.

That run shows today's notebook, whole, with its figures, in less than a megabyte.
"""

import nbformat
import pytest
import stubs
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


def check_numbers(metrics: dict) -> None:
    """Above every floor and baseline, twice the linear probe at least, below the ceilings.

    The margins are wider than the two points by which machines differ. Without names precision says little: what the
    detector finds of seen classes is false there, and the floor looks only at videos with an unseen action.
    """
    found = {row["name"]: row["mAP"] for row in metrics["rows"]}
    ours = found["this run"]
    below = {row["name"]: row["mAP"] for row in metrics["rows"] if row["role"] in ("floor", "baseline")}
    assert ours >= 2 * found["linear probe on single snippets"]
    assert all(ours >= 1.3 * each for each in below.values()), below
    assert ours <= found["our segments, true label"] - 0.02
    assert metrics["AR@100"] >= 1.2 * metrics["blind_AR@100"]


def test_the_committed_run_of_the_demo_lies_between_floor_and_ceiling():
    check_numbers(read_json(EXAMPLE / "metrics.json"))


@pytest.mark.long
def test_the_literal_command_runs_and_its_result_lies_between_floor_and_ceiling():
    before = {path for path in (ROOT / "outputs" / "adhoc").glob("*")}
    done = stubs.papermill("notebooks/train.ipynb", "-p", "split", "50", cwd=ROOT, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = {path for path in (ROOT / "outputs" / "adhoc").glob("*")} - before
    assert f"writing {made / 'train.ipynb'}" in done.stderr and failure(made / "train.ipynb") is None
    check_numbers(read_json(made / "metrics.json"))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("train finished: mAP of unseen classes ") and last.endswith(
        f"run folder outputs/adhoc/{made.name}; notebook outputs/adhoc/{made.name}/train.ipynb"
    )
