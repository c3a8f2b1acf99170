"""Do heads on bins or class texts, trained on seen classes, improve frozen CLIP? (entries 40, 53, 58, 59)

A head maps the sequence of a segment's bins or of a class's texts. With `residual` it starts as the identity
(x + gate * f(x) with gate 0; ReZero, Bachlechner et al. 2021), which preserves CLIP's knowledge if the head learns
little. The adapter is CLIP-Adapter's (Gao et al. 2021): a bottleneck whose output is mixed with the feature. Only
`composition` has position embeddings, because it is meant to read the order.
"""

import math
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.checks import one_of
from tadlib.naming.text import TextEmbeddings, mean_of_texts

SQUEEZE = 4  # reduction of channels in the adapter's bottleneck
MIX_RATIO = 0.2  # weight of the adapter's output
Sequences = Float[Tensor, "n r c"]
Padding = Bool[Tensor, "n r"] | None


class Mlp(nn.Module):
    """Two linear layers applied to each embedding; `last` adds a final ReLU, as in CLIP-Adapter."""

    def __init__(self, channels: int, middle: int, last: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, middle), nn.ReLU(), nn.Linear(middle, channels))
        if last:
            self.layers.append(nn.ReLU())

    def forward(self, values: Sequences, padding: Padding) -> Sequences:
        return self.layers(values)


class OverTime(nn.Module):
    """Two one-dimensional convolutions over a sequence; padding counts as zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, values: Sequences, padding: Padding) -> Sequences:
        real = 1.0 if padding is None else (~padding).to(values.dtype)[:, None]
        middle = self.first(values.transpose(1, 2) * real).relu() * real
        return self.second(middle).transpose(1, 2)


def multihead(channels: int) -> nn.MultiheadAttention:
    """Create a multi-head attention with four heads, or fewer if these do not divide `channels`."""
    return nn.MultiheadAttention(channels, math.gcd(4, channels), batch_first=True)


class Attention(nn.Module):
    """Self-attention within a sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = multihead(channels)

    def forward(self, values: Sequences, padding: Padding) -> Sequences:
        return self.attention(values, values, values, key_padding_mask=padding, need_weights=False)[0]


class Encoder(nn.Module):
    """One Transformer encoder layer; `places` adds position embeddings."""

    def __init__(self, channels: int, places: bool) -> None:
        super().__init__()
        self.places = places
        heads, inner = math.gcd(4, channels), 4 * channels
        self.layer = nn.TransformerEncoderLayer(channels, heads, inner, dropout=0.0, batch_first=True)

    def forward(self, values: Sequences, padding: Padding) -> Sequences:
        if self.places:
            values = values + sines(values.shape[1], values.shape[2]).to(values)
        return self.layer(values, src_key_padding_mask=padding)


def sines(places: int, channels: int) -> Float[Tensor, "r c"]:
    """Sine and cosine position embeddings (Vaswani et al. 2017), each row of length one."""
    frequency = torch.exp(torch.arange(0, channels, 2) / channels * -math.log(10_000.0))
    angle = torch.arange(places)[:, None] * frequency
    both = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :channels]
    return both / math.sqrt(channels / 2)


MAPS = {
    "mlp": lambda channels: Mlp(channels, channels),
    "conv": OverTime,
    "attention": Attention,
    "encoder": partial(Encoder, places=False),
    "composition": partial(Encoder, places=True),
}
KINDS = (*MAPS, "adapter")
TEXT_KINDS = (*MAPS, "cross")


class Head(nn.Module):
    """Trainable map of bins of CLIP features; input features are normalised."""

    def __init__(self, kind: str, channels: int, residual: bool = True) -> None:
        super().__init__()
        one_of("head", kind, KINDS)
        self.mixed, self.residual = kind == "adapter", residual
        self.map = Mlp(channels, max(1, channels // SQUEEZE), last=True) if self.mixed else MAPS[kind](channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual and not self.mixed)

    def forward(self, bins: Sequences) -> Sequences:
        unit = functional.normalize(bins, dim=-1)
        mapped = self.map(unit, None)
        if self.mixed:
            return MIX_RATIO * mapped + (1 - MIX_RATIO) * unit
        return unit + self.gate * mapped if self.residual else mapped


class TextHead(nn.Module):
    """Trainable map of the texts of each class, and the class embedding read from them.

    If a name precedes the sub-actions (`name_first`), its output is the class embedding; in `cross` that output is the
    name's attention to the sub-actions. Without a name the class embedding is the mean.
    """

    def __init__(self, kind: str, channels: int, residual: bool = True, name_first: bool = False) -> None:
        super().__init__()
        one_of("text_head", kind, TEXT_KINDS)
        self.crossing, self.residual, self.name_first = kind == "cross", residual, name_first
        self.map = multihead(channels) if self.crossing else MAPS[kind](channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual)

    def forward(self, steps: TextEmbeddings) -> Float[Tensor, "k s c"]:
        """Return the mapped text embeddings; input texts are normalised, padding is zero."""
        unit = functional.normalize(steps.embeddings, dim=-1)
        mapped = self._cross_attention(unit, steps.padding) if self.crossing else self.map(unit, steps.padding)
        found = unit + self.gate * mapped if self.residual else mapped
        return found.masked_fill(steps.padding[..., None], 0.0)

    def _cross_attention(self, unit: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k s c"]:
        """Attention of the class name (query) to the steps behind it (keys, values); the steps are unchanged."""
        name, rest = unit[:, :1], unit[:, 1:]
        attended = self.map(name, rest, rest, key_padding_mask=padding[:, 1:], need_weights=False)[0]
        return torch.cat([attended, rest], dim=1)

    def read(self, found: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
        """Return one unit-length embedding per class."""
        return functional.normalize(found[:, 0], dim=1) if self.name_first else mean_of_texts(found, padding)
