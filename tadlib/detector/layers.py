"""Layers of the detector: position embeddings, attention, feed-forward networks, feature noise and convolutions."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.detector.additions import Padding, Queries, Snippets

Positions = Float[Tensor, "#b t d"]
# Frequency of the fastest sine (cycles per window), and its ratio to the slowest. Both are the same for every window,
# so neighbours are harder to distinguish in longer ones: at width 128 their cosine is .54 for 64 snippets, .67 for
# 128 and .99 for 1,000.
CYCLES, TEMPERATURE = 64, 200.0
MAX_STORED = 1024  # largest number of snippets for which the matrix of attention weights is stored


def sine_embedding(
    position: Float[Tensor, "*b"], width: int, cycles: int = CYCLES, temperature: float = TEMPERATURE
) -> Float[Tensor, "*b width"]:
    """Return interleaved sines and cosines of positions in [0, 1], `cycles` to `cycles / temperature` per window."""
    pair = torch.arange(width, device=position.device) // 2
    angle = position[..., None] * 2 * math.pi * cycles / temperature ** (2 * pair / width)
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2)


def place_in_window(padding: Bool[Tensor, "b t"], within: float = 0.5) -> Float[Tensor, "b t"]:
    """Return the middle (`within` 1: end) of each snippet as a fraction of the valid part of its window."""
    valid = ~padding
    return (valid.cumsum(1) - (1 - within)).clamp(min=0) / valid.sum(1, keepdim=True).clamp(min=1)


def mlp(*widths: int) -> nn.Sequential:
    """Create linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Attention(nn.Module):
    """Multi-head attention over queries, keys and values that are already projected.

    Dropout of attention weights is off by default: drawing that many random numbers costs a third of a step on a CPU.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.out = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "b q dk"],
        key: Float[Tensor, "b t dk"],
        value: Snippets,
        padding: Padding | None = None,
    ) -> Queries:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        attend = None if padding is None else ~padding[:, None, None]
        dropped = self.dropout if self.training else 0.0
        stored = query.device.type == "cpu" and value.dtype == torch.bfloat16 and key.shape[2] <= MAX_STORED
        if stored and not dropped:
            mixed = _matmul_attention(query, key, value, attend)
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, attend, dropped)
        return self.out(mixed.transpose(1, 2).flatten(2))


def _matmul_attention(
    query: Float[Tensor, "b h q dk"],
    key: Float[Tensor, "b h t dk"],
    value: Float[Tensor, "b h t d"],
    attend: Bool[Tensor, "b 1 1 t"] | None,
) -> Float[Tensor, "b h q d"]:
    """Attention as two matrix products and a softmax, which is faster than the fused kernel in bfloat16 on a CPU."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if attend is not None:
        scores = scores.masked_fill(~attend, -torch.inf)
    return scores.softmax(-1) @ value


class FeedForward(nn.Module):
    """Two linear layers with a hidden width of 4 times `width`, residual and norm; `inside` is the hidden dropout."""

    def __init__(self, width: int, dropout: float, inside: float = 0.0) -> None:
        super().__init__()
        between = [nn.Dropout(inside)] if inside else []
        self.net = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), *between, nn.Linear(4 * width, width), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.norm(x + self.net(x))


class FeatureNoise(nn.Module):
    """Gaussian noise on features in training, in standard deviations of a feature (1 for normalised snippets).

    `noise` is drawn for every snippet, `shift` once per window. The shift keeps the detector from recognising training
    actions by constants of their window, such as the scene.
    """

    def __init__(self, noise: float, shift: float, normalised: bool = True) -> None:
        super().__init__()
        self.noise, self.shift, self.normalised = noise, shift, normalised

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        if not self.training or not (self.noise or self.shift):
            return x
        unit = 1.0 if self.normalised else x.std(dim=-1, keepdim=True)  # of each snippet
        if self.noise:
            x = x + self.noise * unit * torch.randn_like(x)
        if self.shift:
            x = x + self.shift * unit * torch.randn_like(x[:, :1])
        return x


