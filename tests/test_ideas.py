"""Ideas that join the detector: each changes what it should, leaves padding without influence, and learns."""

import io
import math
from itertools import combinations

import pytest
import torch
from detectors import (
    EACH,
    EACH_OF_LONG,
    FIRST_HALF,
    FOUR_AND_TWO,
    ON,
    TEXTS,
    answered,
    batch,
    check_resuming,
    features,
    learnable,
    lively,
    network,
    padded,
    step_of,
    target,
    valid,
    windows,
)

from tadlib import ideas
from tadlib.data.annotations import Action
from tadlib.data.batches import TrainingExtras
from tadlib.detector.additions import Addition
from tadlib.detector.layers import sine_embedding
from tadlib.detector.network import restored
from tadlib.detector.proposals import predict
from tadlib.detector.training import fit
from tadlib.ideas.positions import LearnedPositions
from tadlib.ideas.published import PublishedDETR
from tadlib.ideas.quality import Quality
from tadlib.ideas.rectifying import Rectifying
from tadlib.ideas.salience import Salience
from tadlib.ideas.segmentation import Segmentation
from tadlib.ideas.text_fusion import TextFusion

FORMS = ("bce", "ce", "mask")  # of the salience loss
LEARNING = {"batch_size": 2, "lr": 2e-3, "texts": TEXTS}


