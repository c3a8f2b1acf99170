"""What the naming notebook compares, on features planted so that the answers are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from standins import CLASSES, dataset, params, with_features

from tadlib import ideas
from tadlib.data.encoder import load_encoder
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis
from tadlib.ideas.poolings import FEATURES, LOGITS
from tadlib.naming.text import Wording
from tadlib.workbook import data_summary, inference, naming_study
from tadlib.workbook.gathering import gather
from tadlib.workbook.naming_study import WEIGHTS, styles

ACTION = slice(6, 19)  # [2, 6) s at 25 / 8 snippets a second: every snippet that it touches


def planted(number):
    """A video of noise in which the action is its class's vector; text features are the axes of the classes."""
    features = 0.001 * np.random.default_rng(number).normal(size=(50, 16))
    features[:, 15] += 1.0
    features[ACTION] = np.eye(16)[number % 4]
    return features.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    videos = {f"v{number}": planted(number) for number in range(8)}
    return with_features(dataset(tmp_path_factory.mktemp("study") / "own"), **videos)


@pytest.fixture
def asked(folder):
    return params(folder, split=0)


@pytest.fixture
def data(asked):
    return gather(asked)


@pytest.fixture
def proposals(data):
    """The action, a little off, and a stretch without action."""
    segments, scores = torch.tensor([[2.1, 6.0], [10.0, 14.0]]), torch.tensor([0.6, 0.9])
    return {video.id: Proposals(segments, scores) for video in data.scored}


def called(data, asked, proposals=None):
    """What segments are called."""
    return naming_study.named_segments(data, ideas.classify(data, asked), asked, proposals)


def test_every_pooling_finds_planted_actions(data, proposals, asked):
    rows = naming_study.compare_poolings(data, proposals, asked.but(head_epochs=2))
    assert [row["pooling"] for row in rows] == [*FEATURES, *LOGITS]
    assert all((row["true segments"], row["good proposals"]) == (1.0, 1.0) for row in rows)
    assert {row["mAP"] for row in rows} == {1.0}


def test_accuracy_is_counted_for_each_class_and_style(data, asked):
    assert naming_study.accuracy_by_text(data, asked) == {"prompt": dict.fromkeys(CLASSES, 1.0)}


def test_curves_run_from_the_detector_to_clip_and_meet_the_product(data, proposals, asked):
    logits = inference.class_logits(data, proposals, asked)
    curves = naming_study.fusion_curves(data, proposals, logits, asked)
    alone = {row["fusion"]: row["mAP"] for row in naming_study.compare_fusions(data, proposals, logits, asked)}
    assert set(alone) == {"after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip"}
    middle = WEIGHTS.index(0.5)
    assert curves["geometric"][-1] == curves["arithmetic"][-1] == alone["clip"]
    assert curves["geometric"][middle] == alone["geometric"] == alone["after_softmax"] == curves["after_softmax"][0]


def test_certainty_is_compared_with_being_right(data, proposals, asked):
    for found in (called(data, asked), called(data, asked, proposals)):
        curve = diagnosis.reliability(found["certainty"].clip(0, 1), found["true"] == found["named"])
        assert curve.right.tolist() == [1.0] * 4 and curve.error < 0.01


def test_styles_are_those_the_encoder_reads_and_every_class_has(data):
    assert styles(data) == ("prompt",)
    clip = replace(data, encoder=load_encoder("tad-demo", "", torch.device("cpu")))
    assert styles(clip) == ("prompt", "name", "templates")  # nobody described "clap"
    thumos = replace(clip, benchmark=replace(data.benchmark, classes=("Diving", "HighJump")))
    assert styles(thumos) == ("prompt", "name", "templates", "description", "subactions")


def test_every_competing_text_that_is_cut_is_shown(data, tmp_path):
    clip = replace(data, encoder=load_encoder("tad-demo", "", torch.device("cpu")))
    said = {label: f"{'somebody in a shirt ' * 9}who likes to {label}" for label in clip.benchmark.classes}
    (tmp_path / "own.json").write_text(
        json.dumps({label: {"Elaboration": {"Description": text}} for label, text in said.items()})
    )
    clip = replace(clip, wording=Wording("description", descriptions=str(tmp_path / "own.json")))
    cut = {row["text"]: row["cut off"] for row in naming_study.token_table(clip, clip.competing[:1])}
    assert {said[label] for label in clip.competing} <= set(cut)
    assert all(cut[said[label]].endswith(f"who likes to {label}") for label in clip.competing)
    rows = [row for row in data_summary.overview(clip) if "cut" in row["what"]]
    assert rows[0]["found"] == f"{len(said)} of {len(said)}" and "read up to" in rows[1]["found"]
