"""Losses: known values, and what they are divided by."""

import math

import pytest
import torch
from standins import answers, target

from tadlib.data.batches import Target
from tadlib.detector.losses import COSINE_SCALE, class_logits, detection_losses, focal_loss
from tadlib.detector.network import Outputs

SURE = 30.0  # a logit whose sigmoid is 1
TERMS = {"loss_class", "loss_l1", "loss_giou", "matched_tiou"}


def random_outputs(windows: int, queries: int, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    segments_cw = torch.rand(windows, queries, 2, generator=generator)
    return Outputs(segments_cw, torch.randn(windows, queries, generator=generator), None)


def numbers(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def test_the_focal_loss_of_a_coin_flip_is_known():
    logits = torch.zeros(1)
    assert focal_loss(logits, torch.ones(1)).item() == pytest.approx(0.25 * 0.25 * math.log(2))  # 0.0433
    assert focal_loss(logits, torch.zeros(1)).item() == pytest.approx(0.75 * 0.25 * math.log(2))  # 0.1300


def test_the_focal_loss_is_a_sum():
    assert focal_loss(torch.zeros(2, 3), torch.ones(2, 3)).item() == pytest.approx(6 * 0.25 * 0.25 * math.log(2))


def test_what_is_already_right_hardly_counts():
    right, wrong = focal_loss(torch.tensor([4.0]), torch.ones(1)), focal_loss(torch.tensor([-4.0]), torch.ones(1))
    assert wrong / right > 1e5  # 221 times as much without the focus


def test_a_perfect_answer_costs_nothing():
    outputs = answers([[0.2, 0.1], [0.7, 0.4], [0.5, 0.3]], [SURE, SURE, -SURE])
    terms = numbers(detection_losses(outputs, [target((0.7, 0.4), (0.2, 0.1))]))
    expected = {"loss_class": 0.0, "loss_l1": 0.0, "loss_giou": 0.0, "matched_tiou": 1.0}
    assert terms == pytest.approx(expected, abs=1e-6)


def test_a_disjoint_answer_costs_one_plus_gap_over_hull():
    terms = detection_losses(answers([[0.1, 0.2]], [0.0]), [target((0.9, 0.2))])  # [0, 0.2] and [0.8, 1]
    assert float(terms["loss_giou"]) == pytest.approx(1 + 0.6)
    assert float(terms["loss_l1"]) == pytest.approx(0.8)
    assert float(terms["matched_tiou"]) == 0


def test_a_disjoint_answer_still_learns_where_to_go():
    segments_cw = torch.tensor([[[0.1, 0.2]]], requires_grad=True)
    outputs = Outputs(segments_cw, torch.zeros(1, 1), None)
    detection_losses(outputs, [target((0.9, 0.2))])["loss_giou"].backward()
    assert segments_cw.grad[0, 0, 0] < 0  # a centre further right costs less


def test_a_half_overlapping_answer_costs_what_tiou_lacks():
    terms = detection_losses(answers([[0.2, 0.4]], [0.0]), [target((0.4, 0.4))])  # [0, 0.4] and [0.2, 0.6]
    assert float(terms["loss_giou"]) == pytest.approx(1 - 0.2 / 0.6)
    assert float(terms["matched_tiou"]) == pytest.approx(0.2 / 0.6)


def test_what_lies_outside_the_window_has_a_gradient():
    segments_cw = torch.tensor([[[0.95, 0.4]]], requires_grad=True)  # ends at 1.15
    detection_losses(Outputs(segments_cw, torch.zeros(1, 1), None), [target((0.9, 0.2))])["loss_l1"].backward()
    assert segments_cw.grad.tolist() == [[[1.0, 1.0]]]


def test_the_class_loss_of_known_answers_is_known():
    outputs = answers([[0.5, 0.2], [0.9, 0.1]], [0.0, 0.0])
    terms = detection_losses(outputs, [target((0.5, 0.2))])
    assert float(terms["loss_class"]) == pytest.approx(0.25 * math.log(2))  # one positive 0.25, one negative 0.75


def test_a_window_without_actions_only_lowers_scores():
    outputs = Outputs(torch.full((1, 2, 2), 0.5, requires_grad=True), torch.zeros(1, 2, requires_grad=True), None)
    terms = detection_losses(outputs, [target()])
    assert numbers(terms) == pytest.approx(
        {"loss_class": 2 * 0.75 * 0.25 * math.log(2), "loss_l1": 0.0, "loss_giou": 0.0, "matched_tiou": 0.0}
    )
    sum(terms[name] for name in ("loss_class", "loss_l1", "loss_giou")).backward()
    assert outputs.actionness_logits.grad.min() > 0
    assert outputs.segments_cw.grad is None or outputs.segments_cw.grad.abs().max() == 0


@pytest.mark.parametrize("queries", [5, 120])
def test_a_hundred_actions_give_finite_losses(queries):
    generator = torch.Generator().manual_seed(1)
    wanted = Target(torch.rand(100, 2, generator=generator), torch.zeros(100, dtype=torch.int64))
    terms = detection_losses(random_outputs(1, queries), [wanted])
    assert terms.keys() == TERMS and all(value.isfinite() for value in terms.values())


def test_one_query_and_one_action_of_no_length_give_finite_losses_and_gradients():
    segments_cw = torch.tensor([[[0.5, 0.0]]], requires_grad=True)
    terms = detection_losses(Outputs(segments_cw, torch.zeros(1, 1), None), [target((0.5, 0.0))])
    (terms["loss_l1"] + terms["loss_giou"]).backward()
    assert all(value.isfinite() for value in terms.values()) and segments_cw.grad.isfinite().all()


def test_terms_are_divided_by_the_actions_of_the_whole_batch():
    outputs = random_outputs(3, 4)
    targets = [target((0.2, 0.1), (0.6, 0.3)), target(), target((0.5, 0.5))]
    together = numbers(detection_losses(outputs, targets))
    each = [
        numbers(detection_losses(Outputs(outputs[0][one], outputs[1][one], None), targets[one]))
        for one in (slice(0, 1), slice(1, 2), slice(2, 3))
    ]
    assert together == pytest.approx({name: (2 * each[0][name] + each[1][name] + each[2][name]) / 3 for name in TERMS})


def test_terms_are_means_over_layers():
    layers, targets = [random_outputs(2, 4, seed) for seed in range(3)], [target((0.2, 0.1)), target((0.5, 0.5))]
    together = numbers(detection_losses(layers[0]._replace(earlier=tuple(layers[1:])), targets))
    each = [numbers(detection_losses(layer, targets)) for layer in layers]
    assert together == pytest.approx({name: sum(terms[name] for terms in each) / 3 for name in TERMS})


def test_the_order_of_actions_does_not_matter():
    rows = [(0.2, 0.1), (0.5, 0.5), (0.8, 0.2)]
    one, other = (
        numbers(detection_losses(random_outputs(1, 4), [target(*order)])) for order in (rows, list(reversed(rows)))
    )
    assert one == pytest.approx(other)


def test_the_matched_tiou_is_only_for_looking_at():
    outputs = Outputs(torch.full((1, 2, 2), 0.5, requires_grad=True), torch.zeros(1, 2), None)
    terms = detection_losses(outputs, [target((0.5, 0.4))])
    assert not terms["matched_tiou"].requires_grad and terms["loss_giou"].requires_grad


def test_without_texts_the_logit_is_the_actionness():
    assert class_logits(answers([[0.5, 0.5]] * 2, [1.0, -2.0]), None).tolist() == [[[1.0], [-2.0]]]


def test_with_texts_the_logit_is_actionness_plus_scaled_cosine():
    embeddings = torch.tensor([[[3.0, 0.0], [0.0, -2.0]]])
    outputs = answers([[0.5, 0.5]] * 2, [1.0, 0.0], embeddings=embeddings)
    logits = class_logits(outputs, torch.tensor([[5.0, 0.0], [0.0, 7.0], [1.0, 1.0]]))
    half = COSINE_SCALE * math.sqrt(0.5)
    assert logits[0, 0].tolist() == pytest.approx([1 + COSINE_SCALE, 1, 1 + half])
    assert logits[0, 1].tolist() == pytest.approx([0, -COSINE_SCALE, -half])


def test_queries_that_are_classified_with_text_need_texts():
    outputs = answers([[0.5, 0.5]], [0.0], embeddings=torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match="queries are classified with text"):
        class_logits(outputs, None)


def test_with_texts_the_right_class_is_rewarded():
    embeddings = torch.tensor([[[1.0, 0.0]]])
    outputs = answers([[0.5, 0.5]], [0.0], embeddings=embeddings)
    texts = torch.eye(2)
    right, wrong = (
        float(detection_losses(outputs, [target((0.5, 0.5), labels=(label,))], texts)["loss_class"]) for label in (0, 1)
    )
    assert right < 0.2 and wrong > 5


def test_with_texts_gradients_reach_embeddings_and_actionness():
    outputs = Outputs(
        torch.rand(2, 4, 2, requires_grad=True),
        torch.randn(2, 4, requires_grad=True),
        torch.randn(2, 4, 3, requires_grad=True),
    )
    terms = detection_losses(outputs, [target((0.5, 0.4), labels=(2,)), target()], torch.randn(3, 3))
    sum(terms[name] for name in ("loss_class", "loss_l1", "loss_giou")).backward()
    for part in outputs[1:3]:
        assert part.grad.isfinite().all() and (part.grad.abs().flatten(1).sum(dim=1) > 0).all()
    assert (outputs.segments_cw.grad.abs().sum(-1) > 0).sum() == 1  # only the matched query moves
