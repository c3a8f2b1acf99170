"""Which action is it? Similarity with class texts, its fusion with actionness, and what is kept as detections."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.detector.proposals import Proposals
from tadlib.files import read_json, write_json

PER_PROPOSAL = 2  # classes kept per proposal by `class_specific`


class Detections(NamedTuple):
    """Proposals with names, of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """How CLIP's and the detector's opinions become detections; words and defaults are those of the parameters."""

    logit_scale: str = "exp"
    fusion: str = "after_softmax"
    keep: str = "class_agnostic"
    top_k: int = 100


def scale_of(tau: float, logit_scale: str) -> float:
    """The factor on the cosine: exp(tau) as CLIP was trained, tau itself (the trap of forgetting exp), or 1."""
    return {"exp": math.exp(tau), "raw": tau, "none": 1.0}[logit_scale]


def similarity(pooled: Float[Tensor, "n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "n k"]:
    """Scaled cosine; both sides are always normalised, so that the scale always means what it says."""
    return scale * functional.normalize(pooled, dim=-1) @ functional.normalize(texts, dim=-1).T


def fuse(
    actionness: Float[Tensor, " n"], logits: Float[Tensor, "n k"], fusion: str = "after_softmax"
) -> Float[Tensor, "n k"]:
    """Scores of every pair of proposal and class.

    after_softmax: actionness times class probability. before_softmax: probability of logits weighted by actionness.
    clip: class probability alone. detector: actionness for the best class, nothing for the others.
    """
    if fusion == "after_softmax":
        return actionness[:, None] * logits.softmax(dim=1)
    if fusion == "before_softmax":
        return (actionness[:, None] * logits).softmax(dim=1)
    if fusion == "clip":
        return logits.softmax(dim=1)
    return actionness[:, None] * functional.one_hot(logits.argmax(dim=1), logits.shape[1])


def select(
    segments: Float[Tensor, "n 2"], scores: Float[Tensor, "n k"], classes: Sequence[str], naming: Naming
) -> Detections:
    """The best `top_k` pairs of proposal and class: of all, of the best classes of each proposal, or of one class."""
    if naming.keep == "class_one":
        best = scores.sum(dim=0).argmax()
        scores = torch.where(torch.arange(scores.shape[1]) == best, scores, -1.0)
    elif naming.keep == "class_specific":
        least = scores.topk(min(PER_PROPOSAL, scores.shape[1]), dim=1).values[:, -1:]
        scores = torch.where(scores >= least, scores, -1.0)
    flat = scores.flatten()
    order = flat.argsort(descending=True, stable=True)[: naming.top_k]
    order = order[flat[order] > 0]
    labels = tuple(classes[place] for place in (order % scores.shape[1]).tolist())
    return Detections(segments[order // scores.shape[1]], flat[order], labels)


def name(proposals: Proposals, logits: Float[Tensor, "n k"], classes: Sequence[str], naming: Naming) -> Detections:
    """Detections of one video from its proposals and the class logits of each.

    Columns of logits beyond `classes` are rivals: they take their share of the probability and name nothing.
    """
    scores = fuse(proposals.scores, logits, naming.fusion)[:, : len(classes)]
    return select(proposals.segments, scores, classes, naming)


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
