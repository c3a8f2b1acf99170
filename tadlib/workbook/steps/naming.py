"""Proposals named as the parameters ask for it, and what CLIP makes of true segments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tadlib.detector.proposals import SPARE, Proposals
from tadlib.evaluation import diagnosis, metrics
from tadlib.naming import fusion, similarity
from tadlib.naming.fusion import Detections, Naming
from tadlib.naming.similarity import probability
from tadlib.workbook.params import Params
from tadlib.workbook.steps.answers import kept, target_texts
from tadlib.workbook.steps.data import Data, true_segments
from tadlib.workbook.steps.heads import untrained
from tadlib.workbook.steps.namers import comparer, segment_namer, videos_as_wholes
from tadlib.workbook.steps.preparing import prepared

FUSIONS = ("after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip")


def name(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Detections: proposals named by CLIP, or by the detector itself if it was trained to classify with text."""
    proposals = prepared(data, proposals, params)
    return fused(data, proposals, class_logits(data, proposals, params), params)


def fused(
    data: Data,
    proposals: Mapping[str, Proposals],
    logits: Mapping[str, Float[Tensor, "n k"]],
    params: Params,
    classes: Sequence[str] = (),
) -> dict[str, Detections]:
    """Detections from proposals and their class logits, which other ways of fusing them share.

    `classes` names the first columns of the logits that may be detected; without, the unseen ones.
    """
    classes, by_class = classes or data.classes.unseen, params.nms_per == "class"
    most, spare = kept(data, params, proposals), SPARE if by_class else 1
    options = Naming(params.fusion, params.keep, params.top_k, params.fusion_weight, params.probability)
    whole = videos_as_wholes(data, proposals, params)
    named = {
        video_id: fusion.name(
            found, logits[video_id], classes, replace(options, top_k=spare * most[video_id]), whole.get(video_id)
        )
        for video_id, found in proposals.items()
    }
    if not by_class:
        return named
    return fusion.thin(named, nms=params.nms, nms_tiou=params.nms_tiou, most=most)


def class_logits(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "n k"]]:
    """Scaled similarity of every proposal with every unseen class, then with the seen ones if they compete.

    An ensemble is of two opinions: a classifying detector's and CLIP's, or a trained head's and frozen CLIP's.
    """
    agnostic, second = params.target == "foreground", params
    if agnostic:
        logits, second = _clip_logits(data, proposals, params), untrained(params)
    else:
        own = comparer(data, params, target_texts(data, params, data.competing))
        logits = {video_id: own(found.embeddings) for video_id, found in proposals.items()}
    if params.ensemble == "none" or (agnostic and second == params):
        return logits
    clip, classes = _clip_logits(data, proposals, second), len(data.competing)
    weigh = partial(similarity.ensemble, how=params.ensemble, weight=params.ensemble_weight)
    return {video_id: weigh(own[:, :classes], clip[video_id][:, :classes]) for video_id, own in logits.items()}


def _clip_logits(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "n k"]]:
    videos = {video.id: video for video in data.scored}
    say = segment_namer(data, params, data.competing)
    return {video_id: say(videos[video_id], found.segments) for video_id, found in proposals.items()}


def named_segments(data: Data, proposals: Mapping[str, Proposals] | None = None) -> dict[str, np.ndarray]:
    """CLIP's verdict on segments of unseen actions, flat over videos: `true` and `named` class, `tiou`, `certainty`.

    Without proposals the segments are the true ones; with proposals each is compared with the action it overlaps
    most, and those that overlap none are left out (their number is `without`).
    """
    classes, rows, without = data.classes.unseen, [], 0
    say = segment_namer(data, data.params, classes)
    for video in data.test_videos:
        segments = true_segments(video) if proposals is None else proposals[video.id].segments
        nearest, tiou = np.arange(len(video.actions)), np.ones(len(video.actions))
        if proposals is not None:
            nearest, tiou = diagnosis.nearest_actions(video, proposals[video.id])
        certainty, best = _sure(say(video, segments), data.params, len(classes))
        for place in np.flatnonzero(tiou > 0):
            action = video.actions[nearest[place]]
            same = {a.label for a in video.actions if (a.start, a.end) == (action.start, action.end)}
            answer = classes[best[place]]
            true = classes.index(answer if answer in same else action.label)
            rows.append((true, int(best[place]), tiou[place], float(certainty[place])))
        without += int((tiou <= 0).sum())
    true, named, overlap, certain = np.array(rows, dtype=float).reshape(-1, 4).T
    found = {"true": true.astype(int), "named": named.astype(int), "tiou": overlap, "certainty": certain}
    return found | {"without": np.array(without)}


def _sure(logits: Float[Tensor, "n k"], params: Params, classes: int) -> tuple[Tensor, Tensor]:
    """Probability and place of the most probable class; background takes its share and is never the answer."""
    return probability(logits, params.probability)[:, :classes].max(dim=1)


def confusion(data: Data, verdicts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Counts (true, named) of unseen classes."""
    return diagnosis.confusion(verdicts["true"], verdicts["named"], len(data.classes.unseen))


def compare_fusions(data: Data, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """mAP of every way of fusing the detector's and CLIP's opinions, on the same proposals."""
    proposals = prepared(data, proposals, params)
    logits = class_logits(data, proposals, params)
    return [
        {"fusion": how}
        | metrics.mean_average_precision(
            data.scored,
            fused(data, proposals, logits, params.but(fusion=how)),
            data.classes.unseen,
            data.benchmark.tious,
        )
        for how in FUSIONS
    ]


def best_detections(data: Data, detections: Mapping[str, Detections], number: int = 12) -> list[dict[str, object]]:
    """The surest detections of all videos, and the true action each overlaps most."""
    rows = [
        {"video": video_id, "start (s)": start, "end (s)": end, "class": label, "score": round(score, 3)}
        for video_id, found in detections.items()
        for (start, end), score, label in zip(
            found.segments.round(decimals=1).tolist(), found.scores.tolist(), found.labels, strict=True
        )
    ]
    return sorted(rows, key=lambda row: -row["score"])[:number]
