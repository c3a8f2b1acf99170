"""The detector's benchmark compares like with like: what is timed beside ours gives the same."""

import torch

from tadlib.data.batches import collate
from tadlib.detector import benchmark
from tadlib.detector.matching import match


def test_matching_across_the_batch_finds_the_same_pairs():
    wanted = benchmark.targets(benchmark.Size(batch=5, queries=20, actions=7))
    answers = torch.rand(5, 20, 2), torch.randn(5, 20, 1)
    for ours, theirs in zip(match(*answers, wanted), benchmark.match_across(*answers, wanted), strict=True):
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]


def test_whole_files_hold_the_same_windows(tmp_path):
    found_in = benchmark.stored(tmp_path)
    batch = collate([found_in[place] for place in benchmark.places(found_in)])
    assert len({window.video_id for window in batch.windows}) == 16 and not batch.padding.any()
    assert torch.equal(benchmark.from_whole_files(batch.windows, tmp_path), batch.features)
