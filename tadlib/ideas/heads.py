"""Do heads on bins or class texts, trained on seen classes, improve frozen CLIP? (entries 40, 53, 58, 59)

With `residual` a head starts as the identity (x + gate * f(x) with gate 0; ReZero, Bachlechner et al. 2021), which
preserves CLIP's knowledge if the head learns little. The adapter is CLIP-Adapter's (Gao et al. 2021): a bottleneck
whose output is mixed with the feature.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.checks import one_of
from tadlib.ideas import maps
from tadlib.naming.text import TextEmbeddings, mean_of_texts

KINDS = (*maps.KINDS, "adapter")
TEXT_KINDS = (*maps.KINDS, "cross")
MIX_RATIO = 0.2  # weight of the adapter's output


class Head(nn.Module):
    """Trainable map of bins of CLIP features; input features are normalised."""

    def __init__(self, kind: str, channels: int, residual: bool = True) -> None:
        super().__init__()
        one_of("head", kind, KINDS)
        self.mixed, self.residual = kind == "adapter", residual
        middle = max(1, channels // maps.SQUEEZE)
        self.map = maps.Mlp(channels, middle, last=True) if self.mixed else maps.make(kind, channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual and not self.mixed)

    def forward(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """Return the mapped bins."""
        unit = functional.normalize(bins, dim=-1)
        if self.mixed:
            return MIX_RATIO * self.map(unit, None) + (1 - MIX_RATIO) * unit
        return unit + self.gate * self.map(unit, None) if self.residual else self.map(unit, None)


class TextHead(nn.Module):
    """Trainable map of the texts of each class, and the class embedding read from them.

    If a name precedes the sub-actions (`name_first`), its output is the class embedding; in `cross` that output is the
    name's attention to the sub-actions. Without a name the class embedding is the mean.
    """

    def __init__(self, kind: str, channels: int, residual: bool = True, name_first: bool = False) -> None:
        super().__init__()
        one_of("text_head", kind, TEXT_KINDS)
        self.crossing, self.residual, self.name_first = kind == "cross", residual, name_first
        if self.crossing and not name_first:
            raise ValueError("text_head=cross needs the name of a class as query: pass -p lead name or -p lead prompt")
        self.map = maps.Attention(channels).attention if self.crossing else maps.make(kind, channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual)

    def forward(self, steps: TextEmbeddings) -> Float[Tensor, "k s c"]:
        """Return the mapped text embeddings; input texts are normalised, padding is unchanged."""
        unit = functional.normalize(steps.embeddings, dim=-1)
        mapped = self._cross_attention(unit, steps.padding) if self.crossing else self.map(unit, steps.padding)
        found = unit + self.gate * mapped if self.residual else mapped
        return found.masked_fill(steps.padding[..., None], 0.0)

    def _cross_attention(self, unit: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k s c"]:
        """Attention of the class name (query) to the steps behind it (keys, values); the steps are unchanged.

        Raises ValueError if a class has a name but no steps.
        """
        if unit.shape[1] < 2 or bool(padding[:, 1].any()):
            raise ValueError(
                "text_head=cross needs sub-actions of every class behind its name: pass -p text subactions"
            )
        name, rest = unit[:, :1], unit[:, 1:]
        attended = self.map(name, rest, rest, key_padding_mask=padding[:, 1:], need_weights=False)[0]
        return torch.cat([attended, rest], dim=1)

    def read(self, found: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
        """Return one unit-length embedding per class."""
        return functional.normalize(found[:, 0], dim=1) if self.name_first else mean_of_texts(found, padding)
