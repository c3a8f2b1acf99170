"""Train what names segments on true segments of seen classes; CLIP itself is read and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tadlib.files import Progress, silent
from tadlib.ideas.hard_negatives import ORDERS, has_order, shuffled
from tadlib.ideas.head_losses import CLASSIFYING, LOSSES, NOTHING, classification, contrastive, targets
from tadlib.ideas.semantics import Said, Score, Semantics, score_of
from tadlib.naming.text import Steps

BATCH = 64  # segments a step
BINS = 1024  # bins a step, where an example has few of them: snippets


class Examples(NamedTuple):
    """Segments to learn from."""

    bins: Float[Tensor, "n r c"]
    labels: Int[Tensor, " n"]  # place of the class; -1 is background
    beside: Float[Tensor, "n w r c"]  # bins of wrong regions beside each
    there: Bool[Tensor, "n w"]  # which of them count

    def only(self, rows: Tensor) -> "Examples":
        """Some of them, by place or by a mask."""
        return Examples(*(field[rows] for field in self))


@dataclass(frozen=True)
class Lesson:
    """How to train; words and defaults are those of the parameters, `factor` is that before the cosine."""

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
        if self.head_loss not in LOSSES:
            raise ValueError(f"head_loss must be one of {', '.join(LOSSES)}, got {self.head_loss!r}")


def fit(
    semantics: Semantics, examples: Examples, said: Said, lesson: Lesson, progress: Progress = silent
) -> list[float]:
    """Train in place on segments and their own labels; returns the mean loss of every epoch.

    Raises ValueError where a label has no text, or where nothing is to be learned from.
    """
    labels = examples.labels
    if not (labels >= 0).any() or int(labels.min()) < NOTHING or int(labels.max()) >= len(said.texts):
        raise ValueError(f"a head needs segments with labels 0..{len(said.texts) - 1}, got {labels.unique().tolist()}")
    rates = _rates(semantics, lesson)
    optimiser = torch.optim.AdamW([{"params": [weight], "lr": rate} for weight, rate in rates.items()])
    history, size = [], max(BATCH, BINS // examples.bins.shape[1])
    for epoch in range(lesson.head_epochs):
        losses = []
        for part in torch.randperm(len(labels)).split(size):
            optimiser.zero_grad()
            loss = learn(semantics, examples.only(part), said, lesson, rates)
            optimiser.step()
            losses += [loss] * len(part)
        history.append(sum(losses) / len(losses))
        progress(epoch + 1, lesson.head_epochs, f"naming: loss {history[-1]:.3f}")
    return history


def _rates(semantics: Semantics, lesson: Lesson) -> dict[nn.Parameter, float]:
    """The learning rate of everything that is learned by naming segments; the mask learns on its own."""
    return {
        weight: lesson.text_lr if name.startswith(("text.", "context.")) else lesson.head_lr
        for name, weight in semantics.named_parameters()
        if weight.requires_grad and not name.startswith("mask.")
    }


def learn(
    semantics: Semantics, examples: Examples, said: Said, lesson: Lesson, rates: Mapping[nn.Parameter, float]
) -> float:
    """Leave gradients of the loss in the weights; returns the loss.

    With `head_episodes`, this share of the classes is held out: the loss is that of the others, named among themselves,
    plus that of the held-out ones, named among all, after the step that the others would take (MLDG, Li et al. 2018,
    in first order). What helps the seen and hurts the unseen is thus no progress.
    """
    classes = len(said.texts)
    if not lesson.head_episodes or classes < 2:
        loss = loss_of(semantics, examples, said, lesson)
        loss.backward()
        return loss.item()
    shuffle = torch.randperm(classes)
    number = min(max(1, round(lesson.head_episodes * classes)), classes - 1)
    held, rest = shuffle[:number], shuffle[number:].sort().values
    out = torch.isin(examples.labels, held)
    total, before = 0.0, {weight: weight.detach().clone() for weight in rates}
    if not out.all():
        kept = examples.only(~out)
        places = torch.full((classes + 1,), NOTHING)  # the last place is that of -1
        places[rest] = torch.arange(len(rest))
        loss = loss_of(semantics, kept._replace(labels=places[kept.labels]), said.only(rest.tolist()), lesson)
        loss.backward()
        total += loss.item()
    if out.any():
        with torch.no_grad():
            for weight, rate in rates.items():
                if weight.grad is not None:
                    weight -= rate * weight.grad
        loss = loss_of(semantics, examples.only(out), said, lesson)
        loss.backward()  # on top of the gradient that is there
        total += loss.item()
        with torch.no_grad():
            for weight, value in before.items():
                weight.copy_(value)
    return total


def loss_of(semantics: Semantics, examples: Examples, said: Said, lesson: Lesson) -> Float[Tensor, ""]:
    """The loss of a few segments."""
    steps, say = semantics.steps(said), score_of(semantics, lesson.head_loss, lesson.factor)
    logits = say(examples.bins, steps)
    learned = semantics.background is not None and lesson.head_loss != "grounding"
    wanted = targets(examples.labels, logits.shape[1], learned)
    if lesson.head_loss in CLASSIFYING:
        return classification(logits, wanted, lesson.head_loss)
    own = examples.labels.clamp(min=0)[:, None]
    orders = regions = None
    if lesson.hard_negatives in ("order", "all"):
        orders = wrong_orders(say, examples.bins, own, steps, semantics.led)
        orders = orders.masked_fill((examples.labels == NOTHING)[:, None], -torch.inf)
    if lesson.hard_negatives in ("region", "all"):
        regions = wrong_regions(say, examples.beside, examples.there, own, steps)
    return contrastive(logits, examples.labels, wanted, orders, regions)


def wrong_orders(
    say: Score, bins: Float[Tensor, "n r c"], own: Int[Tensor, "n 1"], steps: Steps, led: bool
) -> Float[Tensor, "n m"]:
    """Logits of segments for their class told in wrong orders; minus infinity where it has but one."""
    found = torch.cat([say(bins, shuffled(steps, led)).gather(1, own) for _ in range(ORDERS)], dim=1)
    return found.masked_fill(~has_order(steps, led)[own], -torch.inf)


def wrong_regions(
    say: Score,
    beside: Float[Tensor, "n w r c"],
    there: Bool[Tensor, "n w"],
    own: Int[Tensor, "n 1"],
    steps: Steps,
) -> Float[Tensor, "n w"]:
    """Logits of what lies beside segments for their class; minus infinity where nothing does."""
    found = say(beside.flatten(0, 1), steps).unflatten(0, there.shape)
    return found.gather(2, own[:, None].expand(-1, there.shape[1], -1))[..., 0].masked_fill(~there, -torch.inf)
