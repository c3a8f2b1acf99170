"""A one-dimensional Conditional DETR (Meng et al. 2021): learned queries look along a window of snippet features.

What is unusual about it:
- queries carry a reference centre; cross-attention scores are content plus position, the position being a sine
  embedding of that centre scaled by what the query has found so far;
- the sines are fast enough to tell neighbouring snippets apart: 64 cycles a window at most, where the image detector
  has one; with one, 300 steps of training find half as much;
- at the start every query looks where it stands: references are spread evenly, and the projections of positions on
  both sides of cross-attention are the same, so that near places match; learning goes on from there;
- positions are sines of the snippet's place in the *valid* part of the window, so padding has no influence at all;
- one logit per query says "an action" (class-agnostic); with `text_dim` a query also answers with an embedding that
  is compared with class texts;
- every decoder layer answers, so that every layer can be trained.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

CYCLES, TEMPERATURE = 64, 200.0  # fastest sine of a window, and how much slower the slowest is
SHARPNESS = 2.0  # gain of the first projections of positions: how narrowly an untrained query looks
RARE = 0.01  # probability of an action that untrained queries answer, as focal loss wants it (Lin et al. 2017)


class Outputs(NamedTuple):
    """The detector's answer for each query of each window, by the last decoder layer and by the ones before."""

    segments_cw: Float[Tensor, "b q 2"]
    actionness_logits: Float[Tensor, "b q"]
    embeddings: Float[Tensor, "b q e"] | None  # for comparison with class texts, if the detector has such a head
    earlier: tuple["Outputs", ...] = ()


def sine_embedding(position: Float[Tensor, "*b"], width: int) -> Float[Tensor, "*b width"]:
    """Sines and cosines, interleaved, of positions in [0, 1]: `CYCLES` down to `CYCLES / TEMPERATURE` over a window."""
    pair = torch.arange(width, device=position.device) // 2
    angle = position[..., None] * 2 * math.pi * CYCLES / TEMPERATURE ** (2 * pair / width)
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2)


