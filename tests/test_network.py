"""The network: what it answers, and what must not change its answer."""

import pytest
import torch
from standins import CHANNELS, features, padded

from tadlib.detector.layers import mlp, place_in_window, sine_embedding
from tadlib.detector.network import ConditionalDetr, Switches
from tadlib.detector.weights import RARE

HEADS_AND_CONVOLUTIONS = [{}, {"conv_layers": 2}, {"text_dim": 3}, {"conv_layers": 2, "text_dim": 3}]
# The first decoder layer starts from zeros: its self-attention mixes identical values, whatever they are made of.
IDLE = {"decoder.0.self_value.weight", "decoder.0.self_query_key.weight", "decoder.0.self_query_key.bias"}


def network(**words) -> ConditionalDetr:
    """A small network whose answers depend on all its parts, unlike those of an untrained one."""
    torch.manual_seed(0)
    small = {"queries": 5, "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "conv_layers": 0}
    small |= {"feature_noise": 0.0, "feature_shift": 0.0}
    model = ConditionalDetr(CHANNELS, **(small | words)).eval()
    for last in (model.segment[-1], model.scale[-1], model.centre[-1]):
        torch.nn.init.normal_(last.weight, std=0.3)
    return model


def tensors(outputs) -> list[torch.Tensor]:
    """Every tensor among the outputs, those of earlier layers too."""
    answers = (outputs, *outputs.earlier)
    return [part for answer in answers for part in answer[:3] if part is not None]


def test_sines_of_a_quarter_turn_are_known():
    # 64 cycles a window: a quarter turn in 1/256 of it; the slower sine turns the square root of 200 times less
    assert sine_embedding(torch.tensor([0.0, 1 / 256]), 4).tolist() == [
        [0.0, 1.0, 0.0, 1.0],
        pytest.approx([1.0, 0.0, 0.110845, 0.993838], abs=1e-5),
    ]


def test_places_are_the_middles_of_valid_snippets():
    places = place_in_window(padded([4, 2]))
    assert places[0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert places[1, :2].tolist() == [0.25, 0.75]


def test_an_mlp_has_no_relu_at_its_end():
    assert [type(layer).__name__ for layer in mlp(4, 3, 2)] == ["Linear", "ReLU", "Linear"]


def test_answers_have_the_shapes_of_windows_and_queries():
    outputs = network(decoder_layers=3, text_dim=7)(features(2, 9), padded([9, 9]))
    assert outputs.segments_cw.shape == (2, 5, 2)
    assert outputs.actionness_logits.shape == (2, 5)
    assert outputs.embeddings.shape == (2, 5, 7)
    assert len(outputs.earlier) == 2


def test_without_text_dim_there_are_no_embeddings():
    outputs = network()(features(1, 9), padded([9]))
    assert outputs.embeddings is None and all(layer.embeddings is None for layer in outputs.earlier)


def test_segments_are_fractions_of_the_window():
    segments_cw = network()(100 * features(4, 9), padded([9] * 4)).segments_cw
    assert 0 <= segments_cw.min() and segments_cw.max() <= 1


def test_an_untrained_network_answers_short_segments_that_are_rarely_actions():
    torch.manual_seed(0)
    model = ConditionalDetr(CHANNELS, queries=50, width=16, heads=2, encoder_layers=1, decoder_layers=1).eval()
    outputs = model(features(4, 9), padded([9] * 4))
    assert outputs.segments_cw[..., 1].unique().tolist() == pytest.approx([1 / (1 + 2.718281828**2.5)])  # 0.076
    assert RARE / 10 < outputs.actionness_logits.sigmoid().median() < 10 * RARE


def test_answers_depend_on_the_features():
    model = network()
    x, padding = features(1, 9), padded([9])
    assert not torch.equal(model(x, padding).segments_cw, model(x + features(2, 9)[1:], padding).segments_cw)


def test_answers_depend_on_the_order_of_snippets():
    model = network()
    x, padding = features(1, 9), padded([9])
    assert not torch.allclose(model(x, padding).segments_cw, model(x.flip(1), padding).segments_cw, atol=1e-3)


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
@pytest.mark.parametrize("junk", [1.0, -1e4])
def test_what_stands_in_the_padding_changes_no_bit(words, junk):
    model, padding = network(**words), padded([9, 5, 1])
    x = features(3, 9)
    other = torch.where(padding[..., None], junk * features(4, 9)[1:], x)
    for before, after in zip(tensors(model(x, padding)), tensors(model(other, padding)), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
def test_no_gradient_flows_into_padding(words):
    model, padding = network(**words), padded([9, 5])
    x = features(2, 9).requires_grad_()
    sum(part.sum() for part in tensors(model(x, padding))).backward()
    assert x.grad[1, 5:].abs().max() == 0
    assert x.grad[1, :5].abs().sum(dim=1).min() > 0


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
def test_a_window_gets_the_same_answer_in_any_batch(words):
    model, lengths = network(**words), [9, 4, 1, 9]
    x = features(4, 9)
    together = tensors(model(x, padded(lengths)))
    backwards = tensors(model(x.flip(0), padded(lengths[::-1])))
    for place, length in enumerate(lengths):
        alone = tensors(model(x[place : place + 1, :length], padded([length])))
        for one, all_, reverse in zip(alone, together, backwards, strict=True):
            torch.testing.assert_close(all_[place], one[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(reverse[len(lengths) - 1 - place], one[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
def test_one_snippet_and_one_query_are_enough(words):
    outputs = network(queries=1, **words)(features(1, 1), padded([1]))
    assert outputs.segments_cw.shape == (1, 1, 2)
    assert all(part.isfinite().all() for part in tensors(outputs))


def test_a_single_decoder_layer_has_no_earlier_answers():
    assert network(decoder_layers=1)(features(1, 9), padded([9])).earlier == ()


def test_an_encoder_is_not_required():
    model = network(encoder_layers=0)
    assert len(model.encoder) == 0
    assert model(features(1, 9), padded([9])).segments_cw.shape == (1, 5, 2)


def test_features_of_any_magnitude_give_the_same_answer():
    model = network()
    before, after = (model(factor * features(1, 9), padded([9])).segments_cw for factor in (1, 100))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)  # each snippet is normalised first


def test_dropout_changes_answers_in_training_only():
    model, x, padding = network(dropout=0.5), features(1, 9), padded([9])
    assert torch.equal(model(x, padding).segments_cw, model(x, padding).segments_cw)
    model.train()
    assert not torch.equal(model(x, padding).segments_cw, model(x, padding).segments_cw)


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
def test_gradients_reach_every_parameter(words):
    model = network(**words).double()  # where a gradient is zero, 64 bits leave no doubt
    outputs = model(features(2, 9).double(), padded([9, 5]))
    generator = torch.Generator().manual_seed(2)
    sum((part * torch.randn(part.shape, generator=generator)).sum() for part in tensors(outputs)).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    still = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-12}
    # softmax does not see what is added to the scores of all keys alike
    assert still == IDLE | {name for name in gradients if name.endswith((".key.bias", ".key_position.bias"))}


@pytest.mark.parametrize("words", HEADS_AND_CONVOLUTIONS)
def test_the_last_layer_alone_trains_all_layers_below_it(words):
    model = network(**words)
    outputs = model(features(2, 9), padded([9, 5]))
    sum(part.sum() for part in outputs[:3] if part is not None).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_the_same_seed_makes_the_same_network():
    for one, other in zip(network().parameters(), network().parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("shape", "padding"), [((2, 9, 7), (2, 9)), ((2, 9, 6), (2, 8)), ((9, 6), (9,))])
def test_a_wrong_shape_is_named_with_what_was_expected(shape, padding):
    unchecked = getattr(ConditionalDetr.forward, "__wrapped__", ConditionalDetr.forward)
    message = r"features must be \(windows, snippets, 6\) .*, got \(.*is it the encoder the detector learned from"
    with pytest.raises(ValueError, match=message):
        unchecked(network(), torch.zeros(shape), torch.zeros(padding, dtype=torch.bool))


@pytest.mark.parametrize("words", [{"text_dim": 4}, {"switches": Switches(fuse_text=True)}], ids=["target", "fused"])
def test_texts_of_another_width_are_named_with_what_was_expected(words):
    model, wide = network(**words), words.get("text_dim", CHANNELS)
    for run in (model, model.compiled(backend="eager")):
        with pytest.raises(ValueError, match=rf"texts must be \(classes, {wide}\), got \(2, 5\): are they this enc"):
            run(features(1, 9), padded([9]), torch.zeros(2, 5))
    assert model(features(1, 9), padded([9]), torch.zeros(2, wide)).segments_cw.isfinite().all()
