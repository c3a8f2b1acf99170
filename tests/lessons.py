"""Small things to learn from, for tests of what is trained to name segments."""

from dataclasses import replace

import torch

from tadlib.ideas.head_losses import Examples
from tadlib.ideas.head_training import ClassTexts, HeadTraining, NamingHead, fit
from tadlib.naming.text import TextEmbeddings

LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
CHANNELS = 16


def segments(seed=0, number=8):
    """Segments of four bins in 16 channels with nothing beside them, of four classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    bins = torch.randn(number, 4, CHANNELS, generator=generator)
    beside = torch.randn(number, 2, 4, CHANNELS, generator=generator)
    return Examples(bins, LABELS[:number], beside, torch.ones(number, 2, dtype=torch.bool))


def texts(seed=1, steps=1, classes=4):
    """Texts of classes, which have nothing to do with the segments; the last class has one step less."""
    generator = torch.Generator().manual_seed(seed)
    padding = torch.zeros(classes, steps, dtype=torch.bool)
    padding[-1, steps - 1] = steps > 1
    embeddings = torch.randn(classes, steps, CHANNELS, generator=generator).masked_fill(padding[..., None], 0.0)
    names = [tuple(f"class {k} step {s}" for s in range(int((~padding[k]).sum()))) for k in range(classes)]
    return ClassTexts(names, TextEmbeddings(embeddings, padding))


def made(encoder=None, **parts):
    """What there is to train, the same in every test."""
    torch.manual_seed(0)
    return NamingHead(HeadTraining(**parts), CHANNELS, encoder)


def taught(semantics, examples, said, **lesson):
    """The history of a training that is long enough."""
    lesson = {"factor": 20.0, "head_epochs": 80, "head_lr": 0.02, "text_lr": 0.02} | lesson
    semantics.settings = replace(semantics.settings, **lesson)
    return fit(semantics, examples, said)


def named(semantics, bins, said):
    """What segments are called."""
    with torch.no_grad():
        return semantics.logits(bins, semantics.steps(said))[:, : len(said.texts)].argmax(dim=1)
