"""The layers of the detector's transformer: ours, and where they differ those of the published system.

Published is Conditional DETR (Meng et al. 2021) as GAP (Du et al. 2024) uses it. Ours lacks four things of it: what a
query and a snippet are places is part of the content in the first cross-attention; projections of content and of place
apart in self-attention; dropout of attention weights; dropout inside the feed-forward net.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tadlib.detector.layers import Attention, FeedForward


class EncoderLayer(nn.Module):
    """Self-attention over snippets and a feed-forward net, each followed by a norm (post-norm, as in DETR)."""

    def __init__(self, width: int, heads: int, dropout: float, published: bool = False) -> None:
        super().__init__()
        more = dropout if published else 0.0
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads, more)
        self.feedforward = FeedForward(width, dropout, more)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b t d"], position: Float[Tensor, "#b t d"], padding: Bool[Tensor, "b t"] | None
    ) -> Float[Tensor, "b t d"]:
        query, key = self.query_key(x + position).chunk(2, dim=-1)
        x = self.norm(x + self.dropout(self.attention(query, key, self.value(x), padding)))
        return self.feedforward(x)


class DecoderLayer(nn.Module):
    """Self-attention among queries, conditional cross-attention to the snippets, feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float, more: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.self_query_key = nn.Linear(width, 2 * width)
        self.self_value = nn.Linear(width, width)
        self.self_attention = Attention(width, heads, more)
        self.query = nn.Linear(width, width)
        self.query_position = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.key_position = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads, more)
        self.feedforward = FeedForward(width, dropout, more)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        query_embedding: Float[Tensor, "q d"],
        reference: Float[Tensor, "b q d"],
        memory: Float[Tensor, "b t d"],
        position: Float[Tensor, "#b t d"],
        padding: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b q d"]:
        query, key = self._among(x, query_embedding).chunk(2, dim=-1)
        x = self.norms[0](x + self.dropout(self.self_attention(query, key, self.self_value(x))))
        place = self.key_position(position)
        query, key = self._contents(x, query_embedding, memory, place)
        query = self._beside(query, self.query_position(reference))
        key = self._beside(key, place)
        x = self.norms[1](x + self.dropout(self.attention(query, key, self.value(memory), padding)))
        return self.feedforward(x)

    def _among(self, x: Float[Tensor, "b q d"], query_embedding: Float[Tensor, "q d"]) -> Float[Tensor, "b q e"]:
        """Queries and keys of self-attention."""
        return self.self_query_key(x + query_embedding)

    def _contents(
        self,
        x: Float[Tensor, "b q d"],
        query_embedding: Float[Tensor, "q d"],
        memory: Float[Tensor, "b t d"],
        place: Float[Tensor, "#b t d"],
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b t d"]]:
        """The contents of queries and keys in cross-attention."""
        return self.query(x), self.key(memory)

    def _beside(self, content: Float[Tensor, "b n d"], place: Float[Tensor, "#b n d"]) -> Float[Tensor, "b n e"]:
        """Content and position side by side within each head, so that their products add."""
        parts = (each.unflatten(-1, (self.heads, -1)) for each in (content, place.expand_as(content)))
        return torch.cat(list(parts), dim=-1).flatten(-2)


class PublishedDecoderLayer(DecoderLayer):
    """The published one; the `first` adds places to contents, since its queries have found nothing yet."""

    def __init__(self, width: int, heads: int, dropout: float, first: bool) -> None:
        super().__init__(width, heads, dropout, dropout)
        self.self_place_query_key = nn.Linear(width, 2 * width)
        self.query_start = nn.Linear(width, width) if first else None

    def _among(self, x: Float[Tensor, "b q d"], query_embedding: Float[Tensor, "q d"]) -> Float[Tensor, "b q e"]:
        return self.self_query_key(x) + self.self_place_query_key(query_embedding)

    def _contents(
        self,
        x: Float[Tensor, "b q d"],
        query_embedding: Float[Tensor, "q d"],
        memory: Float[Tensor, "b t d"],
        place: Float[Tensor, "#b t d"],
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b t d"]]:
        query, key = super()._contents(x, query_embedding, memory, place)
        return (query, key) if self.query_start is None else (query + self.query_start(query_embedding), key + place)
