"""Types of annotated videos, their names, and selection of training and test videos.

All times are in seconds; an action is the half-open interval [start, end). Annotations are never changed for
evaluation: `Benchmark.test_videos` only selects. Training uses `repaired` videos.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TypeVar

from tadlib.files import tidy

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp")
Value = TypeVar("Value")
AMBIGUOUS = "Ambiguous"  # THUMOS14's label for ambiguous regions; not a class


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
    ambiguous: tuple[tuple[float, float], ...] = ()  # ambiguous regions (start, end) in seconds

    def only(self, labels: Iterable[str]) -> "Video":
        """Return this video with only the actions of `labels`."""
        wanted = frozenset(labels)
        return replace(self, actions=tuple(action for action in self.actions if action.label in wanted))

    def with_ambiguous(self) -> "Video":
        """Return this video with its ambiguous regions among the actions, as in THUMOS14's files."""
        moments = tuple(Action(start, end, AMBIGUOUS) for start, end in self.ambiguous)
        return replace(self, actions=self.actions + moments, ambiguous=())


@dataclass(frozen=True)
class Benchmark:
    """A data set with its conventions: training and test subset, tIoU thresholds."""

    name: str
    folder: Path
    videos: tuple[Video, ...]
    classes: tuple[str, ...]
    train_subset: str
    test_subset: str
    tious: tuple[float, ...]
    repairs: dict[str, int] = field(default_factory=dict)  # number of annotation problems by kind
    source: Path | None = None  # the annotation file or folder that was read
    made: Path | None = None  # folder for features and embeddings; None = `folder`

    @property
    def cache(self) -> Path:
        """Folder of everything computed from the data set."""
        return self.made or self.folder

    def training_videos(self, labels: Iterable[str]) -> tuple[Video, ...]:
        """Return training videos with at least one action of `labels`, repaired, with only those actions."""
        return self._showing([repaired(video) for video in self.videos if video.subset == self.train_subset], labels)

    def test_videos(self, labels: Iterable[str]) -> tuple[Video, ...]:
        """Return test videos with at least one action of `labels`, with only those actions, otherwise unchanged."""
        return self._showing([video for video in self.videos if video.subset == self.test_subset], labels)

    @staticmethod
    def _showing(videos: Iterable[Video], labels: Iterable[str]) -> tuple[Video, ...]:
        wanted = frozenset(labels)
        return tuple(shown for shown in (video.only(wanted) for video in videos) if shown.actions)


def repaired(video: Video) -> Video:
    """Return the video as used in training: actions clipped to the video, without empty ones and exact duplicates."""
    cut = (Action(max(a.start, 0.0), min(a.end, video.duration), a.label) for a in video.actions)
    return replace(video, actions=tuple(dict.fromkeys(action for action in cut if action.end > action.start)))


@dataclass
class Names:
    """Normalise names (`files.tidy`; videos without folder and ending) and count changes by kind (`checks.KINDS`)."""

    changed: Counter[str] = field(default_factory=Counter)
    origin: object = ""  # file of the names, for messages
    _known: dict[tuple[bool, str], tuple[str, str]] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)  # first path of each video named with folder and ending

    def label(self, name: object) -> str:
        """Normalise the name of a class or subset; empty if it is no text."""
        return self._normalised(name, False)

    def video(self, name: object) -> str:
        """Normalise a video's id: "clips/ann.mp4" becomes "ann"."""
        return self._normalised(name, True)

    def _normalised(self, name: object, video: bool) -> str:
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str):
            return ""
        if (video, name) not in self._known:  # names repeat in every row
            found, kind = tidy(name, self.origin, file=video), ""
            if found != name:
                kind = "name with white space or decomposed letters"
            if video and "." in found and PurePath(found).suffix.lower() in SUFFIXES:
                path = re.sub(r"[\\/]+", "/", found).removeprefix("./")
                found, kind = PurePath(path).stem, "video named with the ending of its file"
                if (other := self._paths.setdefault(found, path)) != path:
                    raise ValueError(f"{self.origin}: {other!r} and {path!r} are both video {found!r}: rename one")
            self._known[video, name] = found, kind
        found, kind = self._known[video, name]
        if kind:
            self.changed[kind] += 1
        return found

    def videos(self, content: Mapping[str, Value], path: Path | str) -> dict[str, Value]:
        """Key a JSON object by normalised video id; raises ValueError if two keys are the same video."""
        spelt, self.origin = dict[str, str](), path
        for key in content:
            name = self.video(key)
            if name in spelt:
                raise ValueError(f"{path}: keys {spelt[name]!r} and {key!r} are both video {name!r}: keep one of them")
            spelt[name] = key
        return {name: content[key] for name, key in spelt.items()}


def spoken(label: str) -> str:
    """Return a class name as spoken: "CleanAndJerk" -> "clean and jerk", "brush-hair" -> "brush hair", "BMX" -> "BMX".

    Underscores, and hyphens between letters, become spaces. A name of several words keeps its capitals; otherwise only
    acronyms keep theirs.
    """
    text = " ".join(re.sub(r"_|(?<=[^\W\d_])-(?=[^\W\d_])", " ", label).split()) or label
    if " " in label:
        return text
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text).split(" ")
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)
