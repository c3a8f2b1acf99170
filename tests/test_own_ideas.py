"""The chapter "Try your idea" does what it says: each of its blocks, run as a cell of train.ipynb."""

import math
import re

import pytest
import torch
from conftest import ROOT
from notebook import cells_of, run_cells
from standins import SMALL

from tadlib import ideas
from tadlib.detector.proposals import Proposals
from tadlib.workbook import detectors, stages
from tadlib.workbook.gathering import gather
from tadlib.workbook.inheritance import complete
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan
from tadlib.workbook.runs import RunError

pytestmark = pytest.mark.notebooks
STAGES = ("train", "classify")
CHAPTER = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8").split("## Try your idea")[1].split("\n## ")[0]
COST, LOOP, LAYER, POOLING, FILTER, OWN = re.findall(r"```python\n(.*?)```", CHAPTER, flags=re.DOTALL)
LINES = {"a cost": (COST, 10), "a term": (LOOP, 10), "a pooling": (POOLING, 10), "a filter": (FILTER, 10)}
LINES |= {"a layer": (LAYER, 22)}


def trained(folder, tmp_path, network="", loop="", **words):
    """What the cells of train.ipynb define with a cell behind that of the network, and with another loop."""
    texts = list(cells_of("train"))
    made, learning = (next(text for text in texts if mark in text) for mark in ("criterion =", "trainer.epochs()"))
    ours = learning[learning.index("for _ in trainer.epochs():") : learning.index("run.earlier")]
    changed = ((made, f"{made}\n{network}"), (ours, loop or ours))
    words = SMALL | {"dataset": str(folder), "run_dir": str(tmp_path)} | words
    names = run_cells("train", "trainer.epochs()", changed, **words)
    names.run.finish()
    return names


@pytest.fixture(scope="module")
def plain(simulated_folder, tmp_path_factory):
    """A finished training without any idea of one's own."""
    return trained(simulated_folder, tmp_path_factory.mktemp("plain"))


def weights(names):
    return {name: weight.sum().item() for name, weight in names.model.state_dict().items()}


@pytest.mark.parametrize(("block", "most"), LINES.values(), ids=LINES)
def test_an_idea_is_short(block, most):
    assert len([line for line in block.splitlines() if line.strip()]) <= most


def test_a_cost_and_a_term_of_your_own_change_the_training(plain, simulated_folder, tmp_path):
    ours = weights(plain)
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


def test_a_pooling_of_your_own_names_proposals_and_everything_below_follows_it(plain, simulated_folder):
    given = {"dataset": str(simulated_folder), "run_dir": str(plain.run.dir)}
    cell = next(text for text in cells_of("classify") if "def classify" in text)
    detections, verdicts = [], []
    for changed in ((), ((cell, f"{cell}\n{POOLING}"),)):
        made = run_cells("classify", "on_proposals = ", changed, **given)
        detections.append({name: each.scores.tolist() for name, each in made.detections.items()})
        verdicts.append(made.on_truth["certainty"].tolist())
    assert detections[0].keys() == detections[1].keys() and detections[0] != detections[1]
    assert verdicts[0] != verdicts[1]


def test_a_file_of_your_own_joins_by_its_name_and_is_swept_like_any_parameter(simulated_folder, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "mine.yaml").write_text("# Does it help?\nsweep: {ideas: ['', mine.py], seed: [0, 1]}\n")
    runs = plan(tmp_path / "mine.yaml").runs
    assert len(runs) == 4 and {run["ideas"] for run in runs.values()} == {"", str(tmp_path / "mine.py")}
    words = SMALL | {"dataset": str(simulated_folder)}
    ours, mine = (
        run_cells("train", "table = ", **words, run_dir=str(tmp_path / name), ideas=ideas)
        for name, ideas in (("ours", ""), ("mine", str(tmp_path / "mine.py")))
    )
    assert type(mine.criterion).__name__ == "ShortActions" and weights(mine) != weights(ours)
    best = [max(each.scores.max() for each in found.values()) for found in (mine.detections, mine.proposals)]
    assert best[0] > best[1] ** 2
    before = stages.key("train", words | {"ideas": str(tmp_path / "mine.py")})
    (tmp_path / "mine.py").write_text(OWN + "\nMORE = 1\n")
    assert stages.key("train", words | {"ideas": str(tmp_path / "mine.py")}) != before != stages.key("train", words)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, " must be an existing Python file"),
        ("x = ", " cannot be imported: SyntaxError"),
        ("x = 1", " has none"),
        ("def loss(): ...\ndef propsals(found): ...", ": propsals is no hook; did you mean 'proposals'"),
    ],
)
def test_a_file_that_is_no_idea_is_named_before_anything_is_read(text, told, tmp_path):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"ideas=.*mine.py{told}"):
        complete("prepare", {"ideas": str(path), "dataset": "nowhere"})


