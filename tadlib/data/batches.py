"""Windows of videos in padded batches, with their targets."""

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
from tadlib.data.windows import Grid, Window, actions_in, cover

MIN_INSIDE = 1e-3  # smallest share of an action in a window for its snippets to count as inside


@runtime_checkable
class Store(Protocol):
    """Source of the features (T, C) of a video; its optional method `stored` reads them as they are on disk."""

    def read(self, video_id: str) -> np.ndarray: ...


class Target(NamedTuple):
    """Targets of the detector in one window."""

    segments_cw: Float[Tensor, "n 2"]  # centre, width; fractions of the window
    labels_ix: Int[Tensor, " n"]  # class indices; all 0 for a class-agnostic detector
    named: tuple[Float[Tensor, "m 2"], Int[Tensor, " m"]] | None = None  # all actions and their classes, for snippets
    ignored_cw: Float[Tensor, "i 2"] | None = None  # segments that are neither targets nor background


class Item(NamedTuple):
    """One window with its features and target."""

    features: Float[Tensor, "t c"]
    target: Target
    window: Window


class Batch(NamedTuple):
    """A padded batch of windows; `padding` is True where there is no snippet."""

    features: Float[Tensor, "b t c"]
    padding: Bool[Tensor, "b t"]
    targets: list[Target]
    windows: list[Window]
    texts: Float[Tensor, "k e"] | None = None  # class embeddings, for a detector that reads them
    step: tuple["Batch", ...] = ()  # all batches of the same optimiser step

    def share(self, amount: "Callable[[Batch], int]") -> float:
        """Return the weight of this batch's loss in its optimiser step: its share of `amount` over the step's batches.

        A loss term is a mean over actions, snippets or windows, whose number differs between batches.
        """
        if len(self.step) < 2:
            return 1.0
        return max(1, amount(self)) / max(1, sum(amount(batch) for batch in self.step))


@dataclass(frozen=True)
class WindowSettings:
    """Window length (0 = whole video), overlap, and length to resample windows to (0 = no resampling).

    An action belongs to a window that contains at least `integrity` of it.
    """

    length: int = 128
    overlap: float = 0.5
    rescale: int = 0
    integrity: float = 0.75

    def __post_init__(self) -> None:
        if not isinstance(self.length, int) or self.length < 0 or not 0 <= self.overlap < 1:
            given = f"window={self.length!r}, overlap={self.overlap!r}"
            raise ValueError(f"window is a number of snippets, 0 for whole videos, overlap below 1; got {given}")


@dataclass(frozen=True)
class TrainingExtras:
    """Options of training windows, all off by default.

    `names` are the classes of `Target.named`; `ignored` the actions of each video that are neither targets nor
    background; `occupied` all annotations of each video, which windows without targets must not overlap; `jitter`
    shifts the start of each window by up to half a step, drawn anew in every pass.
    """

    names: Sequence[str] | None = None
    ignored: Mapping[str, Sequence[Action]] | None = None
    occupied: Mapping[str, Sequence[Action]] | None = None
    jitter: bool = False


class FeatureCache:
    """Cache of features read from a store, limited in bytes (`limit`) and arrays (`most`).

    Memory-mapped arrays count no bytes, but Linux allows a process 65,530 maps.
    """

    def __init__(self, store: Store, limit: int = 2**30, most: int = 2**14) -> None:
        self.store, self.limit, self.most = store, limit, most
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0

    def read(self, video_id: str) -> np.ndarray:
        """Return the features (T, C) of a video, as they are stored."""
        if video_id in self._kept:
            self._kept.move_to_end(video_id)
            return self._kept[video_id]
        features = self._kept[video_id] = getattr(self.store, "stored", self.store.read)(video_id)
        self._bytes += _bytes_held(features)
        while len(self._kept) > 1 and (self._bytes > self.limit or len(self._kept) > self.most):
            self._bytes -= _bytes_held(self._kept.popitem(last=False)[1])
        return features


def _bytes_held(features: np.ndarray) -> int:
    mapped = isinstance(features, np.memmap) and features.base is not None  # a copy of a memmap also has this type
    return 0 if mapped else features.nbytes


