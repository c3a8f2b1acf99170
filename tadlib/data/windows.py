"""Snippets in seconds, windows (ranges of snippets) and the actions inside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.data.annotations import Action
from tadlib.segments import to_cw


@dataclass(frozen=True)
class Grid:
    """Snippet t covers the half-open interval [t, t + 1) of a continuous snippet axis that starts at 0 s.

    n snippets last n strides, not n - 1.
    """

    fps: float  # frames per second of the video
    stride: int  # frames from one snippet to the next

    def seconds(self, snippets):
        """Convert snippet positions to seconds; for floats, arrays and tensors."""
        return snippets * self.stride / self.fps

    def snippets(self, seconds):
        """Convert seconds to (fractional) snippet positions; for floats, arrays and tensors."""
        return seconds * self.fps / self.stride


@dataclass(frozen=True)
class Window:
    """Range of snippets [first, stop) of one video."""

    video_id: str
    first: int
    stop: int


def cover(video_id: str, snippets: int, length: int, overlap: float) -> list[Window]:
    """Cut a video into windows of `length` snippets with an `overlap`; the last one is moved left to be full.

    A length of 0, or a video not longer than a window, gives one window of the whole video.
    """
    if length == 0 or snippets <= length:
        return [Window(video_id, 0, snippets)]
    step = max(1, int(length * (1 - overlap)))
    firsts = [*range(0, snippets - length, step), snippets - length]
    return [Window(video_id, first, first + length) for first in firsts]


def actions_in(
    window: Window, actions: Iterable[Action], grid: Grid, integrity: float = 0.75
) -> tuple[Float[Tensor, "n 2"], list[str]]:
    """Return segments and labels of the actions with at least the share `integrity` inside a window.

    Segments are clipped to the window, as fractions of it (centre, width). Actions annotated twice with the same times
    (CliffDiving is Diving) are two targets; class-agnostic training merges them.
    """
    start, end = grid.seconds(window.first), grid.seconds(window.stop)
    rows, labels = [], []
    for action in actions:
        inside = (max(action.start, start), min(action.end, end))
        if inside[1] > inside[0] and inside[1] - inside[0] >= integrity * (action.end - action.start):
            rows.append([(inside[0] - start) / (end - start), (inside[1] - start) / (end - start)])
            labels.append(action.label)
    return to_cw(torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)), labels


def spans(actions: Sequence[Action]) -> Float[Tensor, "n 2"]:
    """Return actions as segments (start, end) in seconds."""
    return torch.tensor([[action.start, action.end] for action in actions], dtype=torch.float32).reshape(-1, 2)


def outside(length: int, spans_ix: Float[Tensor, "n 2"]) -> Bool[Tensor, " t"]:
    """Whether the middle of each of `length` snippets is outside all spans."""
    middle = torch.arange(length)[:, None] + 0.5
    return ~((middle >= spans_ix[:, 0]) & (middle < spans_ix[:, 1])).any(dim=1)
