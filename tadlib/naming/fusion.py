"""Fusion of class logits with actionness, and selection of (proposal, class) pairs as detections."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Action
from tadlib.data.checks import one_of
from tadlib.data.readers import actions_of, read_table
from tadlib.detector.proposals import PRE_NMS_FACTOR, Proposals, nms_of_videos
from tadlib.files import write_json
from tadlib.naming.similarity import class_probability, log_class_probability

MAX_CLASSES_PER_PROPOSAL = 5  # largest number of classes per proposal with `class_specific`
LEAST = 0.1  # lower bound of a video's highest actionness, so that weak proposals stay uncertain
NESTED = 0.5  # share of the shorter of two detections of a class that may overlap


class Detections(NamedTuple):
    """Detections (segments with scores and labels) of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]
    labels: tuple[str, ...]


def fuse(
    actionness: Float[Tensor, " n"],
    logits: Float[Tensor, "n k"],
    fusion: str = "after_softmax",
    fusion_weight: float = 0.5,
    probability: str = "softmax",
) -> Float[Tensor, "n k"]:
    """Return the scores of all (proposal, class) pairs; `probability` is softmax or sigmoid.

    after_softmax: actionness times class probability. before_softmax: probability of actionness times logits.
    arithmetic, geometric: mean of both, where CLIP has `fusion_weight`. clip: class probability only. detector:
    actionness for the best class, 0 for the others.
    """
    one_of("fusion", fusion, "after_softmax before_softmax arithmetic geometric detector clip".split())
    one_of("probability", probability, ("softmax", "sigmoid"))
    if fusion == "after_softmax":
        return actionness[:, None] * class_probability(logits, probability)
    if fusion == "before_softmax":
        return class_probability(actionness[:, None] * logits, probability)
    if fusion == "arithmetic":
        return (1 - fusion_weight) * actionness[:, None] + fusion_weight * class_probability(logits, probability)
    if fusion == "geometric":  # in log space all values are finite; a product of powers could be 0 to the power 0
        log_actionness = actionness.clamp(min=torch.finfo(actionness.dtype).tiny).log()[:, None]
        return ((1 - fusion_weight) * log_actionness + fusion_weight * log_class_probability(logits, probability)).exp()
    if fusion == "clip":
        return class_probability(logits, probability)
    return actionness[:, None] * functional.one_hot(logits.argmax(dim=1), logits.shape[1])


