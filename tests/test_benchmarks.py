"""The benchmarks compare things that give the same numbers, and measure what they say."""

import math
import subprocess
import sys
import time
from pathlib import Path

import batch_speed
import calibration
import detector_speed
import evaluation_speed
import extraction_speed
import instant
import naming_speed
import numpy as np
import pytest
import reference
import torch
from naming_speed import classifier
from standins import Grey, to_tensor

from tadlib import machine
from tadlib.data.batches import collate
from tadlib.data.encoder import Encoder
from tadlib.data.video import snippets
from tadlib.detector.matching import match
from tadlib.evaluation import metrics
from tadlib.ideas.poolings import SUMMARIES
from tadlib.workbook import runs

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


@pytest.mark.parametrize(("name", "predictions"), [("THUMOS14 size", 42_600), ("ActivityNet size", 472_800)])
def test_a_simulated_result_has_its_size_and_is_neither_hopeless_nor_perfect(name, predictions):
    rows = evaluation_speed.simulated(**evaluation_speed.SIZES[name])
    assert len(rows.predictions.label) == predictions
    assert 0.02 < metrics.precision_table(rows, (0.5,)).mean() < 0.6


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


def test_cpu_seconds_are_those_of_the_work():
    idle, _ = extraction_speed.timed(lambda: time.sleep(0.5))
    seconds, total = extraction_speed.timed(lambda: sum(range(2_000_000)))
    assert total == 1999999000000 and seconds > idle, "sleeping is no work"


@pytest.mark.slow
def test_the_encoder_takes_nearly_all_of_the_time(tmp_path):
    lines = extraction_speed.report(extraction_speed.clip(tmp_path / "clip.mp4", frames=160), frames=160)
    assert [line.split()[0] for line in lines[:3]] == ["decode", "preprocess", "encode"]
    assert float(lines[2].split()[-1].rstrip("%")) > 95
    assert "encoder 35.1 GFLOP a feature" in lines[-1] and "bfloat16 multiplies" in lines[-2]


def test_a_batch_trains_names_and_evaluates_every_run_and_says_which_one_fails(tmp_path, monkeypatch):
    instant.project(tmp_path)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.setattr("tadlib.workbook.stage_store.execute_notebook", instant.execute)
    monkeypatch.setattr(runs, "device_name", lambda device: device)
    for jobs in (1, 2):
        (tmp_path / "calls").unlink(missing_ok=True)
        assert batch_speed.batch(3, jobs, {"split": 50}) > 0
        calls = (tmp_path / "calls").read_text()
        assert [calls.count(f"end {stage}") for stage in ("train", "classify", "evaluate")] == [3, 3, 3]
    (tmp_path / "notebooks" / "train.ipynb").write_text("fail")
    with pytest.raises(RuntimeError, match=r"seed-\d+ failed in train: KeyError: bad: see .*seed-\d+"):
        batch_speed.batch(1, 1, {})


def test_the_cores_are_divided_among_the_runs(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert batch_speed.told(2, 50.0, 85.0) == "4 runs, 2 at a time, threads each: 4: 50.0 s, 1.70 times as fast"


@pytest.mark.slow
def test_real_batches_are_measured(tiny, capsys):
    assert batch_speed.main([f"{name}={value}" for name, value in tiny.items()]) in (0, 1)
    alone, together = capsys.readouterr().out.splitlines()[1:]
    assert "1.00 times as fast" in alone and "2 at a time" in together


def test_a_fact_of_the_calibration_is_a_mean_a_difference_or_a_share_over_what_was_measured():
    records = {("a", 75, 0): {"x": 2.0, "y": 1.0}, ("a", 75, 1): {"x": 4.0, "y": 1.0}, ("b", 75, 1): {"y": 8.0}}
    of, found = {"of": ["a", 75, "x"]}, calibration.simulated
    assert found(records, of) == 3.0 and found(records, of | {"split_id": 1}) == 4.0
    assert found(records, of | {"minus": ["b", 75, "y"]}) == -4.0
    assert found(records, of | {"share_of": ["a", 75, "y"]}) == 300.0
    assert math.isnan(found(records, {"of": ["a", 50, "x"]}))
    jobs = {(what, split) for what, split, _ in calibration.JOBS}
    for fact in calibration.ASKED["facts"]:
        assert {tuple(fact[name][:2]) for name in ("of", "minus", "share_of") if name in fact} <= jobs, fact["fact"]
