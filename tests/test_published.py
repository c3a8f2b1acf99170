"""The published system against its formulas, written out here once more for single windows, heads and queries."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from detectors import batch, random_case
from torch import nn

from tadlib import ideas
from tadlib.data.batches import Target
from tadlib.detector.additions import Outputs
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.matching import match
from tadlib.detector.network import ConditionalDETR
from tadlib.ideas.positions import DrawnQueries
from tadlib.ideas.published import PublishedDETR, PublishedLoss
from tadlib.ideas.rectifying import BINS, Rectifying, RectifyingLayer
from tadlib.ideas.salience import Salience
from tadlib.segments import roi_align
from tadlib.workbook.params import Params

CHANNELS, WIDTH, HEADS = 8, 8, 2
LENGTH = 7


def detector(of: type[ConditionalDETR] = PublishedDETR, **words) -> ConditionalDETR:
    """A small network in 64 bits with no weight at a value that hides it."""
    torch.manual_seed(0)
    small = {"queries": 5, "width": WIDTH, "heads": HEADS, "encoder_layers": 2, "decoder_layers": 3, "conv_layers": 1}
    small |= {"feature_noise": 0.0, "feature_shift": 0.0}
    model = of(CHANNELS, **(small | words)).double().eval()
    for name, parameter in model.named_parameters():
        if name != "queries.places" and (parameter.dim() == 1 or name.startswith("segment")):
            nn.init.normal_(parameter, std=0.5)
    return model


def windows(number: int = 1, length: int = LENGTH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, length, CHANNELS, generator=generator, dtype=torch.float64)


def sines(places: torch.Tensor) -> torch.Tensor:
    """One cycle a window, the slowest of a temperature of 10000; sine and cosine in turn."""
    rows = []
    for place in places.flatten().tolist():
        row = []
        for pair in range(WIDTH // 2):
            angle = 2 * math.pi * place / 10000 ** (2 * pair / WIDTH)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def attended(query, key, value, heads=HEADS):
    """softmax(q k / sqrt(d)) v, a head after the other, each on its stretch of channels."""
    mixed = []
    for q, k, v in zip(*(part.chunk(heads, dim=1) for part in (query, key, value)), strict=True):
        mixed.append((q @ k.T / math.sqrt(q.shape[1])).softmax(dim=1) @ v)
    return torch.cat(mixed, dim=1)


def fed(feedforward, x):
    first, last = (layer for layer in feedforward.net if isinstance(layer, nn.Linear))
    return feedforward.norm(x + last(first(x).relu()))


def by_hand(model, x, query_embedding=None, reference=None):
    """Hidden states of every decoder layer and logits of the references for one window (t, c), as published."""
    for convolution in model.backbone.layers:
        x = nn.functional.leaky_relu(convolution(x.T[None])[0].T, 0.2)
    x = model.project(x)
    place = sines(torch.arange(1, len(x) + 1) / len(x))
    for layer in model.encoder:
        query, key = layer.query_key(x + place).chunk(2, dim=1)
        x = layer.norm(x + layer.attention.out(attended(query, key, layer.value(x))))
        x = fed(layer.feedforward, x)
    memory, hidden = x, []
    if query_embedding is None:
        query_embedding = model.queries.embedding
        reference = model.queries.centre(query_embedding)
    start = sines(reference.sigmoid())
    x = torch.zeros_like(query_embedding)
    for number, layer in enumerate(model.decoder):
        content, where = (
            layer.self_query_key(x).chunk(2, dim=1),
            layer.self_place_query_key(query_embedding).chunk(2, 1),
        )
        mixed = attended(content[0] + where[0], content[1] + where[1], layer.self_value(x))
        sine = layer.query_position(start if number == 0 else start * model.scale(x))
        x = layer.norms[0](x + layer.self_attention.out(mixed))
        query, key, where = layer.query(x), layer.key(memory), layer.key_position(place)
        if number == 0:
            query, key = query + layer.query_start(query_embedding), key + where
        beside = [
            torch.cat([part for pair in zip(a.chunk(HEADS, 1), b.chunk(HEADS, 1), strict=True) for part in pair], 1)
            for a, b in ((query, sine), (key, where))
        ]
        x = layer.norms[1](x + layer.attention.out(attended(*beside, layer.value(memory))))
        x = fed(layer.feedforward, x)
        hidden.append(model.norm(x))
        # the next layer goes on without the norm
    return hidden, reference


def boxes(model, hidden, reference):
    return (model.segment(hidden) + nn.functional.pad(reference, (0, 1))).sigmoid()


def test_every_layer_answers_what_the_published_formulas_say():
    model, x = detector(), windows()
    hidden, reference = by_hand(model, x[0])
    outputs = model(x, torch.zeros(1, LENGTH, dtype=torch.bool))
    for answer, states in zip((*outputs.earlier, outputs), hidden, strict=True):
        torch.testing.assert_close(
            answer.segments_cw[0], boxes(model, states, reference), check_dtype=False, atol=1e-6, rtol=0
        )
        torch.testing.assert_close(answer.actionness_logits[0], model.actionness(states)[:, 0], atol=1e-5, rtol=0)


def test_a_padded_window_answers_what_the_formulas_say_of_its_own_snippets():
    model, x = detector(), windows(2, 12)
    padding = torch.arange(12).expand(2, -1) >= torch.tensor([12, LENGTH])[:, None]
    hidden, reference = by_hand(model, x[1, :LENGTH])
    found = model(x, padding).segments_cw[1]
    torch.testing.assert_close(found, boxes(model, hidden[-1], reference), atol=1e-6, rtol=0)


def test_what_a_query_is_counts_in_the_first_look_at_the_snippets_as_it_does_not_in_ours():
    x, padding = windows(), torch.zeros(1, LENGTH, dtype=torch.bool)
    for of, differs in ((PublishedDETR, True), (ConditionalDETR, False)):
        model = detector(of)
        layer, asked = model.decoder[0], []
        layer.attention.register_forward_pre_hook(lambda _, given, asked=asked: asked.append(given[0]))
        with torch.no_grad():
            for part in (*model.queries.centre[-1].parameters(), model.queries.places):
                part.zero_()  # every query stands in the middle
            model(x, padding)
        assert bool(asked[0].std(dim=1).max() > 1e-6) == differs


def test_prior_places_are_drawn_evenly_stay_and_make_all_of_a_query():
    model = ConditionalDETR(CHANNELS, queries=4000, width=WIDTH, heads=HEADS, queries_from=DrawnQueries)
    places = np.sort(model.queries.places.sigmoid().flatten().numpy())
    assert np.abs(places - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov's bound of one in 800
    assert np.diff(places).max() > 2 / 4000  # drawn, and not laid out
    assert not model.queries.places.requires_grad and not hasattr(model.queries, "embedding")
    x, padding = windows(), torch.zeros(1, LENGTH, dtype=torch.bool)
    small = detector(queries_from=DrawnQueries)
    places, layers = small.queries.places, small.queries.content
    content = layers[-1](layers[0](sines(places.sigmoid())).relu())
    hidden, reference = by_hand(small, x[0], content, places)
    torch.testing.assert_close(small(x, padding).segments_cw[0], boxes(small, hidden[-1], reference), atol=1e-6, rtol=0)
    with torch.no_grad():
        places[1] = places[0]
    found = small(x, padding).segments_cw[0]
    torch.testing.assert_close(found[0], found[1])


def multihead(attention: nn.Module, parts: tuple[nn.Linear, ...], x, seen):
    """torch's own multi-head attention with the weights of ours."""
    made = nn.MultiheadAttention(x.shape[-1], HEADS, batch_first=True).double().eval()
    made.in_proj_weight.data = torch.cat([part.weight for part in parts])
    made.in_proj_bias.data = torch.cat([part.bias for part in parts])
    made.out_proj.load_state_dict(attention.state_dict())
    return made(x, seen, seen)[0]


