"""`import tadlib as tad`: the ten lines of the documentation, the same functions as in the notebooks, found lazily."""

import re

import pytest
import torch
from conftest import ROOT
from detectors import learnable, network
from notebook import run_cells

import tadlib as tad
from tadlib.naming.fusion import select
from tadlib.workbook.public import OF_LOADING

LINES = re.search(
    r"## The same from Python\n.*?```python\n(.*?)```", (ROOT / "notebooks" / "README.md").read_text("utf-8"), re.DOTALL
)[1]


def test_the_documentation_has_the_same_lines_in_both_places():
    assert [line.strip() for line in LINES.splitlines() if line.strip()] == [
        line.strip() for line in tad.__doc__.splitlines() if line.startswith("    ") and line.strip()
    ]
    assert len([line for line in LINES.splitlines() if line.strip()]) <= 11


def test_ten_lines_go_the_whole_road(tiny, capsys):
    words = {name: value for name, value in tiny.items() if name in ("encoder", "pretrained", "features", "data_dir")}
    lines = LINES.replace('"demo", split=50', f"{tiny['dataset']!r}, split=50, **{words!r}").replace(
        "epochs=10", "epochs=2"
    )
    exec(compile(lines, "<ten lines>", "exec"), names := {})
    found = names["detections"]
    assert found.keys() == {video.id for video in names["data"].scored}
    assert {label for each in found.values() for label in each.labels} <= set(names["data"].classes.unseen)
    numbers = tad.evaluate(found, names["data"])
    assert str(numbers) in capsys.readouterr().out and 0 <= numbers["mAP"] <= 1


def test_the_public_functions_give_what_the_notebooks_give(tiny, tmp_path):
    given = tiny | {"run_dir": str(tmp_path / "run"), "split": 50, "epochs": 1}
    made = run_cells("train", "table = ", **given)
    data = tad.load(**{name: value for name, value in given.items() if name in OF_LOADING})
    windows = data.test_windows(made.params.inference_window, overlap=made.params.test_overlap)
    proposals = tad.propose(made.model, windows, top_k=made.params.top_k)
    assert all(torch.equal(proposals[name].segments, each.segments) for name, each in made.proposals.items())
    detections = tad.name(proposals, data, window=made.params.inference_window, top_k=made.params.top_k)
    assert all(torch.equal(detections[name].scores, each.scores) for name, each in made.detections.items())
    (ours,) = [row for row in made.table if row["role"] == "ours"]
    assert tad.evaluate(detections, data) == {metric: ours[metric] for metric in ours if metric.startswith("mAP")}


def test_every_public_name_is_there_and_a_wrong_one_is_named():
    assert all(getattr(tad, name) is not None for name in tad.__all__) and set(tad.__all__) == set(dir(tad))
    with pytest.raises(AttributeError, match="tadlib has no 'nmae'; it has Addition, .*, name, "):
        tad.nmae  # noqa: B018


def test_words_that_belong_to_loading_are_refused_by_naming(tiny):
    data = {name: tiny[name] for name in ("dataset", "encoder", "pretrained")}
    with pytest.raises(ValueError, match="text changes no name: it is a word of load"):
        tad.name({}, tad.load(**data), text="name")
    with pytest.raises(ValueError, match="epochs changes no name: it is a word of training"):
        tad.name({}, tad.load(**data), epochs=3)


def test_naming_knows_what_the_data_were_loaded_with(simulated_folder):
    words = {"dataset": simulated_folder, "features": "simulate", "split": 50}
    data = tad.load(**words, text="subactions")
    found = {video.id: tad.Proposals(torch.tensor([[1.0, 9.0]]), torch.tensor([0.5])) for video in data.scored}
    assert tad.name(found, data, pooling="ordered").keys() == found.keys()
    with pytest.raises(ValueError, match="pooling=ordered needs text=subactions"):
        tad.name(found, tad.load(**words), pooling="ordered")
    with pytest.raises(ValueError, match="Proposals of video 'other', which is none of the 4 scored videos"):
        tad.name({"other": next(iter(found.values()))}, data)
    with pytest.raises(ValueError, match="a detector that classifies: pass the target that it learned"):
        tad.name({name: each._replace(embeddings=torch.rand(1, 4)) for name, each in found.items()}, data)
    (video_id, one) = next(iter(found.items()))
    for wrong, message in (
        ({"other": tad.Detections(torch.rand(1, 2), torch.rand(1), ("wave",))}, "Detections of video 'other'"),
        ({video_id: tad.Detections(*one[:2], ("GolfSwnig",))}, "labelled 'GolfSwnig'; did you mean 'GolfSwing'"),
        ({video_id: tad.Detections(*one[:2], ())}, "a segment, a score and a label each, got 1 scores"),
    ):
        with pytest.raises(ValueError, match=message):
            tad.evaluate(tad.name(found, data) | wrong, data)
    seen = {video.id: tad.Detections(*one[:2], data.classes.seen[:1]) for video in data.scored}
    with pytest.raises(ValueError, match="none unseen here: are they of this split"):
        tad.evaluate(seen, data)
    assert repr(data).startswith("Task(") and len(repr(data)) < 200
    with pytest.raises(ValueError, match="window is a number of snippets, 0 for whole videos, .* got window=-1"):
        data.test_windows(-1)
    with pytest.raises(ValueError, match=f"3 scored videos have no entry, not .*, first {data.scored[1].id}"):
        tad.evaluate(tad.name({data.scored[0].id: one}, data), data)
    for score, start, end in (
        (torch.nan, 1.0, 4.0),
        (0.5, 4.0, 1.0),
        (-2.0, 1.0, 4.0),
        (1.5, 1.0, 4.0),
        (0.5, 300.0, 900.0),
    ):
        with pytest.raises(ValueError, match="ends before it starts or starts after 40.0 s, or a score outside 0 to 1"):
            tad.name({video_id: tad.Proposals(torch.tensor([[start, end]]), torch.tensor([score]))}, data)


WORDS = {
    "unknown parameter 'splt'; did you mean 'split'?": lambda *_: tad.load("demo", splt=50),
    "window loads nothing: pass it to training_windows": lambda *_: tad.load("demo", window=64),
    "nms is unknown: 'Soft'; did you mean 'soft'?": lambda model, windows: tad.propose(model, windows, nms="Soft"),
    "nms_per is unknown: 'Class'": lambda model, windows: tad.propose(model, windows, nms_per="Class"),
    "top_k must be at least 1": lambda model, windows: tad.propose(model, windows, top_k=-1),
    "nms_tiou above 0": lambda model, windows: tad.propose(model, windows, nms_tiou=0.0),
    "fusion is unknown: 'after-softmax'": lambda *_: tad.fuse(torch.rand(2), torch.rand(2, 3), "after-softmax"),
    "probability is unknown": lambda *_: tad.fuse(torch.rand(2), torch.rand(2, 3), "clip", probability="softmx"),
    "keep is unknown": lambda *_: select(torch.rand(2, 2), torch.rand(2, 3), "abc", keep="class"),
}


@pytest.mark.parametrize("told", WORDS)
def test_a_word_that_no_method_has_is_told_and_is_not_another_method(told):
    with pytest.raises(ValueError, match=told.replace("?", "")):
        WORDS[told](network(), learnable())
