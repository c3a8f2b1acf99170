"""The check of annotations: every oddity is found, named and counted; what nobody can repair stops the work.

Evaluation uses the annotations as they were published. `KINDS` says what training does about each oddity.
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tadlib.data.annotations import AMBIGUOUS, Action, Video

KINDS = {  # what is found -> (what training does, what evaluation does)
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
# THUMOS14: most actions of the first lie after its end; the label of the second is doubted by everybody who looked
BELIEVED_WRONG = frozenset({"video_test_0000270", "video_test_0001496"})
LISTED = 40  # names in a message; more would bury it
FATAL = (
    "duration is not positive",
    "fps is not positive",
    "time is not a number",
    "ends before it starts",
    "unknown class",
)


@dataclass(frozen=True)
class Finding:
    """One oddity of the annotations: its kind, the video, and the action where there is one."""

    kind: str
    video: Video
    action: Action | None = None

    def __str__(self) -> str:
        if self.action is None:
            return f"video {self.video.id} ({self.video.duration} s, {self.video.fps} frames/s)"
        return f"video {self.video.id}: {self.action.label!r} [{self.action.start}, {self.action.end}]"


def find(videos: Iterable[Video], classes: Iterable[str]) -> list[Finding]:
    """Every oddity of some videos, in their order; rows labelled Ambiguous count as such, not as unknown class."""
    known = frozenset(classes)
    return [finding for video in videos for finding in _of_video(video, known)]


def _of_video(video: Video, known: frozenset[str]) -> Iterator[Finding]:
    for name, value in (("duration", video.duration), ("fps", video.fps)):
        if not (math.isfinite(value) and value > 0):
            yield Finding(f"{name} is not positive", video)
    if video.id in BELIEVED_WRONG:
        yield Finding("video believed to be annotated wrongly", video)
    if not any(action.label != AMBIGUOUS for action in video.actions):
        yield Finding("video without actions", video)
    for place, action in enumerate(video.actions):
        for kind in _of_action(action, video, known, video.actions[:place]):
            yield Finding(kind, video, action)


def _of_action(action: Action, video: Video, known: frozenset[str], earlier: Sequence[Action]) -> Iterator[str]:
    if not (math.isfinite(action.start) and math.isfinite(action.end)):
        yield "time is not a number"
    elif action.start > action.end:
        yield "ends before it starts"
    elif action.label == AMBIGUOUS:
        yield "ambiguous"
    elif action.label not in known:
        yield "unknown class"
    else:
        yield from _of_place(action, video)
        if action in earlier:
            yield "duplicate"
        elif any(overlap(action, other) for other in earlier if other.label == action.label):
            yield "overlaps its own class"
        if any(overlap(action, other) for other in earlier if other.label not in (action.label, AMBIGUOUS)):
            yield "overlaps another class"


def _of_place(action: Action, video: Video) -> Iterator[str]:
    if action.start == action.end:
        yield "zero length"
    if action.start < 0:
        yield "starts before the video"
    if action.start >= video.duration:
        yield "starts after the video's end"
    elif action.end > video.duration:
        yield "ends after the video's end"


def overlap(a: Action, b: Action) -> bool:
    """Whether two actions share a moment."""
    return min(a.end, b.end) > max(a.start, b.start)


def check(videos: Iterable[Video], classes: Iterable[str]) -> tuple[tuple[Video, ...], dict[str, int]]:
    """The videos with their ambiguous rows set apart, all else untouched, and how many oddities of each kind there are.

    Raises ValueError that counts and names what nobody can repair: a duration or frame rate that is not positive,
    times that are not numbers, an end before its start, a label that is not a class.
    """
    videos, classes = tuple(videos), tuple(classes)
    findings = find(videos, classes)
    fatal = [finding for finding in findings if finding.kind in FATAL]
    if fatal:
        raise ValueError("the annotations cannot be used: " + "; ".join(_sentences(fatal, classes)))
    return tuple(_apart(video) for video in videos), dict(Counter(finding.kind for finding in findings))


def _apart(video: Video) -> Video:
    actions = tuple(action for action in video.actions if action.label != AMBIGUOUS)
    moments = tuple((action.start, action.end) for action in video.actions if action.label == AMBIGUOUS)
    return replace(video, actions=actions, ambiguous=video.ambiguous + moments)


def _sentences(fatal: Sequence[Finding], classes: Sequence[str]) -> Iterator[str]:
    for kind in FATAL:
        found = [finding for finding in fatal if finding.kind == kind]
        if found:
            first = found[0]
            hint = nearest(first.action.label, classes) if kind == "unknown class" and first.action else ""
            yield f"{kind}: {len(found)} time{'s' * (len(found) > 1)}, first {first}{hint}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar of the known names, or at the first of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known[:LISTED])}{more}"


def table(repairs: dict[str, int]) -> list[dict[str, object]]:
    """What was found, how often, what training does about it, and what evaluation does: a row each."""
    return [
        {"found": kind, "number": repairs[kind], "training": KINDS[kind][0], "evaluation": KINDS[kind][1]}
        for kind in KINDS
        if repairs.get(kind)
    ]
