"""Losses on snippets and on expected quality: known values, and that padding and what is ignored do not count."""

import math

import pytest
import torch
from standins import answers, target

from tadlib.detector import dense
from tadlib.detector.losses import Criterion, detection_losses, snippet_losses

FOUR_AND_TWO = torch.tensor([[False] * 4, [False, False, True, True]])
FIRST_HALF = target((0.25, 0.5))


def test_snippets_that_an_action_touches_are_inside():
    # of four snippets [0.3, 0.6] touches the second and third; of two both
    wanted = [target((0.45, 0.3)), target((0.45, 0.3))]
    assert dense.inside(wanted, FOUR_AND_TWO).tolist() == [[False, True, True, False], [True, True, False, False]]


def test_an_action_that_ends_where_a_snippet_starts_does_not_touch_it():
    assert dense.inside([FIRST_HALF, target()], FOUR_AND_TWO).tolist() == [[True, True, False, False], [False] * 4]


def test_the_focal_salience_of_coin_flips_is_known():
    loss = dense.salience_loss(torch.zeros(2, 4), [FIRST_HALF, FIRST_HALF], FOUR_AND_TWO, "bce")
    # three snippets inside weigh 0.25 each, three outside 0.75; a coin flip keeps a quarter of its log 2
    assert loss.item() == pytest.approx((3 * 0.25 + 3 * 0.75) / 6 * 0.25 * math.log(2))


def test_the_softmax_salience_of_equal_logits_is_the_log_of_the_real_snippets():
    loss = dense.salience_loss(torch.zeros(2, 4), [FIRST_HALF, FIRST_HALF], FOUR_AND_TWO, "ce")
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_the_mask_loss_of_coin_flips_is_log_two():
    loss = dense.salience_loss(torch.zeros(2, 4), [FIRST_HALF, target()], FOUR_AND_TWO, "mask")
    assert loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("form", dense.SALIENCE)
def test_salience_is_finite_without_actions_and_blind_to_padding(form):
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for wanted in ([target(), target()], [FIRST_HALF, target()], [target((0.5, 1.0)), target((0.5, 1.0))]):
        loss = dense.salience_loss(logits, wanted, FOUR_AND_TWO, form)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all() and gradient[1, 2:].abs().max() == 0
        other = torch.where(FOUR_AND_TWO, 1e4, logits)
        assert dense.salience_loss(other, wanted, FOUR_AND_TWO, form) == loss


@pytest.mark.parametrize("form", dense.SALIENCE)
def test_snippets_told_right_cost_less(form):
    wanted = [FIRST_HALF, FIRST_HALF]
    right = torch.tensor([[4.0, 4.0, -4.0, -4.0], [4.0, -4.0, 0.0, 0.0]])
    assert dense.salience_loss(right, wanted, FOUR_AND_TWO, form) < dense.salience_loss(
        -right, wanted, FOUR_AND_TWO, form
    )


def test_quality_wants_the_overlap_with_the_nearest_action():
    segments_cw = torch.tensor([[[0.25, 0.5], [0.25, 0.25], [0.9, 0.1]]])  # tIoU 1, 0.5 and 0
    loss = dense.quality_loss(torch.zeros(1, 3), segments_cw, [target((0.25, 0.5), (0.6, 0.1))])
    assert loss.item() == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert dense.quality_loss(torch.zeros(1, 3), segments_cw, [target()]).item() == pytest.approx(0.5)


def test_quality_does_not_move_segments():
    segments_cw = torch.tensor([[[0.25, 0.4]]], requires_grad=True)
    logits = torch.zeros(1, 1, requires_grad=True)
    dense.quality_loss(logits, segments_cw, [FIRST_HALF]).backward()
    assert segments_cw.grad is None and logits.grad.abs().sum() > 0


def named(*labels: int):
    """The first half of the window, once for each label."""
    rows = torch.tensor([[0.25, 0.5]] * len(labels)).reshape(-1, 2)
    return FIRST_HALF._replace(named=(rows, torch.tensor(labels, dtype=torch.int64)))


def test_the_segmentation_loss_of_one_class_and_background_is_known():
    embeddings, texts = torch.tensor([[[1.0, 0.0]] * 4] * 2), torch.eye(2)
    loss = dense.segmentation_loss(embeddings, texts, [named(0), named(1)], FOUR_AND_TWO, temperature=0.5)
    sure, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))  # softmax of (1, 0) / 0.5
    both = (sure + wrong) / 2
    # the first window: two snippets right, two background; the second: one wrong, one background
    assert loss.item() == pytest.approx((2 * sure + 2 * both + wrong + both) / 6)


