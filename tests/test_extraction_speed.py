"""The benchmark of extraction measures what it says."""

import time

import numpy as np
import pytest
import torch
from test_features import Grey, to_tensor

from tadlib.data import benchmark
from tadlib.data.encoder import Encoder
from tadlib.data.video import snippets


def test_every_part_is_measured_on_every_wanted_frame(tmp_path):
    path = benchmark.clip(tmp_path / "clip.mp4", frames=40, size=(160, 100))
    encoder = Encoder("grey", Grey(), to_tensor, None, torch.device("cpu"), torch.float32)
    measured = benchmark.parts(path, encoder)
    assert measured["features"] == 5
    assert all(measured[name] >= 0 for name in ("decode", "preprocess", "encode")) and measured["decode"] > 0
    assert benchmark.alone(path, encoder) > 0


def test_the_made_clip_moves(tmp_path):
    frames = list(snippets(benchmark.clip(tmp_path / "clip.mp4", frames=9, size=(160, 100)), 4, 30.0))
    assert len(frames) == 3 and np.abs(frames[0].astype(int) - frames[1]).mean() > 3


def test_cpu_seconds_are_those_of_the_work():
    idle, _ = benchmark.timed(lambda: time.sleep(0.5))
    seconds, total = benchmark.timed(lambda: sum(range(2_000_000)))
    assert total == 1999999000000 and seconds > idle, "who sleeps does not work"


@pytest.mark.slow
def test_the_encoder_takes_nearly_all_of_the_time(tmp_path):
    path = benchmark.clip(tmp_path / "clip.mp4", frames=160)
    lines = benchmark.report(path, frames=160)
    assert [line.split()[0] for line in lines[:3]] == ["decode", "preprocess", "encode"]
    assert float(lines[2].split()[-1].rstrip("%")) > 95
    assert "encoder 35.1 GFLOP a feature" in lines[-1]
    assert "bfloat16 multiplies" in lines[-2]
