"""The naming benchmark compares things that give the same numbers, and its test set has the size it says."""

import pytest
import torch

from tadlib.naming import benchmark
from tadlib.naming.pooling import SUMMARIES, Pooling, segment_logits

SMALL = benchmark.Size(videos=2, proposals=7, snippets=40, classes=3)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_one_proposal_at_a_time_gives_our_logits(how):
    videos, texts = benchmark.simulated(SMALL)
    for video, rows in zip(videos, benchmark.looped(videos, texts, how), strict=True):
        ours = segment_logits(
            video.features, video.proposals.segments, benchmark.GRID, benchmark.compare(texts), Pooling(how)
        )
        torch.testing.assert_close(torch.cat(rows), ours, rtol=1e-5, atol=1e-5)


def test_the_simulated_set_has_its_size_and_every_way_names_all_of_it():
    videos, texts = benchmark.simulated(SMALL)
    assert (len(videos), len(texts), len(videos[0].features)) == (2, 3, 40)
    for options in benchmark.WAYS.values():
        found = benchmark.named(videos, texts, options)
        assert [len(each.scores) for each in found] == [7 * 3] * 2


def test_a_loop_is_timed_where_a_summary_is_all():
    lines = list(benchmark.measure(SMALL))
    assert len(lines) == len(benchmark.WAYS)
    assert sum("times ours" in line for line in lines) == sum(way in SUMMARIES for way in benchmark.WAYS) == 2
