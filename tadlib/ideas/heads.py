"""Do heads on bins or class texts, trained on seen classes, improve frozen CLIP? (entries 40, 53, 58, 59)

A head maps the sequence of a segment's bins or of a class's texts. With `residual` it starts as the identity
(x + gate * f(x) with gate 0; ReZero, Bachlechner et al. 2021), which preserves CLIP's knowledge if the head learns
little. The adapter is CLIP-Adapter's (Gao et al. 2021): a bottleneck whose output is mixed with the feature. Only
`composition` has position embeddings, because it is meant to read the order.

Two other trainable parts replace the mean of the bins (`poolings` joins them to the classifier): a matching (entry 64)
and a mask (entry 68).
"""

import math
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.detector.layers import mlp

SQUEEZE = 4  # reduction of channels in the adapter's bottleneck
MIX_RATIO = 0.2  # weight of the adapter's output
Sequences = Float[Tensor, "n r c"]
Padding = Bool[Tensor, "n r"] | None


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
    """Self-attention within a sequence; with `cross` only the first element attends, to those behind it."""

    def __init__(self, channels: int, cross: bool = False) -> None:
        super().__init__()
        self.attention, self.cross = multihead(channels), cross

    def forward(self, values: Sequences, padding: Padding) -> Sequences:
        if not self.cross:
            return self.attention(values, values, values, key_padding_mask=padding, need_weights=False)[0]
        first, rest = values[:, :1], values[:, 1:]
        attended = self.attention(first, rest, rest, key_padding_mask=padding[:, 1:], need_weights=False)[0]
        return torch.cat([attended, rest], dim=1)


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
    "mlp": lambda channels: mlp(channels, channels, channels),
    "conv": OverTime,
    "attention": Attention,
    "encoder": partial(Encoder, places=False),
    "composition": partial(Encoder, places=True),
    "adapter": lambda channels: mlp(channels, max(1, channels // SQUEEZE), channels).append(nn.ReLU()),  # of bins only
    "cross": partial(Attention, cross=True),  # of texts only: the class name attends to the steps behind it
}


class Head(nn.Module):
    """Trainable map of the bins of CLIP features of segments, or of the texts of classes, which are normalised."""

    def __init__(self, kind: str, channels: int, residual: bool = True) -> None:
        super().__init__()
        self.mixed, self.residual = kind == "adapter", residual
        self.map = MAPS[kind](channels)
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual and not self.mixed)

    def forward(self, values: Sequences, padding: Padding = None) -> Sequences:
        unit = functional.normalize(values, dim=-1)
        found = self.map(unit) if isinstance(self.map, nn.Sequential) else self.map(unit, padding)
        if self.mixed:
            found = MIX_RATIO * found + (1 - MIX_RATIO) * unit
        elif self.residual:
            found = unit + self.gate * found
        return found if padding is None else found.masked_fill(padding[..., None], 0.0)


class Matching(nn.Module):
    """Attention with class texts as queries and bins as keys and values; the output is compared with the text.

    Weights are softmax(factor * cosine / sqrt(c)) over bins, that is attention of normalised CLIP vectors (GAP's third
    version). `learned` adds a multi-head attention with an initial gate of 0.
    """

    def __init__(self, channels: int = 0, learned: bool = False) -> None:
        super().__init__()
        self.attention = multihead(channels) if learned else None
        self.gate = nn.Parameter(torch.zeros(())) if learned else None

    def forward(self, bins: Sequences, texts: Float[Tensor, "k c"], factor: float) -> Float[Tensor, "n k"]:
        """Logits of segments for classes: `factor` times the cosine of each text with its attention output."""
        bins, texts = functional.normalize(bins, dim=-1), functional.normalize(texts, dim=-1)
        weights = (factor / math.sqrt(bins.shape[-1]) * (texts @ bins.transpose(1, 2))).softmax(dim=2)
        found = weights @ bins
        if self.attention is not None:
            asking = texts.expand(len(bins), -1, -1)
            found = found + self.gate * self.attention(asking, bins, bins, need_weights=False)[0]
        return factor * (functional.normalize(found, dim=-1) * texts).sum(dim=-1)


class Mask(nn.Module):
    """Linear logit of a normalised snippet feature being inside an action; initialised to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, bins: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
        """Logits of bins or snippets."""
        return self.linear(functional.normalize(bins, dim=-1))[..., 0]
