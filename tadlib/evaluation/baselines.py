"""Floors: what no look at the video reaches, and what needs no training."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Video
from tadlib.data.grid import Grid
from tadlib.naming.fusion import Detections
from tadlib.naming.grouping import runs

BLIND_LENGTH, BLIND_STEP = 4.0, 2.0  # seconds
SMOOTHING = 2.0  # seconds over which similarity is averaged
CANDIDATES = 3  # classes tried per video


def blind(videos: Sequence[Video], seed: int = 0) -> dict[str, Detections]:
    """Fixed windows of 4 s every 2 s with random scores and the TRUE labels of their video: no frame is looked at.

    A floor that knows more than a detector may: a method below it has learned nothing about when actions happen.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for video in videos:
        labels = sorted({action.label for action in video.actions})
        starts = np.arange(0, max(video.duration - BLIND_LENGTH, 0) + 1e-9, BLIND_STEP)
        windows = np.stack([starts, np.minimum(starts + BLIND_LENGTH, video.duration)], axis=1)
        segments = np.repeat(windows, len(labels), axis=0)
        scores = rng.random(len(segments))
        found[video.id] = Detections(torch.from_numpy(segments), torch.from_numpy(scores), tuple(labels) * len(windows))
    return found


def training_free(
    video: Video,
    features: np.ndarray,
    texts: Float[Tensor, "k c"],
    classes: Sequence[str],
    grid: Grid,
    *,
    background: Float[Tensor, "b c"] | None = None,
    candidates: int = CANDIDATES,
) -> Detections:
    """CLIP alone, in the manner of T3AL and FreeZAD: the video's classes, then thresholds on their similarity.

    The classes nearest to the mean of the video are tried; for each, snippets whose smoothed cosine exceeds a level
    between its least and most in the video are grouped into segments. A segment scores its mean cosine inside less
    that just outside (outer-inner contrast), on top of the class's probability in the video. Texts beyond `classes`
    are rivals: they may be nearest, and are then not detected. Texts of `background` calibrate what is an action:
    their mean cosine is taken off each snippet, so that what resembles every text alike stands out for none.
    """
    snippets = functional.normalize(torch.from_numpy(np.array(features, dtype=np.float32)), dim=1)
    cosine = (snippets @ texts.T).numpy()
    width = max(1, round(float(grid.snippets(SMOOTHING))))
    kernel = 1 / np.convolve(np.ones(len(cosine)), np.ones(width), "same")[:, None]
    usual = 0.0 if background is None else (snippets @ background.T).mean(dim=1, keepdim=True).numpy()
    smooth = np.stack([np.convolve(column, np.ones(width), "same") for column in (cosine - usual).T], axis=1) * kernel
    smooth = smooth[: len(cosine)]  # numpy gives the longer of the two: a video may be shorter than the smoothing
    overall = torch.from_numpy(cosine.mean(axis=0))
    spread = float(overall.std()) if len(overall) > 1 else 1.0
    probability = (overall / max(1e-6, spread)).softmax(dim=0)
    segments, scores, labels = [], [], []
    nearest = overall.topk(min(candidates, len(overall))).indices.tolist()
    for place in (place for place in nearest if place < len(classes)):
        for first, stop in runs(smooth[:, place]):
            margin = max(1, (stop - first) // 2)
            outside = np.r_[smooth[max(0, first - margin) : first, place], smooth[stop : stop + margin, place]]
            contrast = smooth[first:stop, place].mean() - (outside.mean() if len(outside) else 0.0)
            segments.append([grid.seconds(first), min(grid.seconds(stop), video.duration)])
            scores.append(float(probability[place]) * (1 + float(contrast)))
            labels.append(classes[place])
    order = np.argsort(-np.array(scores), kind="stable")
    return Detections(
        torch.tensor(segments, dtype=torch.float64).reshape(-1, 2)[order],
        torch.tensor(scores, dtype=torch.float64)[order],
        tuple(labels[place] for place in order),
    )
