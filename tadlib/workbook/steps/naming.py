"""Proposals named as the parameters ask for it, and what CLIP makes of true segments."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis, metrics
from tadlib.naming import fusion
from tadlib.naming.fusion import Detections, Naming
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data, true_segments
from tadlib.workbook.steps.detector import target_texts


def name(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Detections: proposals named by CLIP, or by the detector itself if it was trained to classify with text."""
    options = Naming(params.logit_scale, params.fusion, params.keep, params.top_k)
    logits = class_logits(data, proposals, params)
    return {
        video_id: fusion.name(found, logits[video_id], data.classes.unseen, options)
        for video_id, found in proposals.items()
    }


def class_logits(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "n k"]]:
    """Scaled similarity of every proposal with every unseen class, then with the seen ones if they compete."""
    scale = fusion.scale_of(data.encoder.logit_scale, params.logit_scale)
    own = params.target != "foreground"
    texts = target_texts(data, params, data.competing) if own else data.text(data.competing)
    videos = {video.id: video for video in data.scored}
    return {
        video_id: fusion.similarity(
            found.embeddings if own else data.pooled(videos[video_id], found.segments), texts, scale
        )
        for video_id, found in proposals.items()
    }


def named_segments(data: Data, proposals: Mapping[str, Proposals] | None = None) -> dict[str, np.ndarray]:
    """CLIP's verdict on segments of unseen actions, flat over videos: `true` and `named` class, and `tiou`.

    Without proposals the segments are the true ones; with proposals each is compared with the action it overlaps
    most, and those that overlap none are left out (their number is `without`).
    """
    classes = data.classes.unseen
    texts = data.text(classes)
    true, named, overlap, without = [], [], [], 0
    for video in data.test_videos:
        if proposals is None:
            segments, nearest = true_segments(video), np.arange(len(video.actions))
            tiou = np.ones(len(nearest))
        else:
            segments = proposals[video.id].segments
            nearest, tiou = diagnosis.nearest_actions(video, proposals[video.id])
        best = fusion.similarity(data.pooled(video, segments), texts, 1.0).argmax(dim=1).numpy()
        for place in np.flatnonzero(tiou > 0):
            action = video.actions[nearest[place]]
            same = {a.label for a in video.actions if (a.start, a.end) == (action.start, action.end)}
            answer = classes[best[place]]
            true.append(classes.index(answer if answer in same else action.label))
            named.append(best[place])
            overlap.append(tiou[place])
        without += int((tiou <= 0).sum())
    return {"true": np.array(true), "named": np.array(named), "tiou": np.array(overlap), "without": np.array(without)}


def confusion(data: Data, verdicts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Counts (true, named) of unseen classes."""
    return diagnosis.confusion(verdicts["true"], verdicts["named"], len(data.classes.unseen))


def compare_fusions(data: Data, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """mAP of every way of fusing the detector's and CLIP's opinions, on the same proposals."""
    return [
        {"fusion": how}
        | metrics.mean_average_precision(
            data.scored,
            name(data, proposals, params.model_copy(update={"fusion": how})),
            data.classes.unseen,
            data.benchmark.tious,
        )
        for how in ("after_softmax", "before_softmax", "detector", "clip")
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