def test_two_methods_that_replace_the_same_are_refused(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    params = Params.read({"ideas": str(tmp_path / "mine.py"), "system": "published"})
    with pytest.raises(ValueError, match=r"2 methods that are switched on replace the same part of training \(loss\)"):
        ideas.loss(params)


def test_a_filter_of_your_own_takes_proposals_from_what_is_named(plain, simulated_folder):
    given = {"dataset": str(simulated_folder), "run_dir": str(plain.run.dir)}
    cell = next(text for text in cells_of("classify") if "proposals = to_proposals(" in text)
    level = FILTER.replace("0.05", "found.scores.median()")
    every, fewer = (
        run_cells("classify", "to_detections(", ((cell, f"{cell}\n{more}"),), **given) for more in ("", level)
    )
    for video_id, found in fewer.proposals.items():
        assert 0 < len(found.scores) < len(every.proposals[video_id].scores)
        assert len(fewer.logits[video_id]) == len(found.scores)


def test_an_argument_that_is_no_parameter_is_named_and_one_with_a_default_keeps_it(tmp_path):
    helpers = "from tadlib.ideas import texts as text\ndef halved(x): ...\ndef _part(x): ...\n"  # no misspelt hooks
    (tmp_path / "mine.py").write_text(helpers + "def parts(strength=0.5):\n    return {'strength': strength}\n")
    assert ideas.parts(Params.read({"ideas": tmp_path / "mine.py"})) == {"strength": 0.5}
    (tmp_path / "mine.py").write_text("def additions(qualty):\n    return []\n")
    (tmp_path / "mine.yaml").write_text("# Does it help?\nideas: mine.py\n")
    with pytest.raises(ValueError, match="mine.py: additions asks for 'qualty'; did you mean 'quality'?"):
        plan(tmp_path / "mine.yaml")


HOOKS_THAT_FAIL = {
    "def proposals(found):\n    return {}\n": "must return proposals of every video",
    "def proposals(found):\n    return 1 / 0\n": "division by zero",
}


@pytest.mark.parametrize("text", HOOKS_THAT_FAIL)
def test_a_file_of_ideas_that_fails_is_named(text, simulated_folder, tmp_path):
    (tmp_path / "mine.py").write_text(f"from __future__ import annotations\n{text}")
    given = {"dataset": str(simulated_folder), "features": "simulate", "split": 50, "ideas": str(tmp_path / "mine.py")}
    params = Params.read(given)
    with pytest.raises((ValueError, ZeroDivisionError), match=HOOKS_THAT_FAIL[text]) as failed:
        ideas.proposals({"video": Proposals(torch.rand(1, 2), torch.rand(1))}, gather(params), params)
    assert "mine.py" in f"{failed.value}{getattr(failed.value, '__notes__', '')}"


def test_words_that_do_not_ask_an_edited_classifier_are_told(simulated_folder, capsys):
    params = Params.read({"dataset": str(simulated_folder), "features": "simulate", "split": 50, "target": "name"})
    ideas.chosen_classifier(lambda video, segments: None, gather(params), params)
    assert "target=name replaces `classify` above" in capsys.readouterr().out


def test_a_file_that_changed_since_training_is_noticed(simulated_folder, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    names = trained(simulated_folder, tmp_path / "run", ideas=str(path))
    path.write_text(OWN.replace("0.1 *", "0.2 *"))
    with pytest.raises(RunError, match="file of ideas of the training videos of .* changed since the detector"):
        detectors.load_detector(names.data, names.params, names.run)


def test_a_file_with_hooks_of_naming_alone_shares_the_training(plain, simulated_folder, tmp_path):
    naming, training = tmp_path / "naming.py", tmp_path / "training.py"
    naming.write_text("def proposals(found):" + OWN.split("def proposals(found):")[1])
    training.write_text(OWN)
    words = SMALL | {"dataset": str(simulated_folder)}
    keys = [[stages.key(stage, words | {"ideas": str(each)}) for each in ("", naming, training)] for stage in STAGES]
    assert keys[0][0] == keys[0][1] != keys[0][2] and len(set(keys[1])) == 3
    hidden = tmp_path / "hidden.py"
    hidden.write_text("if True:\n    def loss(): ...\n")
    assert stages.trains(str(hidden)) and {*stages.TRAINING_HOOKS, "classifier", "proposals"} == {*ideas.HOOKS}
    later = complete("classify", {"run_dir": str(plain.run.dir), "ideas": str(naming)})
    assert detectors.load_detector(gather(later), later, plain.run)
    with pytest.raises(RunError, match="ideas of train in .* is '', classify was given '.*training.py'"):
        complete("classify", {"run_dir": str(plain.run.dir), "ideas": str(training)})