@pytest.mark.notebooks
def test_every_idea_changes_in_its_own_way_what_the_same_weights_learn_and_answer():
    shared = lively().state_dict()

    def learned(words):
        model = lively(dropout=0.0, **words)
        own = model.state_dict()
        model.load_state_dict(own | {name: weights for name, weights in shared.items() if name in own})
        fit(model, learnable(), epochs=3, **LEARNING)
        found = predict(model, learnable(), texts=TEXTS)
        return torch.cat([found.segments_cw.flatten(), found.scores.flatten()])

    answers = {name: learned(words) for name, words in ({"none": {}} | ON).items()}
    assert torch.equal(learned({}), answers["none"])
    alike = [pair for pair in combinations(answers, 2) if torch.allclose(*map(answers.get, pair), rtol=0, atol=1e-5)]
    assert not alike


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "lengths"),
    [({"additions": [Salience(), Rectifying()]}, [9, 9]), (ON["everything"], [9, 5])],
    ids=["log, full", "everything, padded"],
)
def test_a_network_is_compiled_in_one_piece(words, lengths, unchecked):
    """Where the compiler would have to stop, at a tensor that is looked into for one, is an error here."""
    torch.compiler.reset()
    model, given = lively(dropout=0.0, **words), (features(2, 9), padded(lengths), TEXTS)
    plain = valid(model(*given), lengths)
    model.compile_training(fullgraph=True, backend="eager")
    for ours, theirs in zip(valid(model.train()(*given), lengths), plain, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.notebooks
@EACH_OF_LONG
def test_two_windows_are_learned_by_heart(words):
    model = network(**({"width": 64, "queries": 10, "dropout": 0.0} | words))
    epochs = 150 if isinstance(model, PublishedDETR) else 100  # its places are not told apart as finely
    history = fit(model, learnable(), epochs=epochs, **LEARNING)
    assert history[-1]["matched_tiou"] > 0.8
    assert all(history[-1][name] < history[0][name] for name in history[0] if name.startswith("loss"))


@pytest.mark.notebooks
@EACH_OF_LONG
def test_batches_with_more_and_fewer_actions_step_like_one(words):
    """None, one or three actions in a window, stretches that do not count in some, and a last batch of one window."""
    actions = (), ((2, 6),), ((0, 3), (5, 9), (11, 15)), ((4, 12),), (), ((1, 4), (6, 13)), ()
    ignored = {"0": [Action(0, 9, "z")], "3": [Action(11, 16, "z")], "6": [Action(0, 16, "z")]}
    found_in = windows(*actions, names="xyxyxyx", extras=TrainingExtras(("x", "y"), ignored))
    same = {"epochs": 2, "lr": 2e-3, "texts": TEXTS.double()}
    whole, parts = (
        step_of(found_in, same | {"batch_size": size, "accumulate": together}, **words)
        for size, together in ((7, 1), (2, 4))
    )
    assert (parts - whole).norm() < 1e-4 * whole.norm()  # of scores in 32 bits, of which Adam makes much


@pytest.mark.notebooks
@EACH_OF_LONG
def test_resuming_with_an_idea_equals_not_having_stopped(words, tmp_path):
    def trained(**more):
        model = network(**words)
        return model, fit(model, learnable(jitter=True), epochs=4, ema=True, **LEARNING, **more)

    check_resuming(trained, tmp_path / "state.pt", 2)


@EACH
def test_gradients_reach_every_parameter_that_learns(words):
    model = lively(**words).train()
    fit(model, learnable(), epochs=1, **LEARNING)
    outputs = model(features(2, 9), padded([9, 5]), TEXTS)
    sum(part.square().sum() for part in valid(outputs, [9, 5])).backward()
    missing = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    still = "queries_from" in words or isinstance(model, PublishedDETR)
    assert missing == ({"queries.places"} if still else set())


@EACH
def test_what_is_saved_of_a_network_makes_it_again(words):
    model, file, given = lively(**words), io.BytesIO(), (features(2, 9), padded([9, 5]), TEXTS)
    torch.save(model.saved(), file)
    file.seek(0)
    again = restored(torch.load(file, weights_only=True), ideas.classes()).eval()
    assert type(again) is type(model)
    for ours, theirs in zip(valid(again(*given), [9, 5]), valid(model(*given), [9, 5]), strict=True):
        assert torch.equal(ours, theirs)


def test_the_salience_of_coin_flips_is_known():
    outputs = added(salience=torch.zeros(2, 4))
    found = {form: value(Salience(salience=form), outputs, FIRST_HALF, FIRST_HALF) for form in FORMS}
    # three snippets inside weigh 0.25 each, three outside 0.75; a coin flip keeps a quarter of its log 2
    focal = (3 * 0.25 + 3 * 0.75) / 6 * 0.25 * math.log(2)
    # of a softmax of equal logits the log of the real snippets
    assert found == pytest.approx({"bce": focal, "ce": (math.log(4) + math.log(2)) / 2, "mask": math.log(2)})


def added(**parts: torch.Tensor):
    """Outputs of two windows with what additions answer."""
    return answered([[0.1, 0.2]], [0.0])._replace(added=parts)


def value(addition: Addition, outputs, *targets, texts=TEXTS[:, :2], padding=FOUR_AND_TWO) -> float:
    """The one term of an addition, for windows of four and of two snippets."""
    ((term, _, _),) = addition.losses(outputs, batch(targets, padding, texts)).values()
    return term.item()


@pytest.mark.parametrize("form", FORMS)
def test_salience_is_finite_without_actions_and_blind_to_padding(form):
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    head, other = Salience(salience=form), torch.where(FOUR_AND_TWO, 1e4, logits)
    for wanted in ([target(), target()], [FIRST_HALF, target()], [target((0.5, 1.0))] * 2):
        ((loss, _, _),) = head.losses(added(salience=logits), batch(wanted, FOUR_AND_TWO)).values()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all() and gradient[1, 2:].abs().max() == 0
        assert value(head, added(salience=other), *wanted) == loss


def judged(segments_cw: list, logits: list, wanted) -> float:
    """The loss of expected qualities in one window."""
    outputs = answered(segments_cw, [0.0] * len(segments_cw))._replace(added={"quality": torch.tensor([logits])})
    return value(Quality(), outputs, wanted, padding=FOUR_AND_TWO[:1])


def test_quality_wants_the_overlap_with_the_nearest_action():
    segments_cw = [[0.25, 0.5], [0.25, 0.25], [0.9, 0.1]]  # tIoU 1, 0.5 and 0
    assert judged(segments_cw, [0.0] * 3, target((0.25, 0.5), (0.6, 0.1))) == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert judged(segments_cw, [0.0] * 3, target()) == pytest.approx(0.5)


def test_a_query_whose_nearest_action_is_ignored_is_expected_to_be_worth_nothing_in_particular():
    blamed, spared = (
        judged([[0.25, 0.5], [0.75, 0.4]], [9.0, 9.0], FIRST_HALF._replace(ignored_cw=ignored))
        for ignored in (None, torch.tensor([[0.75, 0.5]]))
    )
    assert spared < 1e-3 and blamed == pytest.approx(0.5, abs=1e-3)


def test_quality_does_not_move_segments():
    segments_cw, logits = torch.tensor([[[0.25, 0.4]]], requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    outputs = answered([[0.25, 0.4]], [0.0])._replace(segments_cw=segments_cw, added={"quality": logits})
    Quality().losses(outputs, batch([FIRST_HALF]))["loss_quality"][0].backward()
    assert segments_cw.grad is None and logits.grad.abs().sum() > 0


def test_quality_orders_proposals_too():
    model = network(additions=[Quality()])
    model.load_state_dict(model.state_dict() | network().state_dict())
    torch.nn.init.zeros_(model.additions[0].judge[-1].weight)
    torch.nn.init.constant_(model.additions[0].judge[-1].bias, -1.0986123)  # a quarter
    plain = predict(network(), learnable())
    torch.testing.assert_close(predict(model, learnable()).scores, (0.25 * plain.scores).sqrt())


def named(*labels: int):
    """The first half of the window, once for each label."""
    rows = torch.tensor([[0.25, 0.5]] * len(labels)).reshape(-1, 2)
    return FIRST_HALF._replace(named=(rows, torch.tensor(labels, dtype=torch.int64)))


def segmented(temperature: float, *targets, **words) -> float:
    """The loss where every snippet has the embedding of the first text, and texts are the two axes."""
    outputs = added(segmentation=torch.tensor([[[1.0, 0.0]] * 4] * 2))
    return value(Segmentation(segmentation_temperature=temperature), outputs, *targets, **words)


def test_the_segmentation_loss_of_one_class_and_background_is_known():
    sure, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))  # softmax of (1, 0) / 0.5
    both = (sure + wrong) / 2
    # the first window: two snippets right, two background; the second: one wrong, one background
    assert segmented(0.5, named(0), named(1)) == pytest.approx((2 * sure + 2 * both + wrong + both) / 6)
    # snippets of two classes are half of each
    assert segmented(0.5, named(0, 1), named()) == pytest.approx(both)


