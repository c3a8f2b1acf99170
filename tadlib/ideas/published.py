"""The published system, GAP (Du et al. 2024): network, initialisation, matching costs and losses (entries 78 to 83).

It is Conditional DETR (Meng et al. 2021) as published. It differs from the core detector in this: the first
cross-attention adds positions to the content; self-attention projects content and positions separately; attention
weights and hidden units of the feed-forward network have dropout; convolutions precede the projection; sines have one
cycle a window; all centres start in the middle; and the overlap loss clips segments to the window.
"""

import math
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from tadlib.detector import layers
from tadlib.detector.additions import Features, Padding, Snippets
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.matching import detection_cost
from tadlib.detector.network import PRIOR_PROBABILITY, ConditionalDETR
from tadlib.segments import tiou

SINES = {"cycles": 1, "temperature": 10000.0}  # those of DETR: a cosine of .9997 between neighbours among 64 snippets


class PublishedDecoderLayer(layers.DecoderLayer):
    """Published decoder layer; the `first` adds positions to content, since its queries are still empty."""

    def __init__(self, width: int, heads: int, dropout: float, first: bool) -> None:
        super().__init__(width, heads, dropout, dropout)
        self.self_place_query_key = nn.Linear(width, 2 * width)
        self.query_start = nn.Linear(width, width) if first else None

    def self_projections(self, x: Tensor, query_embedding: Tensor) -> tuple[Tensor, Tensor]:
        return (self.self_query_key(x) + self.self_place_query_key(query_embedding)).chunk(2, dim=-1)

    def cross_projections(self, x: Tensor, query_embedding: Tensor, memory: Tensor, place: Tensor) -> tuple:
        query, key = super().cross_projections(x, query_embedding, memory, place)
        return (query, key) if self.query_start is None else (query + self.query_start(query_embedding), key + place)


class PublishedDETR(ConditionalDETR):
    """The detector as published, with the arguments of `ConditionalDETR`."""

    normalised = False
    _queries = staticmethod(partial(layers.LearnedQueries, spread=False))
    _positions = staticmethod(partial(layers.Sines, **SINES))

    def _build_layers(self, conv_layers: int, encoder_layers: int, decoder_layers: int, dropout: float) -> None:
        sizes = self.width, self.heads, dropout
        self.backbone = layers.LocalConvolutions(self.channels, conv_layers)
        self.encoder = nn.ModuleList(layers.EncoderLayer(*sizes, dropout) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(PublishedDecoderLayer(*sizes, first=n == 0) for n in range(decoder_layers))
        self.norm = nn.LayerNorm(self.width)

    def _position(self, padding: Padding, padded: bool) -> Snippets:
        return self.embed(layers.place_in_window(padding, within=1.0))

    def _project(self, features: Features, padding: Padding) -> Snippets:
        return self.project(self.backbone(features, padding))

    def _start(self) -> None:
        """Xavier initialisation of the transformer, Kaiming of the convolutions, torch's default for the rest.

        Projections that share one matrix in torch's attention are drawn in the range of that matrix, with zero bias.
        """
        for part in (self.encoder, self.decoder, self.scale, *self.queries.children()):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for layer in self.encoder:
            draw_as_one(3 * self.width, layer.query_key, layer.value)
        for layer in self.decoder:
            draw_as_one(self.width, layer.self_query_key, layer.self_place_query_key, bias=True)
        for addition in self.additions:
            addition.start()
        for module in self.modules():
            if isinstance(module, layers.Attention):
                nn.init.zeros_(module.out.bias)
        for convolution in self.backbone.layers:
            nn.init.kaiming_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        nn.init.zeros_(self.segment[-1].weight)
        nn.init.zeros_(self.segment[-1].bias)
        nn.init.constant_(self.actionness.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))


def draw_as_one(outputs: int, *linears: nn.Linear, bias: bool = False) -> None:
    """Xavier initialisation of parts of one matrix with `outputs` rows; biases are zero, or with `bias` torch's."""
    for linear in linears:
        bound = math.sqrt(6 / (linear.in_features + outputs))
        nn.init.uniform_(linear.weight, -bound, bound)
        if not bias:
            nn.init.zeros_(linear.bias)


def tiou_inside(found: Float[Tensor, "*x 2"], true: Float[Tensor, "*y 2"]) -> Float[Tensor, "*z"]:
    """tIoU of segments (start, end), as fractions of the window, clipped to the window."""
    return tiou(found.clamp(0, 1), true.clamp(0, 1))


class PublishedLoss(DetectionLoss):
    """The loss as published: overlap and costs use segments clipped to the window."""

    pair_cost = staticmethod(partial(detection_cost, measure=tiou_inside))

    def overlap(self, found: Float[Tensor, "n 2"], true: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        return super().overlap(found.clamp(0, 1), true)


def network(system: str) -> type[ConditionalDETR] | None:
    return PublishedDETR if system == "published" else None


def loss(system: str) -> type[DetectionLoss] | None:
    return PublishedLoss if system == "published" else None
