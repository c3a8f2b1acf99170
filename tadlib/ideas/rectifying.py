"""Does refining queries with the features under their coarse segments help? (entries 80 and 81)

Features under segments are not materialised where avoidable: projections and products commute with RoIAlign's linear
interpolation, so they are computed once per snippet and mixed afterwards. The result equals attention to (queries,
bins) rows of features, at a twentieth of the multiplications.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tadlib.detector.additions import Addition, Features, Padding, Queries, Segments
from tadlib.detector.layers import Attention
from tadlib.ideas.published import draw_as_one
from tadlib.segments import roi_align_windows, roi_mean_windows, roi_samples, to_segments

BINS = 16  # samples per segment
Lengths = Int[Tensor, " b"]  # snippets of each window


class AttentionFusion(nn.Module):
    """Attention of each query to the samples under its segment."""

    def __init__(self, channels: int, width: int, heads: int, published: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(channels, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Queries, static: Features, segments_ix: Segments, lengths: Lengths) -> Queries:
        parts = (self.query(x), *self.key_value(static).chunk(2, dim=-1))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        scores = (query @ key.transpose(-1, -2)).float() / query.shape[-1] ** 0.5  # of every snippet
        below, above, share = (part[:, None] for part in roi_samples(segments_ix, lengths, BINS))
        below, above = (part.expand(-1, self.heads, -1, -1) for part in (below, above))
        weight = torch.lerp(scores.gather(-1, below), scores.gather(-1, above), share).softmax(-1)
        of_snippets = torch.zeros_like(scores).scatter_add(-1, below, weight * (1 - share))
        mixed = of_snippets.scatter_add(-1, above, weight * share).to(value.dtype) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class PooledFusion(nn.Module):
    """Pooled value of the samples under each query's segment; in the published system of the features themselves."""

    def __init__(self, pool: Callable[..., Tensor], channels: int, width: int, heads: int, published: bool) -> None:
        super().__init__()
        if published and channels != width:
            raise ValueError(
                f"the published system adds the mean or maximum of features to queries as it is: width must be "
                f"{channels}, that of the features, got {width}"
            )
        self.pool = pool
        self.value = nn.Identity() if published else nn.Linear(channels, width)

    def forward(self, x: Queries, static: Features, segments_ix: Segments, lengths: Lengths) -> Queries:
        return self.pool(self.value(static), segments_ix, lengths, BINS)


FUSIONS = {
    "attention": AttentionFusion,
    "mean": partial(PooledFusion, roi_mean_windows),
    "max": partial(PooledFusion, lambda *given: roi_align_windows(*given).amax(dim=2)),
}


class RectifyingLayer(nn.Module):
    """Refine queries with the features under their segments, followed by self-attention among queries.

    `residual` is that of the self-attention, which the published system drops. `join` combines a query with its
    features: `sum`; `first_half`, concatenated in a self-attention of twice the width, of which the first half is kept;
    `projected`, concatenated and projected linearly; `alone`, the features only. The last two have no self-attention,
    and only a sum can keep the residual. The final norm keeps stacked layers in scale; the `published` layer has none.
    """

    def __init__(
        self, channels: int, width: int, heads: int, refine: str, residual: bool, join: str, published: bool
    ) -> None:
        super().__init__()
        self.width, self.residual, self.join = width, residual, join
        self.fusion = FUSIONS[refine](channels, width, heads, published)
        wide, compared = (2 * width if join == "first_half" else width), join in ("sum", "first_half")
        self.query_key_value = nn.Linear(wide, 3 * wide) if compared else None
        self.attention = Attention(wide, heads) if compared else None
        self.projected = nn.Linear(2 * width, width) if join == "projected" else None
        self.norm = nn.Identity() if published else nn.LayerNorm(width)

    def forward(self, x: Queries, static: Features, segments_ix: Segments, lengths: Lengths) -> Queries:
        return self.norm(x + self._joined(x, self.fusion(x, static, segments_ix, lengths)))

    def _joined(self, x: Queries, found: Queries) -> Queries:
        if self.join == "alone":
            return found
        joined = x + found if self.join == "sum" else torch.cat([x, found], dim=-1)
        if self.join == "projected":
            return self.projected(joined)
        compared = self.attention(*self.query_key_value(joined).chunk(3, dim=-1))[..., : self.width]
        return joined + compared if self.residual else compared


class Rectifying(Addition):
    """Refinement layers after the decoder; coarse segments get no gradient from them.

    `refine` is how a query reads the features under its segment: attention, mean or max.
    """

    name = "rectifying"
    refine, refine_layers, refine_residual, refine_join, published = "attention", 1, True, "sum", False

    def build(self, channels: int, width: int, heads: int) -> None:
        words = channels, width, heads, self.refine, self.refine_residual, self.refine_join, self.published
        self.layers = nn.ModuleList(RectifyingLayer(*words) for _ in range(self.refine_layers))

    def start(self) -> None:
        """Initialise as published: projections that share one matrix in torch are drawn in its range."""
        for layer in self.layers if self.published else ():
            if self.refine == "attention":
                draw_as_one(3 * layer.width, layer.fusion.query, layer.fusion.key_value)
                nn.init.zeros_(layer.fusion.out.bias)
            if layer.query_key_value is not None:
                draw_as_one(layer.query_key_value.out_features, layer.query_key_value)

    def after_decoder(self, queries: Queries, features: Features, segments_cw: Segments, padding: Padding) -> Queries:
        lengths = (~padding).sum(1)
        segments_ix = to_segments(segments_cw.detach().float()) * lengths[:, None, None]
        for layer in self.layers:
            queries = layer(queries, features, segments_ix, lengths)
        return queries


def additions(refine: str, refine_layers: int, refine_residual: bool, refine_join: str, system: str) -> list[Addition]:
    words = {"refine_layers": refine_layers, "refine_residual": refine_residual, "refine_join": refine_join}
    return [] if refine == "none" else [Rectifying(refine=refine, **words, published=system == "published")]
