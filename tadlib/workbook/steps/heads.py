"""What names segments, trained as the parameters ask for it: once, on seen classes alone, then kept."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.files import atomic, digest
from tadlib.naming import head_training, negatives, rejection
from tadlib.naming.head_losses import NOTHING
from tadlib.naming.head_training import Examples, Lesson
from tadlib.naming.semantics import Parts, Said, Semantics
from tadlib.naming.similarity import scale_of
from tadlib.naming.text import texts_of
from tadlib.segments import roi_align
from tadlib.workbook import stages
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data, spans, true_segments
from tadlib.workbook.steps.sources import wording

SNIPPETS = 4000  # at most so many to learn from
FROZEN = {"head": "none", "text_head": "none", "context": 0, "background": "none", "transfer": "none", "rerank": 0.0}


def trained(data: Data, params: Params) -> Semantics | None:
    """What was trained for these parameters, or nothing if nothing is asked for; kept beside the features."""
    parts = Parts(**{each.name: getattr(params, each.name) for each in fields(Parts)})
    if not parts.trained:
        return None
    path = data.benchmark.cache / "heads" / f"{_key(data, params)}.pt"
    channels = data.store.read(data.training_videos[0].id).shape[1]
    with devices.seeded(params.seed):
        semantics = Semantics(parts, channels, data.encoder)
        if path.is_file():
            semantics.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        else:
            _train(semantics, replace(data, params=params), params)
            with atomic(path) as temporary:
                torch.save(semantics.state_dict(), temporary)
    return semantics.eval().requires_grad_(False)


def untrained(params: Params) -> Params:
    """The parameters without anything that is trained to name segments: frozen CLIP alone."""
    pooling = "mean" if params.pooling in ("matching_learned", "mask") else params.pooling
    lesson = {"head_loss": "cross_entropy", "hard_negatives": "none"}  # no pairs without what is trained on them
    return params.but(**FROZEN, **lesson, pooling=pooling)


def _key(data: Data, params: Params) -> str:
    names = {*(each.name for each in fields(Parts)), *(each.name for each in fields(Lesson)), "head_on"} - {"factor"}
    names |= {"roi_bins", "seed", "logit_scale", "ignore_unseen"}
    wanted = {name: getattr(params, name) for name in names}
    if not params.pooling.startswith("matching") and params.pooling != "mask":
        del wanted["pooling"]  # one training serves every pooling of frozen CLIP
    texts = texts_of(data.classes.seen, wording(params))
    made = [stages.code_version(), stages.data_version(params, "train"), data.fingerprint]
    return digest([wanted, data.classes.seen, texts, *made])


def said(data: Data, classes: Sequence[str]) -> Said:
    """The texts of classes, and what the frozen encoder makes of them."""
    return Said(texts_of(classes, wording(data.params)), data.texts(classes))


def lesson_of(data: Data, params: Params) -> Lesson:
    """How the parameters ask to train."""
    same = {each.name: getattr(params, each.name) for each in fields(Lesson) if each.name != "factor"}
    return Lesson(scale_of(data.encoder.logit_scale, params.logit_scale), **same)


def _train(semantics: Semantics, data: Data, params: Params) -> None:
    if semantics.mask is not None:
        snippets, labels = _snippets(data)
        head_training.fit_mask(semantics.mask, snippets, labels != NOTHING, params.head_epochs, params.head_lr)
    if any(not name.startswith("mask.") for name, weight in semantics.named_parameters() if weight.requires_grad):
        head_training.fit(semantics, examples(data, params), said(data, data.classes.seen), lesson_of(data, params))


def examples(data: Data, params: Params) -> Examples:
    """Bins under every true segment of a seen class in the training videos, or snippets; background if it is asked for.

    Background is where nothing happens that is annotated; with `ignore_unseen` nowhere, nothing of a seen class.
    """
    if params.head_on == "snippets":
        snippets, labels = _snippets(data)
        kept = torch.ones(len(labels), dtype=torch.bool) if params.background != "none" else labels != NOTHING
        rows = kept.nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows))[:SNIPPETS]]
        nothing = snippets.new_zeros(len(rows), 0, 1, snippets.shape[1])
        return Examples(snippets[rows, None], labels[rows], nothing, torch.zeros(len(rows), 0, dtype=torch.bool))
    parts, places = [], {label: place for place, label in enumerate(data.classes.seen)}
    for video in data.training_videos:
        segments = true_segments(video)
        labels = [places[action.label] for action in video.actions]
        if params.background != "none":
            gaps = between(spans(data.occupied[video.id]), video.duration, 1 / float(data.grid(video).snippets(1.0)))
            segments, labels = torch.cat([segments, gaps]), labels + [NOTHING] * len(gaps)
        bins, beside, there = bins_beside(data, video, segments, params.roi_bins)
        there &= ~negatives.repeated(segments, torch.tensor(labels), video.duration)
        parts.append(Examples(bins, torch.tensor(labels), beside, there))
    return Examples(*(torch.cat(field) for field in zip(*parts, strict=True)))


def bins_beside(
    data: Data, video: Video, segments: Float[Tensor, "n 2"], bins: int
) -> tuple[Float[Tensor, "n r c"], Float[Tensor, "n w r c"], Bool[Tensor, "n w"]]:
    """Bins under segments (seconds) of a video and beside them, and which of the latter are in the video."""
    snippets = torch.from_numpy(np.array(data.store.read(video.id), dtype=np.float32))
    segments_ix = data.grid(video).snippets(segments)
    regions, there = negatives.beside(segments_ix, len(snippets))
    found = roi_align(snippets, torch.cat([segments_ix[:, None], regions], dim=1).flatten(0, 1), bins)
    found = found.unflatten(0, (-1, 3))
    return found[:, 0], found[:, 1:], there


def between(segments: Float[Tensor, "n 2"], duration: float, least: float) -> Float[Tensor, "m 2"]:
    """The stretches of a video of `duration` seconds that lie in none of the segments, if `least` seconds long."""
    ordered = segments[segments[:, 0].argsort()]
    reached = torch.cat([torch.zeros(1), ordered[:, 1].cummax(0).values])
    gaps = torch.stack([reached, torch.cat([ordered[:, 0], torch.tensor([duration])])], dim=1)
    return gaps[gaps[:, 1] - gaps[:, 0] >= least]


def _snippets(data: Data) -> tuple[Float[Tensor, "t c"], Tensor]:
    """The snippets of all training videos, and the place of the seen class in which the middle of each lies.

    Those in anything else that `data.occupied` knows of are neither of a seen class nor background, and left out.
    """
    features, labels, places = [], [], {label: place for place, label in enumerate(data.classes.seen)}
    for video in data.training_videos:
        features.append(torch.from_numpy(np.array(data.store.read(video.id), dtype=np.float32)))
        own = torch.full((len(features[-1]),), NOTHING)
        spans_ix = data.grid(video).snippets(true_segments(video))
        for span_ix, action in zip(spans_ix, video.actions, strict=True):
            own[~rejection.outside(len(own), span_ix[None])] = places[action.label]
        known = (own != NOTHING) | rejection.outside(
            len(own), data.grid(video).snippets(spans(data.occupied[video.id]))
        )
        features[-1] = features[-1][known]
        labels.append(own[known])
    return torch.cat(features), torch.cat(labels)
