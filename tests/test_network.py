"""The network: what it answers, and what must not change its answer."""

import pytest
import torch
from detectors import CHANNELS, ON, TEXTS, features, lively, network, of_window, padded, valid

from tadlib.detector.layers import (
    MAX_STORED,
    Attention,
    FeatureNoise,
    _matmul_attention,
    place_in_window,
    sine_embedding,
)
from tadlib.detector.network import WIDTH_LOGIT, ConditionalDETR
from tadlib.ideas.text_fusion import TextFusion

PLAIN = {
    "plain": {},
    "convolutions": {"conv_layers": 2},
    "embeddings": {"embedding_dim": CHANNELS},
    "both": {"conv_layers": 2, "embedding_dim": CHANNELS},
}
EACH_PLAIN = pytest.mark.parametrize("words", PLAIN.values(), ids=PLAIN)
EACH = pytest.mark.parametrize("words", (PLAIN | ON).values(), ids=PLAIN | ON)
# The first decoder layer starts from zeros: its self-attention mixes identical values, whatever they are made of.
IDLE = {"decoder.0.self_value.weight", "decoder.0.self_query_key.weight", "decoder.0.self_query_key.bias"}


def test_sines_of_a_quarter_turn_are_known():
    # 64 cycles a window: a quarter turn in 1/256 of it; the slower sine turns the square root of 200 times less
    turned = pytest.approx([1.0, 0.0, 0.110845, 0.993838], abs=1e-5)
    assert sine_embedding(torch.tensor([0.0, 1 / 256]), 4).tolist() == [[0.0, 1.0, 0.0, 1.0], turned]


def test_places_are_the_middles_of_valid_snippets():
    places = place_in_window(padded([4, 2]))
    assert places[0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert places[1, :2].tolist() == [0.25, 0.75]


@EACH
def test_what_stands_in_the_padding_changes_no_bit(words):
    model, lengths = lively(**words), [9, 5, 1]
    x = features(3, 9)
    other = torch.where(padded(lengths)[..., None], -1e4 * features(4, 9)[1:], x)
    both = (valid(model(each, padded(lengths), TEXTS), lengths) for each in (x, other))
    for before, after in zip(*both, strict=True):
        assert torch.equal(before, after)


@EACH
def test_a_window_gets_the_same_answer_in_any_batch(words):
    model, lengths = lively(**words), [9, 4, 1, 9]
    x = features(4, 9)
    together = model(x, padded(lengths), TEXTS)
    backwards = model(x.flip(0), padded(lengths[::-1]), TEXTS)
    for place, length in enumerate(lengths):
        alone = of_window(model(x[place : place + 1, :length], padded([length]), TEXTS), 0, length)
        for outputs, there in ((together, place), (backwards, len(lengths) - 1 - place)):
            for one, same in zip(alone, of_window(outputs, there, length), strict=True):
                torch.testing.assert_close(same, one, atol=1e-5, rtol=1e-5)


@EACH_PLAIN
def test_gradients_reach_every_parameter(words):
    model = lively(**words).double()  # where a gradient is zero, 64 bits leave no doubt
    outputs = model(features(2, 9).double(), padded([9, 5]))
    generator = torch.Generator().manual_seed(2)
    sum((part * torch.randn(part.shape, generator=generator)).sum() for part in valid(outputs, [9, 5])).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    still = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-12}
    # softmax does not see what is added to the scores of all keys alike
    assert still == IDLE | {name for name in gradients if name.endswith((".key.bias", ".key_position.bias"))}


@pytest.mark.parametrize(("shape", "padding"), [((2, 9, 7), (2, 9)), ((2, 9, 6), (2, 8)), ((9, 6), (9,))])
def test_a_wrong_shape_is_named_with_what_was_expected(shape, padding):
    unchecked = getattr(ConditionalDETR.forward, "__wrapped__", ConditionalDETR.forward)
    message = r"features must be \(windows, snippets, 6\) .*, got \(.*is it the encoder the detector learned from"
    with pytest.raises(ValueError, match=message):
        unchecked(network(), torch.zeros(shape), torch.zeros(padding, dtype=torch.bool))


@pytest.mark.parametrize("words", [{"embedding_dim": 4}, {"additions": [TextFusion()]}], ids=["target", "fused"])
@pytest.mark.parametrize("compiled", [False, True])
def test_texts_of_another_width_are_named_with_what_was_expected(words, compiled):
    model, wide = network(**words), words.get("embedding_dim", CHANNELS)
    if compiled:
        model.compile_training(backend="eager")
    with pytest.raises(ValueError, match=rf"texts must be \(classes, {wide}\), got \(2, 5\): are they this enc"):
        model(features(1, 9), padded([9]), torch.zeros(2, 5))
    assert model.eval()(features(1, 9), padded([9]), torch.zeros(2, wide)).segments_cw.isfinite().all()


def test_iterative_layers_start_from_the_segments_of_the_layer_before():
    model = network(iterative=True, decoder_layers=3).eval()
    torch.nn.init.constant_(model.segment[-1].bias, 0.5)  # of an untrained net every layer moves by the same
    outputs = model(features(1, 9), padded([9]))
    widths = [layer.segments_cw[..., 1].logit() for layer in (*outputs.earlier, outputs)]
    for number, logits in enumerate(widths, start=1):
        torch.testing.assert_close(logits, torch.full_like(logits, WIDTH_LOGIT + 0.5 * number), atol=1e-4, rtol=0)


def test_noise_is_new_in_every_snippet_and_a_shift_the_same_all_through_a_window():
    x = torch.zeros(3, 50, CHANNELS)
    torch.manual_seed(0)
    noisy, shifted = FeatureNoise(0.5, 0.0).train()(x), FeatureNoise(0.0, 2.0).train()(x)
    assert noisy.std().item() == pytest.approx(0.5, rel=0.1) and noisy.unique().numel() == noisy.numel()
    assert torch.equal(shifted, shifted[:, :1].expand_as(x)) and shifted[:, 0].unique().numel() == 3 * CHANNELS
    assert torch.equal(FeatureNoise(0.5, 2.0).eval()(x), x)


@pytest.mark.parametrize("lengths", [[7, 7], [7, 3]])
def test_matmul_attention_equals_the_fused_kernel(lengths):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, d, generator=generator) for n, d in ((5, 8), (7, 8), (7, 4)))
    attend = torch.arange(7)[None, None, None] < torch.tensor(lengths)[:, None, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value, attend)
    torch.testing.assert_close(_matmul_attention(query, key, value, attend), fused)
    if lengths == [7, 7]:
        torch.testing.assert_close(_matmul_attention(query, key, value, None), fused)


@pytest.mark.parametrize("snippets", [MAX_STORED, MAX_STORED + 1])
def test_bfloat16_attends_as_full_precision_does_at_any_length(snippets):
    attention = Attention(8, 2)
    parts = [torch.randn(1, n, 8, generator=torch.Generator().manual_seed(n)) for n in (4, snippets, snippets)]
    half = attention.bfloat16()(*(part.bfloat16() for part in parts))
    torch.testing.assert_close(half.float(), attention.float()(*parts), atol=2e-2, rtol=0)
