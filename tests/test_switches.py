"""Every switch of the detector changes what it should, leaves padding without influence, and learns."""

from itertools import combinations

import pytest
import torch
from standins import (
    CHANNELS,
    EACH,
    ON,
    SNIPPETS,
    TEXTS,
    features,
    learnable,
    network,
    padded,
    parameters,
    recipe,
    step_of,
    switched,
    valid,
    windows,
    without_clock,
)

from tadlib.data.annotations import Action
from tadlib.data.batches import Cut, Extras, WindowSet
from tadlib.detector.layers import FeatureNoise, LearnedPositions, sine_embedding
from tadlib.detector.network import WIDTH_LOGIT, Switches
from tadlib.detector.proposals import answer
from tadlib.detector.training import fit


@EACH
def test_a_head_answers_where_it_is_asked_for(switches):
    on = switched(switches)(features(2, 9), padded([9, 9]), TEXTS)
    heads = [on.salience_logits, on.quality_logits, on.snippet_embeddings]
    shapes = [None if head is None else tuple(head.shape) for head in heads]
    wanted = [switches.salience != "none", switches.quality, switches.segmentation != "none"]
    assert shapes == [
        shape if there else None for shape, there in zip([(2, 9), (2, 5), (2, 9, 6)], wanted, strict=True)
    ]


def test_every_switch_changes_in_its_own_way_what_the_same_weights_learn_and_answer():
    shared = switched(Switches(), dropout=0.0).state_dict()

    def learned(switches):
        model = switched(switches, dropout=0.0)
        own = model.state_dict()
        model.load_state_dict(own | {name: weights for name, weights in shared.items() if name in own})
        fit(model, learnable(), recipe(switches, 3), texts=TEXTS)
        found = answer(model, learnable(), texts=TEXTS)
        return torch.cat([found.segments_cw.flatten(), found.scores.flatten()])

    answers = {name: learned(switches) for name, switches in ({"none": Switches()} | ON).items()}
    assert torch.equal(learned(Switches()), answers["none"])
    alike = [pair for pair in combinations(answers, 2) if torch.allclose(*map(answers.get, pair), rtol=0, atol=1e-5)]
    assert not alike


@EACH
@pytest.mark.parametrize("junk", [1.0, -1e4])
def test_what_stands_in_the_padding_changes_no_bit(switches, junk):
    model, lengths = switched(switches), [9, 5, 1]
    x = features(3, 9)
    other = torch.where(padded(lengths)[..., None], junk * features(4, 9)[1:], x)
    both = (valid(model(each, padded(lengths), TEXTS), lengths) for each in (x, other))
    for before, after in zip(*both, strict=True):
        assert torch.equal(before, after)