def test_segmentation_without_texts_is_refused():
    with pytest.raises(ValueError, match="give the texts of the seen classes"):
        segmented(0.07, FIRST_HALF, FIRST_HALF, texts=None)


def test_the_coarse_answer_is_that_of_the_decoder_alone_and_comes_before_the_rectified_one():
    model, x, padding = lively(additions=[Rectifying(refine="mean")]), features(1, 9), padded([9])
    first, coarse = model(x, padding).earlier
    model.additions = torch.nn.ModuleList()
    torch.testing.assert_close(model(x, padding).segments_cw, coarse.segments_cw, rtol=0, atol=0)
    assert not torch.allclose(first.segments_cw, coarse.segments_cw)


@pytest.mark.parametrize("fusion", ["attention", "mean", "max"])
def test_rectified_queries_see_what_lies_under_their_segment_and_nothing_else(fusion):
    model, x, lengths = lively(additions=[Rectifying(refine=fusion)]), features(1, 16), torch.tensor([16])
    layer, queries = model.additions[0].layers[0], torch.randn(1, 1, 16)
    outside, inside = x.clone(), x.clone()
    outside[0, 10:] += 5
    inside[0, 5] += 5
    before, same, other = (
        layer.fusion(queries, each, torch.tensor([[[4.0, 7.0]]]), lengths) for each in (x, outside, inside)
    )
    torch.testing.assert_close(same, before)
    assert not torch.allclose(other, before, atol=1e-3)


def test_learned_positions_start_as_sines_and_have_no_longest_window():
    table, places = LearnedPositions(8), (torch.arange(256) + 0.5) / 256
    torch.testing.assert_close(table(places), sine_embedding(places, 8))
    long = (torch.arange(100_000) + 0.5) / 100_000
    assert table(long).shape == (100_000, 8) and table(long).isfinite().all()


def test_the_order_of_fused_texts_does_not_matter_but_the_texts_do():
    model, x, padding = lively(additions=[TextFusion()]), features(1, 9), padded([9])
    one, other, changed = (model(x, padding, texts).segments_cw for texts in (TEXTS, TEXTS.flip(0), 3 * TEXTS))
    torch.testing.assert_close(other, one)
    assert not torch.allclose(changed, one, atol=1e-4)


def test_a_detector_that_fuses_texts_asks_for_them():
    with pytest.raises(ValueError, match="it needs `texts`, got None"):
        network(additions=[TextFusion()])(features(1, 9), padded([9]))
