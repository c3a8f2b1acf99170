"""Annotated videos: the types, the reader of ActivityNet-style JSON, and the check of what was read.

Conventions: seconds everywhere; an action is the half-open stretch [start, end). The annotations of a benchmark are
never changed for evaluation: `Benchmark.test_videos` only selects.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tadlib.files import read_json

AMBIGUOUS = "Ambiguous"  # THUMOS14's label for moments that are hard to call; not a class


@dataclass(frozen=True)
class Action:
    """One annotated instance, in seconds."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Video:
    """One annotated video; `duration` in seconds, `subset` as the benchmark calls it."""

    id: str
    duration: float
    fps: float
    subset: str
    actions: tuple[Action, ...]

    def only(self, labels: Iterable[str]) -> "Video":
        """This video with the actions of `labels` alone."""
        wanted = frozenset(labels)
        return replace(self, actions=tuple(action for action in self.actions if action.label in wanted))


@dataclass(frozen=True)
class Benchmark:
    """A data set and its conventions: which videos train, which test, at which tIoU thresholds."""

    name: str
    folder: Path
    videos: tuple[Video, ...]
    classes: tuple[str, ...]
    train_subset: str
    test_subset: str
    tious: tuple[float, ...]
    repairs: dict[str, int] = field(default_factory=dict)  # what the check of the annotations put right, counted

    def training_videos(self, labels: Iterable[str]) -> tuple[Video, ...]:
        """Training videos with at least one action of `labels`, showing those actions only."""
        return self._showing(self.train_subset, labels)

    def test_videos(self, labels: Iterable[str]) -> tuple[Video, ...]:
        """Test videos with at least one action of `labels`, showing those actions only, otherwise untouched."""
        return self._showing(self.test_subset, labels)

    def _showing(self, subset: str, labels: Iterable[str]) -> tuple[Video, ...]:
        restricted = (video.only(labels) for video in self.videos if video.subset == subset)
        return tuple(video for video in restricted if video.actions)


def read_activitynet(path: Path | str) -> tuple[Video, ...]:
    """Videos of an ActivityNet-style JSON file: `database: {id: {subset, duration, fps, annotations}}`.

    Raises ValueError naming file, video and field where one is missing or is not what it should be.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
        raise ValueError(f"{path} has no 'database' of videos: expected ActivityNet's layout")
    return tuple(_video(path, name, entry) for name, entry in content["database"].items())


def _video(path: Path | str, name: str, entry: dict[str, Any]) -> Video:
    try:
        actions = tuple(
            Action(float(row["segment"][0]), float(row["segment"][1]), str(row["label"]).strip())
            for row in entry.get("annotations", [])
        )
        return Video(name, float(entry["duration"]), float(entry["fps"]), str(entry["subset"]), actions)
    except KeyError as missing:
        raise ValueError(f"{path}: video {name} has no field {missing}") from missing
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: video {name} cannot be read: {error}") from error


def check(videos: Iterable[Video], classes: Iterable[str]) -> tuple[tuple[Video, ...], dict[str, int]]:
    """Videos fit for use, and how many rows of each kind were left out or put right.

    Ambiguous rows are no actions and are left out, as are actions that start after their video ends; an end beyond
    the video is kept, because ground truth is scored as published. Raises ValueError for what nobody can repair:
    a duration or frame rate that is not positive, times that are not numbers, an end before its start, a label that
    is not a class.
    """
    known = frozenset(classes)
    repairs: Counter[str] = Counter()
    return tuple(_checked(video, known, repairs) for video in videos), dict(repairs)


def _checked(video: Video, known: frozenset[str], repairs: Counter[str]) -> Video:
    for name, value in (("duration", video.duration), ("fps", video.fps)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"video {video.id}: {name} must be positive, got {value}")
    kept = []
    for action in video.actions:
        if not (math.isfinite(action.start) and math.isfinite(action.end)) or not 0 <= action.start <= action.end:
            raise ValueError(f"video {video.id}: action {action} must have 0 <= start <= end, both finite")
        if action.label == AMBIGUOUS:
            repairs["ambiguous rows left out"] += 1
        elif action.label not in known:
            raise ValueError(f"video {video.id}: unknown class {action.label!r}; known: {', '.join(sorted(known))}")
        elif action.start >= video.duration:
            repairs["actions after the video's end left out"] += 1
        else:
            repairs["ends beyond the video's end kept"] += action.end > video.duration
            kept.append(action)
    return replace(video, actions=tuple(kept))