def certainty(
    actionness: Float[Tensor, " n"], logits: Float[Tensor, "n k"], words: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return for each proposal the score (n,) and index (n,) of the likeliest of the first `words` classes.

    The score is the actionness relative to the video's highest, times the probability of the word against the other
    columns, which are general texts. Another word may win the proposal, but does not lower this probability.
    """
    best, places = logits[:, :words].max(dim=1)
    probability = (best - logits[:, words:].logsumexp(dim=1)).sigmoid()
    return actionness / actionness.max().clamp(min=LEAST) * probability, places


def without_nested(found: Detections) -> Detections:
    """Remove detections that share over half of the shorter segment with a better one of the same word; best first."""
    (starts, ends), labels = found.segments.T, np.array(found.labels)
    left, kept = torch.ones(len(labels), dtype=torch.bool), []
    for place in range(len(labels)):
        if left[place]:
            kept.append(place)
            shared = torch.minimum(ends, ends[place]) - torch.maximum(starts, starts[place])
            shorter = torch.minimum(ends - starts, ends[place] - starts[place])
            left &= (shared <= NESTED * shorter) | torch.from_numpy(labels != labels[place])
    return Detections(found.segments[kept], found.scores[kept], tuple(labels[kept].tolist()))


def select(
    segments: Float[Tensor, "n 2"],
    scores: Float[Tensor, "n k"],
    classes: Sequence[str],
    *,
    keep: str = "class_agnostic",
    top_k: int = 100,
    video: Float[Tensor, " j"] | None = None,
) -> Detections:
    """Select the best `top_k` pairs of proposal and class; columns beyond `classes` only compete.

    `keep` allows all pairs (`class_agnostic`), the best classes of each proposal (`class_specific`), or a single class,
    that of all proposals together (`class_one`) or of the whole `video` (`class_video`).
    """
    one_of("keep", keep, ("class_agnostic", "class_specific", "class_one", "class_video"))
    if keep == "class_video" and video is None:
        raise ValueError("keep=class_video needs the logits of the whole video, got none")
    scores = scores[:, : len(classes)]
    if keep in ("class_one", "class_video"):
        best = (scores.sum(dim=0) if keep == "class_one" else video[: len(classes)]).argmax()
        scores = torch.where(torch.arange(scores.shape[1]) == best, scores, -1.0)
    elif keep == "class_specific":
        best = scores.topk(min(MAX_CLASSES_PER_PROPOSAL, scores.shape[1]), dim=1)
        scores = torch.full_like(scores, -1.0).scatter(1, best.indices, best.values)
    flat = scores.flatten()
    order = flat.argsort(descending=True, stable=True)[:top_k]
    order = order[flat[order] > 0]
    labels = tuple(classes[place] for place in (order % scores.shape[1]).tolist())
    return Detections(segments[order // scores.shape[1]], flat[order], labels)


def to_detections(
    proposals: Mapping[str, Proposals],
    scores: Mapping[str, Float[Tensor, "_ _"]],
    classes: Sequence[str],
    most: Mapping[str, int],
    *,
    keep: str = "class_agnostic",
    nms: str = "soft",
    nms_per: str = "video",
    nms_tiou: float = 0.5,
    videos: Mapping[str, Float[Tensor, " _"]] = MappingProxyType({}),
) -> dict[str, Detections]:
    """Return at most `most` detections of every video, from its proposals and their class scores.

    With `nms_per` class NMS runs within each class. `videos` are logits of whole videos, where `keep` needs them.
    Raises ValueError for scores of another shape than (proposals, at least all classes).
    """
    factor, found = PRE_NMS_FACTOR if nms_per == "class" else 1, {}
    for video_id, each in proposals.items():
        own = scores[video_id]
        if own.shape[0] != len(each.scores) or own.shape[1] < len(classes):
            expected = f"({len(each.scores)}, {len(classes)} or more)"
            raise ValueError(f"scores of {video_id} must be {expected}, got {tuple(own.shape)}")
        limits = {"keep": keep, "top_k": factor * most[video_id], "video": videos.get(video_id)}
        found[video_id] = select(each.segments, own, classes, **limits)
    return nms_within_classes(found, nms=nms, nms_tiou=nms_tiou, most=most) if nms_per == "class" else found


def nms_within_classes(
    found: Mapping[str, Detections], *, nms: str, nms_tiou: float, most: Mapping[str, int]
) -> dict[str, Detections]:
    """Apply hard or soft NMS within each class of each video, and keep at most `most` detections per video."""
    index = {label: place for place, label in enumerate({label for each in found.values() for label in each.labels})}
    labels = torch.tensor([index[label] for each in found.values() for label in each.labels], dtype=torch.int64)
    kept = {}
    for video_id, lowered, rows in nms_of_videos(found, nms, nms_tiou, most, labels):
        own = found[video_id]
        kept[video_id] = Detections(own.segments[rows], lowered[rows], tuple(own.labels[n] for n in rows.tolist()))
    return kept


def write_detections(path: Path | str, detections: Mapping[str, Detections]) -> None:
    """Write detections in ActivityNet's result layout, which the official scorer and other repositories read."""
    results = {
        video_id: [
            {"segment": [round(second, 4) for second in segment], "score": score, "label": label}
            for segment, score, label in zip(found.segments.tolist(), found.scores.tolist(), found.labels, strict=True)
        ]
        for video_id, found in detections.items()
    }
    write_json(path, {"version": "tadlib", "results": results, "external_data": {}})


def read_detections(path: Path | str) -> dict[str, Detections]:
    """Read detections from a result file; raises ValueError naming what is wrong."""
    table = read_table(path, "results")
    rows: dict[str, list[tuple[Action, float | None]]] = {video: [] for video in table.about}
    for video, action, score in actions_of(table):
        rows.setdefault(video, []).append((action, score))
    return {
        video: Detections(
            torch.tensor([(action.start, action.end) for action, _ in own], dtype=torch.float64).reshape(-1, 2),
            torch.tensor([score for _, score in own], dtype=torch.float64),
            tuple(action.label for action, _ in own),
        )
        for video, own in rows.items()
    }
