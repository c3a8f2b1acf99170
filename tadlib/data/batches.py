"""Windows of videos as batches: features padded to the longest, what to find in each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Video
from tadlib.data.grid import Grid
from tadlib.data.windows import Window, actions_in, cover


@runtime_checkable
class Store(Protocol):
    """Anything that gives the features (T, C) of a video; `key` stands for what they are."""

    @property
    def key(self) -> str: ...

    def read(self, video_id: str) -> np.ndarray: ...


class Target(NamedTuple):
    """What the detector should find in one window."""

    segments_cw: Float[Tensor, "n 2"]  # centre, width; fractions of the window
    labels_ix: Int[Tensor, " n"]  # places in the list of classes; all 0 for a class-agnostic detector


class Item(NamedTuple):
    """One window with its features and target."""

    features: Float[Tensor, "t c"]
    target: Target
    window: Window


class Batch(NamedTuple):
    """Windows side by side; `padding` is True where there is no snippet."""

    features: Float[Tensor, "b t c"]
    padding: Bool[Tensor, "b t"]
    targets: list[Target]
    windows: list[Window]


@dataclass(frozen=True)
class Cut:
    """How videos are cut: window length (0 = whole video), overlap, length to resample whole videos to (0 = not)."""

    length: int = 128
    overlap: float = 0.75
    rescale: int = 0


class WindowSet(Sequence[Item]):
    """Every window of some videos; with `only_with_actions`, those in which there is something to find.

    `classes` are the labels of the targets; None makes them class-agnostic, and actions annotated twice with the
    same times under two names one.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        store: Store,
        stride: int,
        cut: Cut,
        classes: Sequence[str] | None = None,
        only_with_actions: bool = False,
    ) -> None:
        self.cut = cut
        self.grids = {video.id: Grid(video.fps, stride) for video in videos}
        self.durations = {video.id: video.duration for video in videos}
        self._features = {video.id: store.read(video.id) for video in videos}
        self._items: list[tuple[Window, Target]] = []
        for video in videos:
            for window in cover(video.id, len(self._features[video.id]), cut.length, cut.overlap):
                target = _target(window, video, self.grids[video.id], classes)
                if len(target.labels_ix) or not only_with_actions:
                    self._items.append((window, target))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        window, target = self._items[index]
        rows = self._features[window.video_id][window.first : window.stop]
        features = torch.from_numpy(np.array(rows, dtype=np.float32))
        if self.cut.rescale:
            features = functional.interpolate(features.T[None], size=self.cut.rescale, mode="linear")[0].T
        return Item(features, target, window)

    @property
    def channels(self) -> int:
        """Width of the features."""
        return next(iter(self._features.values())).shape[1]

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """All windows in batches: shuffled by `generator`, or else by length, so that little is padded."""
        if generator is None:
            order = sorted(range(len(self)), key=lambda index: self._items[index][0].stop - self._items[index][0].first)
        else:
            order = torch.randperm(len(self), generator=generator).tolist()
        for first in range(0, len(order), size):
            yield collate([self[index] for index in order[first : first + size]])


def _target(window: Window, video: Video, grid: Grid, classes: Sequence[str] | None) -> Target:
    segments_cw, labels = actions_in(window, video.actions, grid)
    if classes is None:
        segments_cw = torch.unique(segments_cw, dim=0)
        return Target(segments_cw, torch.zeros(len(segments_cw), dtype=torch.int64))
    return Target(segments_cw, torch.tensor([classes.index(label) for label in labels], dtype=torch.int64))


def collate(items: Sequence[Item]) -> Batch:
    """Items side by side, zero-padded to the longest."""
    features = torch.nn.utils.rnn.pad_sequence([item.features for item in items], batch_first=True)
    lengths = torch.tensor([len(item.features) for item in items])
    padding = torch.arange(features.shape[1]) >= lengths[:, None]
    return Batch(features, padding, [item.target for item in items], [item.window for item in items])


def by_video(windows: Sequence[Window]) -> Mapping[str, list[int]]:
    """Places of the windows of each video."""
    places: dict[str, list[int]] = {}
    for index, window in enumerate(windows):
        places.setdefault(window.video_id, []).append(index)
    return places
