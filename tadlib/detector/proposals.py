"""The detector's answers as proposals: from windows to seconds, merged once per video."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tadlib.data.batches import WindowSet
from tadlib.detector.losses import class_logits
from tadlib.detector.network import ConditionalDetr, Outputs
from tadlib.devices import CPU
from tadlib.segments import nms, pairwise_tiou, soft_nms_of_groups, to_segments

SPARE = 10  # times as many as are kept: what is thinned where it has names
LEAST_AGREEMENT = 1e-3  # of what nobody else proposes: such proposals keep their order


class Proposals(NamedTuple):
    """Class-agnostic proposals of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]  # that it is an action, a probability
    embeddings: Float[Tensor, "n e"] | None = None  # of a detector that classifies with text


class Answers(NamedTuple):
    """What every query answered in every window, in the order of the windows given."""

    segments_cw: Float[Tensor, "w q 2"]
    scores: Float[Tensor, "w q"]
    embeddings: Float[Tensor, "w q e"] | None
    windows: list


@torch.inference_mode()
def answer(
    model: ConditionalDetr,
    windows: WindowSet,
    *,
    batch_size: int = 32,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    texts: Float[Tensor, "k e"] | None = None,
) -> Answers:
    """Run the detector over all windows; windows of similar length share a batch.

    `texts` are those of the classes that compete, for a detector that classifies with text or fuses it in; raises
    ValueError where a classifying one gets none.
    """
    model.to(device).eval()
    texts = None if texts is None else texts.to(device)
    parts, seen = [], []
    for batch in windows.batches(batch_size):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            outputs = model(batch.features.to(device), batch.padding.to(device), texts)
        parts.append(outputs._replace(earlier=(), salience_logits=None, snippet_embeddings=None))  # of no more use
        seen += batch.windows
    embeddings = None
    if parts[0].embeddings is not None:
        embeddings = torch.cat([part.embeddings.float().cpu() for part in parts])
    return Answers(
        torch.cat([part.segments_cw.float().cpu() for part in parts]),
        torch.cat([scores(part, texts).cpu() for part in parts]),
        embeddings,
        seen,
    )


def scores(outputs: Outputs, texts: Float[Tensor, "k e"] | None = None) -> Float[Tensor, "b q"]:
    """How sure the detector is of each query's segment, a probability.

    It is what training lowers the loss of: actionness, or of a detector that classifies with text its surest class. One
    that expects a tIoU of its segments is scored by the geometric mean of both.
    """
    action = class_logits(outputs, texts).amax(dim=-1).sigmoid()
    if outputs.quality_logits is None:
        return action
    return (action * outputs.quality_logits.float().sigmoid()).sqrt()


def merge(
    answers: Answers,
    windows: WindowSet,
    *,
    how: str = "soft",
    threshold: float = 0.5,
    top_k: int = 100,
    least: float = 0.0,
    beside: Mapping[str, Proposals] | None = None,
    share: float = 0.0,
) -> dict[str, Proposals]:
    """Proposals of every video in seconds, inside the video, overlapping ones thinned once over the whole video.

    `how` is hard or soft NMS, or none; answers below `least` are dropped first (row 74). `top_k` proposals are kept for
    each window of a video, the best of the whole video: one number for every video would cut off those of the richest.
    Where somebody else's proposals are put `beside`, agreement with them has that `share` in what overlaps decide by.
    Every answer enters exactly once, so no proposal can appear twice, whatever the overlap of the windows.
    """
    places: dict[str, list[int]] = {}
    for place, window in enumerate(answers.windows):
        places.setdefault(window.video_id, []).append(place)
    found = {
        video_id: _best(_in_seconds(answers, windows, video_id, of_video), least)
        for video_id, of_video in places.items()
    }
    if beside is not None:
        found = {video_id: agreeing(own, beside[video_id], share) for video_id, own in found.items()}
    most = {video_id: top_k * len(of_video) for video_id, of_video in places.items()}
    return thin(found, how=how, threshold=threshold, most=most)


def agreeing(own: Proposals, others: Proposals, share: float) -> Proposals:
    """Proposals scored by the geometric mean of their own score and of others' agreement: the highest tIoU x score."""
    told = pairwise_tiou(own.segments, others.segments) * others.scores
    told = torch.cat([told, torch.full_like(own.scores, LEAST_AGREEMENT)[:, None]], dim=1).amax(dim=1)
    return own._replace(scores=own.scores ** (1 - share) * told**share)


def thin(
    found: Mapping[str, Proposals], *, how: str, threshold: float, most: Mapping[str, int]
) -> dict[str, Proposals]:
    """The best proposals of every video, at most so many, overlapping ones thinned: by hard or soft NMS, or not."""
    if not found:
        return {}
    segments, scores = [each.segments for each in found.values()], [each.scores for each in found.values()]
    groups = torch.arange(len(found)).repeat_interleave(torch.tensor([len(each) for each in scores]))
    stays = zip(found.items(), thinned(segments, scores, groups, how, threshold), strict=True)
    return {
        video_id: _chosen(each._replace(scores=lowered), rows[: most[video_id]])
        for (video_id, each), (lowered, rows) in stays
    }


def thinned(
    segments: Sequence[Tensor], scores: Sequence[Tensor], groups: Int[Tensor, " n"], how: str, threshold: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each video the scores (m,) and the rows (k,) that stay, best first, where segments of a group are thinned.

    `segments` (m, 2) in seconds and `scores` (m,) are one entry a video; `groups` number the segments of all videos,
    one after the other. Overlaps are thinned by hard or soft NMS, or not at all.
    """
    numbers, spans, worth = [len(each) for each in scores], torch.cat(list(segments)), torch.cat(list(scores))
    kept = torch.ones_like(worth, dtype=torch.bool)
    if how == "hard":
        kept = torch.zeros_like(kept).index_fill(0, nms(spans, worth, groups, threshold), True)
    elif how == "soft":
        worth = soft_nms_of_groups(spans, worth, groups, sigma=threshold)
    for lowered, stay in zip(worth.split(numbers), kept.split(numbers), strict=True):
        order = lowered.argsort(descending=True, stable=True)
        yield lowered, order[stay[order]]


def _in_seconds(answers: Answers, windows: WindowSet, video_id: str, of_video: list[int]) -> Proposals:
    """Every answer about a video, as far as it lies inside."""
    grid, duration, places = windows.grids[video_id], windows.durations[video_id], torch.tensor(of_video)
    first = torch.tensor([answers.windows[place].first for place in of_video], dtype=torch.float32)
    stop = torch.tensor([answers.windows[place].stop for place in of_video], dtype=torch.float32)
    fractions = to_segments(answers.segments_cw[places])
    snippets = first[:, None, None] + fractions * (stop - first)[:, None, None]
    segments = grid.seconds(snippets).clamp(0, duration).flatten(0, 1)
    embeddings = None if answers.embeddings is None else answers.embeddings[places].flatten(0, 1)
    # clamping leaves nothing of what lies outside the video
    return _chosen(Proposals(segments, answers.scores[places].flatten(), embeddings), segments[:, 1] > segments[:, 0])


def _chosen(proposals: Proposals, rows: Tensor) -> Proposals:
    embeddings = None if proposals.embeddings is None else proposals.embeddings[rows]
    return Proposals(proposals.segments[rows], proposals.scores[rows], embeddings)


def _best(proposals: Proposals, least: float) -> Proposals:
    """The proposals with a score of at least `least`, best first."""
    order = proposals.scores.argsort(descending=True, stable=True)
    return _chosen(proposals, order[proposals.scores[order] >= least])
