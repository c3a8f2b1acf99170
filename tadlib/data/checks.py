"""Checks of annotations: problems are counted by kind, and unusable annotations are an error.

Evaluation uses the annotations as published; `KINDS` says what training does about each problem.
"""

import difflib
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tadlib.data.annotations import AMBIGUOUS, Action, Video

KINDS = {  # kind of problem -> (what training does, what evaluation does)
    "ambiguous": ("left out", "left out, not a class"),
    "zero length": ("left out", "kept"),
    "starts after the video's end": ("left out", "kept"),
    "ends after the video's end": ("cut at the end", "kept"),
    "starts before the video": ("cut at 0", "kept"),
    "duplicate": ("used once", "kept"),
    "overlaps its own class": ("kept", "kept"),
    "overlaps another class": ("kept", "kept"),
    "video believed to be annotated wrongly": ("kept", "kept, or left out by the protocol"),
    "copy of another length": ("kept", "kept"),
    "video without actions": ("not used", "kept"),
    "video of another subset": ("not used", "not used"),
    "video without usable features": ("not used", "not used"),
    "name with white space or decomposed letters": ("tidied", "tidied"),
    "video named with the ending of its file": ("taken off", "taken off"),
}
# THUMOS14: most actions of the first lie after its end; the label of the second is doubtful
BELIEVED_WRONG = frozenset({"video_test_0000270", "video_test_0001496"})
MAX_LISTED = 12  # largest number of names in a message
FATAL = ("duration is not positive", "fps is not positive", "unknown class", "times look like frames")


@dataclass(frozen=True)
class Finding:
    """One problem of the annotations: its kind, the video, and the action if there is one."""

    kind: str
    video: Video
    action: Action | None = None

    def __str__(self) -> str:
        if self.action is None:
            return f"video {self.video.id} ({self.video.duration} s, {self.video.fps} frames/s)"
        return f"video {self.video.id}: {self.action.label!r} [{self.action.start}, {self.action.end}]"


def find(videos: Iterable[Video], classes: Iterable[str]) -> list[Finding]:
    """Find all problems of some videos, in order; the label Ambiguous is its own kind, not an unknown class.

    Readers have refused times that are no finite numbers, and ends before starts.
    """
    known = frozenset(classes)
    return [finding for video in videos for finding in _findings(video, known)]


def _findings(video: Video, known: frozenset[str]) -> Iterator[Finding]:
    for name, value in (("duration", video.duration), ("fps", video.fps)):
        if not (math.isfinite(value) and value > 0):
            yield Finding(f"{name} is not positive", video)
    if video.id in BELIEVED_WRONG:
        yield Finding("video believed to be annotated wrongly", video)
    if not any(action.label != AMBIGUOUS for action in video.actions):
        yield Finding("video without actions", video)
    last = max((action.end for action in video.actions), default=0.0)
    least = max(2.0, video.fps / 5) * video.duration  # a fifth of the video's frames
    whole = all(time % 1 == 0 for action in video.actions for time in (action.start, action.end))
    if whole and least < last <= 1.1 * video.duration * video.fps:
        yield Finding("times look like frames", video, max(video.actions, key=lambda action: action.end))
    seen: set[Action] = set()
    covered: dict[str, Cover] = {}
    for action in video.actions:
        for kind in _action_problems(action, video, known, seen, covered):
            yield Finding(kind, video, action)
        seen.add(action)
        if action.label != AMBIGUOUS:
            covered.setdefault(action.label, Cover()).add(action.start, action.end)


def _action_problems(
    action: Action, video: Video, known: frozenset[str], seen: Collection[Action], covered: Mapping[str, "Cover"]
) -> Iterator[str]:
    """Yield the problems of an action, given the earlier actions of its video (`seen`) and their union by class."""
    if action.label == AMBIGUOUS or action.label not in known:
        yield "ambiguous" if action.label == AMBIGUOUS else "unknown class"
        return
    if action.start == action.end:
        yield "zero length"
    if action.start < 0:
        yield "starts before the video"
    if action.start >= video.duration:
        yield "starts after the video's end"
    elif action.end > video.duration:
        yield "ends after the video's end"
    overlapped = {label for label, cover in covered.items() if cover.overlaps(action.start, action.end)}
    if action in seen:
        yield "duplicate"
    elif action.label in overlapped:
        yield "overlaps its own class"
    if overlapped - {action.label}:
        yield "overlaps another class"


class Cover:
    """Union of segments, stored as sorted disjoint segments, so that a query is a binary search."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def overlaps(self, start: float, end: float) -> bool:
        """Whether a segment and the union share more than a point."""
        place = bisect_right(self.ends, start)
        return start < end and place < len(self.ends) and self.starts[place] < end

    def add(self, start: float, end: float) -> None:
        """Add a segment, and merge it with the segments that it touches."""
        if not start < end:
            return
        touched = slice(bisect_left(self.ends, start), bisect_right(self.starts, end))
        start, end = min([start, *self.starts[touched][:1]]), max([end, *self.ends[touched][-1:]])
        self.starts[touched], self.ends[touched] = [start], [end]


def check(
    videos: Iterable[Video], classes: Iterable[str], source: Path | str = "the annotations", in_seconds: bool = False
) -> tuple[tuple[Video, ...], dict[str, int]]:
    """Move ambiguous rows to `Video.ambiguous`, and count the problems by kind.

    Raises ValueError with numbers and examples of unusable annotations: a duration or frame rate that is not positive,
    times that look like frames unless `in_seconds`, an unknown label.
    """
    videos, classes = tuple(videos), tuple(classes)
    findings = [each for each in find(videos, classes) if not (in_seconds and each.kind == "times look like frames")]
    told = []
    for kind in FATAL:
        if found := [finding for finding in findings if finding.kind == kind]:
            hint = nearest(found[0].action.label, classes) if kind == "unknown class" else ""
            if kind == "times look like frames":
                lasts = f"{found[0].video.duration:g} s"
                hint = f" in {lasts}: are they frames? Say times: frames or seconds in benchmark.yaml"
            told.append(f"{kind}: {len(found)} time{'s' * (len(found) > 1)}, first {found[0]}{hint}")
    if told:
        raise ValueError(f"{source} cannot be used: {'; '.join(told)}")
    return tuple(separate_ambiguous(video) for video in videos), dict(Counter(finding.kind for finding in findings))


def separate_ambiguous(video: Video) -> Video:
    """Return a video with its actions labelled Ambiguous as ambiguous regions."""
    actions = tuple(action for action in video.actions if action.label != AMBIGUOUS)
    moments = tuple((action.start, action.end) for action in video.actions if action.label == AMBIGUOUS)
    return replace(video, actions=actions, ambiguous=video.ambiguous + moments)


def one_of(kind: str, word: str, words: Iterable[str]) -> None:
    """Raise ValueError if `word` is none of `words`, with the most similar of them."""
    if word not in words:
        raise ValueError(f"{kind} is unknown: {word!r}{nearest(str(word), words)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for messages: the most similar known name, otherwise a list of the known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known[:MAX_LISTED])}{more}"


def table(repairs: dict[str, int]) -> list[dict[str, object]]:
    """Return a table of problems: for each kind its number, and what training and evaluation do about it."""
    return [
        {"found": kind, "number": repairs[kind], "training": KINDS[kind][0], "evaluation": KINDS[kind][1]}
        for kind in KINDS
        if repairs.get(kind)
    ]