class WindowSet(Sequence[Item]):
    """All windows of some videos, or with `only_with_actions` those with a target.

    `classes` are the labels of the targets; None makes them class-agnostic and merges duplicate segments. `negatives`
    is the share of windows without actions, taken from windows that do not overlap `occupied`. `left_out` counts
    the windows without actions that do overlap it, `missing` those that the share asks for and no video has. Raises
    ValueError if no window has a target.
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
        self.left_out = self.missing = 0
        if only_with_actions:
            self._items = self._with_negatives(negatives)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._item(*self._items[index])

    @property
    def example(self) -> Item:
        """The window with an action nearest the middle of the list, to show."""
        shown = [place for place, (_, target) in enumerate(self._items) if len(target.segments_cw)]
        return self[min(shown, key=lambda place: abs(place - len(self) // 2))]

    def _item(self, window: Window, target: Target) -> Item:
        rows = self._cache.read(window.video_id)[window.first : window.stop]
        features = torch.from_numpy(np.require(rows, np.float32, "W"))  # copies only read-only arrays
        if self.cut.rescale:
            features = functional.interpolate(features.T[None], size=self.cut.rescale, mode="linear")[0].T
        return Item(features, target, window)

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Yield all windows in batches: shuffled by `generator`, otherwise sorted by length to reduce padding."""
        if generator is None:
            order = sorted(range(len(self)), key=lambda index: self._items[index][0].stop - self._items[index][0].first)
        else:
            order = torch.randperm(len(self), generator=generator).tolist()
        shifts = torch.rand(len(self), generator=generator).tolist() if self.extras.jitter and generator else None
        for first in range(0, len(order), size):
            places = order[first : first + size]
            yield collate([self[place] if shifts is None else self._shifted(place, shifts[place]) for place in places])

    def _shifted(self, index: int, share: float) -> Item:
        """Return a window shifted by up to half a step; `share` in [0, 1) gives the shift."""
        window = self._items[index][0]
        length = window.stop - window.first
        step = max(1, int(length * (1 - self.cut.overlap)))
        first = min(max(window.first + round((share - 0.5) * step), 0), len(self._cache.read(window.video_id)) - length)
        moved = Window(window.video_id, first, first + length)
        target = self._target(moved)
        if not len(target.labels_ix) and self._occupied(moved):
            return self[index]  # the shifted window has no target but overlaps an annotation
        return self._item(moved, target)

    def _occupied(self, window: Window) -> bool:
        return self.overlaps(window, (self.extras.occupied or {}).get(window.video_id, ()))

    def overlaps(self, window: Window, actions: Iterable[Action]) -> bool:
        """Whether a window overlaps any of the actions."""
        start, end = map(self.grids[window.video_id].seconds, (window.first, window.stop))
        return any(action.start < end and action.end > start for action in actions)

    def _with_negatives(self, share: float) -> list[tuple[Window, Target]]:
        """Return the windows with actions and evenly spaced windows without, which are `share` of all."""
        if not 0 <= share < 1:
            raise ValueError(f"negatives must be a share in [0, 1), got {share}")
        items = self._items
        empty = [place for place, (_, target) in enumerate(items) if not len(target.labels_ix)]
        clear = [place for place in empty if not self._occupied(items[place][0])]
        if len(empty) == len(items):
            given = f"window={self.cut.length}, integrity={self.cut.integrity}"
            raise ValueError(f"no training window holds an action ({given}): are windows long enough for them?")
        self.left_out = len(empty) - len(clear)
        wanted = round((len(items) - len(empty)) * share / (1 - share))
        self.missing = max(0, wanted - len(clear))
        wanted -= self.missing
        added = {clear[int((number + 0.5) * len(clear) / wanted)] for number in range(wanted)}
        return [item for place, item in enumerate(items) if len(item[1].labels_ix) or place in added]

    def _target(self, window: Window) -> Target:
        video, grid = self._videos[window.video_id], self.grids[window.video_id]
        target = _target(window, video.actions, grid, self.classes, self.cut.integrity)
        if self.extras.names is not None:
            target = target._replace(named=_target(window, video.actions, grid, self.extras.names, MIN_INSIDE)[:2])
        if self.extras.ignored is not None:
            ignored, _ = actions_in(window, self.extras.ignored.get(video.id, ()), grid, MIN_INSIDE)
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
    """Stack items into a batch, zero-padded to the longest."""
    features = torch.nn.utils.rnn.pad_sequence([item.features for item in items], batch_first=True)
    lengths = torch.tensor([len(item.features) for item in items])
    padding = torch.arange(features.shape[1]) >= lengths[:, None]
    return Batch(features, padding, [item.target for item in items], [item.window for item in items])