def test_snippets_of_two_classes_are_half_of_each():
    embeddings = torch.tensor([[[1.0, 0.0]] * 4] * 2)
    both = dense.segmentation_loss(embeddings, torch.eye(2), [named(0, 1), named()], FOUR_AND_TWO, 0.5)
    assert both.item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2)


def test_a_lower_temperature_makes_a_wrong_snippet_cost_more():
    embeddings, wanted = torch.tensor([[[0.6, 0.8]] * 4] * 2), [named(0), named(0)]
    warm, cold = (dense.segmentation_loss(embeddings, torch.eye(2), wanted, FOUR_AND_TWO, each) for each in (1.0, 0.01))
    assert cold > warm


def test_targets_without_names_are_refused():
    with pytest.raises(ValueError, match="the targets name no classes: give WindowSet names"):
        dense.segmentation_loss(torch.ones(2, 4, 2), torch.eye(2), [FIRST_HALF] * 2, FOUR_AND_TWO, 0.07)


def ignoring(*rows: tuple[float, float]):
    """The first half is to be found, these segments are to be ignored."""
    return FIRST_HALF._replace(ignored_cw=torch.tensor(rows).reshape(-1, 2))


def test_a_query_on_an_ignored_action_is_no_mistake():
    outputs = answers([[0.25, 0.5], [0.75, 0.3]], [3.0, 2.0])
    blamed, spared = (
        detection_losses(outputs, [wanted])["loss_class"].item() for wanted in (FIRST_HALF, ignoring((0.75, 0.4)))
    )
    only = detection_losses(answers([[0.25, 0.5]], [3.0]), [FIRST_HALF])["loss_class"].item()
    assert spared == pytest.approx(only) and blamed > 10 * spared


def test_a_query_whose_nearest_action_is_ignored_is_expected_to_be_worth_nothing_in_particular():
    segments_cw, logits = torch.tensor([[[0.25, 0.5], [0.75, 0.4]]]), torch.tensor([[9.0, 9.0]])
    blamed, spared = (
        dense.quality_loss(logits, segments_cw, [wanted]).item() for wanted in (FIRST_HALF, ignoring((0.75, 0.5)))
    )
    assert spared < 1e-3 and blamed == pytest.approx(0.5, abs=1e-3)


def test_a_query_that_hardly_touches_an_ignored_action_is_a_mistake():
    outputs = answers([[0.25, 0.5], [0.75, 0.3]], [3.0, 2.0])
    blamed, same = (
        detection_losses(outputs, [wanted])["loss_class"].item() for wanted in (FIRST_HALF, ignoring((0.95, 0.1)))
    )
    assert same == blamed


def test_a_matched_query_counts_even_on_an_ignored_action():
    outputs = answers([[0.25, 0.5]], [-3.0])
    plain, same = (
        detection_losses(outputs, [wanted])["loss_class"].item() for wanted in (FIRST_HALF, ignoring((0.25, 0.5)))
    )
    assert same == plain


def test_ignored_snippets_count_neither_way_unless_an_action_is_there_too():
    wanted = [ignoring((0.9, 0.2), (0.1, 0.2)), ignoring()]
    assert dense.counted(wanted, FOUR_AND_TWO).tolist() == [[True, True, True, False], [True, True, False, False]]


@pytest.mark.parametrize(("overlap", "cost"), [("giou", 1.6), ("diou", 1.64), ("iou", 1.0)])
def test_the_form_of_the_overlap_loss_is_one_word(overlap, cost):
    # [0, 0.2] and [0.8, 1]: a gap of 0.6 and centres 0.8 apart in a hull of 1
    terms = detection_losses(answers([[0.1, 0.2]], [0.0]), [target((0.9, 0.2))], None, Criterion(overlap=overlap))
    assert float(terms[f"loss_{overlap}"]) == pytest.approx(cost)


def test_a_detector_without_heads_has_no_losses_on_snippets():
    assert snippet_losses(answers([[0.1, 0.2]], [0.0]), [target()], torch.tensor([[False] * 3])) == {}


def test_segmentation_without_texts_is_refused():
    outputs = answers([[0.1, 0.2]], [0.0])._replace(snippet_embeddings=torch.ones(1, 3, 2))
    with pytest.raises(ValueError, match="give the texts of the seen classes, got None"):
        snippet_losses(outputs, [target()], torch.tensor([[False] * 3]))
