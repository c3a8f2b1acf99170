"""Geometry of segments: what one group at a time gives, all groups at once give."""

import numpy as np
import pytest
import reference
import torch

from tadlib import segments


def crowd(number, groups):
    torch.manual_seed(0)
    start = 100 * torch.rand(number, dtype=torch.float64)
    spans = torch.stack([start, start + 20 * torch.rand(number, dtype=torch.float64)], dim=1)
    return spans, torch.rand(number, dtype=torch.float64), torch.randint(0, groups, (number,))


@pytest.mark.parametrize(("number", "groups"), [(0, 1), (1, 1), (40, 1), (300, 7), (300, 250), (300, 1000)])
def test_soft_nms_of_groups_is_soft_nms_of_each(number, groups):
    spans, scores, group = crowd(number, groups)
    expected = scores.clone()
    for each in group.unique():
        expected[group == each] = reference.soft_nms(spans[group == each], scores[group == each])
    torch.testing.assert_close(segments.soft_nms_of_groups(spans, scores, group), expected, rtol=0, atol=1e-12)


def greedy_nms(spans, scores, groups, threshold):
    """Hard NMS by its definition: the best first, and what overlaps none that was kept in its group is kept."""
    kept = {group: [] for group in groups}
    order = np.argsort(-scores, kind="stable")
    for row in order:
        if not (reference.tious_with(spans[row], spans[kept[groups[row]]]) > threshold).any():
            kept[groups[row]].append(row)
    return [row for row in order if row in kept[groups[row]]]


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize(
    ("number", "groups"), [(0, 1), (1, 1), (300, 7), (300, 250), (600, 9000), (5000, 1), (5000, 9)]
)
def test_hard_nms_keeps_what_a_plain_loop_keeps(number, groups, threshold):
    """Ten hours into a video, with equal scores, the same segment often, segments of no length, tIoUs of just 0.5."""
    spans, scores, group = crowd(number, groups)
    spans, scores = 36_000 + spans.mul(4).round() / 4, scores.mul(50).round() / 50
    spans[::7, 1], spans[1::7] = spans[::7, 0], spans[: len(spans[1::7])].clone()
    expected = greedy_nms(spans.numpy(), scores.numpy(), group.numpy(), threshold)
    for dtype in (torch.float64, torch.float32):
        assert segments.nms(spans.to(dtype), scores.to(dtype), group, threshold).tolist() == expected


def test_groups_in_portions_are_groups_at_once(monkeypatch):
    spans, scores, group = crowd(300, 60)
    whole = segments.soft_nms_of_groups(spans, scores, group)
    monkeypatch.setattr(segments, "MAX_BLOCK", 10)
    torch.testing.assert_close(segments.soft_nms_of_groups(spans, scores, group), whole, rtol=0, atol=0)


def plain_roi_align(features, segment, length, bins):
    """One segment of one window, value by value: linear interpolation between the middles of snippets."""
    rows = []
    for number in range(bins):
        at = segment[0] + (number + 0.5) / bins * (segment[1] - segment[0]) - 0.5
        at = min(max(at, 0.0), length - 1.0)
        below = int(at)
        above = min(below + 1, length - 1)
        rows.append(
            [(1 - (at - below)) * a + (at - below) * b for a, b in zip(features[below], features[above], strict=True)]
        )
    return rows


def roi_case(dtype=torch.float64):
    """Three windows of 9, 5 and 1 snippets and four segments in each, some of which stick out or have no length."""
    torch.manual_seed(0)
    features, lengths = torch.randn(3, 9, 4, dtype=dtype), torch.tensor([9, 5, 1])
    spans = torch.tensor([[0.2, 4.9], [2.0, 2.0], [-1.5, 3.3], [0.0, 12.0]], dtype=dtype).repeat(3, 1, 1)
    return features, spans + 0.1 * torch.rand(3, 4, 1, dtype=dtype), lengths


@pytest.mark.parametrize("bins", [1, 3, 16])
def test_roi_align_of_windows_is_what_a_plain_loop_finds(bins):
    features, spans, lengths = roi_case(torch.float32)
    found = segments.roi_align_windows(features, spans, lengths, bins)
    expected = [
        [plain_roi_align(rows.tolist(), span, length, bins) for span in some.tolist()]
        for rows, some, length in zip(features, spans, lengths.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)
    mean = segments.roi_mean_windows(features, spans, lengths, bins)
    torch.testing.assert_close(mean, torch.tensor(expected).mean(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", [segments.roi_align_windows, segments.roi_mean_windows])
def test_gradients_of_roi_align_are_those_of_differences(pool):
    features, spans, lengths = roi_case()
    assert torch.autograd.gradcheck(
        lambda x, s: pool(x, s, lengths, 3), (features.requires_grad_(), spans.requires_grad_()), atol=1e-6
    )


def test_distance_iou_counts_the_distance_of_centres():
    a, b = torch.tensor([[0.0, 4.0], [0.0, 2.0], [1.0, 2.0]]), torch.tensor([[0.0, 4.0], [2.0, 6.0], [0.0, 4.0]])
    # the same; touching, centres 3 apart in a hull of 6; one inside the other, centres 0.5 apart in a hull of 4
    torch.testing.assert_close(segments.diou(a, b), torch.tensor([1.0, -0.25, 0.25 - 0.125**2]))
    torch.testing.assert_close(segments.diou(b, a), segments.diou(a, b))