class LocalConvolutions(nn.Module):
    """Convolutions over neighbouring snippets before the encoder; padding is treated as zero."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(layers))

    def forward(self, x: Snippets, padding: Padding) -> Snippets:
        for layer in self.layers:
            x = layer(x.masked_fill(padding[..., None], 0.0).transpose(1, 2))
            x = functional.leaky_relu(x, 0.2).transpose(1, 2)
        return x


class Sines(nn.Module):
    """Fixed sine embedding of positions in [0, 1]."""

    def __init__(self, width: int, cycles: int = CYCLES, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.width, self.cycles, self.temperature = width, cycles, temperature

    def forward(self, position: Float[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        return sine_embedding(position, self.width, self.cycles, self.temperature)


class EncoderLayer(nn.Module):
    """Self-attention over snippets and a feed-forward network, each followed by a norm (post-norm, as in DETR)."""

    def __init__(self, width: int, heads: int, dropout: float, inner_dropout: float = 0.0) -> None:
        super().__init__()
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads, inner_dropout)
        self.feedforward = FeedForward(width, dropout, inner_dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Snippets, position: Positions, padding: Padding | None) -> Snippets:
        query, key = self.query_key(x + position).chunk(2, dim=-1)
        x = self.norm(x + self.dropout(self.attention(query, key, self.value(x), padding)))
        return self.feedforward(x)


class DecoderLayer(nn.Module):
    """Self-attention among queries, conditional cross-attention to the snippets, feed-forward network."""

    def __init__(self, width: int, heads: int, dropout: float, inner_dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.self_query_key = nn.Linear(width, 2 * width)
        self.self_value = nn.Linear(width, width)
        self.self_attention = Attention(width, heads, inner_dropout)
        self.query = nn.Linear(width, width)
        self.query_position = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.key_position = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads, inner_dropout)
        self.feedforward = FeedForward(width, dropout, inner_dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Queries,
        query_embedding: Float[Tensor, "q d"],
        reference: Queries,
        memory: Snippets,
        position: Positions,
        padding: Padding | None,
    ) -> Queries:
        query, key = self.self_projections(x, query_embedding)
        x = self.norms[0](x + self.dropout(self.self_attention(query, key, self.self_value(x))))
        place = self.key_position(position)
        query, key = self.cross_projections(x, query_embedding, memory, place)
        query = self._with_position(query, self.query_position(reference))
        key = self._with_position(key, place)
        x = self.norms[1](x + self.dropout(self.attention(query, key, self.value(memory), padding)))
        return self.feedforward(x)

    def self_projections(self, x: Queries, query_embedding: Float[Tensor, "q d"]) -> tuple[Queries, Queries]:
        """Return queries and keys of self-attention."""
        return self.self_query_key(x + query_embedding).chunk(2, dim=-1)

    def cross_projections(
        self, x: Queries, query_embedding: Float[Tensor, "q d"], memory: Snippets, place: Positions
    ) -> tuple[Queries, Snippets]:
        """Return the content part of queries and keys in cross-attention."""
        return self.query(x), self.key(memory)

    def _with_position(self, content: Float[Tensor, "b n d"], place: Float[Tensor, "#b n d"]) -> Float[Tensor, "b n e"]:
        """Concatenate content and position within each head, so that their dot products add."""
        parts = (each.unflatten(-1, (self.heads, -1)) for each in (content, place.expand_as(content)))
        return torch.cat(list(parts), dim=-1).flatten(-2)


class LearnedQueries(nn.Module):
    """Learned queries, each with its own reference centre.

    With `spread` the centres start evenly spaced over the window and have learned offsets of their own; otherwise they
    start in the middle.
    """

    def __init__(self, number: int, width: int, spread: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(number, width))
        self.centre = mlp(width, width, 1)
        first = (torch.arange(number) + 0.5) / number if spread else torch.full((number,), 0.5)
        self.places = nn.Parameter(torch.logit(first)[:, None], requires_grad=spread)

    def start(self) -> None:
        """Initialise the centre network to zero, so that each query starts at its reference centre."""
        nn.init.zeros_(self.centre[-1].weight)
        nn.init.zeros_(self.centre[-1].bias)

    def references(self) -> Float[Tensor, "q 1"]:
        """Return the logits of the reference centres."""
        return self.places + self.centre(self.embedding)

    def forward(self, sine: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """Return the query embeddings; `sine` is the embedding of their reference centres."""
        return self.embedding
