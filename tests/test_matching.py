"""Matching: every small case against all assignments tried one by one."""

import itertools
import math

import pytest
import torch
from detectors import random_case, target

from tadlib.data.batches import Target
from tadlib.detector.matching import focal_cost, match


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


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("queries", "classes"), [(1, 1), (3, 1), (5, 1), (5, 4)])
def test_matching_is_what_trying_all_assignments_finds(queries, classes, seed):
    segments_cw, logits, targets = random_case(queries, [0, 1, 3, 4], classes, seed)
    pairs = match(segments_cw, logits, targets)
    expected = [cheapest(*window) for window in zip(segments_cw, logits, targets, strict=True)]
    assert [as_set(pair) for pair in pairs] == expected


def test_each_action_takes_the_query_that_lies_on_it():
    segments_cw = torch.tensor([[[0.9, 0.1], [0.5, 0.2], [0.2, 0.3]]])
    ((query_ix, target_ix),) = match(segments_cw, torch.zeros(1, 3, 1), [target((0.21, 0.3), (0.88, 0.1))])
    assert (query_ix.tolist(), target_ix.tolist()) == ([0, 2], [1, 0])


def test_between_equal_segments_the_surer_query_is_taken():
    segments_cw = torch.tensor([[[0.5, 0.2]] * 3])
    ((query_ix, _),) = match(segments_cw, torch.tensor([[[-1.0], [2.0], [0.0]]]), [target((0.5, 0.2))])
    assert query_ix.tolist() == [1]


def test_between_equal_segments_the_label_decides():
    segments_cw = torch.tensor([[[0.5, 0.2]] * 2])
    logits = torch.tensor([[[5.0, -5.0], [-5.0, 5.0]]])
    ((query_ix, target_ix),) = match(segments_cw, logits, [target((0.5, 0.2), (0.5, 0.2), labels=(1, 0))])
    assert dict(zip(query_ix.tolist(), target_ix.tolist(), strict=True)) == {0: 1, 1: 0}


def test_no_query_and_no_action_is_matched_twice():
    segments_cw, logits, targets = random_case(40, [7, 40, 12], 1, seed=3)
    for (query_ix, target_ix), wanted in zip(match(segments_cw, logits, targets), targets, strict=True):
        assert len(query_ix.unique()) == len(query_ix) == len(wanted.labels_ix)
        assert sorted(target_ix.tolist()) == list(range(len(wanted.labels_ix)))


def test_a_window_without_actions_is_matched_to_nothing():
    segments_cw, logits, _ = random_case(3, [0, 0], 1, seed=0)
    pairs = match(segments_cw, logits, [target(), target((0.5, 0.1))])
    assert [[len(query_ix), len(target_ix)] for query_ix, target_ix in pairs] == [[0, 0], [1, 1]]
    assert pairs[0][0].dtype == pairs[0][1].dtype == torch.int64


def test_a_batch_without_any_action_is_matched_to_nothing():
    segments_cw, logits, _ = random_case(3, [0, 0], 1, seed=0)
    assert [as_set(pair) for pair in match(segments_cw, logits, [target(), target()])] == [set(), set()]


def test_with_more_actions_than_queries_every_query_gets_one():
    segments_cw, logits, targets = random_case(5, [100], 1, seed=0)
    ((query_ix, target_ix),) = match(segments_cw, logits, targets)
    assert query_ix.tolist() == [0, 1, 2, 3, 4]
    assert len(set(target_ix.tolist())) == 5


def test_the_other_windows_of_a_batch_do_not_matter():
    segments_cw, logits, targets = random_case(6, [2, 5, 0, 3], 2, seed=1)
    together = match(segments_cw, logits, targets)
    for place in range(4):
        one = slice(place, place + 1)
        assert as_set(match(segments_cw[one], logits[one], targets[one])[0]) == as_set(together[place])


def test_half_precision_answers_are_matched_like_whole_ones():
    segments_cw, logits, targets = random_case(6, [3], 1, seed=1)
    halves = segments_cw.bfloat16(), logits.bfloat16()
    ((query_ix, target_ix),) = match(*halves, targets)
    assert as_set((query_ix, target_ix)) == as_set(match(*(half.float() for half in halves), targets)[0])


def test_segments_without_length_are_matched():
    ((query_ix, target_ix),) = match(torch.tensor([[[0.5, 0.0]]]), torch.zeros(1, 1, 1), [target((0.5, 0.0))])
    assert (query_ix.tolist(), target_ix.tolist()) == ([0], [0])


def test_another_cost_finds_other_pairs():
    segments_cw, logits, targets = random_case(4, [4, 2], 1, seed=0)
    wanted = [[(3, 0), (2, 1), (1, 2), (0, 3)], [(3, 0), (2, 1)]]

    def backwards(segments_cw, logits, wanted_cw, labels_ix):
        queries, actions = torch.arange(4)[:, None], torch.arange(wanted_cw.shape[1])
        return (queries + actions - 3).abs().expand(len(segments_cw), -1, -1).float()

    assert [as_set(pair) for pair in match(segments_cw, logits, targets, backwards)] == list(map(set, wanted))


def test_answers_that_are_not_finite_are_refused():
    segments_cw, logits, targets = random_case(4, [2], 1, seed=0)
    with pytest.raises(FloatingPointError, match="the network's outputs are NaN or infinite"):
        match(segments_cw, logits * torch.nan, targets)


def test_matching_leaves_no_trace_for_gradients():
    segments_cw, logits, targets = random_case(4, [2], 1, seed=0)
    match(segments_cw.requires_grad_(), logits.requires_grad_(), targets)
    assert segments_cw.grad is None and logits.grad is None


def test_the_focal_cost_of_a_coin_flip_is_known():
    assert focal_cost(torch.tensor(0.0)).item() == pytest.approx((0.25 - 0.75) * 0.25 * math.log(2))  # -0.0866


def test_a_surer_query_always_costs_less():
    assert focal_cost(torch.linspace(-10, 10, 50)).diff().max() < 0
    assert focal_cost(torch.tensor([-200.0, 200.0])).isfinite().all()
