"""Do heads trained on seen classes help frozen CLIP: on bins of segments, on texts of classes? (entries 40, 53, 58, 59)

With `residual` a head starts as nothing (x + gate * f(x) with gate 0; ReZero, Bachlechner et al. 2021), and what CLIP
knows survives a head that learns little. The adapter is CLIP-Adapter's (Gao et al. 2021): a bottleneck whose output is
mixed with the feature.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.ideas import maps
from tadlib.naming.text import TextEmbeddings, mean_of_texts

KINDS = (*maps.KINDS, "adapter")
TEXT_KINDS = (*maps.KINDS, "cross")
MIXED = 0.2  # share of the adapter's output


class Head(nn.Module):
    """Bins of CLIP features to bins in the same space; features come in at length one, whatever the encoder."""

    def __init__(self, kind: str, channels: int, residual: bool = True) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"head must be one of {', '.join(KINDS)}, got {kind!r}")
        self.mixed, self.residual = kind == "adapter", residual
        middle = max(1, channels // maps.SQUEEZE)
        self.map = maps.Mlp(channels, middle, last=True) if self.mixed else maps.make(kind, channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual and not self.mixed)

    def forward(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """The bins as the head sees them."""
        unit = functional.normalize(bins, dim=-1)
        if self.mixed:
            return MIXED * self.map(unit, None) + (1 - MIXED) * unit
        return unit + self.gate * self.map(unit, None) if self.residual else self.map(unit, None)


class TextHead(nn.Module):
    """The texts of each class to one embedding, and to one embedding a text.

    Where a name leads the sub-actions (`led`), its embedding is read out: in a map of the texts what has become of the
    first, in `cross` the name's own attention to the sub-actions behind it. Without a name, the mean is read out.
    """

    def __init__(self, kind: str, channels: int, residual: bool = True, led: bool = False) -> None:
        super().__init__()
        if kind not in TEXT_KINDS:
            raise ValueError(f"text_head must be one of {', '.join(TEXT_KINDS)}, got {kind!r}")
        self.crossing, self.residual, self.led = kind == "cross", residual, led
        if self.crossing and not led:
            raise ValueError("text_head=cross asks with the name of a class: pass -p lead name or -p lead prompt")
        self.map = maps.Attention(channels).attention if self.crossing else maps.make(kind, channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual)

    def forward(self, steps: TextEmbeddings) -> Float[Tensor, "k s c"]:
        """What every text of every class becomes; texts come in at length one, padding stays what it is."""
        unit = functional.normalize(steps.embeddings, dim=-1)
        mapped = self._crossed(unit, steps.padding) if self.crossing else self.map(unit, steps.padding)
        found = unit + self.gate * mapped if self.residual else mapped
        return found.masked_fill(steps.padding[..., None], 0.0)

    def _crossed(self, unit: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k s c"]:
        """The name as the query, what stands behind it as keys and values; the sub-actions themselves stay as they are.

        Raises ValueError where a class has a name and nothing else.
        """
        if unit.shape[1] < 2 or bool(padding[:, 1].any()):
            raise ValueError(
                "text_head=cross needs sub-actions of every class behind its name: pass -p text subactions"
            )
        name, rest = unit[:, :1], unit[:, 1:]
        asked = self.map(name, rest, rest, key_padding_mask=padding[:, 1:], need_weights=False)[0]
        return torch.cat([asked, rest], dim=1)

    def read(self, found: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
        """One unit-length embedding a class."""
        return functional.normalize(found[:, 0], dim=1) if self.led else mean_of_texts(found, padding)
