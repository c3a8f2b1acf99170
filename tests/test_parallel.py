"""Several processes train as one does, and what they leave is taken up by the notebook's own training."""

import os
import subprocess
import sys

import fabricate
import pytest
import torch
from conftest import ROOT
from standins import network, parameters, windows, without_clock
from torch import distributed, multiprocessing

from tadlib.detector.network import Switches
from tadlib.detector.parallel import ALONE, Team
from tadlib.detector.training import Recipe, fit
from tadlib.workbook import runs, steps
from tadlib.workbook.params import Params
from tadlib.workbook.steps.detector import key_of

ACTIONS = (((1, 8),), ((2, 9), (11, 14)), (), ((3, 7),), ((5, 12),))  # the last batch has a window for one of two
HEADS = {"loss_salience": 1.0, "loss_quality": 1.0}
RECIPES = {
    "plain": Recipe(epochs=3, batch_size=2, lr=1e-2),
    "accumulated, averaged": Recipe(epochs=3, batch_size=2, accumulate=2, lr=1e-2, ema=True),
    "with heads": Recipe(epochs=3, batch_size=4, lr=1e-2, weights=Recipe().weights | HEADS),
}


def untrained(recipe: Recipe):
    switches = Switches(salience="bce", quality=True) if "loss_salience" in recipe.weights else Switches()
    return network(dropout=0.0, switches=switches)


def trained(recipe: Recipe, team: Team):
    """Parameters and history of a training without anything random but the order of windows."""
    model = untrained(recipe)
    history = fit(model, windows(*ACTIONS), recipe, team=team)
    return parameters(model), without_clock(history)


def member(rank: int, folder: str) -> None:
    """One of two processes; leaves what it has of every recipe."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({name: trained(recipe, Team(rank, 2)) for name, recipe in RECIPES.items()}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """What each of two processes has after training together."""
    folder = tmp_path_factory.mktemp("team")
    multiprocessing.spawn(member, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_give_the_parameters_of_one(name, members):
    (first, history), (second, _) = (found[name] for found in members)
    alone, rows = trained(RECIPES[name], ALONE)
    assert torch.equal(first, second)
    # Adam takes whole steps where a gradient is next to nothing, so that sums in another order move single elements:
    # the whole movement is compared
    moved = (alone - parameters(untrained(RECIPES[name]))).norm()
    assert (first - alone).norm() < 1e-3 * moved
    for row, other in zip(rows, history, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_what_torchrun_trains_is_taken_up_by_the_notebooks_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path, ROOT)))
    given = dict(tiny) | {"epochs": 2, "jitter": True}
    words = [word for name, value in given.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tadlib.workbook.parallel"]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=alone, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2/2 training, loss" in done.stdout and "trained 2 epochs" in done.stdout
    params = Params.check(given | {"run_dir": str(tmp_path / "run")})
    data, epochs = steps.gather(params), []
    watched = lambda done, total, text: epochs.append(done)  # noqa: E731
    model, history = steps.train(
        data, steps.training_windows(data, params), params, runs.start("train", params), watched
    )
    assert not epochs and [row["epoch"] for row in history] == [1, 2]
    assert (tmp_path / "run" / "checkpoint.pt").is_file() and torch.isfinite(parameters(model)).all()


def test_a_team_does_not_wait_for_another_run_of_the_same_training(tiny, tmp_path, monkeypatch, capsys):
    from tadlib.workbook import parallel

    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path, ROOT)))
    params = Params.check(tiny)
    with runs.start("train", params).unfinished(key_of(steps.gather(params), params)):
        words = [word for name, value in tiny.items() for word in ("-p", name, str(value))]
        assert parallel.main(words) == 2
    assert "another run trains with these parameters" in capsys.readouterr().err


def test_a_misspelt_parameter_stops_before_anything(capsys):
    from tadlib.workbook import parallel

    assert parallel.main(["-p", "splt", "50"]) == 2
    assert "unknown parameter 'splt'; did you mean 'split'?" in capsys.readouterr().err
