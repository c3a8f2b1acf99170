"""Trainable heads learn the labels they are given, start as what CLIP knows, and leave CLIP as it is."""

import itertools

import pytest
import torch
from lessons import CHANNELS, LABELS, made, named, segments, taught, texts
from torch.nn import functional

from tadlib.ideas.head_losses import classification, targets
from tadlib.ideas.head_training import fit_mask
from tadlib.ideas.heads import MAPS, Head, Mask, Matching
from tadlib.naming.similarity import cosine
from tadlib.naming.text import TextEmbeddings, mean_of_texts

KINDS = [kind for kind in MAPS if kind != "cross"]
TEXT_KINDS = [kind for kind in MAPS if kind != "adapter"]
PARTS = [{"head": kind} for kind in KINDS] + [{"text_head": kind, "lead": "name"} for kind in TEXT_KINDS]


@pytest.mark.parametrize(("parts", "residual"), zip(PARTS, itertools.cycle([True, False])), ids=str)
def test_a_head_overfits_a_handful_of_segments_or_their_texts_with_their_own_labels(parts, residual):
    semantics, number = made(head_residual=residual, **parts), 8 if "head" in parts else 4
    examples, said = segments(number=number), texts(steps=1 if "head" in parts else 4)
    assert not torch.equal(named(semantics, examples.bins, said), LABELS[:number])
    history = taught(semantics, examples, said)
    assert torch.equal(named(semantics, examples.bins, said), LABELS[:number]) and history[-1] < history[0]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "adapter"])
def test_a_residual_head_starts_as_the_features_themselves(kind):
    bins = segments().bins
    assert torch.equal(Head(kind, CHANNELS)(bins), functional.normalize(bins, dim=-1))


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize("name_first", [True, False])
def test_a_residual_text_head_starts_as_the_texts_themselves(kind, name_first):
    steps = texts(steps=3).steps
    if kind == "cross" and not name_first:
        return  # refused among the parameters
    plain = functional.normalize(steps.embeddings[:, 0], dim=1) if name_first else mean_of_texts(*steps)
    head = made(text_head=kind, lead="name" if name_first else "none")
    torch.testing.assert_close(head.classes(steps), plain)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_padding_has_no_say_in_a_text_head(kind):
    steps, head = texts(steps=4).steps, Head(kind, CHANNELS, residual=False)
    padded = TextEmbeddings(
        functional.pad(steps.embeddings, (0, 0, 0, 2)), functional.pad(steps.padding, (0, 2), value=True)
    )
    torch.testing.assert_close(head(*padded)[:, :4], head(*steps))
    assert head(*padded)[:, 4:].count_nonzero() == 0
    for row, real in enumerate((~steps.padding).sum(dim=1).tolist()):
        alone = head(steps.embeddings[row : row + 1, :real], steps.padding[row : row + 1, :real])
        torch.testing.assert_close(alone[0], head(*steps)[row, :real])


def attended(attention, queries, keys):
    """Multi-head attention written out, one head after the other."""
    c, number = queries.shape[-1], attention.num_heads
    size = c // number
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((queries, keys, keys), weights, biases, strict=True))
    found = []
    for head in range(number):
        part = slice(head * size, (head + 1) * size)
        found.append((q[:, part] @ k[:, part].T / size**0.5).softmax(dim=1) @ v[:, part])
    return torch.cat(found, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias


def test_cross_attention_asks_with_the_name_and_reads_the_steps():
    steps, head = texts(steps=4).steps, made(text_head="cross", lead="name", head_residual=False)
    found = head.classes(steps)
    for row, real in enumerate((4, 4, 4, 3)):
        unit = functional.normalize(steps.embeddings[row, :real], dim=1)
        by_hand = functional.normalize(attended(head.text.map.attention, unit[:1], unit[1:]), dim=1)[0]
        torch.testing.assert_close(found[row], by_hand)


def test_only_a_composition_and_a_convolution_read_an_order():
    steps = texts(steps=4).steps
    turned = TextEmbeddings(steps.embeddings[:3, [0, 3, 2, 1]], steps.padding[:3])
    for kind in TEXT_KINDS:
        head = made(text_head=kind, lead="name", head_residual=False)
        first, second = (head.classes(s) for s in (TextEmbeddings(*(f[:3] for f in steps)), turned))
        assert torch.allclose(first, second, atol=1e-5) == (kind not in ("conv", "composition")), kind


def test_fixed_matching_is_attention_of_texts_to_bins_written_out():
    bins, classes = segments().bins, texts().steps.embeddings[:, 0]
    found = Matching()(bins, classes, 20.0)
    for n, segment in enumerate(bins):
        for k, text in enumerate(classes):
            alike = [cosine(row[None], text[None], 20.0)[0, 0] / CHANNELS**0.5 for row in segment]
            weights = torch.stack(alike).softmax(dim=0)
            unit = functional.normalize(segment, dim=1)
            res = sum(weight * row for weight, row in zip(weights, unit, strict=True))
            assert float(found[n, k]) == pytest.approx(float(cosine(res[None], text[None], 20.0)), abs=1e-4)


def test_learned_matching_starts_as_the_fixed_one_and_overfits():
    semantics, examples, said = made(pooling="matching_learned"), segments(), texts()
    classes = said.steps.embeddings[:, 0]
    fixed = Matching()(examples.bins, classes, 20.0)
    torch.testing.assert_close(semantics.matching(examples.bins, classes, 20.0), fixed)
    assert not torch.equal(named(semantics, examples.bins, said), LABELS)
    taught(semantics, examples, said)
    assert torch.equal(named(semantics, examples.bins, said), LABELS)


def test_a_mask_learns_which_snippets_show_an_action_and_says_nothing_before():
    snippets, mask = segments().bins.flatten(0, 1), Mask(CHANNELS)
    inside = torch.arange(len(snippets)) % 3 == 0
    assert mask(snippets).count_nonzero() == 0
    history = fit_mask(mask, snippets[:12], inside[:12], epochs=150, lr=0.1)
    assert torch.equal(mask(snippets[:12]) > 0, inside[:12]) and history[-1] < 0.2 < history[0]


def test_losses_equal_the_formulas_written_out():
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    wanted, p = targets(labels, 3), logits.softmax(dim=1)
    torch.testing.assert_close(classification(logits, wanted, "cross_entropy"), -(p[0, 0].log() + p[1, 1].log()) / 2)
    centred = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]])
    true = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    q = centred.sigmoid()
    right = torch.where(true == 1, q, 1 - q)
    torch.testing.assert_close(classification(logits, wanted, "bce"), -right.log().sum() / 2)
    weight = torch.where(true == 1, 0.25, 0.75) * (1 - right) ** 2
    torch.testing.assert_close(classification(logits, wanted, "focal"), -(weight * right.log()).sum() / 2)


def test_soft_background_makes_all_classes_alike_and_a_learned_one_takes_it_over():
    examples, said = segments(), texts()
    examples = examples._replace(labels=torch.where(torch.arange(8) < 4, LABELS, -1))
    soft = made(head="mlp", background="soft")
    taught(soft, examples, said)
    with torch.no_grad():
        likely = soft.logits(examples.bins, said.steps).softmax(dim=1)
    assert torch.equal(likely[:4].argmax(dim=1), LABELS[:4]) and float((likely[4:] - 0.25).abs().max()) < 0.1
    learned = made(head="mlp", background="learned")
    taught(learned, examples, said)
    with torch.no_grad():
        likely = learned.logits(examples.bins, said.steps).softmax(dim=1)
    assert likely.argmax(dim=1).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