@EACH
def test_more_padding_and_other_windows_change_no_answer(switches):
    model, x = switched(switches), features(3, 9)
    alone = valid(model(x[:1, :7], padded([7]), TEXTS), [7])
    longer = model(torch.cat([x, features(3, 30)], 1), torch.arange(39) >= torch.tensor([7, 9, 9])[:, None], TEXTS)
    first = [part[:1] for layer in (longer, *longer.earlier) for part in layer[:2]]
    first += [longer.quality_logits[:1]] if longer.quality_logits is not None else []
    first += [part[0, :7] for part in (longer.salience_logits, longer.snippet_embeddings) if part is not None]
    for before, after in zip(alone, first, strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@EACH
def test_one_snippet_and_one_query_are_enough(switches):
    outputs = switched(switches, queries=1)(features(1, 1), padded([1]), TEXTS)
    assert all(part.isfinite().all() for part in valid(outputs, [1]))


@pytest.mark.parametrize(
    "switches", [Switches(salience="bce", refine="attention"), ON["everything"]], ids=["log", "all"]
)
@pytest.mark.parametrize("lengths", [[9, 9], [9, 5]], ids=["full", "padded"])
def test_a_network_is_compiled_in_one_piece(switches, lengths, unchecked):
    """Where the compiler would have to stop, at a tensor that is looked into for one, is an error here."""
    torch.compiler.reset()
    model, given = switched(switches), (features(2, 9), padded(lengths), TEXTS)
    whole = model.compiled(fullgraph=True, backend="eager")
    for ours, theirs in zip(valid(whole(*given), lengths), valid(model(*given), lengths), strict=True):
        torch.testing.assert_close(ours, theirs)


@EACH
def test_two_windows_are_learned_by_heart(switches):
    model = network(width=64, queries=10, dropout=0.0, switches=switches)
    epochs = 300 if switches.system == "published" else 100  # its places are not told apart as finely
    history = fit(model, learnable(), recipe(switches, epochs), texts=TEXTS)
    assert history[-1]["matched_tiou"] > 0.8
    assert all(history[-1][name] < history[0][name] for name in history[0] if name.startswith("loss"))


@EACH
def test_batches_with_more_and_fewer_actions_step_like_one(switches):
    """None, one or three actions in a window, stretches that do not count in some, and a last batch of one window."""
    plain = windows((), ((2, 6),), ((0, 3), (5, 9), (11, 15)), ((4, 12),), (), ((1, 4), (6, 13)), (), names="xyxyxyx")
    videos, store = list(plain._videos.values()), plain._shelf.store
    ignored = {"0": [Action(0, 9, "z")], "3": [Action(11, 16, "z")], "6": [Action(0, 16, "z")]}
    found_in = WindowSet(videos, store, 8, Cut(length=SNIPPETS), extras=Extras(("x", "y"), ignored))
    whole, parts = (
        step_of(recipe(switches, 2, batch_size=size, accumulate=together), found_in, TEXTS.double(), switches=switches)
        for size, together in ((7, 1), (2, 4))
    )
    assert (parts - whole).norm() < 1e-4 * whole.norm()  # of scores in 32 bits, of which Adam makes much


@EACH
def test_resuming_with_a_switch_equals_not_having_stopped(switches, tmp_path):
    def trained(**words):
        model = network(switches=switches)
        return model, fit(model, learnable(jitter=True), recipe(switches, 4, ema=True), texts=TEXTS, **words)

    class Stopped(Exception):
        pass

    def stop(done, total, text):
        if done > 2:
            raise Stopped

    straight, history = trained()
    with pytest.raises(Stopped):
        trained(checkpoint=tmp_path / "state.pt", progress=stop)
    torch.rand(7)
    resumed, again = trained(checkpoint=tmp_path / "state.pt")
    assert torch.equal(parameters(resumed), parameters(straight))
    assert without_clock(again) == without_clock(history)


@EACH
def test_gradients_reach_every_parameter_that_learns(switches):
    model = switched(switches).train()
    fit(model, learnable(), recipe(switches, 1), texts=TEXTS)
    outputs = model(features(2, 9), padded([9, 5]), TEXTS)
    sum(part.square().sum() for part in valid(outputs, [9, 5])).backward()
    missing = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert missing == ({"places"} if switches.centres == "drawn" or switches.system == "published" else set())


def test_rectifying_layers_really_stack():
    one, two = (switched(Switches(refine="mean", refine_layers=number)) for number in (1, 2))
    two.load_state_dict(one.state_dict() | {n: t for n, t in two.state_dict().items() if n.startswith("rectifying.1")})
    x, padding = features(2, 9), padded([9, 9])
    assert not torch.allclose(one(x, padding).segments_cw, two(x, padding).segments_cw, atol=1e-3)


def test_the_coarse_answer_is_that_of_the_decoder_alone_and_comes_before_the_rectified_one():
    model, x, padding = switched(Switches(refine="mean")), features(1, 9), padded([9])
    first, coarse = model(x, padding).earlier
    model.rectifying = torch.nn.ModuleList()
    torch.testing.assert_close(model(x, padding).segments_cw, coarse.segments_cw, rtol=0, atol=0)
    assert not torch.allclose(first.segments_cw, coarse.segments_cw)


def test_iterative_layers_start_from_the_segments_of_the_layer_before():
    model = network(switches=Switches(iterative=True), decoder_layers=3).eval()
    torch.nn.init.constant_(model.segment[-1].bias, 0.5)  # of an untrained net every layer moves by the same
    outputs = model(features(1, 9), padded([9]))
    widths = [layer.segments_cw[..., 1].logit() for layer in (*outputs.earlier, outputs)]
    for number, logits in enumerate(widths, start=1):
        torch.testing.assert_close(logits, torch.full_like(logits, WIDTH_LOGIT + 0.5 * number), atol=1e-4, rtol=0)


def test_learned_positions_start_as_sines_and_have_no_longest_window():
    table, places = LearnedPositions(8), (torch.arange(256) + 0.5) / 256
    torch.testing.assert_close(table(places), sine_embedding(places, 8))
    long = (torch.arange(100_000) + 0.5) / 100_000
    assert table(long).shape == (100_000, 8) and table(long).isfinite().all()


def test_the_order_of_fused_texts_does_not_matter_but_the_texts_do():
    model, x, padding = switched(Switches(fuse_text=True)), features(1, 9), padded([9])
    one, other, changed = (model(x, padding, texts).segments_cw for texts in (TEXTS, TEXTS.flip(0), 3 * TEXTS))
    torch.testing.assert_close(other, one)
    assert not torch.allclose(changed, one, atol=1e-4)


def test_a_detector_that_fuses_texts_asks_for_them():
    with pytest.raises(ValueError, match="it needs `texts`, got None"):
        switched(Switches(fuse_text=True))(features(1, 9), padded([9]))


def test_an_untrained_fusion_of_texts_changes_nothing():
    x, padding = features(1, 9), padded([9])
    plain, fused = network().eval(), network(switches=Switches(fuse_text=True)).eval()
    fused.load_state_dict(fused.state_dict() | plain.state_dict())
    torch.testing.assert_close(fused(x, padding, TEXTS).segments_cw, plain(x, padding).segments_cw)


def test_snippets_are_classified_as_the_encoder_sees_them():
    x, padding = features(1, 9), padded([9])
    model = switched(Switches(segmentation="memory"))
    before = model(x, padding).snippet_embeddings
    torch.nn.init.zeros_(model.encoder[0].value.weight)
    assert not torch.allclose(before, model(x, padding).snippet_embeddings)


def test_the_salience_head_looks_at_neighbours_and_the_mask_head_does_not():
    for form, local in (("bce", True), ("ce", True), ("mask", False)):
        model = switched(Switches(salience=form))
        memory = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(2))
        other = memory.clone()
        other[0, 4] += 1
        changed = (model.salience(other, padded([9])) != model.salience(memory, padded([9])))[0]
        assert changed.nonzero().flatten().tolist() == ([3, 4, 5] if local else [4])


