"""What names segments and videos, as the parameters ask for it: texts, pooling, similarity, rejection put together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.naming import pooling, rejection, text
from tadlib.naming.clip_heads import Matching
from tadlib.naming.pooling import Alike, Pooling
from tadlib.naming.similarity import Measure
from tadlib.naming.text import Steps
from tadlib.naming.transfer import transferred
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data, spans
from tadlib.workbook.steps.heads import said, trained

POOLING = ("pooling", "roi_bins", "similarity_at", "extend", "contrast")
Namer = Callable[[Video, Tensor], Tensor]  # a video and segments (n, 2) of it in seconds -> logits (n, k)


def segment_namer(data: Data, params: Params, classes: Sequence[str]) -> Namer:
    """A function of a video and segments (n, 2) of it in seconds: logits (n, k) of classes by CLIP.

    Where background is learned, its logits are a last column beyond the classes.
    """
    data = replace(data, params=params)
    semantics = trained(data, params)
    options = Pooling(**{name: getattr(params, name) for name in POOLING})
    if semantics is not None:
        options = replace(options, head=semantics.visual, mask=semantics.mask)
    if params.pooling.startswith("matching"):
        reader = semantics.matching if semantics is not None else Matching(params.pooling)
        asking = partial(reader, factor=factor_of(data, params))
        options = replace(options, reader=carried(data, params, classes, lambda texts: partial(asking, texts=texts)))
    alike = carried(data, params, classes, partial(comparer, data, params))
    if params.pooling != "ordered":
        ask = partial(pooling.segment_logits, alike=alike, options=options)
    else:
        steps = learned_steps(data, params, classes)
        of_steps = comparer(data, params, steps.embeddings.flatten(0, 1))
        ask = partial(pooling.ordered_logits, alike=alike, of_steps=(of_steps, steps.padding), options=options)
    return lambda video, segments: ask(data.store.read(video.id), segments, data.grid(video))


def alike_to(data: Data, params: Params, classes: Sequence[str]) -> Alike:
    """A function of features (*n, c): their logits (*n, k) for classes; background is no class."""
    alike = carried(data, params, classes, partial(comparer, data, params))
    return lambda features: alike(features)[..., : len(classes)]


def carried(data: Data, params: Params, classes: Sequence[str], make: Callable[[Tensor], Alike]) -> Alike:
    """What `make` makes of the texts of classes; or of those of the seen classes, whose logits are carried over."""
    texts = class_texts(data, params, classes)
    if params.transfer == "none":
        return make(texts)
    seen = class_texts(data, params, data.classes.seen)
    to = partial(transferred, seen=seen, texts=texts, how=params.transfer, factor=factor_of(data, params))
    say = make(seen)
    return lambda values: to(say(values))


def learned_steps(data: Data, params: Params, classes: Sequence[str]) -> Steps:
    """Embeddings of every text of classes, through what was trained for texts."""
    data = replace(data, params=params)
    semantics = trained(data, params)
    if semantics is None:
        return data.texts(classes)
    steps = semantics.steps(said(data, classes))
    return Steps(semantics.mapped(steps), steps.padding)


def class_texts(data: Data, params: Params, classes: Sequence[str]) -> Float[Tensor, "k c"]:
    """Embeddings of classes, through what was trained for texts; behind them that of background if it is learned."""
    data = replace(data, params=params)
    semantics = trained(data, params)
    if semantics is not None and (params.text_head != "none" or params.context or params.background == "learned"):
        return semantics.classes(semantics.steps(said(data, classes)))
    return data.text(classes) if params.similarity == "cosine" else text.raw_embeddings(data.texts(classes))


def factor_of(data: Data, params: Params) -> float:
    """What stands before the similarity."""
    return Measure(params.similarity, params.logit_scale, params.temperature).factor(data.encoder.logit_scale)


def comparer(data: Data, params: Params, texts: Float[Tensor, "k c"]) -> Alike:
    """A function of features (*n, c): their logits (*n, k) for texts."""
    measure = Measure(params.similarity, params.logit_scale, params.temperature)
    return partial(measure.of, texts=texts, factor=factor_of(data, params))


def videos_as_wholes(data: Data, video_ids: Iterable[str], params: Params) -> dict[str, Float[Tensor, " k"]]:
    """Logits of whole videos where they decide, else nothing."""
    return whole_videos(data, video_ids, params) if params.keep == "class_video" else {}


def whole_videos(data: Data, video_ids: Iterable[str], params: Params) -> dict[str, Float[Tensor, " k"]]:
    """Logits of whole videos for the classes that compete."""
    alike = alike_to(data, params, data.competing)
    return {video_id: pooling.video_logits(data.store.read(video_id), alike) for video_id in video_ids}


def not_rejected(data: Data, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """Proposals without those that look like none of the unseen classes, alone or because their video does."""
    if params.reject == "none":
        return proposals
    videos, say = {video.id: video for video in data.scored}, segment_namer(data, params, data.classes.unseen)
    alike = alike_to(data, params, data.classes.unseen)
    usual, kept = background(data, params), {}
    for video_id, found in proposals.items():
        if params.reject == "proposal":
            logits = say(videos[video_id], found.segments)[:, : len(data.classes.unseen)]
        else:
            logits = pooling.video_logits(data.store.read(video_id), alike).expand(len(found.scores), -1)
        rest = rejection.above(logits, usual) >= params.reject_below
        kept[video_id] = Proposals(*(None if field is None else field[rest] for field in found))
    return kept


def background(data: Data, params: Params) -> rejection.Background:
    """How alike background is to the unseen classes, in the training videos.

    Of proposals: snippets outside all that `data.occupied` knows of. Of videos: whole videos with seen actions alone;
    with `ignore_unseen` nowhere all, but for classes that training knows. Raises ValueError where there is none.
    """
    alike, rows, absent = alike_to(data, params, data.classes.unseen), [], []
    for video in data.training_videos:
        features = data.store.read(video.id)
        if params.reject == "video":
            labels = {action.label for action in video.actions}
            if params.ignore_unseen != "nowhere" and data.hidden[video.id]:
                continue  # of which classes is not known
            rows.append(pooling.video_logits(features, alike)[None])
            absent.append(torch.tensor([[label not in labels for label in data.classes.unseen]]))
        else:
            spans_ix = data.grid(video).snippets(spans(data.occupied[video.id]))
            rows.append(alike(torch.from_numpy(np.array(features, dtype=np.float32))))
            absent.append(rejection.outside(len(features), spans_ix)[:, None].expand(-1, len(data.classes.unseen)))
    if not rows:
        raise ValueError("reject=video needs training videos with nothing unseen in them: pass -p reject none")
    return rejection.background(torch.cat(rows), torch.cat(absent))
