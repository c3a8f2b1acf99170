"""A one-dimensional Conditional DETR (Meng et al. 2021): learned queries attend to a window of snippet features.

As there, queries have a reference centre, cross-attention scores are content plus position, where the position is a
sine embedding of that centre, scaled by a function of the query's state, and every decoder layer has outputs.

Differences from the image detector:
- the fastest sine has 64 cycles per window instead of one, which separates neighbouring snippets;
- at initialisation every query attends to its own reference: references are evenly spaced, and both sides of
  cross-attention project positions with the same weights;
- positions are sines of the snippet's place in the *valid* part of the window, so padding has no influence;
- each query has one class-agnostic logit, actionness; with `embedding_dim` it also has an embedding that is compared
  with class texts.

Extensions are `additions` (see `Addition`) or replace a part: the queries or the position embedding.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tadlib.detector import layers
from tadlib.detector.additions import Addition, Features, Outputs, Padding, Queries, Snippets, Texts
from tadlib.detector.layers import Positions

SHARPNESS = 2.0  # gain of the initial position projections: how narrowly an untrained query attends
PRIOR_PROBABILITY = 0.01  # actionness of an untrained query, for focal loss (Lin et al. 2017)
WIDTH_LOGIT = -2.5  # initial width: about a twelfth of a window
KEPT = ("queries.embedding", "queries.places", "embed.")  # weights with an initialisation of their own
LOGIT_EPS = 1e-4  # clamps segments before the logit in iterative refinement, so that it is finite


class ConditionalDETR(nn.Module):
    """Conditional DETR for windows of snippet features: one scored segment for each query.

    `feature_noise` and `feature_shift` are standard deviations of the noise added to normalised features in training,
    per snippet and per window. `queries_from` creates the queries from their number and width; `positions_from` embeds
    positions in [0, 1]; with `iterative` each decoder layer refines the segments of the one before (Deformable DETR,
    Zhu et al. 2021). `dtype` is the precision of the forward pass (autocast). Raises ValueError for impossible sizes.
    """

    normalised = True  # whether snippets are normalised

    def __init__(  # noqa: PLR0913  one word for each choice of the architecture
        self,
        channels: int,
        *,
        queries: int = 40,
        width: int = 128,
        heads: int = 8,
        encoder_layers: int = 0,
        decoder_layers: int = 2,
        conv_layers: int = 2,
        dropout: float = 0.1,
        feature_noise: float = 0.5,
        feature_shift: float = 1.0,
        embedding_dim: int | None = None,
        iterative: bool = False,
        queries_from: Callable[[int, int], nn.Module] | None = None,
        positions_from: Callable[[int], nn.Module] | None = None,
        additions: Sequence[Addition] = (),
    ) -> None:
        super().__init__()
        if min(queries, heads, width) < 1 or width % heads or width % 2:
            given = f"queries={queries}, width={width}, heads={heads}"
            raise ValueError(f"there must be a query, and width must be even and a multiple of heads; got {given}")
        self.arguments = {"channels": channels, "queries": queries, "width": width, "heads": heads}
        self.arguments |= {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
        self.arguments |= {"conv_layers": conv_layers, "dropout": dropout, "feature_noise": feature_noise}
        self.arguments |= {"feature_shift": feature_shift, "embedding_dim": embedding_dim, "iterative": iterative}
        self.replaced = {"queries_from": queries_from, "positions_from": positions_from}
        self.channels, self.width, self.heads, self.iterative = channels, width, heads, iterative
        self.dtype, self._compiled = torch.float32, None
        self.first_weights: dict[str, Tensor] = {}  # state before the first training; empty until then
        self.normalise = nn.LayerNorm(channels) if self.normalised else nn.Identity()
        self.disturb = layers.FeatureNoise(feature_noise, feature_shift, self.normalised)
        self.project = nn.Linear(channels, width)
        self._build_layers(conv_layers, encoder_layers, decoder_layers, dropout)
        self.queries = (queries_from or self._queries)(queries, width)
        self.scale = layers.mlp(width, width, width)
        self.segment = layers.mlp(width, width, width, 2)
        self.actionness = nn.Linear(width, 1)
        self.embedding = None if embedding_dim is None else nn.Linear(width, embedding_dim)
        self.embed = (positions_from or self._positions)(width)
        self.additions = nn.ModuleList(additions)
        for addition in self.additions:
            addition.build(channels, width, heads)
        self._start()

    def add(self, addition: Addition) -> None:
        """Add an extension to an existing detector; the detector's weights do not change."""
        addition.build(self.channels, self.width, self.heads)
        for parameter in addition.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        addition.start()
        self.additions.append(addition)

    def _build_layers(self, conv_layers: int, encoder_layers: int, decoder_layers: int, dropout: float) -> None:
        width, heads = self.width, self.heads
        self.backbone = layers.LocalConvolutions(width, conv_layers)
        self.encoder = nn.ModuleList(layers.EncoderLayer(width, heads, dropout) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(layers.DecoderLayer(width, heads, dropout) for _ in range(decoder_layers))
        self.norm = nn.Identity()

    _queries: Callable[[int, int], nn.Module] = staticmethod(layers.LearnedQueries)
    _positions: Callable[[int], nn.Module] = staticmethod(layers.Sines)

    def _start(self) -> None:
        """Initialise: each query attends around its reference, with a short segment and low actionness there."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith(KEPT):
                nn.init.xavier_uniform_(parameter)
        for layer in self.decoder:
            nn.init.orthogonal_(layer.query_position.weight, SHARPNESS)
            layer.key_position.load_state_dict(layer.query_position.state_dict())
        for last in (self.segment[-1], self.scale[-1]):
            nn.init.zeros_(last.weight)
        self.queries.start()
        nn.init.ones_(self.scale[-1].bias)
        with torch.no_grad():
            self.segment[-1].bias.copy_(torch.tensor([0.0, 0.0 if self.iterative else WIDTH_LOGIT]))
        nn.init.constant_(self.actionness.bias, -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
        for addition in self.additions:
            addition.start()

    def forward(self, features: Features, padding: Padding, texts: Texts | None = None) -> Outputs:
        """Return predictions for windows of `features`; `padding` is True where there is no snippet.

        `texts`, embeddings of any classes in any order, are read only by additions. Raises ValueError for shapes that
        do not fit the detector.
        """
        self._check_shapes(features, padding, texts)
        compute = self._compiled if self._compiled is not None and self.training else self.compute
        with torch.autocast(features.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return compute(features, padding, texts, padded=bool(padding.any()))

    def compute(self, features: Features, padding: Padding, texts: Texts | None, *, padded: bool) -> Outputs:
        """Compilable part of `forward`: `padded` is known beforehand, so control flow depends on no tensor value."""
        features = self.normalise(features)
        attended = padding if padded else None  # attention is faster without a mask
        position = self._position(padding, padded).to(features.dtype)
        memory = self._project(self.disturb(features), padding)
        for addition in self.additions:
            memory = addition.before_encoder(memory, texts)
        for layer in self.encoder:
            memory = layer(memory, position, attended)
        decoded = self._decode(memory, position, attended)
        for addition in self.additions:
            queries, base, outputs = decoded[-1]
            refined = addition.after_decoder(queries, features, outputs.segments_cw, padding)
            if refined is not None:
                decoded.append((refined, base, self._predict(refined, base)))
        *earlier, last = (outputs for _, _, outputs in decoded)
        added = {addition.name: addition.output(memory, last.segments_cw, padding) for addition in self.additions}
        added = {name: value for name, value in added.items() if value is not None}
        return last._replace(earlier=tuple(earlier), added=added)

    def compile_training(self, *, replayed: bool = True, **options: object) -> None:
        """Compile the forward pass of training; `options` are passed to `torch.compile`.

        On CUDA the kernels are recorded as a CUDA graph, because launching them takes most of the time. Pass `replayed`
        false where gradients accumulate over several calls: a replay overwrites them.
        """
        recorded = replayed and self.actionness.weight.is_cuda
        compute = torch.compile(self.compute, **({"mode": "reduce-overhead"} if recorded else {}) | options)
        self._compiled = compute
        if recorded:  # cloned, because a replay overwrites the outputs of the previous one
            self._compiled = lambda *given, **words: tree_map_only(Tensor, Tensor.clone, compute(*given, **words))

    def saved(self) -> dict[str, Any]:
        """Return the constructor arguments and weights for a checkpoint; `restored` creates the network from them."""
        return {
            "class": type(self).__name__,
            "arguments": self.arguments,
            "replaced": {name: part.__name__ for name, part in self.replaced.items() if part is not None},
            "additions": [[type(addition).__name__, addition.arguments] for addition in self.additions],
            "weights": self.state_dict(),
        }

    def _check_shapes(self, features: Tensor, padding: Tensor, texts: Tensor | None) -> None:
        if features.dim() != 3 or features.shape[-1] != self.channels or padding.shape != features.shape[:2]:
            raise ValueError(
                f"features must be (windows, snippets, {self.channels}) with padding (windows, snippets), "
                f"got {tuple(features.shape)} and {tuple(padding.shape)}: is it the encoder the detector learned from?"
            )
        width = self.channels if self.embedding is None else self.embedding.out_features
        if texts is not None and texts.shape[1:] != (width,):
            raise ValueError(f"texts must be (classes, {width}), got {tuple(texts.shape)}: are they this encoder's?")

    def _position(self, padding: Padding, padded: bool) -> Positions:
        # full windows share positions under autocast only: in full precision earlier results stay equal bit for bit
        shared = not padded and torch.is_autocast_enabled(padding.device.type)
        return self.embed(layers.place_in_window(padding[:1] if shared else padding))

    def _project(self, features: Features, padding: Padding) -> Snippets:
        return self.backbone(self.project(features), padding)

    def _decode(
        self, memory: Snippets, position: Positions, attended: Padding | None
    ) -> list[tuple[Tensor, Tensor, Outputs]]:
        """Return for every decoder layer the queries, the logits its segments are offsets from, and the outputs."""
        base = self.queries.references()
        if self.iterative:  # centres and widths are refined from layer to layer
            base = torch.cat([base, torch.full_like(base, WIDTH_LOGIT)], dim=1)
        sine = self.embed(base[:, 0].sigmoid()).to(position.dtype)
        queries = self.queries(sine)
        x = torch.zeros(len(memory), *queries.shape, dtype=memory.dtype, device=memory.device)
        decoded: list[tuple[Tensor, Tensor, Outputs]] = []
        for number, layer in enumerate(self.decoder):
            reference = sine.expand_as(x) if number == 0 else sine * self.scale(x)
            x = layer(x, queries, reference, memory, position, attended)
            found = self.norm(x)
            decoded.append((found, base, self._predict(found, base)))
            if self.iterative:
                base = torch.logit(decoded[-1][2].segments_cw.detach(), eps=LOGIT_EPS)
                sine = self.embed(base[..., 0].sigmoid()).to(position.dtype)
        return decoded

    def _predict(self, x: Queries, base: Float[Tensor, "*b q n"]) -> Outputs:
        """Predict segments as offsets from `base`: logits of the centre, or of centre and width."""
        known = base.shape[-1]
        offset = self.segment(x)
        segments_cw = torch.cat([offset[..., :known] + base, offset[..., known:]], dim=-1).sigmoid()
        return Outputs(segments_cw, self.actionness(x)[..., 0], None if self.embedding is None else self.embedding(x))


def restored(saved: Mapping[str, Any], classes: Mapping[str, type] = {}) -> ConditionalDETR:
    """Create the network from `ConditionalDETR.saved`; `classes` are its additions and replaced parts, by name.

    Raises ValueError for a class that is missing in `classes`.
    """

    def known(name: str) -> type:
        if name not in classes and name != "ConditionalDETR":
            message = f"this detector has a part of class {name}, which is not known here"
            raise ValueError(f"{message}: pass it as own=[{name}] where the detector is loaded")
        return classes.get(name, ConditionalDETR)

    parts = {part: known(name) for part, name in saved["replaced"].items()}
    additions = [known(name)(**words) for name, words in saved["additions"]]
    model = known(saved["class"])(**saved["arguments"], **parts, additions=additions)
    model.load_state_dict(saved["weights"])
    return model
