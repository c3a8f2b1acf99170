"""Proposals from the detector's outputs (seconds, NMS, the top k of each video), or from class probabilities alone."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tadlib.data.batches import WindowSet
from tadlib.data.checks import one_of
from tadlib.data.windows import Grid
from tadlib.detector.losses import class_logits
from tadlib.detector.network import ConditionalDETR
from tadlib.segments import nms as hard_nms
from tadlib.segments import pairwise_tiou, soft_nms_of_groups, to_segments

PRE_NMS_FACTOR = 10  # with NMS per class, this many times `top_k` proposals are kept before it
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # thresholds, as fractions of the range of a curve within a video
MIN_AGREEMENT = 1e-3  # support of proposals that no CLIP proposal overlaps, so that they keep their order


class Proposals(NamedTuple):
    """Class-agnostic proposals of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]  # probability of being an action
    embeddings: Float[Tensor, "n e"] | None = None  # if the detector classifies with text

    def at(self, rows: Tensor) -> "Proposals":
        """Select proposals by index or mask."""
        return Proposals(*(None if field is None else field[rows] for field in self))


class Predictions(NamedTuple):
    """Segments and scores of every query in every window, in the order of `windows`."""

    segments_cw: Float[Tensor, "w q 2"]
    scores: Float[Tensor, "w q"]
    embeddings: Float[Tensor, "w q e"] | None
    windows: list


@torch.inference_mode()
def predict(
    model: ConditionalDETR, windows: WindowSet, *, batch_size: int = 32, texts: Float[Tensor, "k e"] | None = None
) -> Predictions:
    """Run the detector on all windows, on its own device and in its own precision.

    Windows of similar length share a batch. `texts` are embeddings of the candidate classes, for a detector that reads
    them; raises ValueError if a detector that classifies with text gets none.
    """
    device = next(model.parameters()).device
    texts = None if texts is None else texts.to(device)
    model.eval()
    segments_cw, scores, embeddings, seen = [], [], [], []
    for batch in windows.batches(batch_size):
        outputs = model(batch.features.to(device), batch.padding.to(device), texts)
        confidence = class_logits(outputs, texts).amax(dim=-1).sigmoid()  # probability of the best class
        for addition in model.additions:
            confidence = addition.score(confidence, outputs)
        segments_cw.append(outputs.segments_cw.float().cpu())
        scores.append(confidence.cpu())
        embeddings += [] if outputs.embeddings is None else [outputs.embeddings.float().cpu()]
        seen += batch.windows
    return Predictions(torch.cat(segments_cw), torch.cat(scores), torch.cat(embeddings) if embeddings else None, seen)


def propose(
    model: ConditionalDETR, windows: WindowSet, *, texts: Float[Tensor, "k e"] | None = None, **options: Any
) -> dict[str, Proposals]:
    """Return the proposals of every video in `windows`; `options` are those of `to_proposals`."""
    return to_proposals(predict(model, windows, texts=texts), windows, **options)


def to_proposals(
    predictions: Predictions,
    windows: WindowSet,
    *,
    nms: str = "soft",
    nms_per: str = "video",
    nms_tiou: float = 0.5,
    top_k: int = 100,
    filter_threshold: float = 0.0,
    clip_proposals: Mapping[str, Proposals] | None = None,
    agreement: float = 0.0,
) -> dict[str, Proposals]:
    """Return the proposals of every video in seconds, clipped to the video, after one NMS over all of its windows.

    `nms` is hard, soft or none; predictions below `filter_threshold` are dropped first. A video keeps `top_k` proposals
    times its number of windows. With `nms_per` class NMS is left to the classified detections (pass the same word to
    `name`), and `PRE_NMS_FACTOR` times as many proposals are kept. With `clip_proposals` the score is mixed with the
    agreement with them (see `with_agreement`). Each prediction enters once, so windows cannot duplicate a proposal.

    Raises ValueError for an unknown `nms` or `nms_per`, and for a `top_k` or `nms_tiou` that leaves no proposal.
    """
    one_of("nms_per", nms_per, ("video", "class"))
    if top_k < 1 or not nms_tiou > 0:
        raise ValueError(f"top_k must be at least 1 and nms_tiou above 0, got top_k={top_k}, nms_tiou={nms_tiou}")
    places: dict[str, list[int]] = {}
    for place, window in enumerate(predictions.windows):
        places.setdefault(window.video_id, []).append(place)
    found = {
        video_id: _in_seconds(predictions, windows, video_id, of_video, filter_threshold)
        for video_id, of_video in places.items()
    }
    if clip_proposals is not None:
        found = {video_id: with_agreement(own, clip_proposals[video_id], agreement) for video_id, own in found.items()}
    if nms_per == "class":
        nms, top_k = "none", PRE_NMS_FACTOR * top_k
    most = {video_id: top_k * len(of_video) for video_id, of_video in places.items()}
    return apply_nms(found, nms=nms, nms_tiou=nms_tiou, most=most)


def with_agreement(own: Proposals, others: Proposals, agreement: float) -> Proposals:
    """Rescore proposals as score^(1 - agreement) * support^agreement.

    The support of a proposal is its highest product of tIoU and score among the `others`.
    """
    support = pairwise_tiou(own.segments, others.segments) * others.scores
    support = torch.cat([support, torch.full_like(own.scores, MIN_AGREEMENT)[:, None]], dim=1).amax(dim=1)
    return own._replace(scores=own.scores ** (1 - agreement) * support**agreement)


