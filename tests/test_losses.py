"""Losses: known values, and what they are divided by."""

import math

import pytest
import torch
from detectors import FIRST_HALF, FOUR_AND_TWO, answered, batch, losses, target

from tadlib.data.batches import Target
from tadlib.detector.additions import Outputs
from tadlib.detector.losses import COSINE_SCALE, DetectionLoss, class_logits
from tadlib.detector.targets import counted, inside

SURE = 30.0  # a logit whose sigmoid is 1
TERMS = {"loss_class", "loss_l1", "loss_giou", "matched_tiou", "matches", "loss"}
ONLY_L1, ONLY_GIOU = ({"loss_class": 0.0, "loss_l1": l1, "loss_giou": 1.0 - l1} for l1 in (1.0, 0.0))


def random_outputs(windows: int, queries: int, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    segments_cw = torch.rand(windows, queries, 2, generator=generator)
    return Outputs(segments_cw, torch.randn(windows, queries, generator=generator))


def numbers(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def test_a_perfect_answer_costs_nothing():
    outputs = answered([[0.2, 0.1], [0.7, 0.4], [0.5, 0.3]], [SURE, SURE, -SURE])
    terms = numbers(losses(outputs, target((0.7, 0.4), (0.2, 0.1))))
    expected = dict.fromkeys(TERMS, 0.0) | {"matched_tiou": 1.0, "matches": 1.0}
    assert terms == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("found", "wanted", "giou", "l1", "tiou"),
    [
        ((0.1, 0.2), (0.9, 0.2), 1 + 0.6, 0.8, 0.0),  # [0, 0.2] and [0.8, 1]: one plus the gap over the hull
        ((0.2, 0.4), (0.4, 0.4), 1 - 0.2 / 0.6, 0.2, 0.2 / 0.6),  # [0, 0.4] and [0.2, 0.6]: what tIoU lacks
    ],
)
def test_what_a_segment_beside_an_action_costs(found, wanted, giou, l1, tiou):
    terms = numbers(losses(answered([list(found)], [0.0]), target(wanted)))
    assert (terms["loss_giou"], terms["loss_l1"], terms["matched_tiou"]) == pytest.approx((giou, l1, tiou))


def test_what_lies_outside_the_window_has_a_gradient():
    segments_cw = torch.tensor([[[0.95, 0.4]]], requires_grad=True)  # ends at 1.15
    losses(Outputs(segments_cw, torch.zeros(1, 1)), target((0.9, 0.2)), **ONLY_L1)["loss"].backward()
    assert segments_cw.grad.tolist() == [[[1.0, 1.0]]]


def test_the_class_loss_of_known_answers_is_known():
    outputs = answered([[0.5, 0.2], [0.9, 0.1]], [0.0, 0.0])
    terms = losses(outputs, target((0.5, 0.2)))
    assert float(terms["loss_class"]) == pytest.approx(0.25 * math.log(2))  # one positive 0.25, one negative 0.75


def test_a_window_without_actions_only_lowers_scores():
    outputs = Outputs(torch.full((1, 2, 2), 0.5, requires_grad=True), torch.zeros(1, 2, requires_grad=True))
    terms = losses(outputs, target())
    expected = dict.fromkeys(TERMS, 0.0) | {"loss_class": 2 * 0.75 * 0.25 * math.log(2)}
    assert numbers(terms) == pytest.approx(expected | {"loss": 3 * expected["loss_class"]})
    terms["loss"].backward()
    assert outputs.actionness_logits.grad.min() > 0
    assert outputs.segments_cw.grad is None or outputs.segments_cw.grad.abs().max() == 0


def test_terms_are_divided_by_the_actions_of_the_whole_batch():
    outputs = random_outputs(3, 4)
    targets = [target((0.2, 0.1), (0.6, 0.3)), target(), target((0.5, 0.5))]
    together = numbers(losses(outputs, *targets))
    ones = [Outputs(outputs[0][n : n + 1], outputs[1][n : n + 1]) for n in range(3)]
    each = [numbers(losses(found, wanted)) for found, wanted in zip(ones, targets, strict=True)]
    assert together == pytest.approx({name: (2 * each[0][name] + each[1][name] + each[2][name]) / 3 for name in TERMS})
    # and of all batches of an optimiser step, of which each adds its part
    parts = [batch(targets[:1]), batch(targets[1:])]
    found = [Outputs(outputs[0][:1], outputs[1][:1]), Outputs(outputs[0][1:], outputs[1][1:])]
    parts = [part._replace(step=tuple(parts)) for part in parts]
    steps = [numbers(DetectionLoss()(*pair)) for pair in zip(found, parts, strict=True)]
    assert together == pytest.approx({name: steps[0][name] + steps[1][name] for name in TERMS})


def test_terms_are_means_over_layers_unless_only_the_last_is_asked_for():
    layers, targets = [random_outputs(2, 4, seed) for seed in range(3)], [target((0.2, 0.1)), target((0.5, 0.5))]
    outputs = layers[0]._replace(earlier=tuple(layers[1:]))
    each = [numbers(losses(layer, *targets)) for layer in layers]
    mean = {name: sum(terms[name] for terms in each) / 3 for name in TERMS}
    assert numbers(losses(outputs, *targets)) == pytest.approx(mean)
    assert numbers(losses(outputs, *targets, aux_loss=False)) == pytest.approx(each[0])
    assert each[0]["loss"] != pytest.approx(mean["loss"])


def test_the_loss_is_the_weighted_sum_of_its_terms_which_are_only_for_looking_at():
    outputs, weights = random_outputs(1, 4), {"loss_class": 0.5, "loss_l1": 3.0, "loss_giou": 7.0}
    outputs.segments_cw.requires_grad_()
    terms = losses(outputs, target((0.5, 0.4)), **weights)
    assert [name for name, term in terms.items() if term.requires_grad] == ["loss"]
    assert terms["loss"].item() == pytest.approx(sum(weight * terms[name].item() for name, weight in weights.items()))


@pytest.mark.parametrize("weighted", ["cost_class", "cost_l1", "cost_giou"])
def test_every_part_of_the_cost_has_a_weight(weighted):
    # the surest query, the nearest centre and width, and the best overlap are three different ones
    segments_cw = [[0.9, 0.2], [0.30, 0.02], [0.33, 0.38]]
    outputs = answered(segments_cw, [4.0, 0.0, 0.0])
    weights = dict.fromkeys(("cost_class", "cost_l1", "cost_giou"), 0.0) | {weighted: 1.0}
    l1 = {"cost_class": 0.6, "cost_l1": 0.18, "cost_giou": 0.21}  # of that query
    found = losses(outputs, target((0.3, 0.2)), **weights)["loss_l1"]
    assert float(found) == pytest.approx(l1[weighted], abs=1e-6)


def test_without_texts_the_logit_is_the_actionness():
    assert class_logits(answered([[0.5, 0.5]] * 2, [1.0, -2.0]), None).tolist() == [[[1.0], [-2.0]]]


def test_with_texts_the_logit_is_actionness_plus_scaled_cosine():
    embeddings = torch.tensor([[[3.0, 0.0], [0.0, -2.0]]])
    outputs = answered([[0.5, 0.5]] * 2, [1.0, 0.0], embeddings=embeddings)
    logits = class_logits(outputs, torch.tensor([[5.0, 0.0], [0.0, 7.0], [1.0, 1.0]]))
    half = COSINE_SCALE * math.sqrt(0.5)
    assert logits[0, 0].tolist() == pytest.approx([1 + COSINE_SCALE, 1, 1 + half])
    assert logits[0, 1].tolist() == pytest.approx([0, -COSINE_SCALE, -half])


def test_queries_that_are_classified_with_text_need_texts():
    outputs = answered([[0.5, 0.5]], [0.0], embeddings=torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match="queries are classified with text"):
        class_logits(outputs, None)


def ignoring(*rows: tuple[float, float]) -> Target:
    """The first half is to be found, these segments are to be ignored."""
    return FIRST_HALF._replace(ignored_cw=torch.tensor(rows).reshape(-1, 2))


def test_a_query_on_an_ignored_action_is_no_mistake_unless_it_hardly_touches_it():
    outputs = answered([[0.25, 0.5], [0.75, 0.3]], [3.0, 2.0])
    blamed, spared, same = (
        losses(outputs, wanted)["loss_class"].item()
        for wanted in (FIRST_HALF, ignoring((0.75, 0.4)), ignoring((0.95, 0.1)))
    )
    only = losses(answered([[0.25, 0.5]], [3.0]), FIRST_HALF)["loss_class"].item()
    assert spared == pytest.approx(only) and blamed > 10 * spared and same == blamed


def test_snippets_that_an_action_touches_are_inside():
    # of four snippets [0.3, 0.6] touches the second and third; of two both
    wanted = [target((0.45, 0.3)), target((0.45, 0.3))]
    assert inside(wanted, FOUR_AND_TWO).tolist() == [[False, True, True, False], [True, True, False, False]]
    ends = inside([FIRST_HALF, target()], FOUR_AND_TWO)
    assert ends.tolist() == [[True, True, False, False], [False] * 4], "one that ends there does not touch the next"


def test_ignored_snippets_count_neither_way_unless_an_action_is_there_too():
    wanted = [ignoring((0.9, 0.2), (0.1, 0.2)), ignoring()]
    assert counted(wanted, FOUR_AND_TWO).tolist() == [[True, True, True, False], [True, True, False, False]]


def test_one_query_and_one_action_of_no_length_give_finite_losses_and_gradients():
    segments_cw = torch.tensor([[[0.5, 0.0]]], requires_grad=True)
    terms = losses(Outputs(segments_cw, torch.zeros(1, 1)), target((0.5, 0.0)))
    terms["loss"].backward()
    assert all(value.isfinite() for value in terms.values()) and segments_cw.grad.isfinite().all()