@pytest.mark.parametrize("fusion", ["attention", "mean", "max"])
@pytest.mark.parametrize(
    ("join", "residual"),
    [("sum", False), ("sum", True), ("first_half", False), ("projected", False), ("alone", False)],
)
def test_a_second_look_is_what_was_published(fusion, join, residual):
    torch.manual_seed(2)
    layer = RectifyingLayer(CHANNELS, WIDTH, HEADS, fusion, residual, join, True)
    layer = layer.double().eval()
    x, static = torch.randn(1, 3, WIDTH, dtype=torch.float64), windows()
    segments_ix = torch.tensor([[[0.5, 3.0], [2.0, 6.5], [4.0, 4.5]]], dtype=torch.float64)
    bins = roi_align(static[0], segments_ix[0], BINS)  # (queries, bins, channels)
    if fusion == "attention":
        parts = (layer.fusion.query, layer.fusion.key_value)
        found = multihead(layer.fusion.out, parts, x[0][:, None], bins)[:, 0]
    else:
        found = bins.mean(1) if fusion == "mean" else bins.max(1).values
    if join == "alone":
        out = found
    elif join == "projected":
        out = layer.projected(torch.cat([x[0], found], 1))
    else:
        seen = x[0] + found if join == "sum" else torch.cat([x[0], found], 1)
        out = multihead(layer.attention.out, (layer.query_key_value,), seen[None], seen[None])[0][:, :WIDTH]
        out = seen + out if residual else out
    answer = layer(x, static, segments_ix.float(), torch.tensor([LENGTH]))[0]
    torch.testing.assert_close(answer, x[0] + out, atol=1e-5, rtol=0)


