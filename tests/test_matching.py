"""Matching: every small case against all assignments tried one by one."""

import itertools
import math

import pytest
import torch
from detectors import random_case, target

from tadlib.data.batches import Target
from tadlib.detector.matching import match


def pair_cost(segment_cw: list[float], logit: float, wanted_cw: list[float]) -> float:
    """The cost of one pair in plain numbers: 2 focal + 5 L1 - 2 gIoU."""
    probability = 1 / (1 + math.exp(-logit))
    focal = 0.25 * (1 - probability) ** 2 * -math.log(probability) - 0.75 * probability**2 * -math.log(1 - probability)
    (a, b), (c, d) = ((centre - width / 2, centre + width / 2) for centre, width in (segment_cw, wanted_cw))
    both = max(0.0, min(b, d) - max(a, c))
    hull, union = max(b, d) - min(a, c), (b - a) + (d - c) - both
    giou = both / union - (hull - union if both == 0 else 0.0) / hull
    return 2 * focal + 5 * (abs(segment_cw[0] - wanted_cw[0]) + abs(segment_cw[1] - wanted_cw[1])) - 2 * giou


def cheapest(segments_cw, logits, wanted: Target) -> set[tuple[int, int]]:
    """The best assignment of one window, by trying all."""
    costs = [
        [
            pair_cost(segment, row[label], action)
            for action, label in zip(*map(torch.Tensor.tolist, wanted[:2]), strict=True)
        ]
        for segment, row in zip(segments_cw.tolist(), logits.tolist(), strict=True)
    ]
    queries, actions = len(costs), len(wanted.labels_ix)
    if queries >= actions:
        choices = (zip(rows, range(actions), strict=True) for rows in itertools.permutations(range(queries), actions))
    else:
        choices = (
            zip(range(queries), columns, strict=True) for columns in itertools.permutations(range(actions), queries)
        )
    return set(min((list(pairs) for pairs in choices), key=lambda pairs: sum(costs[q][a] for q, a in pairs)))


def as_set(pair: tuple[torch.Tensor, torch.Tensor]) -> set[tuple[int, int]]:
    return set(zip(pair[0].tolist(), pair[1].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("queries", "classes"), [(1, 1), (3, 1), (5, 1), (5, 4)])
def test_matching_is_what_trying_all_assignments_finds(queries, classes, seed):
    segments_cw, logits, targets = random_case(queries, [0, 1, 3, 4], classes, seed)
    pairs = match(segments_cw, logits, targets)
    expected = [cheapest(*window) for window in zip(segments_cw, logits, targets, strict=True)]
    assert [as_set(pair) for pair in pairs] == expected


def test_a_batch_without_any_action_is_matched_to_nothing():
    segments_cw, logits, _ = random_case(3, [0, 0], 1, seed=0)
    assert [as_set(pair) for pair in match(segments_cw, logits, [target(), target()])] == [set(), set()]


def test_answers_that_are_not_finite_are_refused():
    segments_cw, logits, targets = random_case(4, [2], 1, seed=0)
    with pytest.raises(FloatingPointError, match="the network's outputs are NaN or infinite"):
        match(segments_cw, logits * torch.nan, targets)
