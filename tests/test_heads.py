"""Trainable heads learn the labels they are given, start as what CLIP knows, and leave CLIP as it is."""

import numpy as np
import pytest
import torch
from test_sources import dataset, params, with_features
from torch.nn import functional

from tadlib.naming.heads import KINDS, LOSSES, Head, fit, loss_of
from tadlib.naming.similarity import cosine
from tadlib.workbook import steps
from tadlib.workbook.steps.heads import trained_head, true_bins

LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])


def segments(seed=0):
    """Eight segments of four bins in 16 channels, and four texts that have nothing to do with them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 4, 16, generator=generator), torch.randn(4, 16, generator=generator)


def named(head, bins, texts):
    with torch.inference_mode():
        return cosine(head(bins).mean(dim=1), texts, 1.0).argmax(dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residual", [True, False])
def test_a_head_overfits_a_handful_of_segments_with_their_own_labels(kind, residual):
    torch.manual_seed(0)
    bins, texts = segments()
    head = Head(kind, 16, residual)
    assert not torch.equal(named(head, bins, texts), LABELS)
    history = fit(head, bins, LABELS, texts, factor=20.0, epochs=400, lr=0.01)
    assert torch.equal(named(head, bins, texts), LABELS) and history[-1] < 0.2 < history[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches_the_right_labels(loss):
    torch.manual_seed(0)
    bins, texts = segments()
    head = Head("mlp", 16)
    fit(head, bins, LABELS, texts, factor=20.0, loss=loss, epochs=300, lr=0.01)
    assert torch.equal(named(head, bins, texts), LABELS)


def test_labels_that_are_all_zero_teach_that_everything_is_the_first_class():
    """What the log ran into: its loss fell to 0 and every proposal was of the same class."""
    torch.manual_seed(0)
    bins, texts = segments()
    head = Head("mlp", 16, residual=False)
    history = fit(head, bins, torch.zeros_like(LABELS), texts, factor=20.0, epochs=100, lr=0.01)
    assert history[-1] < 0.01 and named(head, bins, texts).tolist() == [0] * 8


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "adapter"])
def test_a_residual_head_starts_as_the_features_themselves(kind):
    bins, _ = segments()
    assert torch.equal(Head(kind, 16)(bins), functional.normalize(bins, dim=-1))


def test_an_adapter_has_few_parameters_and_keeps_most_of_the_feature():
    bins, _ = segments()
    adapter, unit = Head("adapter", 16), functional.normalize(bins, dim=-1)
    assert sum(weight.numel() for weight in adapter.map.parameters()) == 16 * 4 + 4 + 4 * 16 + 16
    torch.testing.assert_close(adapter(bins), 0.2 * adapter.map(unit) + 0.8 * unit)


def test_losses_equal_the_formulas_written_out():
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    p = logits.softmax(dim=1)
    torch.testing.assert_close(loss_of(logits, labels, "cross_entropy"), -(p[0, 0].log() + p[1, 1].log()) / 2)
    centred = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]])
    true = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    q = centred.sigmoid()
    right = torch.where(true == 1, q, 1 - q)
    torch.testing.assert_close(loss_of(logits, labels, "bce"), -right.log().sum() / 2)
    weight = torch.where(true == 1, 0.25, 0.75) * (1 - right) ** 2
    torch.testing.assert_close(loss_of(logits, labels, "focal"), -(weight * right.log()).sum() / 2)


def test_training_leaves_features_and_texts_to_the_bit():
    bins, texts = segments()
    before = bins.clone(), texts.clone()
    fit(Head("encoder", 16), bins, LABELS, texts, factor=20.0, epochs=3)
    assert torch.equal(bins, before[0]) and torch.equal(texts, before[1])
    assert bins.grad is None and texts.grad is None


def test_what_cannot_be_learnt_is_refused():
    bins, texts = segments()
    with pytest.raises(ValueError, match=r"a head needs segments with labels 0\.\.3, got \[9\]"):
        fit(Head("mlp", 16), bins, LABELS * 0 + 9, texts, factor=1.0)
    with pytest.raises(ValueError, match="head must be one of mlp, .*, got 'lstm'"):
        Head("lstm", 16)
    with pytest.raises(ValueError, match="head_loss must be one of cross_entropy, .*, got 'hinge'"):
        loss_of(torch.zeros(1, 2), torch.tensor([0]), "hinge")


def test_a_head_is_trained_once_on_seen_classes_alone_and_features_stay_as_they_are(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    files = {path: path.read_bytes() for path in (folder / "features").iterdir()}
    given = params(folder, head="mlp", head_epochs=3, head_lr=0.01)
    data = steps.gather(given)
    bins, labels = true_bins(data, given)
    assert bins.shape == (3, 16, 16) and labels.tolist() == [0, 1, 2]  # clap, jump, run; never wave
    before = data.text(["clap", "wave"])
    first = trained_head(data, given)
    (kept,) = (data.benchmark.cache / "heads").iterdir()
    written = kept.stat().st_mtime_ns
    again = trained_head(data, given)
    assert kept.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert files == {path: path.read_bytes() for path in (folder / "features").iterdir()}
    assert torch.equal(before, data.text(["clap", "wave"]))
    assert trained_head(data, params(folder)) is None


def test_a_trained_head_changes_how_segments_are_named(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    given = params(folder, split=0, head="mlp", head_epochs=300, head_lr=0.01)
    data = steps.gather(given)
    bins, labels = true_bins(data, given)
    head = trained_head(data, given)
    assert torch.equal(named(head, bins, data.text(data.classes.seen)), labels)
    np.testing.assert_array_equal(labels, [0, 1, 2, 3])
