"""What the evaluation notebook asks for, on detections small enough to know the answers."""

from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch

from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore
from tadlib.data.layouts import THUMOS14_CLASSES
from tadlib.data.splits import ClassSplit
from tadlib.detector.proposals import Proposals
from tadlib.naming.fusion import Detections
from tadlib.task import Task
from tadlib.workbook import inference, results
from tadlib.workbook.params import Params

ACTIONS = (Action(0.0, 10.0, "Diving"), Action(50.0, 60.0, "Shotput"))
VIDEOS = tuple(Video(f"v{number}", 100.0, 30.0, "test", ACTIONS, ((80.0, 90.0),)) for number in range(12))


@pytest.fixture
def data(tmp_path):
    """Annotations and classes; features of nothing, of which these steps read the length alone."""
    classes = ("Diving", "Shotput")
    benchmark = Benchmark("x", tmp_path, VIDEOS, classes, "val", "test", (0.3, 0.5))
    store, encoder = (create_autospec(each, instance=True) for each in (FeatureStore, Encoder))
    store.stored.return_value = np.zeros((375, 4), np.float32)  # 100 s of 8 frames of 30 a second
    return Task(benchmark, ClassSplit(50, 0, (), classes), store, encoder)


def detections(*rows):
    segments = torch.tensor([row[:2] for row in rows], dtype=torch.float64)
    one = Detections(segments, torch.tensor([row[2] for row in rows]), tuple(row[3] for row in rows))
    return {video.id: one for video in VIDEOS}


RIGHT = detections((0, 10, 0.9, "Diving"), (50, 60, 0.8, "Shotput"))


@pytest.mark.parametrize(("classes", "actions"), [(THUMOS14_CLASSES, 24), (("Diving", "Shotput"), 12)])
@pytest.mark.parametrize("subset", ["test", "validation"])
def test_what_is_short_is_the_same_wherever_it_is_asked(data, subset, classes, actions):
    """Outside THUMOS14 the rule is a second, whatever the subset is called, also where a snippet lasts half of one."""
    short = tuple(replace(v, subset=subset, actions=(*v.actions[:1], Action(50.0, 50.8, "Shotput"))) for v in VIDEOS)
    benchmark = replace(data.benchmark, videos=short, test_subset=subset, classes=classes)
    data = replace(data, benchmark=benchmark, protocol="gap", stride=16)
    row = next(row for row in results.under_every_protocol(data, RIGHT) if row["protocol"] == "gap")
    assert sum(len(video.actions) for video in data.scored) == row["actions"] == actions


def test_numbers_are_those_of_the_protocol(data):
    data = replace(data, protocol="thumos-toolkit")
    loose = detections((0, 8, 0.9, "Diving"), (0, 10, 0.1, "Diving"), (82, 85, 0.95, "Diving"))
    # the toolkit forgives what lies on ambiguous regions, and prefers the tighter of two: precision 1/2 from rank 13 on
    assert results.class_precision(data, loose)["Diving"] == pytest.approx(sum(n / (12 + n) for n in range(1, 13)) / 12)
    assert results.class_precision(data, loose)["Shotput"] == 0.0
    assert results.precision(data, loose)["mAP"] == results.class_precision(data, loose)["Diving"] / 2


@pytest.mark.parametrize("named, base, novel", [((1, 0), 1.0, 1.0), ((0, 0), 0.0, 0.5)])
def test_seen_and_unseen_classes_compete_and_both_count(data, monkeypatch, named, base, novel):
    data = replace(data, classes=ClassSplit(50, 0, ("Diving",), ("Shotput",)))
    # places of a class among those that compete: 0 Shotput (unseen), 1 Diving (seen)
    logits = {video.id: 1e4 * torch.nn.functional.one_hot(torch.tensor(named), 2).double() for video in VIDEOS}
    monkeypatch.setattr(inference, "class_logits", lambda *_: logits)
    one = Proposals(torch.tensor([[0.0, 10.0], [50.0, 60.0]]), torch.tensor([0.9, 0.8]))
    (row,) = results.generalised(data, {video.id: one for video in VIDEOS}, Params())
    assert (row["mAP base"], row["mAP novel"]) == pytest.approx((base, novel))
    assert row["mAP harmonic"] == pytest.approx(2 * base * novel / (base + novel))
    object.__setattr__(data, "protocol", "thumos-toolkit")  # a tighter segment of a lower score is the hit
    two = Proposals(torch.tensor([[50.0, 58.0], [50.0, 60.0]]), torch.tensor([0.9, 0.1]))
    monkeypatch.setattr(inference, "class_logits", lambda *_: {v.id: 1e4 * torch.eye(2)[[0, 0]] for v in VIDEOS})
    (row,) = results.generalised(data, {video.id: two for video in VIDEOS}, Params())
    assert row["mAP novel"] == pytest.approx(sum(n / (12 + n) for n in range(1, 13)) / 12)
