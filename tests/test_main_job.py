"""The promise of the README's first command, kept at full size: `papermill notebooks/train.ipynb -p split 50`."""

import pytest
import stubs
from conftest import ROOT

from tadlib.files import read_json
from tadlib.workbook.execution import failure


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
    check_numbers(read_json(ROOT / "outputs" / "example" / "metrics.json"))


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
