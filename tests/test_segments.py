"""Geometry of segments: what one group at a time gives, all groups at once give."""

import pytest
import torch

from tadlib import segments


def crowd(number, groups, seed=0):
    torch.manual_seed(seed)
    start = 100 * torch.rand(number, dtype=torch.float64)
    spans = torch.stack([start, start + 20 * torch.rand(number, dtype=torch.float64)], dim=1)
    return spans, torch.rand(number, dtype=torch.float64), torch.randint(0, groups, (number,))


@pytest.mark.parametrize(("number", "groups"), [(0, 1), (1, 1), (40, 1), (300, 7), (300, 250), (300, 1000)])
def test_soft_nms_of_groups_is_soft_nms_of_each(number, groups):
    spans, scores, group = crowd(number, groups)
    expected = scores.clone()
    for each in group.unique():
        expected[group == each] = segments.soft_nms(spans[group == each], scores[group == each])
    torch.testing.assert_close(segments.soft_nms_of_groups(spans, scores, group), expected, rtol=0, atol=1e-12)


def test_groups_in_portions_are_groups_at_once(monkeypatch):
    spans, scores, group = crowd(300, 60)
    whole = segments.soft_nms_of_groups(spans, scores, group)
    monkeypatch.setattr(segments, "SIDE_BY_SIDE", 10)
    torch.testing.assert_close(segments.soft_nms_of_groups(spans, scores, group), whole, rtol=0, atol=0)


def test_the_best_of_a_group_keeps_its_score_and_a_copy_of_it_falls():
    spans = torch.tensor([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]])
    lowered = segments.soft_nms_of_groups(spans, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 1, 2]), sigma=0.5)
    torch.testing.assert_close(lowered, torch.tensor([0.9, 0.8 * 0.1353353, 0.7]))  # exp(-1 / 0.5)
