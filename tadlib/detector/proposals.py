"""The detector's answers as proposals: from windows to seconds, merged once per video."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.batches import WindowSet
from tadlib.detector.network import ConditionalDetr
from tadlib.devices import CPU
from tadlib.segments import nms, soft_nms, to_segments


class Proposals(NamedTuple):
    """Class-agnostic proposals of one video, best first."""

    segments: Float[Tensor, "n 2"]  # start, end; seconds
    scores: Float[Tensor, " n"]  # actionness, a probability
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
) -> Answers:
    """Run the detector over all windows; windows of similar length share a batch."""
    model.to(device).eval()
    parts, seen = [], []
    for batch in windows.batches(batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs = model(batch.features.to(device), batch.padding.to(device))
        parts.append(outputs)
        seen += batch.windows
    embeddings = None
    if parts[0].embeddings is not None:
        embeddings = torch.cat([part.embeddings.float().cpu() for part in parts])
    return Answers(
        torch.cat([part.segments_cw.float().cpu() for part in parts]),
        torch.cat([part.actionness_logits.float().sigmoid().cpu() for part in parts]),
        embeddings,
        seen,
    )


def merge(
    answers: Answers, windows: WindowSet, *, how: str = "soft", threshold: float = 0.5, top_k: int = 100
) -> dict[str, Proposals]:
    """Proposals of every video in seconds, inside the video, overlapping ones thinned once over the whole video.

    `how` is hard or soft NMS, or none; `top_k` proposals are kept. Every answer enters exactly once, so no proposal
    can appear twice, whatever the overlap of the windows.
    """
    places: dict[str, list[int]] = {}
    for place, window in enumerate(answers.windows):
        places.setdefault(window.video_id, []).append(place)
    return {
        video_id: _merge_one(answers, windows, video_id, torch.tensor(of_video), how, threshold, top_k)
        for video_id, of_video in places.items()
    }


def _merge_one(
    answers: Answers, windows: WindowSet, video_id: str, places: Tensor, how: str, threshold: float, top_k: int
) -> Proposals:
    grid, duration = windows.grids[video_id], windows.durations[video_id]
    first = torch.tensor([answers.windows[place].first for place in places.tolist()], dtype=torch.float32)
    stop = torch.tensor([answers.windows[place].stop for place in places.tolist()], dtype=torch.float32)
    fractions = to_segments(answers.segments_cw[places])
    snippets = first[:, None, None] + fractions * (stop - first)[:, None, None]
    segments = grid.seconds(snippets).clamp(0, duration).flatten(0, 1)
    scores = answers.scores[places].flatten()
    embeddings = None if answers.embeddings is None else answers.embeddings[places].flatten(0, 1)
    real = segments[:, 1] > segments[:, 0]  # clamping leaves nothing of what lies outside the video
    index = torch.nonzero(real)[:, 0]
    index = index[scores[index].argsort(descending=True, stable=True)][: 10 * top_k]
    if how == "hard":
        index = index[nms(segments[index], scores[index], torch.zeros_like(index), threshold)]
    elif how == "soft":
        scores[index] = soft_nms(segments[index], scores[index], sigma=threshold)
    index = index[scores[index].argsort(descending=True, stable=True)][:top_k]
    return Proposals(segments[index], scores[index], None if embeddings is None else embeddings[index])
