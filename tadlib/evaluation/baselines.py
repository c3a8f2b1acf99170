"""Baselines: blind segments, anchors, a linear probe, and training-free CLIP."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # imports its submodules on first use
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Video
from tadlib.data.windows import Grid
from tadlib.detector.proposals import snippet_runs
from tadlib.naming.fusion import Detections
from tadlib.segments import pairwise_tiou

BLIND_LENGTH, BLIND_STEP = 4.0, 2.0  # seconds
ANCHORS, STEPS = 20, 20  # number of anchors, and intervals of the grid they are chosen from
SMOOTHING = 2.0  # seconds over which similarity is averaged
VIDEO_CLASSES = 3  # classes considered per video
PROBE_SNIPPETS = 50_000  # largest number of snippets for a linear probe
CLASS_FREE_TEXTS = (  # texts that name no class; a high score of one of them shows a bias of the benchmark
    "a person", "people", "a crowd", "nobody", "an athlete", "somebody moving", "somebody moving fast",
    "somebody standing still", "a person preparing", "a person resting", "the decisive moment", "the action begins",
    "the action is over", "nothing happens", "nothing happens yet", "something happens", "a sport", "a competition",
    "training", "warming up", "celebrating", "a replay in slow motion", "an interview", "a portrait", "a team",
    "a panning camera", "panning with blurred background", "a camera following somebody", "a fixed camera",
    "a shaking camera", "zooming in", "a close-up", "a wide shot", "seen from far away", "seen from above",
    "motion blur", "a blurry picture", "a sharp picture", "a picture out of focus", "a dark picture",
    "a bright picture", "a colourful picture", "a grey picture", "bad lighting", "an empty place", "a landscape",
    "indoors", "outdoors", "grass", "water", "the sky", "a building", "a stadium", "spectators", "a ball",
    "equipment on the floor", "text on the screen", "a logo", "a black screen", "a title",
)  # fmt: skip


def blind(videos: Sequence[Video], seed: int = 0) -> dict[str, Detections]:
    """Return windows of 4 s every 2 s with random scores and the TRUE labels of their video, which no detector has."""
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


class Anchors(NamedTuple):
    """Segments at typical relative positions of actions, best first."""

    fractions: Float[Tensor, "n 2"]  # start, end; of the video's duration
    scores: Float[Tensor, " n"]  # share of (action, tIoU) pairs that this anchor covers first


def anchors(videos: Sequence[Video], tious: Sequence[float], number: int = ANCHORS) -> Anchors:
    """Choose anchors greedily, from a grid of twentieths of the duration, to cover most actions of some videos.

    An anchor covers an action once for each of `tious` it reaches; ties go to the anchor with the highest mean tIoU.
    Only the duration of a video is used: a detector must do better than this prior of locations.
    """
    actions = [(a.start / video.duration, a.end / video.duration) for video in videos for a in video.actions]
    edges = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    grid = torch.stack([edges[side] for side in torch.triu_indices(STEPS + 1, STEPS + 1, offset=1)], dim=1)
    reached = pairwise_tiou(grid, torch.tensor(actions, dtype=torch.float64).reshape(-1, 2))
    mean_tiou = reached.sum(dim=1) / max(1, len(actions))  # below 1, so that it only breaks ties
    uncovered, chosen, scores = (reached[..., None] >= torch.tensor(tious)).flatten(1), [], []
    for _ in range(number):
        covers = uncovered.sum(dim=1)
        best = int((covers + mean_tiou).argmax())
        chosen.append(best)
        scores.append(float(covers[best]) / max(1, uncovered.shape[1]))
        uncovered = uncovered & ~uncovered[best]
    return Anchors(grid[chosen], torch.tensor(scores, dtype=torch.float64))


def anchored(videos: Sequence[Video], anchors: Anchors) -> dict[str, Detections]:
    """Return detections from anchors with the TRUE labels of their video: the value of labels and a location prior."""
    found = {}
    for video in videos:
        labels = sorted({action.label for action in video.actions})
        segments, scores = (each.repeat_interleave(len(labels), dim=0) for each in anchors)
        found[video.id] = Detections(segments * video.duration, scores, tuple(labels) * len(anchors.scores))
    return found


def smoothed(curves: Float[np.ndarray, "t k"], grid: Grid) -> Float[np.ndarray, "t k"]:
    """Return the moving average over two seconds; at the ends of the video over the existing snippets."""
    ones = np.ones(max(1, round(float(grid.snippets(SMOOTHING)))))
    weight = np.convolve(np.ones(len(curves)), ones, "same")[:, None]
    sums = np.stack([np.convolve(column, ones, "same") for column in curves.T], axis=1)
    return (sums / weight)[: len(curves)]  # np.convolve returns more rows for videos shorter than 2 s


def linear_probe(features: Float[Tensor, "t c"], inside: Bool[Tensor, " t"]) -> Callable[[Tensor], Tensor]:
    """Fit logistic regression on single snippets; returns a function of features (n, c) to action probabilities (n,).

    Features are normalised, then standardised; the penalty is half the squared weights, against the summed losses.
    Evenly spaced snippets are used if there are more than 50,000.
    """
    every = math.ceil(len(features) / PROBE_SNIPPETS)
    unit, inside = functional.normalize(features[::every], dim=1), inside[::every]
    mean, deviation = unit.mean(dim=0), unit.std(dim=0).clamp(min=1e-6)
    standardised = (unit - mean) / deviation
    weights = torch.zeros(features.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def logits(values: Tensor) -> Tensor:
        """Return the log-odds of an action from standardised features."""
        return values @ weights[:-1] + weights[-1]

    def step() -> Tensor:
        """Compute the loss and its gradients."""
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(logits(standardised), inside.float())
        loss = loss + weights[:-1].square().sum() / (2 * len(inside))
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(step)
    return lambda given: logits((functional.normalize(given, dim=1) - mean) / deviation).sigmoid().detach()


def discrimination(scores: Float[Tensor, "t k"], inside: Bool[Tensor, " t"]) -> Float[Tensor, " k"]:
    """Return the area under the ROC curve (Mann-Whitney) of each column of scores: inside actions against outside."""
    ranks = torch.from_numpy(scipy.stats.rankdata(scores.numpy(), axis=0))
    positive, negative = int(inside.sum()), int((~inside).sum())
    return (ranks[inside].sum(dim=0) - positive * (positive + 1) / 2) / (positive * negative)


def training_free(
    video: Video,
    features: Float[Tensor, "t c"],
    texts: Float[Tensor, "k c"],
    classes: Sequence[str],
    grid: Grid,
    *,
    background: Float[Tensor, "b c"] | None = None,
    candidates: int = VIDEO_CLASSES,
) -> Detections:
    """Detect by CLIP without training, as in T3AL and FreeZAD: video classification, then similarity thresholds.

    Of the classes nearest to the mean feature of the video, snippets with a smoothed cosine above a level are grouped
    into segments, scored by the class's probability in the video times one plus the outer-inner contrast of the cosine.
    Texts beyond `classes` compete, but are not detected; the mean cosine with `background` is subtracted.
    """
    snippets = functional.normalize(features, dim=1)
    cosine = (snippets @ texts.T).numpy()
    background_cosine = 0.0 if background is None else (snippets @ background.T).mean(dim=1, keepdim=True).numpy()
    smooth = smoothed(cosine - background_cosine, grid)
    overall = torch.from_numpy(cosine.mean(axis=0))
    spread = float(overall.std()) if len(overall) > 1 else 1.0
    probability = (overall / max(1e-6, spread)).softmax(dim=0)
    found, scores, labels = [np.empty((0, 2))], [np.empty(0)], []
    nearest = overall.topk(min(candidates, len(overall))).indices.tolist()
    for place in (place for place in nearest if place < len(classes)):
        segments, contrasts = snippet_runs(smooth[:, place])
        found.append(grid.seconds(segments).clip(max=video.duration))
        scores.append(float(probability[place]) * (1 + contrasts))
        labels += [classes[place]] * len(segments)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    segments, scores = (torch.from_numpy(np.concatenate(each)[order]) for each in (found, scores))
    return Detections(segments, scores, tuple(labels[place] for place in order))
