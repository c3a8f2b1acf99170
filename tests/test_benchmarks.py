"""The benchmarks compare things that give the same numbers, and measure what they say."""

import math
import re
from pathlib import Path

import batch_speed
import calibration
import detector_speed
import pytest
import torch

from tadlib.data.batches import collate
from tadlib.detector.matching import match

pytestmark = pytest.mark.notebooks
FOLDER = Path(batch_speed.__file__).parent


def test_benchmarks_need_nothing_of_the_tests():
    ours = {path.stem for path in FOLDER.parent.glob("*.py")}
    for path in FOLDER.glob("*_speed.py"):
        assert not ours & set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))


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


def test_a_fact_of_the_calibration_is_a_mean_a_difference_or_a_share_over_what_was_measured():
    # two seeds of class split 1, one of split 0
    records = {("a", 75, 0, 0): {"x": 2.0, "y": 1.0}, ("a", 75, 1, 0): {"x": 4.0, "y": 1.0}}
    records |= {("a", 75, 1, 1): {"x": 6.0, "y": 3.0}, ("b", 75, 1, 0): {"y": 8.0}}
    of, found = {"of": ["a", 75, "x"]}, calibration.simulated
    assert found(records, of) == 3.5 and found(records, of | {"split_id": 1}) == 5.0
    assert found(records, of | {"minus": ["b", 75, "y"]}) == -4.0
    assert found(records, of | {"share_of": ["a", 75, "y"]}) == 250.0
    assert math.isnan(found(records, {"of": ["a", 50, "x"]}))
    jobs = {(what, split) for what, split, *_ in calibration.JOBS}
    for fact in calibration.ASKED["facts"]:
        assert {tuple(fact[name][:2]) for name in ("of", "minus", "share_of") if name in fact} <= jobs, fact["fact"]
