"""Which action is it? The fusion of class logits with actionness, and what is kept as detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.detector.proposals import Proposals, thinned
from tadlib.files import read_json, write_json
from tadlib.naming.similarity import log_probability, probability

PER_PROPOSAL = 5  # classes kept at most per proposal by `class_specific`, as in the log


class Detections(NamedTuple):
    """Proposals with names, of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """How CLIP's and the detector's opinions become detections; words and defaults are those of the parameters."""

    fusion: str = "after_softmax"
    keep: str = "class_agnostic"
    top_k: int = 100
    fusion_weight: float = 0.5
    probability: str = "softmax"


def fuse(
    actionness: Float[Tensor, " n"],
    logits: Float[Tensor, "n k"],
    fusion: str = "after_softmax",
    weight: float = 0.5,
    how: str = "softmax",
) -> Float[Tensor, "n k"]:
    """Scores of every pair of proposal and class; `how` makes probabilities of logits, `weight` is CLIP's share.

    after_softmax: actionness times class probability. before_softmax: probability of logits weighted by actionness.
    arithmetic, geometric: the weighted mean of both. clip: class probability alone. detector: actionness for the best
    class, nothing for the others.
    """
    if fusion == "after_softmax":
        return actionness[:, None] * probability(logits, how)
    if fusion == "before_softmax":
        return probability(actionness[:, None] * logits, how)
    if fusion == "arithmetic":
        return (1 - weight) * actionness[:, None] + weight * probability(logits, how)
    if fusion == "geometric":  # of logarithms, which stay finite: a product of powers may be 0 to the power 0
        certain = actionness.clamp(min=torch.finfo(actionness.dtype).tiny).log()[:, None]
        return ((1 - weight) * certain + weight * log_probability(logits, how)).exp()
    if fusion == "clip":
        return probability(logits, how)
    return actionness[:, None] * functional.one_hot(logits.argmax(dim=1), logits.shape[1])


def select(
    segments: Float[Tensor, "n 2"],
    scores: Float[Tensor, "n k"],
    classes: Sequence[str],
    naming: Naming,
    video: Float[Tensor, " k"] | None = None,
) -> Detections:
    """The best `top_k` pairs of proposal and class: of all, of the best classes of each proposal, or of one class.

    The one class is that of the proposals together (`class_one`) or that of the whole `video` (`class_video`).
    """
    if naming.keep == "class_video" and video is None:
        raise ValueError("keep=class_video needs the logits of the whole video, got none")
    if naming.keep in ("class_one", "class_video"):
        best = (scores.sum(dim=0) if naming.keep == "class_one" else video).argmax()
        scores = torch.where(torch.arange(scores.shape[1]) == best, scores, -1.0)
    elif naming.keep == "class_specific":
        best = scores.topk(min(PER_PROPOSAL, scores.shape[1]), dim=1)
        scores = torch.full_like(scores, -1.0).scatter(1, best.indices, best.values)
    flat = scores.flatten()
    order = flat.argsort(descending=True, stable=True)[: naming.top_k]
    order = order[flat[order] > 0]
    labels = tuple(classes[place] for place in (order % scores.shape[1]).tolist())
    return Detections(segments[order // scores.shape[1]], flat[order], labels)


def name(
    proposals: Proposals,
    logits: Float[Tensor, "n k"],
    classes: Sequence[str],
    naming: Naming,
    video: Float[Tensor, " k"] | None = None,
) -> Detections:
    """Detections of one video from its proposals and the class logits of each, and of the whole video if it decides.

    Columns of logits beyond `classes` are rivals: they take their share of the probability and name nothing.
    """
    scores = fuse(proposals.scores, logits, naming.fusion, naming.fusion_weight, naming.probability)
    whole = None if video is None else video[: len(classes)]
    return select(proposals.segments, scores[:, : len(classes)], classes, naming, whole)


def thin(
    found: Mapping[str, Detections], *, nms: str, nms_tiou: float, most: Mapping[str, int]
) -> dict[str, Detections]:
    """The best detections of every video, at most so many, overlapping ones of a class thinned by hard or soft NMS."""
    if not found:
        return {}
    of = [(video_id, label) for video_id, each in found.items() for label in each.labels]
    places = {pair: place for place, pair in enumerate(dict.fromkeys(of))}
    groups = torch.tensor([places[pair] for pair in of], dtype=torch.int64)
    segments, scores = [each.segments for each in found.values()], [each.scores for each in found.values()]
    best = {}
    stays = zip(found.items(), thinned(segments, scores, groups, nms, nms_tiou), strict=True)
    for (video_id, each), (lowered, rows) in stays:
        rows = rows[: most[video_id]]
        best[video_id] = Detections(each.segments[rows], lowered[rows], tuple(each.labels[row] for row in rows))
    return best


def write_detections(path: Path | str, detections: Mapping[str, Detections]) -> None:
    """ActivityNet's result layout, which the official scorer and other repositories read."""
    results = {
        video_id: [
            {"segment": [round(second, 4) for second in segment], "score": score, "label": label}
            for segment, score, label in zip(found.segments.tolist(), found.scores.tolist(), found.labels, strict=True)
        ]
        for video_id, found in detections.items()
    }
    write_json(path, {"version": "tadlib", "results": results, "external_data": {}})


def read_detections(path: Path | str) -> dict[str, Detections]:
    """Detections from a file in ActivityNet's result layout; raises ValueError naming what is wrong in it."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise ValueError(f"{path} has no 'results': expected ActivityNet's result layout")
    detections = {}
    for video_id, rows in content["results"].items():
        try:
            segments = torch.tensor([row["segment"] for row in rows], dtype=torch.float64).reshape(-1, 2)
            scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
            detections[video_id] = Detections(segments, scores, tuple(row["label"] for row in rows))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: video {video_id} cannot be read: {error!r}") from error
    return detections
