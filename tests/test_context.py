"""Learned context: vectors between words, read by the frozen text tower, are all that is learned."""

import pytest
import torch
from lessons import LABELS, named, taught
from torch.nn import functional

from tadlib.data.encoder import load_encoder
from tadlib.ideas.context import Context, fits
from tadlib.ideas.head_losses import Examples
from tadlib.ideas.head_training import ClassTexts, HeadTraining, NamingHead
from tadlib.naming.text import by_class

NAMES = [("jump",), ("throw far",), ("swim", "dive into water"), ("run",)]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return load_encoder("tad-demo", "", torch.device("cpu"))


def by_hand(encoder, text, before, behind):
    """The text tower written out for one text with vectors before and behind its words."""
    tower, tokenizer = encoder.model, encoder.tokenizer
    pieces = tokenizer.encode(text)
    words = tower.token_embedding(torch.tensor([tokenizer.sot_token_id, *pieces, tokenizer.eot_token_id]))
    rows = torch.cat([words[:1], before, words[1:-1], behind, words[-1:]])
    rows = torch.cat([rows, tower.token_embedding.weight[:1].expand(tokenizer.context_length - len(rows), -1)])
    out = tower.transformer((rows + tower.positional_embedding)[None], attn_mask=tower.attn_mask)
    end = 1 + len(before) + len(pieces) + len(behind)
    return (tower.ln_final(out)[0, end] @ tower.text_projection).detach()


@pytest.mark.parametrize("where", ["before", "around"])
def test_vectors_stand_where_they_should_and_the_tower_reads_them(encoder, where):
    context = Context(encoder, 5, where)
    steps = context(NAMES)
    assert steps.padding.tolist() == [[False, True], [False, True], [False, False], [False, True]]
    parts = context.vectors.split([3, 2] if where == "around" else [5, 0])
    for row, texts in enumerate(NAMES):
        for found, text in zip(steps.embeddings[row].detach(), texts, strict=False):
            torch.testing.assert_close(found, by_hand(encoder, text, *parts), atol=1e-5, rtol=1e-4)


def test_without_vectors_the_texts_are_the_encoders_own(encoder):
    context = Context(encoder, 0)
    flat = [text for several in NAMES for text in several]
    torch.testing.assert_close(context(NAMES).embeddings, by_class(encoder.texts(flat), [1, 1, 2, 1]).embeddings)


def test_only_the_vectors_are_learned_and_teach_names_that_the_tower_did_not_know(encoder):
    weights = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    before, key = encoder.texts(["jump", "run"]).clone(), encoder.key
    torch.manual_seed(0)
    channels = encoder.texts(["jump"]).shape[1]
    semantics = NamingHead(HeadTraining(context=4), channels, encoder)
    assert [name for name, _ in semantics.named_parameters()] == ["context.vectors"]
    assert list(semantics.state_dict()) == ["context.vectors"]
    nearby = functional.normalize(encoder.texts([texts[0] for texts in NAMES]), dim=1)
    bins = nearby[[1, 2, 3, 0], None] + 0.1 * nearby[:, None]  # each class looks like the text of another
    none = torch.zeros(4, 0, 1, channels), torch.zeros(4, 0, dtype=torch.bool)
    examples = Examples(bins, LABELS[:4], *none)
    said = ClassTexts(NAMES, by_class(torch.zeros(5, channels), [1, 1, 2, 1]))
    assert not (named(semantics, bins, said) == LABELS[:4]).any()
    history = taught(semantics, examples, said, head_epochs=60, text_lr=0.1)
    assert int((named(semantics, bins, said) == LABELS[:4]).sum()) >= 2 and history[-1] < history[0]
    assert all(torch.equal(weights[name], tensor) for name, tensor in encoder.model.state_dict().items())
    assert torch.equal(before, encoder.texts(["jump", "run"])) and type(encoder).key.func(encoder) == key


def test_vectors_fit_where_every_text_leaves_room_for_them(encoder):
    texts = [("jump", "a long jump"), ("x",)]
    longest = len(encoder.tokenizer.encode("a long jump"))
    most = encoder.tokenizer.context_length - 2 - longest
    assert fits(encoder, most, texts) and not fits(encoder, most + 1, texts) and fits(encoder, 0, texts)
    Context(encoder, most)(texts)
    with pytest.raises(ValueError, match="leaves no room for 'a long jump'"):
        Context(encoder, most + 1)(texts)


@pytest.mark.parametrize("where", ["before", "around"])
def test_a_handful_of_segments_is_learned_by_heart(encoder, where):
    torch.manual_seed(0)
    channels = encoder.texts(["jump"]).shape[1]
    semantics = NamingHead(HeadTraining(context=8, context_at=where), channels, encoder)
    bins = torch.randn(8, 1, channels)  # they have nothing to do with the texts of their classes
    examples = Examples(bins, LABELS, torch.zeros(8, 0, 1, channels), torch.zeros(8, 0, dtype=torch.bool))
    said = ClassTexts(NAMES, by_class(torch.zeros(5, channels), [1, 1, 2, 1]))
    assert int((named(semantics, bins, said) == LABELS).sum()) <= 3
    taught(semantics, examples, said, head_epochs=150, text_lr=0.03, factor=100.0)
    assert torch.equal(named(semantics, bins, said), LABELS)
