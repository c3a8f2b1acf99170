"""What is trained between frozen CLIP and the names of segments: heads, context, background, a matching, a mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.encoder import Encoder
from tadlib.ideas.context import Context
from tadlib.ideas.head_losses import grounded
from tadlib.ideas.heads import Head, TextHead
from tadlib.ideas.mask import Mask
from tadlib.ideas.text_queries import Matching
from tadlib.naming.similarity import cosine
from tadlib.naming.text import Steps, mean_of_texts


@dataclass(frozen=True)
class Parts:
    """What there is to train; words and defaults are those of the parameters."""

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
        """Whether there is anything to train."""
        learned = self.background == "learned" or self.pooling in ("matching_learned", "mask")
        return learned or self.context > 0 or (self.head, self.text_head) != ("none", "none")


class Said(NamedTuple):
    """The texts of classes, and their embeddings by the frozen encoder."""

    texts: Sequence[tuple[str, ...]]
    steps: Steps

    def only(self, places: Sequence[int]) -> "Said":
        """Of some of the classes."""
        rows = torch.tensor(places)
        return Said([self.texts[place] for place in places], Steps(*(each[rows] for each in self.steps)))


class Semantics(nn.Module):
    """Bins of segments and texts of classes, each through what is trained on its side, to logits."""

    def __init__(self, parts: Parts, channels: int, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.led, kind, residual = parts.lead != "none", parts.pooling, parts.head_residual
        self.visual = None if parts.head == "none" else Head(parts.head, channels, residual)
        text_head = parts.text_head
        self.text = None if text_head == "none" else TextHead(text_head, channels, residual, self.led)
        self.context = Context(encoder, parts.context, parts.context_at) if parts.context else None
        self.matching = Matching(kind, channels) if kind.startswith("matching") else None
        self.mask = Mask(channels) if kind == "mask" else None
        learned = parts.background == "learned"
        self.background = nn.Parameter(functional.normalize(torch.randn(channels), dim=0)) if learned else None

    def steps(self, said: Said) -> Steps:
        """The embeddings of every text, as learned context makes them; the frozen encoder's without it."""
        return said.steps if self.context is None else self.context(said.texts)

    def mapped(self, steps: Steps) -> Float[Tensor, "k s c"]:
        """What the text head makes of every text."""
        return steps.embeddings if self.text is None else self.text(steps)

    def classes(self, steps: Steps) -> Float[Tensor, "k c"]:
        """Unit-length embeddings of classes, and behind them that of background where one is learned."""
        found = self.mapped(steps)
        texts = mean_of_texts(found, steps.padding) if self.text is None else self.text.read(found, steps.padding)
        if self.background is None:
            return texts
        return torch.cat([texts, functional.normalize(self.background, dim=0)[None]])

    def bins(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """What the visual head makes of bins."""
        return bins if self.visual is None else self.visual(bins)

    def logits(self, bins: Float[Tensor, "n r c"], steps: Steps, factor: float) -> Float[Tensor, "n k"]:
        """Logits of segments for classes: their mean bin compared, or what each text finds among the bins."""
        texts, bins = self.classes(steps), self.bins(bins)
        if self.matching is not None:
            return self.matching(bins, texts, factor)
        return cosine(bins.mean(dim=1), texts, factor)

    def grounding(self, bins: Float[Tensor, "n r c"], steps: Steps, factor: float) -> Float[Tensor, "n k"]:
        """How well the texts of classes are grounded in the bins of segments."""
        return grounded(self.bins(bins), self.mapped(steps), steps.padding, factor)


Score = Callable[[Tensor, Steps], Tensor]  # bins (n, r, c), texts of k classes -> logits (n, k)


def score_of(semantics: Semantics, loss: str, factor: float) -> Score:
    """What a loss compares: whole segments with classes, or bins with words."""
    say = semantics.grounding if loss == "grounding" else semantics.logits
    return lambda bins, steps: say(bins, steps, factor)
