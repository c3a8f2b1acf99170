"""Every figure is one picture with alternative text, and shows what it was given."""

import base64
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis
from tadlib.evaluation.errors import TYPES, Sensitivity
from tadlib.naming.fusion import Detections
from tadlib.workbook import figures

RNG = np.random.default_rng(0)
ID = r"$\sqrt$"
DIVE, PUT, JUMP = CLASSES = (r"$\frac$ <b>", "$^^$", "_jump")  # names that are no mathematics
VIDEO = Video(ID, 40.0, 10.0, "test", (Action(3.0, 8.0, DIVE), Action(20.0, 31.0, PUT)))
FOUND = Proposals(torch.tensor([[3.2, 8.0], [19.0, 33.0], [35.0, 39.0]]), torch.tensor([0.9, 0.6, 0.1]))
NAMED = Detections(*FOUND[:2], CLASSES)
SOUND = {"norm": 10.0, "neighbours": 0.9, "constant": 0.0, "seconds too long": 0.0}
HEALTH = [SOUND | {"video": f"v{n}", "norm": 10.0 + n, "seconds too long": float(n == 3)} for n in range(9)]
HEALTH += [SOUND | {"video": "of one snippet", "neighbours": float("nan")}]
EFFECT = {"variant": r"text=$\frac$", "difference": {"difference": -0.05, "low": -0.08, "high": -0.02}}
EFFECT |= {"verdict": "worse", "title": "a", "values": {"mean": 0.3}, "seconds": 90.0, "memory_mb": 1100.0}
UNKNOWN = {"difference": {"difference": 0.01, "low": None, "high": None}, "verdict": "cannot tell"}
ROW = {"mAP": 0.3, "mAP@0.3": 0.4, "mAP@0.5": 0.3, "mAP@0.7": 0.2}
HISTORY = [{"epoch": e, "loss": 5 / e, "loss_l1": 1 / e, "lr": 1e-3 / e, "matched_tiou": 0.5} for e in range(1, 5)]
HISTORY = [row | {"windows": 40, "seconds": 8.0, "memory": 900.0} for row in HISTORY]


def benchmark(tmp_path):
    videos = (VIDEO, Video("v2", 30.0, 10.0, "val", (Action(1.0, 2.0, JUMP), Action(1.5, 4.0, PUT))))
    return Benchmark("x", tmp_path, videos, CLASSES, "val", "test", (0.5,))


