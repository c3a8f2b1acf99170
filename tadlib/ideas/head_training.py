"""Trainable parts between frozen CLIP and class logits, and their training on true segments of seen classes.

`NamingHead` joins heads on bins and on texts, learned context, a background embedding, a matching and a mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.checks import one_of
from tadlib.data.encoder import Encoder
from tadlib.ideas import head_losses
from tadlib.ideas.context import Context
from tadlib.ideas.head_losses import BACKGROUND, CLASSIFYING, LOSSES, Adjacent, Bins, InVideo, Labels, Logits, Score
from tadlib.ideas.heads import Head, TextHead
from tadlib.ideas.mask import Mask
from tadlib.ideas.text_queries import Matching
from tadlib.naming.similarity import cosine
from tadlib.naming.text import TextEmbeddings, mean_of_texts

Rates = Mapping[nn.Parameter, float]
BATCH = 64  # segments a step
BINS = 1024  # bins a step, where an example has few of them (snippets)


@dataclass(frozen=True)
class TrainableParts:
    """Choice of trainable parts; names and defaults are those of the parameters."""

    head: str = "none"
    text_head: str = "none"
    head_residual: bool = True
    lead: str = "none"
    context: int = 0
    context_at: str = "before"
    background: str = "none"
    pooling: str = "mean"

    @property
    def trained(self) -> bool:
        """Whether any part is trained."""
        learned = self.background == "learned" or self.pooling in ("matching_learned", "mask")
        return learned or self.context > 0 or (self.head, self.text_head) != ("none", "none")


class ClassTexts(NamedTuple):
    """Texts of classes, and their embeddings from the frozen encoder."""

    texts: Sequence[tuple[str, ...]]
    steps: TextEmbeddings

    def only(self, places: Sequence[int]) -> "ClassTexts":
        """Return the texts of the classes with these indices."""
        rows = torch.tensor(places)
        return ClassTexts([self.texts[place] for place in places], TextEmbeddings(*(each[rows] for each in self.steps)))


class NamingHead(nn.Module):
    """Trainable classifier of segments: a head on bins, and context and a head on class texts."""

    def __init__(self, parts: TrainableParts, channels: int, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.name_first, kind, residual = parts.lead != "none", parts.pooling, parts.head_residual
        self.visual = None if parts.head == "none" else Head(parts.head, channels, residual)
        text_head = parts.text_head
        self.text = None if text_head == "none" else TextHead(text_head, channels, residual, self.name_first)
        self.context = Context(encoder, parts.context, parts.context_at) if parts.context else None
        self.matching = Matching(kind, channels) if kind.startswith("matching") else None
        self.mask = Mask(channels) if kind == "mask" else None
        learned = parts.background == "learned"
        self.background = nn.Parameter(functional.normalize(torch.randn(channels), dim=0)) if learned else None

    def steps(self, class_texts: ClassTexts) -> TextEmbeddings:
        """Embeddings of every text, with learned context if there is one."""
        return class_texts.steps if self.context is None else self.context(class_texts.texts)

    def mapped(self, steps: TextEmbeddings) -> Float[Tensor, "k s c"]:
        """Text embeddings after the text head."""
        return steps.embeddings if self.text is None else self.text(steps)

    def classes(self, steps: TextEmbeddings) -> Float[Tensor, "k c"]:
        """Unit-length class embeddings, with a last row for background if it is learned."""
        found = self.mapped(steps)
        texts = mean_of_texts(found, steps.padding) if self.text is None else self.text.read(found, steps.padding)
        if self.background is None:
            return texts
        return torch.cat([texts, functional.normalize(self.background, dim=0)[None]])

    def bins(self, bins: Bins) -> Bins:
        """Bins after the visual head."""
        return bins if self.visual is None else self.visual(bins)

    def logits(self, bins: Bins, steps: TextEmbeddings, factor: float) -> Logits:
        """Logits of segments for classes, from the mean bin or by matching texts with bins."""
        texts, bins = self.classes(steps), self.bins(bins)
        if self.matching is not None:
            return self.matching(bins, texts, factor)
        return cosine(bins.mean(dim=1), texts, factor)

    def grounding(self, bins: Bins, steps: TextEmbeddings, factor: float) -> Logits:
        """Grounding scores of class texts in the bins of segments."""
        return head_losses.grounded(self.bins(bins), self.mapped(steps), steps.padding, factor)


def score_of(model: NamingHead, loss: str, factor: float) -> Score:
    """Return the scores that a loss compares: of whole segments, or of texts grounded in bins."""
    score = model.grounding if loss == "grounding" else model.logits
    return lambda bins, steps: score(bins, steps, factor)


class Examples(NamedTuple):
    """Training segments with labels."""

    bins: Bins
    labels: Labels  # class index; -1 is background
    adjacent: Adjacent  # bins of the regions adjacent to each segment
    in_video: InVideo  # which of these regions are in the video

    def only(self, rows: Tensor) -> "Examples":
        """Select examples by index or mask."""
        return Examples(*(field[rows] for field in self))


@dataclass(frozen=True)
class HeadTraining:
    """Settings of the training; names and defaults are those of the parameters, `factor` scales the cosine."""

    head_loss: str = "cross_entropy"
    head_epochs: int = 20
    head_lr: float = 1e-3
    text_lr: float = 1e-3
    hard_negatives: str = "none"
    head_episodes: float = 0.0
    head_on: str = "segments"
    roi_bins: int = 16
    logit_scale: str = "exp"
    seed: int = 0
    factor: float = 1.0

    def __post_init__(self) -> None:
        one_of("head_loss", self.head_loss, LOSSES)


def fit(model: NamingHead, examples: Examples, class_texts: ClassTexts, training: HeadTraining) -> list[float]:
    """Train in place on labelled segments; returns the mean loss of every epoch."""
    rates = {  # of each trained parameter; the mask is trained separately
        weight: training.text_lr if name.startswith(("text.", "context.")) else training.head_lr
        for name, weight in model.named_parameters()
        if weight.requires_grad and not name.startswith("mask.")
    }
    optimiser = torch.optim.AdamW([{"params": [weight], "lr": rate} for weight, rate in rates.items()])
    history, size = [], max(BATCH, BINS // examples.bins.shape[1])
    for _ in range(training.head_epochs):
        losses = []
        for part in torch.randperm(len(examples.labels)).split(size):
            optimiser.zero_grad()
            loss = learn(model, examples.only(part), class_texts, training, rates)
            optimiser.step()
            losses += [loss] * len(part)
        history.append(sum(losses) / len(losses))
    return history


def learn(
    model: NamingHead, examples: Examples, class_texts: ClassTexts, training: HeadTraining, rates: Rates
) -> float:
    """Compute the gradients of the loss; returns the loss.

    With `head_episodes` this share of the classes is held out. The loss is that of the other classes, classified among
    themselves, plus that of the held-out ones among all classes, after a virtual step on the first (first-order MLDG,
    Li et al. 2018). An update that helps seen classes but hurts unseen ones thus has no gain.
    """
    classes = len(class_texts.texts)
    if not training.head_episodes or classes < 2:
        loss = loss_of(model, examples, class_texts, training)
        loss.backward()
        return loss.item()
    shuffle = torch.randperm(classes)
    number = min(max(1, round(training.head_episodes * classes)), classes - 1)
    held, rest = shuffle[:number], shuffle[number:].sort().values
    out = torch.isin(examples.labels, held)
    total, before = 0.0, {weight: weight.detach().clone() for weight in rates}
    if not out.all():
        kept = examples.only(~out)
        places = torch.full((classes + 1,), BACKGROUND)  # the last entry maps -1
        places[rest] = torch.arange(len(rest))
        loss = loss_of(model, kept._replace(labels=places[kept.labels]), class_texts.only(rest.tolist()), training)
        loss.backward()
        total += loss.item()
    if out.any():
        with torch.no_grad():
            for weight, rate in rates.items():
                if weight.grad is not None:
                    weight -= rate * weight.grad
        loss = loss_of(model, examples.only(out), class_texts, training)
        loss.backward()  # added to the gradient of the first loss
        total += loss.item()
        with torch.no_grad():
            for weight, value in before.items():
                weight.copy_(value)
    return total


def loss_of(model: NamingHead, examples: Examples, class_texts: ClassTexts, training: HeadTraining) -> Tensor:
    """Loss of a batch of segments."""
    steps, score = model.steps(class_texts), score_of(model, training.head_loss, training.factor)
    logits = score(examples.bins, steps)
    learned = model.background is not None and training.head_loss != "grounding"
    wanted = head_losses.targets(examples.labels, logits.shape[1], learned)
    if training.head_loss in CLASSIFYING:
        return head_losses.classification(logits, wanted, training.head_loss)
    own = examples.labels.clamp(min=0)[:, None]
    orders = regions = None
    if training.hard_negatives in ("order", "all"):
        orders = head_losses.wrong_orders(score, examples.bins, own, steps, model.name_first)
        orders = orders.masked_fill((examples.labels == BACKGROUND)[:, None], -torch.inf)
    if training.hard_negatives in ("region", "all"):
        regions = head_losses.wrong_regions(score, examples.adjacent, examples.in_video, own, steps)
    return head_losses.contrastive(logits, examples.labels, wanted, orders, regions)
