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

What is here is the default; `Switches` adds what others have tried, each of them one word. With `system` published the
detector is that of GAP (Du et al. 2024), layer for layer; what is unusual above, noise on features apart, is then not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tadlib.detector.heads import MaskHead, QualityHead, SalienceHead, TextFusion, snippet_head
from tadlib.detector.layers import (
    PUBLISHED_SINES,
    FeatureNoise,
    LearnedPositions,
    LocalConvolutions,
    Sines,
    mlp,
    place_in_window,
)
from tadlib.detector.refine import RectifyingLayer
from tadlib.detector.transformer import DecoderLayer, EncoderLayer, PublishedDecoderLayer
from tadlib.detector.weights import WIDTH_LOGIT, start_as_published, start_well
from tadlib.segments import to_segments

SURELY = 1e-4  # segments this near to 0 or 1 are refined from there: a logit must be finite


class Outputs(NamedTuple):
    """The detector's answer for each query of each window, by the last decoder layer and by the ones before."""

    segments_cw: Float[Tensor, "b q 2"]
    actionness_logits: Float[Tensor, "b q"]
    embeddings: Float[Tensor, "b q e"] | None  # for comparison with class texts, if the detector has such a head
    earlier: tuple["Outputs", ...] = ()
    salience_logits: Float[Tensor, "b t"] | None = None  # is a snippet inside an action?
    quality_logits: Float[Tensor, "b q"] | None = None  # the tIoU that a segment is expected to have with an action
    snippet_embeddings: Float[Tensor, "b t e"] | None = None  # for comparison of snippets with class texts


def _copied(part: Outputs | Tensor | None) -> Outputs | Tensor | None:
    if isinstance(part, Outputs):
        return Outputs(*(tuple(map(_copied, each)) if isinstance(each, tuple) else _copied(each) for each in part))
    return None if part is None else part.clone()


@dataclass(frozen=True)
class Switches:
    """Variants of the architecture, all off; the words are those of the parameters, rows those of the method survey."""

    salience: str = "none"  # bce, ce (79): a head on the memory; mask (67): a smaller one
    refine: str = "none"  # attention, mean, max: static-dynamic rectifying (80, 81)
    refine_layers: int = 1
    refine_residual: bool = True  # of the self-attention among rectified queries
    iterative: bool = False  # each layer moves the segments of the one before (Deformable DETR, Zhu et al. 2021)
    centres: str = "learned"  # drawn: fixed references, and queries that know nothing else (82, posPrior)
    positions: str = "sine"  # learned: a table, for windows of any length
    quality: bool = False  # expected tIoU beside the actionness (16)
    fuse_text: bool = False  # snippets look at class texts before the encoder (17)
    segmentation: str = "none"  # memory (33): snippets classified with text
    refine_join: str = "sum"  # first_half, projected, alone (81)
    system: str = "ours"  # published: layers, positions and first weights of GAP