MANY = tuple(f"class {number}" for number in range(60))
CURVE = diagnosis.reliability(RNG.random(50), RNG.random(50) > 0.5)
PICTURES = {
    "film_strip": lambda _: figures.film_strip(VIDEO, [(s, np.zeros((12, 16, 3), np.uint8)) for s in (2.0, 5.0, 9.0)]),
    "action_statistics": lambda folder: figures.action_statistics(benchmark(folder)),
    "similarity_matrix": lambda _: figures.similarity_matrix(RNG.random((3, 3)), CLASSES, [np.zeros((4, 4, 3))] * 3),
    "similarity_over_time": lambda _: figures.similarity_over_time(
        VIDEO, np.arange(50.0), RNG.random((50, 3)), CLASSES
    ),
    "feature_health": lambda _: figures.feature_health(HEALTH),
    "leakage": lambda _: figures.leakage([{"finding": f"{DIVE} (unseen) is {PUT} (seen)", "number": 3, "of": 4}]),
    "window": lambda _: figures.window(RNG.random((32, 8)), np.array([[0.5, 0.2]])),
    "losses": lambda _: figures.losses(HISTORY),
    "curves": lambda _: figures.curves([{"mAP of seen classes": 0.5, "query of action 1": 1} | row for row in HISTORY]),
    "attention": lambda _: figures.attention(RNG.random((2, 5, 32)), np.array([[0.5, 0.2]])),
    "query_positions": lambda _: figures.query_positions(RNG.random((6, 5, 2)), RNG.random((6, 5))),
    "proposals": lambda _: figures.proposals([VIDEO], {ID: FOUND}),
    "headline": lambda _: figures.headline([ROW | {"name": "ours", "role": "ours"}]),
    "per_class": lambda _: figures.per_class({DIVE: 0.2}, {DIVE: 0.4}, {DIVE: 3}),
    "recall_curve": lambda _: figures.recall_curve([1, 10, 100], {"ours": [0.1, 0.4, 0.6]}),
    "confusion": lambda _: figures.confusion({"true segments": np.eye(3) * 4}, CLASSES),
    "pooling_comparison": lambda _: figures.pooling_comparison(
        [{"pooling": "mean", "text": "prompt", "true segments": 0.9, "good proposals": float("nan"), "mAP": 0.2}]
    ),
    "accuracy_by_text": lambda _: figures.accuracy_by_text(
        {"prompt": {DIVE: 1.0, PUT: 0.5}, "name": {DIVE: 0.2, PUT: float("nan")}}, {DIVE: 3, PUT: 0}
    ),
    "fusion_curves": lambda _: figures.fusion_curves(
        (0.0, 1.0), {"geometric": [0.1, 0.2], "arithmetic": [0.1, 0.1], "after_softmax": [0.2, 0.2]}
    ),
    "naming_by_overlap": lambda _: figures.naming_by_overlap(RNG.random(50), RNG.random(50) > 0.5),
    "timelines": lambda _: figures.timelines([VIDEO], {ID: NAMED}, {ID: 0.5}),
    "error_profile": lambda _: figures.error_profile(np.full((10, 6), 1 / 6), dict.fromkeys(TYPES[1:], 0.05)),
    "sensitivities": lambda _: figures.sensitivities(
        {
            "length": Sensitivity(("0-1", "1+"), np.array([3, 0]), np.array([0.5, np.nan]), np.array([0.2, np.nan])),
            "all": Sensitivity(("all",), np.array([3]), np.array([0.5]), np.array([0.2])),
        }
    ),
    "reliability": lambda _: figures.reliability({"true segments": CURVE}),
    "verdicts": lambda _: figures.verdicts(
        [
            {"what": "this run", "mAP": 0.3, "mAP from": 0.25, "mAP to": 0.35, "this run is": ""},
            {"what": "this run minus b", "mAP": 0.01, "mAP from": -0.1, "mAP to": 0.1, "this run is": "cannot tell"},
        ]
    ),
    "effects": lambda _: figures.effects([{"title": ID, "baseline": "64", "variants": [EFFECT, EFFECT | UNKNOWN]}]),
    "learning_curves": lambda _: figures.learning_curves({ID: {"64": [HISTORY, HISTORY], "0": [HISTORY]}}),
    "class_differences": lambda _: figures.class_differences({"0": {DIVE: -0.2, PUT: 0.0}}),
    "detected": lambda _: figures.detected(VIDEO, FOUND.segments, NAMED),
    "detected_frames": lambda _: figures.detected_frames([5.0], [DIVE], [np.zeros((12, 16, 3), np.uint8)]),
    "word_curves": lambda _: figures.word_curves(np.arange(40.0), {DIVE: RNG.random(40)}, NAMED),
}


def test_every_figure_is_tried_here():
    assert set(PICTURES) == {name for name, value in vars(figures).items() if callable(value)}


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_is_one_png_with_alternative_text(name, tmp_path):
    figure = PICTURES[name](tmp_path)
    data, metadata = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert len(metadata["image/png"]["alt"]) > 20 and data["text/plain"] == metadata["image/png"]["alt"]
    drawn = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() or "mathdefault" in text.get_text() for text in drawn)


def test_labels_of_curves_that_end_alike_do_not_overlap():
    ends = {"one": 0.61, "another": 0.6, "a third": 0.62, "above": 1.0, "below": 0.99}
    figure = figures.recall_curve([1, 10], {name: [0.1, end] for name, end in ends.items()})
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 5 and not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_timeline_names_its_units_and_the_classes_of_what_is_there_and_what_was_found():
    nothing = Detections(torch.zeros(0, 2), torch.zeros(0), ())
    for found, labels in ((NAMED, [DIVE, PUT, JUMP]), (nothing, [DIVE, PUT])):
        (place, *_) = figures.timelines([VIDEO], {ID: found}, {ID: 0.5}).axes
        assert place.get_xlabel() == "time (s)"
        assert [label.get_text().lstrip("\u200b") for label in place.get_yticklabels()] == labels


def test_actions_that_overlap_or_go_on_after_the_end_are_covered_once(tmp_path):
    beyond = Video(ID, 10.0, 10.0, "test", (Action(5.0, 15.0, DIVE), Action(20.0, 25.0, DIVE)))
    data = Benchmark("x", tmp_path, (beyond,), CLASSES, "val", "test", (0.5,))
    same = replace(data, train_subset="test")  # without subsets, every video is of both
    for given, share in ((benchmark(tmp_path), 25), (data, 50), (same, 50)):  # mean of (5 + 11) / 40 and of 3 / 30
        axes = figures.action_statistics(given).axes[2]
        assert axes.get_title(loc="left") == f"Action: {share}% of a video"
        assert sum(bar.get_height() for bar in axes.patches) == len(given.videos)