@pytest.mark.parametrize("fusion", ["attention", "mean", "max"])
def test_rectified_queries_see_what_lies_under_their_segment_and_nothing_else(fusion):
    model, x, lengths = switched(Switches(refine=fusion)), features(1, 16), torch.tensor([16])
    layer, queries = model.rectifying[0], torch.randn(1, 1, 16)
    outside, inside = x.clone(), x.clone()
    outside[0, 10:] += 5
    inside[0, 5] += 5
    before, same, other = (
        layer.fusion(queries, each, torch.tensor([[[4.0, 7.0]]]), lengths) for each in (x, outside, inside)
    )
    torch.testing.assert_close(same, before)
    assert not torch.allclose(other, before, atol=1e-3)


def test_noise_is_new_in_every_snippet_and_a_shift_the_same_all_through_a_window():
    x = torch.zeros(3, 50, CHANNELS)
    torch.manual_seed(0)
    noisy, shifted = FeatureNoise(0.5, 0.0).train()(x), FeatureNoise(0.0, 2.0).train()(x)
    assert noisy.std().item() == pytest.approx(0.5, rel=0.1) and noisy.unique().numel() == noisy.numel()
    assert torch.equal(shifted, shifted[:, :1].expand_as(x)) and shifted[:, 0].unique().numel() == 3 * CHANNELS
    assert torch.equal(FeatureNoise(0.5, 2.0).eval()(x), x)


def test_quality_orders_proposals_too():
    model = network(switches=Switches(quality=True))
    torch.nn.init.constant_(model.quality.judge[-1].weight, 0.0)
    torch.nn.init.constant_(model.quality.judge[-1].bias, -1.0986123)  # a quarter
    plain = answer(network(switches=Switches()), learnable())
    model.load_state_dict(model.state_dict() | network().state_dict())
    torch.testing.assert_close(answer(model, learnable()).scores, (0.25 * plain.scores).sqrt())
