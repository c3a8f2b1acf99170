"""The chapter "Try your idea" does what it says: each of its blocks, run as a cell of train.ipynb."""

import math
import re

import pytest
import torch
from conftest import ROOT
from notebook import cells_of, run_cells
from standins import SMALL

from tadlib.workbook import detectors
from tadlib.workbook.runs import RunError

pytestmark = pytest.mark.notebooks

CHAPTER = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8").split("## Try your idea")[1].split("\n## ")[0]
COST, LOOP, LAYER, POOLING = re.findall(r"```python\n(.*?)```", CHAPTER, flags=re.DOTALL)
LINES = {"a cost": (COST, 10), "a term": (LOOP, 10), "a layer": (LAYER, 22), "a pooling": (POOLING, 10)}


def trained(folder, tmp_path, network="", loop="", **words):
    """What the cells of train.ipynb define with a cell behind that of the network, and with another loop."""
    texts = [text for text, _ in cells_of("train")]
    made, learning = (next(text for text in texts if mark in text) for mark in ("criterion =", "Trainer("))
    ours = learning[learning.index("for _ in trainer.epochs():") : learning.index("run.earlier")]
    changed = ((made, f"{made}\n{network}"), (ours, loop or ours))
    words = SMALL | {"dataset": str(folder), "run_dir": str(tmp_path)} | words
    names = run_cells("train", "trainer.epochs()", changed, **words)
    names.run.finish()
    return names


def weights(names):
    return {name: weight.sum().item() for name, weight in names.model.state_dict().items()}


@pytest.mark.parametrize(("block", "most"), LINES.values(), ids=LINES)
def test_an_idea_is_short(block, most):
    assert len([line for line in block.splitlines() if line.strip()]) <= most


def test_a_cost_and_a_term_of_your_own_change_the_training(simulated_folder, tmp_path):
    ours = weights(trained(simulated_folder, tmp_path / "ours"))
    for name, changed in (("cost", {"network": COST}), ("term", {"loop": LOOP})):
        names = trained(simulated_folder, tmp_path / name, **changed)
        assert weights(names).keys() == ours.keys() and weights(names) != ours
        assert all(math.isfinite(row["loss"]) for row in names.trainer.history)


def test_a_layer_of_your_own_learns_and_is_read_again_where_its_class_is_given(simulated_folder, tmp_path):
    names = trained(simulated_folder, tmp_path / "run", network=LAYER, epochs=20)
    first, *_, last = names.trainer.history
    assert 0 < last["loss_count"] < first["loss_count"]
    with pytest.raises(RunError, match="a part of class Count, which is not known here: pass it as own="):
        detectors.load_detector(names.data, names.params, names.run)
    again = detectors.load_detector(names.data, names.params, names.run, own=[names.Count])
    assert torch.equal(again.additions[0].out.weight, names.model.additions[0].out.weight)


def test_a_pooling_of_your_own_names_proposals_and_everything_below_follows_it(simulated_folder, tmp_path):
    names = trained(simulated_folder, tmp_path / "run")
    given = {"dataset": str(simulated_folder), "run_dir": str(names.run.dir)}
    cell = next(text for text, _ in cells_of("classify") if "def classify" in text)
    detections, verdicts = [], []
    for changed in ((), ((cell, f"{cell}\n{POOLING}"),)):
        made = run_cells("classify", "on_proposals = ", changed, **given)
        detections.append({name: each.scores.tolist() for name, each in made.detections.items()})
        verdicts.append(made.on_truth["certainty"].tolist())
    assert detections[0].keys() == detections[1].keys() and detections[0] != detections[1]
    assert verdicts[0] != verdicts[1]
