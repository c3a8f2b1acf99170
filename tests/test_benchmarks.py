"""The benchmarks compare things that give the same numbers, and measure what they say."""

import re
from pathlib import Path

import batch_speed
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
