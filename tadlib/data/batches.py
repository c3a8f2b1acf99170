"""Windows of videos as batches: features padded to the longest, what to find in each."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Action, Video
from tadlib.data.grid import Grid
from tadlib.data.windows import Window, actions_in, cover

TOUCHED = 1e-3  # share of an action in a window from which on its snippets are its own


@runtime_checkable
class Store(Protocol):
    """Anything that gives the features (T, C) of a video; by `stored`, if it has that, as they lie on disk."""

    def read(self, video_id: str) -> np.ndarray: ...


class Target(NamedTuple):
    """What the detector should find in one window."""

    segments_cw: Float[Tensor, "n 2"]  # centre, width; fractions of the window
    labels_ix: Int[Tensor, " n"]  # places in the list of classes; all 0 for a class-agnostic detector
    named: tuple[Float[Tensor, "m 2"], Int[Tensor, " m"]] | None = None  # every action and its class, for snippets
    ignored_cw: Float[Tensor, "i 2"] | None = None  # what is neither to be found nor to be called background


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
    texts: Float[Tensor, "k e"] | None = None  # of the classes, for a detector that reads them
    step: tuple["Batch", ...] = ()  # all batches of the optimiser step this one is part of

    def share(self, amount: "Callable[[Batch], int]") -> float:
        """By how much a mean over `amount` things of this batch counts in the mean over the whole optimiser step.

        A term is a mean over actions, snippets or windows, of which a batch may have more than the next.
        """
        if len(self.step) < 2:
            return 1.0
        return max(1, amount(self)) / max(1, sum(amount(batch) for batch in self.step))


@dataclass(frozen=True)
class WindowSettings:
    """How videos are cut: window length (0 = whole video), overlap, length to resample whole videos to (0 = not).

    An action belongs to a window that holds at least `integrity` of it.
    """

    length: int = 128
    overlap: float = 0.5
    rescale: int = 0
    integrity: float = 0.75


@dataclass(frozen=True)
class TrainingExtras:
    """What training may want beside windows and actions, all off.

    `names` are the classes of `Target.named`; `ignored` the actions of each video that count neither way; `occupied`
    whatever is annotated in each video, which windows without anything to find keep clear of; with `jitter` every pass
    over the windows draws their starts anew, within half a step of where they lie.
    """

    names: Sequence[str] | None = None
    ignored: Mapping[str, Sequence[Action]] | None = None
    occupied: Mapping[str, Sequence[Action]] | None = None
    jitter: bool = False


class FeatureCache:
    """Features read from a store, kept up to a number of bytes; those that lie memory-mapped on disk cost nothing."""

    def __init__(self, store: Store, limit: int = 2**30) -> None:
        self.store, self.limit = store, limit
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0

    def read(self, video_id: str) -> np.ndarray:
        """The features (T, C) of a video, as they are stored."""
        if video_id in self._kept:
            self._kept.move_to_end(video_id)
            return self._kept[video_id]
        features = self._kept[video_id] = getattr(self.store, "stored", self.store.read)(video_id)
        self._bytes += _weight(features)
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= _weight(self._kept.popitem(last=False)[1])
        return features


def _weight(features: np.ndarray) -> int:
    mapped = isinstance(features, np.memmap) and features.base is not None  # a copy of such an array is one by name
    return 0 if mapped else features.nbytes


class WindowSet(Sequence[Item]):
    """Every window of some videos; with `only_with_actions`, those in which there is something to find.

    `classes` are the labels of the targets; None makes them class-agnostic, and actions annotated twice with the
    same times under two names one. `negatives` is the share of windows without actions that is added to those with:
    of windows that touch nothing `occupied`; `left_out` is the number of those that do.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        store: Store,
        stride: int,
        cut: WindowSettings,
        classes: Sequence[str] | None = None,
        only_with_actions: bool = False,
        negatives: float = 0.0,
        extras: TrainingExtras = TrainingExtras(),
    ) -> None:
        self.cut, self.classes, self.extras = cut, classes, extras
        self._videos = {video.id: video for video in videos}
        self.grids = {video.id: Grid(video.fps, stride) for video in videos}
        self.durations = {video.id: video.duration for video in videos}
        self._cache = FeatureCache(store)
        self._items: list[tuple[Window, Target]] = []
        for video in videos:
            features = self._cache.read(video.id)
            self.channels = features.shape[1]  # width of the features, the same for all
            for window in cover(video.id, len(features), cut.length, cut.overlap):
                self._items.append((window, self._target(window)))
        self.left_out = 0
        if only_with_actions:
            self._items = self._with_negatives(negatives)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._item(*self._items[index])

    def _item(self, window: Window, target: Target) -> Item:
        rows = self._cache.read(window.video_id)[window.first : window.stop]
        features = torch.from_numpy(np.require(rows, np.float32, "W"))  # a copy only of what must not be written to
        if self.cut.rescale:
            features = functional.interpolate(features.T[None], size=self.cut.rescale, mode="linear")[0].T
        return Item(features, target, window)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """All windows in batches: shuffled by `generator`, or else by length, so that little is padded."""
        if generator is None:
            order = sorted(range(len(self)), key=lambda index: self._items[index][0].stop - self._items[index][0].first)
        else:
            order = torch.randperm(len(self), generator=generator).tolist()
        shifts = torch.rand(len(self), generator=generator).tolist() if self.extras.jitter and generator else None
        for first in range(0, len(order), size):
            places = order[first : first + size]
            yield collate([self[place] if shifts is None else self._shifted(place, shifts[place]) for place in places])

    def _shifted(self, index: int, share: float) -> Item:
        """A window moved by up to half a step to either side; `share` in [0, 1) says how far."""
        window = self._items[index][0]
        length = window.stop - window.first
        step = max(1, int(length * (1 - self.cut.overlap)))
        first = min(max(window.first + round((share - 0.5) * step), 0), len(self._cache.read(window.video_id)) - length)
        moved = Window(window.video_id, first, first + length)
        target = self._target(moved)
        if not len(target.labels_ix) and self._occupied(moved):
            return self[index]  # where it lies there is something to find, or nothing at all
        return self._item(moved, target)

    def _occupied(self, window: Window) -> bool:
        """Whether any part of what negatives keep clear of lies in a window."""
        return self.touches(window, (self.extras.occupied or {}).get(window.video_id, ()))

    def touches(self, window: Window, actions: Iterable[Action]) -> bool:
        """Whether any part of any of the actions lies in a window."""
        start, end = map(self.grids[window.video_id].seconds, (window.first, window.stop))
        return any(action.start < end and action.end > start for action in actions)

    def _with_negatives(self, share: float) -> list[tuple[Window, Target]]:
        """The windows with actions and, spread evenly over the videos, so many without that they are `share` of all."""
        if not 0 <= share < 1:
            raise ValueError(f"negatives must be a share in [0, 1), got {share}")
        items = self._items
        empty = [place for place, (_, target) in enumerate(items) if not len(target.labels_ix)]
        clear = [place for place in empty if not self._occupied(items[place][0])]
        self.left_out = len(empty) - len(clear)
        wanted = min(len(clear), round((len(items) - len(empty)) * share / (1 - share)))
        added = {clear[int((number + 0.5) * len(clear) / wanted)] for number in range(wanted)}
        return [item for place, item in enumerate(items) if len(item[1].labels_ix) or place in added]

    def _target(self, window: Window) -> Target:
        """What is to be found in a window, and what the extras ask for."""
        video, grid = self._videos[window.video_id], self.grids[window.video_id]
        target = _target(window, video.actions, grid, self.classes, self.cut.integrity)
        if self.extras.names is not None:
            target = target._replace(named=_target(window, video.actions, grid, self.extras.names, TOUCHED)[:2])
        if self.extras.ignored is not None:
            ignored, _ = actions_in(window, self.extras.ignored.get(video.id, ()), grid, TOUCHED)
            target = target._replace(ignored_cw=ignored)
        return target


def _target(
    window: Window, actions: Sequence[Action], grid: Grid, classes: Sequence[str] | None, integrity: float
) -> Target:
    segments_cw, labels = actions_in(window, actions, grid, integrity)
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