def test_the_second_look_reads_features_as_they_are_and_the_same_heads_answer():
    second = Rectifying(refine="mean", refine_residual=False, published=True)
    model, x = detector(additions=[second]), windows()
    hidden, reference = by_hand(model, x[0])
    start, end = (boxes(model, hidden[-1], reference) @ torch.tensor([[1.0, 1.0], [-0.5, 0.5]]).double() * LENGTH).T
    found = roi_align(x[0], torch.stack([start, end], 1).detach(), BINS).mean(1)
    (layer,) = second.layers
    seen = (hidden[-1] + found)[None]
    out = multihead(layer.attention.out, (layer.query_key_value,), seen, seen)[0]
    outputs = model(x, torch.zeros(1, LENGTH, dtype=torch.bool))
    torch.testing.assert_close(outputs.segments_cw[0], boxes(model, hidden[-1] + out, reference), atol=1e-5, rtol=0)


def test_a_mean_of_features_of_another_width_is_refused():
    with pytest.raises(ValueError, match="width must be 6, that of the features, got 8"):
        RectifyingLayer(6, WIDTH, HEADS, "mean", False, "sum", True)


def test_dropout_is_inside_the_feed_forward_net_and_on_attention_weights_too():
    for of, inside, weights in ((PublishedDETR, 2, True), (ConditionalDETR, 1, False)):
        model = detector(of, dropout=0.5)
        for layer in (*model.encoder, *model.decoder):
            assert sum(isinstance(part, nn.Dropout) for part in layer.feedforward.net) == inside
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        padding = torch.zeros(1, LENGTH, dtype=torch.bool)
        one, other = (model.train()(windows(), padding).segments_cw for _ in range(2))
        assert torch.equal(one, other) != weights


def test_first_weights_follow_the_published_rules():
    torch.manual_seed(0)
    looking = Rectifying(refine_residual=False, published=True)
    model = PublishedDETR(64, width=64, heads=4, encoder_layers=1, conv_layers=1, additions=[looking])

    def reach(linear, bound):
        assert 0.97 * bound < linear.weight.abs().max() <= bound

    encoder, decoder, second = model.encoder[0], model.decoder[0], looking.layers[0]
    for linear in (encoder.query_key, encoder.value, second.query_key_value, second.fusion.key_value):
        reach(linear, math.sqrt(6 / (64 + 3 * 64)))  # one matrix of three
        assert linear.bias.abs().max() == 0
    for linear in (decoder.self_query_key, decoder.self_place_query_key, decoder.query, decoder.key_position):
        reach(linear, math.sqrt(6 / (64 + 64)))
    reach(decoder.feedforward.net[0], math.sqrt(6 / (64 + 256)))
    reach(model.project, 1 / math.sqrt(64))  # as torch makes it
    reach(model.backbone.layers[0], math.sqrt(6 / (3 * 64)))
    assert model.backbone.layers[0].bias.abs().max() == 0 == model.segment[-1].weight.abs().max()
    assert model.actionness.bias.item() == pytest.approx(-math.log(99))
    answer = model.eval()(torch.randn(1, 9, 64), torch.zeros(1, 9, dtype=torch.bool)).earlier[0]
    assert answer.segments_cw[..., 1].unique().tolist() == [0.5]  # no width but sigma(0)