def apply_nms(
    found: Mapping[str, Proposals], *, nms: str, nms_tiou: float, most: Mapping[str, int]
) -> dict[str, Proposals]:
    """Apply hard, soft or no NMS to the proposals of every video; at most `most` of each are kept, best first."""
    results = nms_of_videos(found, nms, nms_tiou, most)
    return {video_id: found[video_id]._replace(scores=lowered).at(rows) for video_id, lowered, rows in results}


def nms_of_videos(
    found: Mapping[str, Any], nms: str, nms_tiou: float, most: Mapping[str, int], labels: Int[Tensor, " n"] | int = 0
) -> Iterator[tuple[str, Float[Tensor, " m"], Int[Tensor, " k"]]]:
    """Apply hard, soft or no NMS within each label of each video; `labels` are those of all videos' segments, in order.

    Yields for each video its new scores and the at most `most` rows that are kept, best first. `found` has `segments`
    (m, 2) in seconds and `scores` (m,) of each.
    """
    one_of("nms", nms, ("hard", "soft", "none"))
    if not found:
        return
    segments, scores = [each.segments for each in found.values()], [each.scores for each in found.values()]
    sizes, spans, new_scores = torch.tensor([len(each) for each in scores]), torch.cat(segments), torch.cat(scores)
    video = torch.arange(len(sizes)).repeat_interleave(sizes)
    groups, rows = video + len(sizes) * labels, torch.arange(len(video))
    if nms == "hard":
        rows = hard_nms(spans, new_scores, groups, nms_tiou)
    elif nms == "soft":
        new_scores = soft_nms_of_groups(spans, new_scores, groups, sigma=nms_tiou)
    rows = rows[new_scores[rows].argsort(descending=True, stable=True)]
    rows = rows[video[rows].argsort(stable=True)]
    kept, firsts = video[rows].bincount(minlength=len(sizes)), sizes.cumsum(0) - sizes
    columns = new_scores.split(sizes.tolist()), (rows - firsts[video[rows]]).split(kept.tolist())
    for video_id, lowered, own in zip(found, *columns, strict=True):
        yield video_id, lowered, own[: most[video_id]]


def _in_seconds(
    predictions: Predictions, windows: WindowSet, video_id: str, of_video: list[int], least: float
) -> Proposals:
    """Return the predictions of a video in seconds, best first: clipped to it, not empty, scored `least` or more."""
    grid, duration, places = windows.grids[video_id], windows.durations[video_id], torch.tensor(of_video)
    own = [predictions.windows[place] for place in of_video]
    first, stop = torch.tensor([(each.first, each.stop) for each in own], dtype=torch.float32).T[..., None, None]
    snippets = first + to_segments(predictions.segments_cw[places]) * (stop - first)
    segments = grid.seconds(snippets).clamp(0, duration).flatten(0, 1)
    embeddings = None if predictions.embeddings is None else predictions.embeddings[places].flatten(0, 1)
    scores = predictions.scores[places].flatten()
    order, kept = scores.argsort(descending=True, stable=True), (segments[:, 1] > segments[:, 0]) & (scores >= least)
    return Proposals(segments, scores, embeddings).at(order[kept[order]])


def snippet_runs(curve: Float[np.ndarray, " t"]) -> tuple[Int[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Return the runs (first, stop) of snippets above each threshold, without duplicates, and the contrast of each.

    The contrast is the mean of the curve inside minus that in margins of half the length outside.
    """
    above = np.pad(curve > curve.min() + np.outer(LEVELS, np.ptp(curve)), ((0, 0), (1, 1)))
    found = np.unique(np.nonzero(np.diff(above, axis=1))[1].reshape(-1, 2), axis=0)
    (first, stop), sums = found.T, np.r_[0.0, curve.cumsum()]
    margin = np.maximum(1, (stop - first) // 2)
    left, right = np.maximum(0, first - margin), np.minimum(len(curve), stop + margin)
    outside, beyond = sums[first] - sums[left] + sums[right] - sums[stop], first - left + right - stop
    return found, (sums[stop] - sums[first]) / (stop - first) - outside / np.maximum(1, beyond)


def grouped(probability: Float[Tensor, "t k"], grid: Grid, duration: float) -> Proposals:
    """Group snippets of high class probability into proposals of a video of `duration` seconds, best first.

    The score is the contrast of `snippet_runs`, at least 0. A segment proposed by several classes appears once, with
    its best score.
    """
    found, contrasts = map(np.concatenate, zip(*map(snippet_runs, probability.double().numpy().T), strict=True))
    found, place = np.unique(found, axis=0, return_inverse=True)
    scores = np.zeros(len(found))
    np.maximum.at(scores, place.reshape(-1), contrasts)  # numpy 2.0 returns a column
    order = np.argsort(-scores, kind="stable")
    segments, scores = grid.seconds(found[order]).clip(max=duration), scores[order].clip(max=1)
    return Proposals(torch.from_numpy(segments).float(), torch.from_numpy(scores).float())
