"""The detector's answers as proposals: window fractions to seconds, NMS, the best of each video."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tadlib.data.batches import WindowSet
from tadlib.detector.losses import class_logits
from tadlib.detector.network import ConditionalDETR
from tadlib.segments import nms as hard_nms
from tadlib.segments import pairwise_tiou, soft_nms_of_groups, to_segments

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
    model: ConditionalDETR, windows: WindowSet, *, batch_size: int = 32, texts: Float[Tensor, "k e"] | None = None
) -> Answers:
    """What the detector answers in all windows, on the device and in the precision it has.

    Windows of similar length share a batch. `texts` are those of the classes that compete, for a detector that reads
    them; raises ValueError where one that classifies with text gets none.
    """
    device = next(model.parameters()).device
    texts = None if texts is None else texts.to(device)
    model.eval()
    segments_cw, scores, embeddings, seen = [], [], [], []
    for batch in windows.batches(batch_size):
        outputs = model(batch.features.to(device), batch.padding.to(device), texts)
        likely = class_logits(outputs, texts).amax(dim=-1).sigmoid()  # of the surest class where there are several
        for addition in model.additions:
            likely = addition.score(likely, outputs)
        segments_cw.append(outputs.segments_cw.float().cpu())
        scores.append(likely.cpu())
        embeddings += [] if outputs.embeddings is None else [outputs.embeddings.float().cpu()]
        seen += batch.windows
    return Answers(torch.cat(segments_cw), torch.cat(scores), torch.cat(embeddings) if embeddings else None, seen)


def propose(
    model: ConditionalDETR, windows: WindowSet, *, texts: Float[Tensor, "k e"] | None = None, **words: Any
) -> dict[str, Proposals]:
    """Proposals of every video of the windows; `words` are those of `merge`."""
    return merge(answer(model, windows, texts=texts), windows, **words)


def merge(
    answers: Answers,
    windows: WindowSet,
    *,
    nms: str = "soft",
    nms_per: str = "video",
    nms_tiou: float = 0.5,
    top_k: int = 100,
    filter_threshold: float = 0.0,
    groups: Mapping[str, Proposals] | None = None,
    agreement: float = 0.0,
) -> dict[str, Proposals]:
    """Proposals of every video in seconds, inside the video, overlapping ones thinned once over the whole video.

    `nms` is hard, soft or none; answers below `filter_threshold` are dropped first (row 74). `top_k` proposals are kept
    for each window of a video, the best of the whole video: one number for every video would cut off those of the
    richest. With `nms_per` class nothing is thinned yet, and more is kept. With `groups`, proposals from elsewhere,
    agreement with them has the share `agreement` in the score. Every answer enters exactly once, so no proposal can
    appear twice, whatever the overlap of the windows.
    """
    places: dict[str, list[int]] = {}
    for place, window in enumerate(answers.windows):
        places.setdefault(window.video_id, []).append(place)
    found = {
        video_id: _best(_in_seconds(answers, windows, video_id, of_video), filter_threshold)
        for video_id, of_video in places.items()
    }
    if groups is not None:
        found = {video_id: agreeing(own, groups[video_id], agreement) for video_id, own in found.items()}
    if nms_per == "class":  # thinned once they have names, of which there must be more than are kept
        nms, top_k = "none", SPARE * top_k
    most = {video_id: top_k * len(of_video) for video_id, of_video in places.items()}
    return thin(found, nms=nms, nms_tiou=nms_tiou, most=most)


def agreeing(own: Proposals, others: Proposals, agreement: float) -> Proposals:
    """Proposals scored by the geometric mean of their own score and of others' agreement: the highest tIoU x score."""
    told = pairwise_tiou(own.segments, others.segments) * others.scores
    told = torch.cat([told, torch.full_like(own.scores, LEAST_AGREEMENT)[:, None]], dim=1).amax(dim=1)
    return own._replace(scores=own.scores ** (1 - agreement) * told**agreement)


def thin(found: Mapping[str, Proposals], *, nms: str, nms_tiou: float, most: Mapping[str, int]) -> dict[str, Proposals]:
    """The best proposals of every video, at most so many, overlapping ones thinned: by hard or soft NMS, or not."""
    if not found:
        return {}
    segments, scores = [each.segments for each in found.values()], [each.scores for each in found.values()]
    groups = torch.arange(len(found)).repeat_interleave(torch.tensor([len(each) for each in scores]))
    stays = zip(found.items(), thinned(segments, scores, groups, nms, nms_tiou), strict=True)
    return {
        video_id: _chosen(each._replace(scores=lowered), rows[: most[video_id]])
        for (video_id, each), (lowered, rows) in stays
    }


def thinned(
    segments: Sequence[Tensor], scores: Sequence[Tensor], groups: Int[Tensor, " n"], nms: str, nms_tiou: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each video the scores (m,) and the rows (k,) that stay, best first, where segments of a group are thinned.

    `segments` (m, 2) in seconds and `scores` (m,) are one entry a video; `groups` number the segments of all videos,
    one after the other. Overlaps are thinned by hard or soft NMS, or not at all.
    """
    numbers, spans, worth = [len(each) for each in scores], torch.cat(list(segments)), torch.cat(list(scores))
    kept = torch.ones_like(worth, dtype=torch.bool)
    if nms == "hard":
        kept = torch.zeros_like(kept).index_fill(0, hard_nms(spans, worth, groups, nms_tiou), True)
    elif nms == "soft":
        worth = soft_nms_of_groups(spans, worth, groups, sigma=nms_tiou)
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


def _best(proposals: Proposals, filter_threshold: float) -> Proposals:
    """The proposals with a score of at least `filter_threshold`, best first."""
    order = proposals.scores.argsort(descending=True, stable=True)
    return _chosen(proposals, order[proposals.scores[order] >= filter_threshold])
