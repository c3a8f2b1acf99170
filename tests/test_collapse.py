"""Training does not collapse: the last epoch is worth nearly what the best one is, on classes it never saw too.

Each case takes minutes: the demo as its recipe trains it, and the rehearsal set of `params/rehearsal.yaml`.
"""

import shutil

import pytest
from conftest import ROOT

from tadlib.workbook import runs, steps
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan
from tadlib.workbook.steps import watching

SCORED = (watching.UNSEEN, watching.NAMED)  # in the closed set every class is seen, and scored


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, shared_data):
    """THUMOS14's annotations, where features are simulated beside them."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "thumos14").mkdir()
    shutil.copy(shared_data / "thumos14" / "annotations.json", folder / "thumos14")
    return str(folder)


def curves(tmp_path, **words) -> dict[str, list[float]]:
    """What a detector is worth on the scored classes after every epoch, class-agnostic and with names."""
    params = Params.check({"curves": True, "run_dir": str(tmp_path / "run")} | words)
    data = steps.gather(params)
    history = steps.train(data, steps.training_windows(data, params), params, runs.start("train", params))[1]
    found = {name: [row[name] for row in history] for name in SCORED}
    for name, row in found.items():
        print(f"{words}: {name}: last epoch {row[-1]:.3f}, best {max(row):.3f}, ratio {row[-1] / max(row):.3f}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("split_id", [0, 1, 2])
def test_the_last_epoch_of_the_demo_is_nearly_the_best(split_id, tmp_path):
    found = curves(tmp_path, split=50, split_id=split_id)
    assert all(row[-1] >= 0.9 * max(row) > 0.09 for row in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("split", [0, 75, 50])
def test_no_setting_of_the_demo_collapses(split, seed, tmp_path):
    """What the detector answers for; with names, of five unseen classes, split 75 ends at 0.85 to 0.89."""
    found = curves(tmp_path, split=split, seed=seed)[watching.UNSEEN]
    assert found[-1] >= 0.9 * max(found) > 0.09


@pytest.mark.slow
@pytest.mark.parametrize("split_id", [0, 1, 2])
def test_the_last_epoch_of_the_rehearsal_is_nearly_the_best(split_id, data_dir, tmp_path):
    given = plan(ROOT / "params" / "rehearsal.yaml").runs.values()
    words = next(run for run in given if (run["split_id"], run["seed"]) == (split_id, 0))
    found = curves(tmp_path, **words, data_dir=data_dir)
    assert all(row[-1] >= 0.9 * max(row) > 0.18 for row in found.values())
