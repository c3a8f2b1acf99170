"""Trainable parts between frozen CLIP and class logits, and their training on true segments of seen classes.

`NamingHead` joins heads on bins and on texts, learned context, a background embedding, a matching and a mask.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.encoder import Encoder
from tadlib.ideas import head_losses
from tadlib.ideas.context import Context
from tadlib.ideas.head_losses import BACKGROUND, CLASSIFYING, Bins, Examples, Logits
from tadlib.ideas.heads import Head, Mask, Matching
from tadlib.naming.similarity import cosine
from tadlib.naming.text import TextEmbeddings, mean_of_texts

Rates = Mapping[nn.Parameter, float]
BATCH = 64  # segments a step
BINS = 1024  # bins a step, where an example has few of them (snippets)


@dataclass(frozen=True)
class HeadTraining:
    """The trainable parts and their training; names and defaults are those of the parameters."""

    head: str = "none"
    text_head: str = "none"
    head_residual: bool = True
    lead: str = "none"
    context: int = 0
    context_at: str = "before"
    background: str = "none"
    pooling: str = "mean"
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
    factor: float = 1.0  # scale of the cosine, from `logit_scale`

    @property
    def trains_texts(self) -> bool:
        """Whether class texts have a trained part."""
        return self.text_head != "none" or self.context > 0 or self.background == "learned"

    @property
    def trained(self) -> bool:
        """Whether any part is trained."""
        return self.trains_texts or self.head != "none" or self.pooling in ("matching_learned", "mask")


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

    def __init__(self, settings: HeadTraining, channels: int, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.settings, self.name_first, kind = settings, settings.lead != "none", settings.pooling
        self.visual, self.text = (
            None if head == "none" else Head(head, channels, settings.head_residual)
            for head in (settings.head, settings.text_head)
        )
        self.context = Context(encoder, settings.context, settings.context_at) if settings.context else None
        self.matching = Matching(channels, kind == "matching_learned") if kind.startswith("matching") else None
        self.mask = Mask(channels) if kind == "mask" else None
        learned = settings.background == "learned"
        self.background = nn.Parameter(functional.normalize(torch.randn(channels), dim=0)) if learned else None

    def steps(self, class_texts: ClassTexts) -> TextEmbeddings:
        """Embeddings of every text, with learned context if there is one."""
        return class_texts.steps if self.context is None else self.context(class_texts.texts)

    def mapped(self, steps: TextEmbeddings) -> Float[Tensor, "k s c"]:
        """Text embeddings after the text head."""
        return steps.embeddings if self.text is None else self.text(*steps)

    def classes(self, steps: TextEmbeddings) -> Float[Tensor, "k c"]:
        """Unit-length class embeddings, with a last row for background if it is learned.

        A text head's output for the name that precedes the steps is the class embedding; else it is the mean.
        """
        found, from_name = self.mapped(steps), self.text is not None and self.name_first
        texts = functional.normalize(found[:, 0], dim=1) if from_name else mean_of_texts(found, steps.padding)
        if self.background is None:
            return texts
        return torch.cat([texts, functional.normalize(self.background, dim=0)[None]])

    def logits(self, bins: Bins, steps: TextEmbeddings) -> Logits:
        """Logits of segments for classes: from the mean bin, by matching, or for the loss grounding by grounding."""
        factor, bins = self.settings.factor, bins if self.visual is None else self.visual(bins)
        if self.settings.head_loss == "grounding":
            return head_losses.grounded(bins, self.mapped(steps), steps.padding, factor)
        texts = self.classes(steps)
        return cosine(bins.mean(dim=1), texts, factor) if self.matching is None else self.matching(bins, texts, factor)

    def hard_negatives(self, examples: Examples, steps: TextEmbeddings) -> dict[str, Logits]:
        """Logits of the hard negatives of the settings, for the classes of the examples."""
        return head_losses.hard_negatives(self.logits, examples, steps, self.settings.hard_negatives, self.name_first)

    def rates(self) -> Rates:
        """Return the learning rate of each trained parameter, without the mask, which is trained separately."""
        return {
            weight: self.settings.text_lr if name.startswith(("text.", "context.")) else self.settings.head_lr
            for name, weight in self.named_parameters()
            if weight.requires_grad and not name.startswith("mask.")
        }


def descend(learn: Callable[[Tensor], float], rates: Rates, rows: int, size: int, epochs: int) -> list[float]:
    """Train parameters at their rates on shuffled batches of row numbers; returns the mean loss of every epoch.

    `learn` computes the gradients of the loss of a batch, and returns the loss.
    """
    optimiser = torch.optim.AdamW([{"params": [weight], "lr": rate} for weight, rate in rates.items()])
    history = []
    for _ in range(epochs):
        total = 0.0
        for part in torch.randperm(rows).split(size):
            optimiser.zero_grad()
            total += learn(part) * len(part)
            optimiser.step()
        history.append(total / rows)
    return history


def fit(model: NamingHead, examples: Examples, class_texts: ClassTexts) -> list[float]:
    """Train in place on labelled segments, all but the mask; returns the mean loss of every epoch."""
    rates, size = model.rates(), max(BATCH, BINS // examples.bins.shape[1])

    def learn_part(part: Tensor) -> float:
        return learn(model, examples.only(part), class_texts, rates)

    return descend(learn_part, rates, len(examples.labels), size, model.settings.head_epochs)


def fit_mask(
    mask: Mask, snippets: Float[Tensor, "t c"], inside: Bool[Tensor, " t"], epochs: int = 20, lr: float = 1e-3
) -> list[float]:
    """Train a mask in place to separate snippets inside actions from others; returns the loss of every epoch."""

    def learn_part(part: Tensor) -> float:
        loss = functional.binary_cross_entropy_with_logits(mask(snippets[part]), inside[part].float())
        loss.backward()
        return loss.item()

    return descend(learn_part, dict.fromkeys(mask.parameters(), lr), len(snippets), BINS, epochs)


def learn(model: NamingHead, examples: Examples, class_texts: ClassTexts, rates: Rates) -> float:
    """Compute the gradients of the loss; returns the loss.

    With `head_episodes` this share of the classes is held out. The loss is that of the other classes, classified among
    themselves, plus that of the held-out ones among all classes, after a virtual step on the first (first-order MLDG,
    Li et al. 2018). An update that helps seen classes but hurts unseen ones thus has no gain.
    """
    classes, share = len(class_texts.texts), model.settings.head_episodes

    def backward(examples: Examples, class_texts: ClassTexts) -> float:
        loss = loss_of(model, examples, class_texts)
        loss.backward()
        return loss.item()

    if not share or classes < 2:
        return backward(examples, class_texts)
    shuffle = torch.randperm(classes)
    number = min(max(1, round(share * classes)), classes - 1)
    held, rest = shuffle[:number], shuffle[number:].sort().values
    out, total = torch.isin(examples.labels, held), 0.0
    if not out.all():
        kept = examples.only(~out)
        places = torch.full((classes + 1,), BACKGROUND)  # the last entry maps -1
        places[rest] = torch.arange(len(rest))
        total += backward(kept._replace(labels=places[kept.labels]), class_texts.only(rest.tolist()))
    if out.any():
        before = [(weight, weight.detach().clone()) for weight in rates]
        with torch.no_grad():
            for weight, rate in rates.items():
                if weight.grad is not None:
                    weight -= rate * weight.grad
        total += backward(examples.only(out), class_texts)  # added to the gradient of the first loss
        with torch.no_grad():
            for weight, value in before:
                weight.copy_(value)
    return total


def loss_of(model: NamingHead, examples: Examples, class_texts: ClassTexts) -> Tensor:
    """Loss of a batch of segments."""
    steps, loss = model.steps(class_texts), model.settings.head_loss
    logits, learned = model.logits(examples.bins, steps), model.background is not None and loss != "grounding"
    wanted = head_losses.targets(examples.labels, logits.shape[1], learned)
    if loss in CLASSIFYING:
        return head_losses.classification(logits, wanted, loss)
    negatives = model.hard_negatives(examples, steps)
    return head_losses.contrastive(logits, examples.labels, wanted, **negatives)