def test_of_many_classes_as_many_are_named_as_can_be_read(tmp_path):
    videos = tuple(Video(f"v{n}", 9.0, 10.0, "val", (Action(1.0, 2.0 + n / 60, MANY[n]),)) for n in range(60))
    box = figures.action_statistics(Benchmark("x", tmp_path, videos, MANY, "val", "test", (0.5,))).axes[0]
    assert len(box.get_yticklabels()) == 20 and box.get_title(loc="left") == "20 of 60 classes"
    (place, _) = figures.class_differences({f"v{n}": dict.fromkeys(MANY, 0.1) for n in range(62)}).axes
    assert place.get_xlabel() == "the 20 of 60 classes that differ most, in 60 of 62 variants"
    curves = figures.learning_curves({name: {"0": [HISTORY]} for name in MANY})
    assert curves.get_suptitle() == "The first 12 of 60 questions"
    frames = [np.zeros((4, 4, 3))] * 60
    matrix = figures.similarity_matrix(RNG.random((60, 60)), MANY, frames).axes[0]
    assert not matrix.get_xticklabels() and not matrix.child_axes


LONG = ["a class whose name goes on and on and on until nothing fits any more", "run", "putting in contact lenses"]
TEXT = "best text that names no class: panning with blurred background"
CUT = {
    "confusion": lambda: figures.confusion({"true segments": np.eye(3), "proposals": np.eye(3)}, LONG),
    "accuracy_by_text": lambda: figures.accuracy_by_text({"prompt": dict.fromkeys(LONG, 0.5)}, dict.fromkeys(LONG, 3)),
    "headline": lambda: figures.headline(
        [ROW | {"name": TEXT, "role": "baseline"}, ROW | {"name": "o", "role": "ours"}]
    ),
    "class_differences": lambda: figures.class_differences({TEXT: dict.fromkeys((*LONG, *MANY), 0.1)}),
    "timelines": lambda: figures.timelines([VIDEO], {ID: NAMED._replace(labels=tuple(LONG))}, {ID: 0.5}),
}


@pytest.mark.parametrize("name", CUT)
def test_no_text_of_long_names_is_cut(name):
    figure = CUT[name]()
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.02 and drawn.y0 > -0.02 and drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02


def test_nothing_drawn_hides_another():
    row = {"text": "prompt", "true segments": 0.5, "good proposals": 0.5, "mAP": 0.5}
    (place,) = figures.pooling_comparison([row | {"pooling": "mean"}, row | {"pooling": "max"}]).axes
    assert len({tuple(line.get_ydata()) for line in place.lines}) == 3
    for figure in (figures.per_class({"a": 0.2}, {"a": 0.9}, {"a": 3}), figures.reliability({"true segments": CURVE})):
        figure.draw_without_rendering()
        assert not figure.legends[0].get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_a_legend_names_a_class_that_begins_with_an_underscore():
    figure = figures.similarity_over_time(VIDEO, np.arange(50.0), RNG.random((50, 3)), CLASSES)
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert said == [f"{DIVE} (true)", f"{PUT} (true)", f"\u200b{JUMP}"]


def test_curves_show_both_sides_side_by_side_and_what_training_cost():
    measured = {"mAP of seen classes": 0.5, "mAP of unseen classes": 0.25, "mAP of unseen classes, named": 0.125}
    measured |= {"mAP of training videos": 0.75, "training videos looked at": 40.0}
    sides = ("seen classes", "unseen classes", "training videos")
    measured |= {f"AR@{count} of {side}": 0.75 for count in (10, 100) for side in sides}
    figure = figures.curves([row | measured for row in HISTORY])
    precision, recall, _, speed, memory = figure.axes
    shown = {line.get_label(): line.get_ydata().tolist() for line in precision.lines}
    classes = {"seen": [50.0] * 4, "unseen": [25.0] * 4}
    assert shown == classes | {"40 training videos": [75.0] * 4, "unseen, named": [12.5] * 4}
    assert [line.get_ydata().tolist() for line in recall.lines] == [[75.0] * 4] * 6
    assert "40 training videos" in figure.alt
    assert [speed.lines[0].get_ydata().tolist(), memory.lines[0].get_ydata().tolist()] == [[5.0] * 4, [900.0] * 4]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_epochs_have_whole_numbers(number):
    history = [row | {"mAP of seen classes": 0.5} for row in HISTORY[:number]]
    studies = {"a": {"b": [history], "c": [history]}}
    for figure in (figures.losses(history), figures.curves(history), figures.learning_curves(studies)):
        for axes in (axes for axes in figure.axes if axes.get_xlabel() == "epoch"):
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert ticks and all(tick == round(tick) for tick in ticks)
