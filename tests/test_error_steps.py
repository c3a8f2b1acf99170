"""What the evaluation notebook asks for, on detections small enough to know the answers."""

from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch

from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore
from tadlib.data.splits import ClassSplit
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import statistics
from tadlib.evaluation.rows import compare
from tadlib.naming.fusion import Detections
from tadlib.task import Task
from tadlib.workbook import inference, naming_study, results
from tadlib.workbook.params import Params

VIDEOS = tuple(
    Video(
        f"v{number}", 100.0, 30.0, "test", (Action(0.0, 10.0, "Diving"), Action(50.0, 60.0, "Shotput")), ((80.0, 90.0),)
    )
    for number in range(12)
)


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
WRONG = detections((20, 30, 0.9, "Diving"), (50, 60, 0.8, "Diving"), (82, 85, 0.95, "Diving"))


def test_a_run_is_told_from_its_floor_and_its_ceiling(data):
    found = {"this run": RIGHT, "nothing": WRONG, "itself": RIGHT}
    rows = {name: compare(data.scored, each, data.classes.unseen) for name, each in found.items()}
    first, floor, ceiling = statistics.verdicts(rows, "this run", data.benchmark.tious)
    assert first["mAP"] == first["mAP from"] == first["mAP to"] == 1.0
    assert floor["this run is"] == "better" and floor["mAP"] == 1.0
    assert ceiling["this run is"] == "cannot tell" and ceiling["mAP"] == 0.0


def test_every_protocol_scores_the_same_detections(data):
    table = {row["protocol"]: row for row in results.under_every_protocol(data, RIGHT)}
    assert list(table) == ["plain", "strict", "gap", "t3al", "opentad", "thumos-toolkit"]
    assert all(row["mAP"] == 1.0 and row["actions"] == 24 for row in table.values())


def test_a_protocol_that_would_count_more_videos_than_the_run_was_asked_about_says_so(data):
    more = (*VIDEOS, Video("training", 50.0, 30.0, "val", VIDEOS[0].actions), Video("empty", 50.0, 30.0, "test", ()))
    data = replace(data, benchmark=replace(data.benchmark, videos=more), protocol="gap")
    lacking = {row["protocol"]: row["videos not processed"] for row in results.under_every_protocol(data, RIGHT)}
    assert lacking == {"plain": 1, "strict": 1, "gap": 0, "t3al": 1, "opentad": 1, "thumos-toolkit": 1}
    rows = results.under_every_protocol(replace(data, protocol="t3al"), RIGHT | {"training": RIGHT["v0"]})
    assert {row["protocol"]: row["videos"] for row in rows} == dict.fromkeys(lacking, 12) | {"t3al": 13}


def test_videos_that_the_protocol_leaves_out_are_not_counted(data):
    object.__setattr__(data, "protocol", "t3al")  # which counts videos with detections alone
    found = {video.id: RIGHT[video.id] for video in VIDEOS[:5]}
    proposals = {name: Proposals(*each[:2]) for name, each in found.items()}
    counts = results.summarise(data, [{"role": "ours", "mAP": 1.0}], proposals, found, Params())["counts"]
    row = next(row for row in results.under_every_protocol(data, found) if row["protocol"] == "t3al")
    assert (counts["videos"], counts["actions"]) == (row["videos"], row["actions"]) == (5, 10)


def test_a_protocol_under_which_nothing_counts_has_a_row_that_says_so(data):
    short = tuple(replace(v, actions=(Action(0.0, 0.2, "Diving"), Action(50.0, 50.1, "Shotput"))) for v in VIDEOS)
    data = replace(data, benchmark=replace(data.benchmark, videos=short))
    rows = results.under_every_protocol(data, RIGHT)
    assert [row["protocol"] for row in rows if not row["actions"]] == ["gap: no action counts"]
    assert all(row["mAP"] == 0 for row in rows if row["actions"])


@pytest.mark.parametrize(("subset", "actions"), [("test", 24), ("validation", 12)])
def test_what_is_short_is_the_same_wherever_it_is_asked(data, subset, actions):
    """ActivityNet's rule is a second, also where a snippet lasts half of one."""
    short = tuple(replace(v, subset=subset, actions=(*v.actions[:1], Action(50.0, 50.8, "Shotput"))) for v in VIDEOS)
    benchmark = replace(data.benchmark, videos=short, test_subset=subset)
    data = replace(data, benchmark=benchmark, protocol="gap", stride=16)
    row = next(row for row in results.under_every_protocol(data, RIGHT) if row["protocol"] == "gap")
    assert sum(len(video.actions) for video in data.scored) == row["actions"] == actions


def test_numbers_are_those_of_the_protocol(data):
    data = replace(data, protocol="thumos-toolkit")
    loose = detections((0, 8, 0.9, "Diving"), (0, 10, 0.1, "Diving"), (82, 85, 0.95, "Diving"))
    # the toolkit forgives what lies on ambiguous regions, and prefers the tighter of two: precision 1/2 from rank 13 on
    assert results.class_precision(data, loose)["Diving"] == pytest.approx(sum(n / (12 + n) for n in range(1, 13)) / 12)
    assert results.class_precision(data, loose)["Shotput"] == 0.0
    assert naming_study.precision(data, loose)["mAP"] == results.class_precision(data, loose)["Diving"] / 2


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


@pytest.mark.parametrize("seen", [("Diving", "Shotput"), ("GolfSwing",)])
def test_a_closed_set_or_videos_without_seen_classes_have_no_generalised_result(data, seen):
    data = replace(data, classes=ClassSplit(0, 0, seen, ("Diving", "Shotput")))
    assert results.generalised(data, {}, Params()) == []