def clipped_tiou(found, true):
    (a, b), (c, d) = (
        tuple(min(max(end, 0.0), 1.0) for end in (centre - width / 2, centre + width / 2))
        for centre, width in (found, true)
    )
    both = max(0.0, min(b, d) - max(a, c))
    union = (b - a) + (d - c) - both
    return both / union if union else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_matching_and_overlap_loss_are_of_what_lies_inside_the_window(seed):
    segments_cw, logits, _ = random_case(4, [3], 1, seed)
    starts = torch.rand(3, 1, generator=torch.Generator().manual_seed(seed)) * 0.6
    targets = [cut(*torch.cat([starts, starts + 0.35], 1).tolist())]
    costs = torch.zeros(4, 3)
    for q in range(4):
        p = float(logits[0, q, 0].sigmoid())
        focal = 0.25 * (1 - p) ** 2 * -math.log(p) - 0.75 * p**2 * -math.log(1 - p)
        for t in range(3):
            found, true = segments_cw[0, q].tolist(), targets[0].segments_cw[t].tolist()
            l1 = abs(found[0] - true[0]) + abs(found[1] - true[1])
            costs[q, t] = 2 * focal + 5 * l1 - 2 * clipped_tiou(found, true)
    ((query_ix, target_ix),) = match(segments_cw, logits, targets, PublishedLoss.pair_cost)
    best = min(permutations(range(4), 3), key=lambda rows: sum(costs[q, t] for t, q in enumerate(rows)))
    assert dict(zip(target_ix.tolist(), query_ix.tolist(), strict=True)) == dict(enumerate(best))
    terms = PublishedLoss(overlap_loss="iou")(Outputs(segments_cw, logits[..., 0]), batch(targets))
    lost = sum(
        1 - clipped_tiou(segments_cw[0, q].tolist(), targets[0].segments_cw[t].tolist()) for t, q in enumerate(best)
    )
    assert float(terms["loss_iou"]) == pytest.approx(lost / 3, abs=1e-5)


def cut(*rows: tuple[float, float]) -> Target:
    """Actions from and to fractions of a window."""
    cw = torch.tensor([((a + b) / 2, b - a) for a, b in rows])
    return Target(cw, torch.zeros(len(rows), dtype=torch.int64))


def test_salience_is_a_mean_of_each_window_over_the_number_of_actions_and_an_action_ends_a_snippet_later():
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    targets = [cut((0.3, 0.5), (0.3, 0.6)), cut((0.5, 1.0))]
    padding = torch.arange(8).expand(2, -1) >= torch.tensor([8, 4])[:, None]
    # floor(2.4) to ceil(4.8) and one more; 2 of 4 to the end
    wanted = [[0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1]]
    total = 0.0
    for row, true in zip(logits.tolist(), wanted, strict=True):
        losses = []
        for logit, y in zip(row, true, strict=False):
            p = 1 / (1 + math.exp(-logit))
            losses.append(0.25 * (1 - p) ** 2 * -math.log(p) if y else 0.75 * p**2 * -math.log(1 - p))
        total += sum(losses) / len(losses)
    head = Salience(published=True)

    def salience(rows: slice, step: tuple = ()) -> float:
        outputs = Outputs(torch.rand(2, 4, 2)[rows], torch.zeros(2, 4)[rows], added={"salience": logits[rows]})
        given = batch(targets[rows], padding[rows])._replace(step=step)
        return float(DetectionLoss(additions=[head])(outputs, given)["loss_salience"])

    assert salience(slice(None)) == pytest.approx(total / 3, abs=1e-6)
    rows = slice(0, 1), slice(1, 2)
    step = tuple(batch(targets[each], padding[each]) for each in rows)
    summed = sum(salience(each, step) for each in rows)
    assert summed == pytest.approx(total / 3, abs=1e-6), "in two batches that step as one"


def test_ours_is_the_default_and_the_parameters_ask_for_every_part_of_the_published_one():
    heads = {"refine": "attention", "salience": "bce"}
    given = {"system": "ours", "centres": "learned", "refine_join": "sum", "refine_residual": True}
    for words in (heads, heads | given):
        params = Params.check(words)
        assert not any(ideas.asked(hook, params) for hook in ("network", "loss", "parts"))
        (salience,), (second,) = ideas.asked("additions", params)
        for asked, plain in ((salience, Salience()), (second, Rectifying())):
            assert asked.arguments == {name: getattr(plain, name) for name in asked.arguments}
    params = Params.check(heads | {"system": "published"})
    assert ideas.asked("network", params) == [PublishedDETR] and ideas.asked("loss", params) == [PublishedLoss]
    assert all(addition.arguments["published"] for (addition,) in ideas.asked("additions", params))


@pytest.mark.parametrize("join", ["first_half", "projected", "alone"])
def test_only_a_sum_keeps_the_residual(join):
    with pytest.raises(ValueError, match=f"refine_join={join} leaves no residual .*: it needs refine_residual=false"):
        Params.check({"refine": "attention", "refine_join": join})
    Params.check({"refine": "attention", "refine_join": join, "refine_residual": False})