class ConditionalDetr(nn.Module):
    """Snippet features in, scored segments out."""

    def __init__(  # noqa: PLR0913  one word for each switch of the architecture
        self,
        channels: int,
        *,
        queries: int = 40,
        width: int = 512,
        heads: int = 8,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        conv_layers: int = 2,
        dropout: float = 0.1,
        feature_noise: float = 0.5,
        feature_shift: float = 1.0,
        text_dim: int | None = None,
        switches: Switches = Switches(),
    ) -> None:
        super().__init__()
        self.width, self.switches = width, switches
        self.published = switches.system == "published"
        self.normalise = nn.Identity() if self.published else nn.LayerNorm(channels)
        self.disturb = FeatureNoise(feature_noise, feature_shift, normalised=not self.published)
        self.project = nn.Linear(channels, width)
        self.backbone = LocalConvolutions(channels if self.published else width, conv_layers)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, dropout, self.published) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(
            PublishedDecoderLayer(width, heads, dropout, first=number == 0)
            if self.published
            else DecoderLayer(width, heads, dropout)
            for number in range(decoder_layers)
        )
        self.norm = nn.LayerNorm(width) if self.published else nn.Identity()
        self._add_queries(queries)
        self.scale = mlp(width, width, width)
        self.segment = mlp(width, width, width, 2)
        self.actionness = nn.Linear(width, 1)
        self.embedding = nn.Linear(width, text_dim) if text_dim is not None else None
        self._add_switched(channels, heads)
        (start_as_published if self.published else start_well)(self)

    def _add_queries(self, number: int) -> None:
        """Queries with references of their own, or (drawn) fixed references from which all of a query is computed."""
        width, drawn = self.width, self.switches.centres == "drawn"
        self.queries = None if drawn else nn.Parameter(torch.randn(number, width))
        self.content = mlp(width, width, width) if drawn else None
        self.centre = None if drawn else mlp(width, width, 1)
        even = torch.full((number,), 0.5) if self.published else (torch.arange(number) + 0.5) / number
        places = torch.logit(torch.rand(number) if drawn else even, eps=SURELY)[:, None]
        self.places = nn.Parameter(places, requires_grad=not (drawn or self.published))

    def _add_switched(self, channels: int, heads: int) -> None:
        """What switches add; when all are off, nothing is there and no random number is drawn for it."""
        switches, width = self.switches, self.width
        sines = Sines(width, *(PUBLISHED_SINES if self.published else ()))
        self.embed = sines if switches.positions == "sine" else LearnedPositions(width)
        self.salience = None
        if switches.salience != "none":
            self.salience = MaskHead(width) if switches.salience == "mask" else SalienceHead(width)
        number = 0 if switches.refine == "none" else switches.refine_layers
        self.rectifying = nn.ModuleList(
            RectifyingLayer(
                channels,
                width,
                heads,
                switches.refine,
                residual=switches.refine_residual,
                join=switches.refine_join,
                published=self.published,
            )
            for _ in range(number)
        )
        self.quality = QualityHead(width) if switches.quality else None
        self.fuse = TextFusion(width, channels, heads) if switches.fuse_text else None
        self.snippets = snippet_head(width, channels) if switches.segmentation == "memory" else None

    def forward(
        self,
        features: Float[Tensor, "b t c"],
        padding: Bool[Tensor, "b t"],
        texts: Float[Tensor, "k e"] | None = None,
    ) -> Outputs:
        """Answers for windows of `features`; `padding` is True where there is no snippet.

        `texts`, of any classes in any order, are looked at only by a detector that fuses them in.
        """
        self._expect(features, padding, texts)
        return self.answers(features, padding, texts, padded=bool(padding.any()))

    def answers(
        self,
        features: Float[Tensor, "b t c"],
        padding: Bool[Tensor, "b t"],
        texts: Float[Tensor, "k e"] | None,
        *,
        padded: bool,
    ) -> Outputs:
        """What can be compiled of `forward`: whether any window is padded is known, and no tensor is looked into."""
        static = self.normalise(features)
        attended = padding if padded else None  # attention without a mask is the faster one
        # full windows share their positions; in full precision they do not, whose numbers are kept to the last bit
        shared = attended is None and torch.is_autocast_enabled(features.device.type)
        within = 1.0 if self.published else 0.5
        position = self.embed(place_in_window(padding[:1] if shared else padding, within)).to(features.dtype)
        memory = self._encode(self.disturb(static), padding, position, attended, texts)
        answers = self._decode(memory, position, attended)
        if len(self.rectifying):
            answers.append(self._rectify(answers[-1], static, padding))
        segments_cw, actionness_logits, embeddings, *_ = answers[-1][2]
        return Outputs(
            segments_cw,
            actionness_logits,
            embeddings,
            earlier=tuple(answer for _, _, answer in answers[:-1]),
            salience_logits=None if self.salience is None else self.salience(memory, padding),
            quality_logits=None if self.quality is None else self.quality(memory, segments_cw, padding),
            snippet_embeddings=None if self.snippets is None else self.snippets(memory),
        )

    def compiled(self, *, replayed: bool = True, **options: object) -> Callable[..., Outputs]:
        """`forward`, faster after some calls; `options` are those of `torch.compile`.

        On CUDA the work is recorded and replayed, because launching it takes most of the time at these sizes; not so
        where gradients are to be kept from one call to the next (`replayed` false), which a replay overwrites.
        """
        recorded = replayed and self.places.is_cuda
        answers = torch.compile(self.answers, **({"mode": "reduce-overhead"} if recorded else {}) | options)

        def forward(features: Tensor, padding: Tensor, texts: Tensor | None = None) -> Outputs:
            self._expect(features, padding, texts)
            outputs = answers(features, padding, texts, padded=bool(padding.any()))
            return _copied(outputs) if recorded else outputs  # the next replay overwrites what the last one gave

        return forward

    def _expect(self, features: Tensor, padding: Tensor, texts: Tensor | None) -> None:
        channels = self.project.in_features
        if features.dim() != 3 or features.shape[-1] != channels or padding.shape != features.shape[:2]:
            raise ValueError(
                f"features must be (windows, snippets, {channels}) with padding (windows, snippets), "
                f"got {tuple(features.shape)} and {tuple(padding.shape)}: is it the encoder the detector learned from?"
            )
        wide = channels if self.embedding is None else self.embedding.out_features
        if texts is not None and texts.shape[1:] != (wide,):
            raise ValueError(f"texts must be (classes, {wide}), got {tuple(texts.shape)}: are they this encoder's?")

    def _encode(
        self,
        features: Float[Tensor, "b t c"],
        padding: Bool[Tensor, "b t"],
        position: Float[Tensor, "#b t d"],
        attended: Bool[Tensor, "b t"] | None,
        texts: Float[Tensor, "k e"] | None,
    ) -> Float[Tensor, "b t d"]:
        if self.published:
            memory = self.project(self.backbone(features, padding))
        else:
            memory = self.backbone(self.project(features), padding)
        if self.fuse is not None:
            if texts is None:
                raise ValueError("this detector fuses class texts in: it needs `texts`, got None")
            memory = self.fuse(memory, texts)
        for layer in self.encoder:
            memory = layer(memory, position, attended)
        return memory

    def _decode(
        self,
        memory: Float[Tensor, "b t d"],
        position: Float[Tensor, "#b t d"],
        attended: Bool[Tensor, "b t"] | None,
    ) -> list[tuple[Tensor, Tensor, Outputs]]:
        """Of every decoder layer its queries, the logits its segments start from, and its answer."""
        base = self._start()
        sine = self.embed(base[:, 0].sigmoid()).to(position.dtype)
        queries = self.queries if self.content is None else self.content(sine)
        x = torch.zeros(len(memory), *queries.shape, dtype=memory.dtype, device=memory.device)
        answers: list[tuple[Tensor, Tensor, Outputs]] = []
        for number, layer in enumerate(self.decoder):
            reference = sine.expand_as(x) if number == 0 else sine * self.scale(x)
            x = layer(x, queries, reference, memory, position, attended)
            found = self.norm(x)
            answers.append((found, base, self._answer(found, base)))
            if self.switches.iterative:
                base = torch.logit(answers[-1][2].segments_cw.detach(), eps=SURELY)
                sine = self.embed(base[..., 0].sigmoid()).to(position.dtype)
        return answers

    def _start(self) -> Float[Tensor, "q n"]:
        """Logits of the reference centres, and of the first widths where segments are refined from layer to layer."""
        centre = self.places if self.centre is None else self.places + self.centre(self.queries)
        return torch.cat([centre, torch.full_like(centre, WIDTH_LOGIT)], 1) if self.switches.iterative else centre

    def _rectify(
        self, coarse: tuple[Tensor, Tensor, Outputs], static: Float[Tensor, "b t c"], padding: Bool[Tensor, "b t"]
    ) -> tuple[Tensor, Tensor, Outputs]:
        """Queries, base and answer after a look at the features under the coarse segments, which get no gradient."""
        x, base, answer = coarse
        lengths = (~padding).sum(1)
        segments_ix = to_segments(answer.segments_cw.detach().float()) * lengths[:, None, None]
        for layer in self.rectifying:
            x = layer(x, static, segments_ix, lengths)
        return x, base, self._answer(x, base)

    def _answer(self, x: Float[Tensor, "b q d"], base: Float[Tensor, "*b q n"]) -> Outputs:
        """Segments are offsets from `base`: logits of the centre, or of centre and width."""
        known = base.shape[-1]
        offset = self.segment(x)
        segments_cw = torch.cat([offset[..., :known] + base, offset[..., known:]], dim=-1).sigmoid()
        return Outputs(segments_cw, self.actionness(x)[..., 0], None if self.embedding is None else self.embedding(x))
