"""The benchmarks compare things that give the same numbers, and measure what they say."""

import subprocess
import sys
from pathlib import Path

import batch_speed
import detector_speed
import evaluation_speed
import extraction_speed
import naming_speed
import numpy as np
import pytest
import reference
import torch
from naming_speed import classifier
from standins import Grey, to_tensor

from tadlib.data.batches import collate
from tadlib.data.encoder import Encoder
from tadlib.data.video import snippets
from tadlib.detector.matching import match
from tadlib.evaluation import metrics
from tadlib.ideas.poolings import SUMMARIES

pytestmark = pytest.mark.notebooks

FOLDER = Path(batch_speed.__file__).parent
SMALL = naming_speed.Size(videos=2, proposals=7, snippets=40, classes=3)


def test_benchmarks_need_nothing_of_the_tests():
    names = ", ".join(path.stem for path in FOLDER.glob("*_speed.py"))
    code = f"import sys; sys.path[:0] = [{str(FOLDER)!r}, {str(FOLDER.parents[1])!r}]; import {names}"
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER, check=True)


def test_matching_across_the_batch_finds_the_same_pairs():
    wanted = detector_speed.targets(detector_speed.Size(batch=5, queries=20, actions=7))
    answers = torch.rand(5, 20, 2), torch.randn(5, 20, 1)
    for ours, theirs in zip(match(*answers, wanted), detector_speed.match_across(*answers, wanted), strict=True):
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]


def test_whole_files_hold_the_same_windows(tmp_path):
    found_in = detector_speed.stored(tmp_path)
    batch = collate([found_in[place] for place in detector_speed.places(found_in)])
    assert len({window.video_id for window in batch.windows}) == 16 and not batch.padding.any()
    assert torch.equal(detector_speed.from_whole_files(batch.windows, tmp_path), batch.features)


def test_time_share_and_memory_of_the_detector_are_measured():
    row = detector_speed.measure(detector_speed.Size(snippets=8, batch=1, queries=4))
    assert set(row) == {"step", "step share", "inference", "inference share", "limit", "peak"}
    assert row["step"] > row["inference"] > 0 and 0 < row["step share"] < 1 and row["peak"] > 100


@pytest.mark.parametrize("how", ["mean", "max"])
def test_naming_one_proposal_at_a_time_gives_the_same_logits(how):
    videos, texts = naming_speed.simulated(SMALL)
    classify = classifier(texts, naming_speed.SCALE, pooling=how)
    for video, rows in zip(videos, naming_speed.looped(videos, texts, how), strict=True):
        segments_ix = naming_speed.GRID.snippets(video.proposals.segments)
        ours = classify(torch.from_numpy(video.features), segments_ix)
        torch.testing.assert_close(torch.cat(rows), ours, rtol=1e-5, atol=1e-5)


def test_every_way_of_pooling_names_everything_and_a_loop_is_timed_where_a_summary_is_all():
    videos, texts = naming_speed.simulated(SMALL)
    for options in naming_speed.WAYS.values():
        found = naming_speed.named(videos, texts, options)
        assert [len(each.scores) for each in found] == [7 * 3] * 2
    lines = list(naming_speed.measure(SMALL))
    assert len(lines) == len(naming_speed.WAYS)
    assert sum("times ours" in line for line in lines) == sum(way in SUMMARIES for way in naming_speed.WAYS) == 2


def test_the_peers_of_map_give_the_same_numbers():
    rows = evaluation_speed.simulated(videos=8, per_video=30, classes=3, actions=4)
    ours = metrics.precision_table(rows, (0.3, 0.5))
    for peer in (evaluation_speed.frames_precision, reference.precision_table):
        np.testing.assert_allclose(peer(rows, (0.3, 0.5)), ours, rtol=0, atol=1e-12)
    part = evaluation_speed.some_classes(rows, 100)
    assert part.classes == 1 and len(part.predictions.label) == (rows.predictions.label == 0).sum()


@pytest.mark.slow
def test_every_measurement_of_the_evaluation_prints_its_lines():
    for measure in ("measure_precision", "measure_recall", "measure_nms"):
        assert all(" us each" in line for line in getattr(evaluation_speed, measure)("THUMOS14 size"))
    assert "times ours" in evaluation_speed.measure_epoch()[1] and len(evaluation_speed.measure_growth()) == 4


def test_every_part_of_extraction_is_measured_on_a_clip_that_moves(tmp_path):
    path = extraction_speed.clip(tmp_path / "clip.mp4", frames=40, size=(160, 100))
    first, second = list(snippets(path, 4, 30.0))[:2]
    assert np.abs(first.astype(int) - second).mean() > 3
    encoder = Encoder("grey", Grey(), to_tensor, None, torch.device("cpu"), torch.float32)
    measured = extraction_speed.parts(path, encoder)
    assert measured["features"] == 5
    assert all(measured[name] >= 0 for name in ("decode", "preprocess", "encode")) and measured["decode"] > 0
    assert extraction_speed.alone(path, encoder) > 0