def place_in_window(padding: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """The middle of each snippet as a fraction of the valid part of its window."""
    valid = ~padding
    return (valid.cumsum(1) - 0.5).clamp(min=0) / valid.sum(1, keepdim=True).clamp(min=1)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU in between."""
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Attention(nn.Module):
    """Multi-head attention whose queries, keys and values come already projected.

    Attention weights are not dropped: drawing that many random numbers costs a third of a step on a CPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.out = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "b q dk"],
        key: Float[Tensor, "b t dk"],
        value: Float[Tensor, "b t d"],
        padding: Bool[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b q d"]:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        attend = None if padding is None else ~padding[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attend)
        return self.out(mixed.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention over snippets and a feed-forward net, each followed by a norm (post-norm, as in DETR)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b t d"], position: Float[Tensor, "b t d"], padding: Bool[Tensor, "b t"] | None
    ) -> Float[Tensor, "b t d"]:
        query, key = self.query_key(x + position).chunk(2, dim=-1)
        x = self.norm(x + self.dropout(self.attention(query, key, self.value(x), padding)))
        return self.feedforward(x)


class FeedForward(nn.Module):
    """Two linear layers, four times as wide in between, with residual and norm."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.norm(x + self.net(x))


class DecoderLayer(nn.Module):
    """Self-attention among queries, conditional cross-attention to the snippets, feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.self_query_key = nn.Linear(width, 2 * width)
        self.self_value = nn.Linear(width, width)
        self.self_attention = Attention(width, heads)
        self.query = nn.Linear(width, width)
        self.query_position = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.key_position = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention = Attention(width, heads)
        self.feedforward = FeedForward(width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        query_embedding: Float[Tensor, "q d"],
        reference: Float[Tensor, "b q d"],
        memory: Float[Tensor, "b t d"],
        position: Float[Tensor, "b t d"],
        padding: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b q d"]:
        query, key = self.self_query_key(x + query_embedding).chunk(2, dim=-1)
        x = self.norms[0](x + self.dropout(self.self_attention(query, key, self.self_value(x))))
        query = self._beside(self.query(x), self.query_position(reference))
        key = self._beside(self.key(memory), self.key_position(position))
        x = self.norms[1](x + self.dropout(self.attention(query, key, self.value(memory), padding)))
        return self.feedforward(x)

    def _beside(self, content: Float[Tensor, "b n d"], place: Float[Tensor, "b n d"]) -> Float[Tensor, "b n e"]:
        """Content and position side by side within each head, so that their products add."""
        parts = (content.unflatten(-1, (self.heads, -1)), place.unflatten(-1, (self.heads, -1)))
        return torch.cat(parts, dim=-1).flatten(-2)


class FeatureNoise(nn.Module):
    """Features disturbed in training only, in standard deviations of a normalised feature.

    `noise` is drawn for every snippet, `shift` once for a whole window: what stays the same all through a window, the
    scene and with it the class, is then no longer a way to know an action by heart.
    """

    def __init__(self, noise: float, shift: float) -> None:
        super().__init__()
        self.noise, self.shift = noise, shift

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        if self.training and self.shift:
            x = x + self.shift * torch.randn_like(x[:, :1])
        return x


class LocalConvolutions(nn.Module):
    """Convolutions over neighbouring snippets before the encoder, blind to padding."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(layers))

    def forward(self, x: Float[Tensor, "b t d"], padding: Bool[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        for layer in self.layers:
            x = functional.leaky_relu(layer(x.masked_fill(padding[..., None], 0.0).transpose(1, 2)), 0.2).transpose(
                1, 2
            )
        return x


class ConditionalDetr(nn.Module):
    """Snippet features in, scored segments out."""

    def __init__(  # noqa: PLR0913  one word for each switch of the architecture
        self,
        channels: int,
        *,
        queries: int = 40,
        width: int = 512,
        heads: int = 8,
        encoder_layers: int = 2,
        decoder_layers: int = 5,
        conv_layers: int = 0,
        dropout: float = 0.1,
        feature_noise: float = 0.0,
        feature_shift: float = 0.0,
        text_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.normalise = nn.LayerNorm(channels)
        self.disturb = FeatureNoise(feature_noise, feature_shift)
        self.project = nn.Linear(channels, width)
        self.backbone = LocalConvolutions(width, conv_layers)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, dropout) for _ in range(decoder_layers))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.places = nn.Parameter(torch.logit((torch.arange(queries) + 0.5) / queries)[:, None])
        self.centre = mlp(width, width, 1)
        self.scale = mlp(width, width, width)
        self.segment = mlp(width, width, width, 2)
        self.actionness = nn.Linear(width, 1)
        self.embedding = nn.Linear(width, text_dim) if text_dim is not None else None
        self._start_well()

    def _start_well(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1 and parameter is not self.queries and parameter is not self.places:
                nn.init.xavier_uniform_(parameter)
        for layer in self.decoder:
            nn.init.orthogonal_(layer.query_position.weight, SHARPNESS)
            layer.key_position.load_state_dict(layer.query_position.state_dict())
        for last in (self.segment[-1], self.scale[-1], self.centre[-1]):
            nn.init.zeros_(last.weight)
        nn.init.zeros_(self.centre[-1].bias)
        nn.init.ones_(self.scale[-1].bias)
        with torch.no_grad():
            self.segment[-1].bias.copy_(torch.tensor([0.0, -2.5]))  # an action fills about a twelfth of a window
            nn.init.constant_(self.actionness.bias, -math.log((1 - RARE) / RARE))

    def forward(self, features: Float[Tensor, "b t c"], padding: Bool[Tensor, "b t"]) -> Outputs:
        """Answers for windows of `features`; `padding` is True where there is no snippet."""
        position = sine_embedding(place_in_window(padding), self.width).to(features.dtype)
        memory = self.backbone(self.project(self.disturb(self.normalise(features))), padding)
        attended = padding if padding.any() else None  # attention without a mask is the faster one
        for layer in self.encoder:
            memory = layer(memory, position, attended)
        centre = self.places + self.centre(self.queries)  # (q, 1) logits
        sine = sine_embedding(centre[:, 0].sigmoid(), self.width).to(features.dtype)
        x = torch.zeros(len(features), *self.queries.shape, dtype=memory.dtype, device=memory.device)
        answers: list[Outputs] = []
        for number, layer in enumerate(self.decoder):
            reference = sine.expand_as(x) if number == 0 else sine * self.scale(x)
            x = layer(x, self.queries, reference, memory, position, attended)
            answers.append(self._answer(x, centre))
        return answers[-1]._replace(earlier=tuple(answers[:-1]))

    def _answer(self, x: Float[Tensor, "b q d"], centre: Float[Tensor, "q 1"]) -> Outputs:
        offset = self.segment(x)
        segments_cw = torch.cat([offset[..., :1] + centre, offset[..., 1:]], dim=-1).sigmoid()
        return Outputs(segments_cw, self.actionness(x)[..., 0], None if self.embedding is None else self.embedding(x))
