"""Trainable sequence-to-sequence maps, for the bins of a segment or the texts of a class.

Padding is ignored. Only `composition` has position embeddings, because it is meant to read the order.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

KINDS = ("mlp", "conv", "attention", "encoder", "composition")
SQUEEZE = 4  # reduction of channels in the adapter's bottleneck


class Mlp(nn.Module):
    """Two linear layers applied to each embedding; `last` adds a final ReLU, as in CLIP-Adapter."""

    def __init__(self, channels: int, middle: int, last: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, middle), nn.ReLU(), nn.Linear(middle, channels))
        if last:
            self.layers.append(nn.ReLU())

    def forward(self, values: Float[Tensor, "n r c"], padding: Bool[Tensor, "n r"] | None) -> Float[Tensor, "n r c"]:
        """Map each embedding independently."""
        return self.layers(values)


class OverTime(nn.Module):
    """Two one-dimensional convolutions over a sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, values: Float[Tensor, "n r c"], padding: Bool[Tensor, "n r"] | None) -> Float[Tensor, "n r c"]:
        """Map each embedding from its neighbourhood; padding counts as zero."""
        real = 1.0 if padding is None else (~padding).to(values.dtype)[:, None]
        middle = self.first(values.transpose(1, 2) * real).relu() * real
        return self.second(middle).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention within a sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, math.gcd(4, channels), batch_first=True)

    def forward(self, values: Float[Tensor, "n r c"], padding: Bool[Tensor, "n r"] | None) -> Float[Tensor, "n r c"]:
        """Map each embedding from all."""
        return self.attention(values, values, values, key_padding_mask=padding, need_weights=False)[0]


class Encoder(nn.Module):
    """One Transformer encoder layer; `places` adds position embeddings."""

    def __init__(self, channels: int, places: bool) -> None:
        super().__init__()
        self.places = places
        self.layer = nn.TransformerEncoderLayer(
            channels, math.gcd(4, channels), 4 * channels, dropout=0.0, batch_first=True
        )

    def forward(self, values: Float[Tensor, "n r c"], padding: Bool[Tensor, "n r"] | None) -> Float[Tensor, "n r c"]:
        """Map each embedding from all."""
        if self.places:
            values = values + sines(values.shape[1], values.shape[2]).to(values)
        return self.layer(values, src_key_padding_mask=padding)


def sines(places: int, channels: int) -> Float[Tensor, "r c"]:
    """Sine and cosine position embeddings (Vaswani et al. 2017), each row of length one."""
    frequency = torch.exp(torch.arange(0, channels, 2) / channels * -math.log(10_000.0))
    angle = torch.arange(places)[:, None] * frequency
    both = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :channels]
    return both / math.sqrt(channels / 2)


def make(kind: str, channels: int) -> nn.Module:
    """Create a map by name, one of `KINDS`."""
    if kind == "mlp":
        return Mlp(channels, channels)
    if kind == "conv":
        return OverTime(channels)
    if kind == "attention":
        return Attention(channels)
    return Encoder(channels, places=kind == "composition")
