"""Baselines: segments that fit actions of any video, a linear probe on snippets, texts that name no class."""

from dataclasses import replace

import pytest
import torch

from tadlib.data import datasets
from tadlib.data.annotations import Action, Video
from tadlib.data.splits import class_split
from tadlib.evaluation.baselines import Anchors, anchored, anchors, discrimination, linear_probe
from tadlib.evaluation.metrics import means
from tadlib.evaluation.scoring import class_table
from tadlib.files import read_json
from tadlib.workbook.results import advice

TIOUS = (0.5, 0.75)
WHOLE = Anchors(torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def video(name, duration, *actions):
    return Video(name, duration, 30.0, "training", tuple(Action(*action) for action in actions))


VIDEOS = (
    video("a", 100.0, (0.0, 50.0, "x"), (60.0, 80.0, "x")),
    video("b", 10.0, (0.0, 5.0, "y")),
    video("c", 40.0, (36.0, 40.0, "y"), (36.0, 40.0, "x")),
)


def test_the_first_anchor_covers_most_and_each_further_one_most_of_the_rest():
    first, second, third = anchors(VIDEOS, TIOUS, number=3).fractions
    assert first.tolist() in ([0.0, 0.5], [0.9, 1.0])  # two actions each
    assert {tuple(first.tolist()), tuple(second.tolist())} == {(0.0, 0.5), (0.9, 1.0)}
    assert (third - torch.tensor([0.6, 0.8])).abs().max() < 0.06


def test_an_anchor_scores_the_share_of_actions_that_it_is_the_first_to_cover():
    assert anchors(VIDEOS, TIOUS, number=4).scores.tolist() == pytest.approx([0.4, 0.4, 0.2, 0.0])


def test_anchors_carry_the_true_labels_of_their_video_and_its_seconds():
    found = anchored(VIDEOS[2:], anchors(VIDEOS, TIOUS, number=2))["c"]
    assert sorted(zip(found.segments.tolist(), found.labels, strict=True)) == [
        ([0.0, 20.0], "x"),
        ([0.0, 20.0], "y"),
        ([36.0, 40.0], "x"),
        ([36.0, 40.0], "y"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("split", "whole", "twenty"), [(75, 20.3, 26.8), (50, 20.6, 27.2)])
def test_activitynet13_by_habit_alone_is_as_good_as_published_detectors(split, whole, twenty, shared_data):
    """Points of mAP over the ten official splits, true labels given, against an independent measurement of the same."""
    benchmark, found = datasets.load(str(shared_data / "activitynet13"), shared_data), []
    blocked = set(read_json(shared_data / "activitynet13" / "blocked_videos.json"))
    benchmark = replace(benchmark, videos=tuple(video for video in benchmark.videos if video.id not in blocked))
    for split_id in range(10):
        classes = class_split(benchmark.classes, split, split_id)
        videos = benchmark.test_videos(classes.unseen)
        chosen = anchors(benchmark.training_videos(classes.seen), benchmark.tious)
        rows = (anchored(videos, places) for places in (WHOLE, chosen))
        tables = (class_table(videos, row, classes.unseen, benchmark.tious) for row in rows)
        found.append([means(table, benchmark.tious)["mAP"] for table in tables])
    ours = 100 * torch.tensor(found, dtype=torch.float64).mean(dim=0)
    assert ours.tolist() == pytest.approx([whole, twenty], abs=0.3)


def test_a_linear_probe_finds_the_direction_that_tells_actions_apart_and_nothing_in_noise():
    torch.manual_seed(0)
    inside = torch.arange(400) % 4 == 0
    features = torch.randn(400, 8) + 2 * inside[:, None] * torch.eye(8)[3]
    new, noise = torch.randn(200, 8), torch.randn(400, 8)
    shown = new + 2 * torch.eye(8)[3]
    probe = linear_probe(features, inside)
    assert (probe(shown) > probe(new)).float().mean() > 0.95 and 0 <= probe(shown).min() and probe(shown).max() <= 1
    both, kinds = torch.cat([shown, new])[:, None], torch.arange(400) < 200
    assert discrimination(probe(both[:, 0])[:, None], kinds).item() > 0.75
    assert abs(discrimination(linear_probe(noise, inside)(torch.randn(400, 8))[:, None], inside).item() - 0.5) < 0.1


def test_discrimination_is_the_share_of_pairs_in_order_with_equal_ones_half():
    scores, inside = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), torch.tensor([1, 1, 0, 0]).bool()
    assert discrimination(scores, inside).tolist() == [(1 + 1 + 0.5 + 1) / 4, 0.0]


def test_a_run_that_is_not_above_a_baseline_says_so_and_what_to_try():
    rows = [
        ("blind", "floor", 0.07),
        ("a probe", "baseline", 0.12),
        ("this run", "ours", 0.1),
        ("best", "ceiling", 0.5),
    ]
    table = [{"name": name, "role": role, "mAP": value} for name, role, value in rows]
    said = advice(table)
    assert "(10.0%) is not above the best floor or baseline, a probe (12.0%). " in said and "held_out" in said
    said = advice([row | {"mAP": 0.2} if row["role"] == "ours" else row for row in table])
    assert said == "This run (20.0%) is above the best floor or baseline, a probe (12.0%)."
