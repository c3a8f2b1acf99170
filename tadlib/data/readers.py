"""Annotation and result files, told apart by content; entries of annotations, which may lack duration and frame rate.

The frame rate may follow from frame counts, but not from T3AL's `duration_frame`, which counts frames at 10 per second.
"""

import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from tadlib.data import layouts
from tadlib.data.annotations import Action, Names
from tadlib.data.layouts import Table, number, positive, seconds
from tadlib.foreign import json_in, text_of

SAME = 0.01  # seconds within which the length of an action equals the duration of its video
LONGEST_ID = 250  # bytes; file systems allow 255, with the ending
MAX_EXAMPLES = 3  # invalid rows of each kind that a message names


@dataclass(frozen=True)
class Entry:
    """One video as described by an annotation or info file; missing values are None."""

    subset: str | None = None
    duration: float | None = None  # seconds
    fps: float | None = None
    actions: tuple[Action, ...] = ()
    in_frames: bool = False  # times of the actions are frames
    frames: float | None = None  # number of frames

    def __post_init__(self) -> None:
        """Compute a missing duration or frame rate from the number of frames, which last as many frame periods."""
        if self.frames and self.fps and self.duration is None:
            object.__setattr__(self, "duration", self.frames / self.fps)
        if self.frames and self.duration and self.fps is None:
            object.__setattr__(self, "fps", self.frames / self.duration)


def read_table(path: Path | str, key: str = "", names: Names | None = None, in_frames: bool = False) -> Table:
    """Read the rows of a file or a folder of text files; `key` is "database" for annotations, "results" for detections.

    Without a key the content decides. `in_frames` says that annotations count frames; tasks say so themselves. Raises
    ValueError naming a file that cannot be read or has an unknown layout.
    """
    table, names = Table(Path(path)), names or Names()
    names.origin = path
    if table.path.is_dir():
        layouts.read_folder(table, key, names)
    elif not (text := text_of(path).strip()):
        raise ValueError(f"{path} is empty: expected JSON in ActivityNet's layout or CSV with a header")
    elif text[0] in "{[" or ".json" in table.path.suffixes:
        content = json_in(text, path)
        in_frames = in_frames and isinstance(content, dict)
        add = layouts.read_tasks if isinstance(content, list) and content else layouts.read_activitynet
        add(table, content, key or _key_of(content), names)
    else:
        lines = table.path.suffix == ".txt" and not any(mark in text.partition("\n")[0] for mark in ",;\t")
        (layouts.read_lines if lines else layouts.read_csv)(table, text, key, names)
    table.in_frames |= set(table.about) if in_frames and not table.score else set()
    return table


def _key_of(content: Any) -> str:
    """Return the key of JSON content: "results" for that key, lists of rows by video, or tasks without annotations."""
    if isinstance(content, dict):
        listed = "results" in content or any(isinstance(each, list) for each in content.values())
        return "results" if listed and "database" not in content else "database"
    tasks = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
    predicted = any(each.get("predictions") for each in tasks) and not any(each.get("annotations") for each in tasks)
    return "results" if predicted else "database"


def read(
    path: Path | str, names: Names | None = None, in_frames: bool = False, dropped: Counter[str] | None = None
) -> dict[str, Entry]:
    """Read the entries of an annotation file, or of a folder of THUMOS14's text files, by video.

    `names` counts normalised names; `in_frames` as for `read_table`, `dropped` as for `valid_rows`. Raises ValueError
    naming file, line or video, and what is wrong.
    """
    table = read_table(path, "database", names, in_frames)
    actions: dict[str, list[Action]] = {video: [] for video in table.about}
    for video, action, _ in actions_of(table, dropped):
        actions[video].append(action)
    return {
        video: _entry(f"{path}: video {video}", video, about, tuple(actions[video]), video in table.in_frames)
        for video, about in table.about.items()
    }


def check_entries(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raise ValueError for an id that cannot name files on any system, or durations that are those of actions."""
    for name in entries:
        if not name or name.startswith(".") or PureWindowsPath(name).name != name or len(name.encode()) > LONGEST_ID:
            expected = f"a file's name without folder and ending, at most {LONGEST_ID} bytes"
            raise ValueError(f"{path}: video id {name!r} must be {expected}")
    stated = [(each.duration or float("inf"), action) for each in entries.values() for action in each.actions]
    same = [action.start for duration, action in stated if abs(action.end - action.start - duration) < SAME]
    if len(same) == len(stated) and max(same, default=0) > SAME:
        raise ValueError(f"{path}: the duration of each video is the length of its action: give that of the video")


def actions_of(table: Table, dropped: Counter[str] | None = None) -> Iterator[tuple[str, Action, float | None]]:
    """Yield video, action and score (None without one) of the `valid_rows` of a table."""
    segments, scores, rows = valid_rows(table, dropped)
    times, given = segments.tolist(), scores.tolist()
    for row in rows:
        yield table.video[row], Action(*times[row], table.label[row]), given[row] if given else None


def valid_rows(
    table: Table, dropped: Counter[str] | None = None, unknown: Mapping[str, Sequence[bool]] = MappingProxyType({})
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " _"], list[int]]:
    """Return segments and scores of all rows as floats, and the numbers of the valid rows.

    `unknown` are more kinds of invalid rows. These are counted by kind in `dropped`; without it they are a ValueError
    that names the first of each. All other rows are valid, as in published scorers: times outside the video, segments
    of length zero, infinite scores, duplicate rows.
    """
    pairs = [each if len(each) == 2 else (None, None) for each in table.segment]
    segments = _numbers([each for pair in pairs for each in pair], seconds).reshape(-1, 2)
    scores = _numbers(table.score, number)
    bad = {
        "no label": [not label for label in table.label],
        "time is no finite number": ~(np.abs(segments) <= layouts.LARGEST).all(axis=1),  # NaN too
        "end before start": segments[:, 1] < segments[:, 0],
        "score is no number": np.isnan(scores) if table.score else [],
    }
    found = {kind: np.flatnonzero(wrong).tolist() for kind, wrong in {**bad, **unknown}.items()}
    kinds = []
    for kind, rows in found.items():
        examples = [
            f"{table.place(row)}: video {table.video[row]} {reprlib.repr(list(table.segment[row]))} "
            f"{reprlib.repr(table.label[row])}" + (f" score {reprlib.repr(table.score[row])}" if table.score else "")
            for row in rows[:MAX_EXAMPLES]
        ]
        more = ", ..." if len(rows) > MAX_EXAMPLES else ""
        kinds += [f"{len(rows)} with {kind} ({', '.join(examples)}{more})"] if rows else []
    if kinds and dropped is None:
        raise ValueError(f"{table.path}: {'; '.join(kinds)}; repair them, or leave them out by tad evaluate --drop-bad")
    if dropped is not None:
        dropped.update({kind: len(rows) for kind, rows in found.items() if rows})
    wrong = {row for rows in found.values() for row in rows}
    return segments, scores, [row for row in range(len(table.video)) if row not in wrong]


def _numbers(values: Sequence[Any], convert: Callable[[Any], float]) -> Float[np.ndarray, " n"]:
    """Convert values to floats, those that are no numbers to NaN."""

    def converted(value: Any) -> float:
        try:
            return convert(value)
        except ValueError:
            return np.nan

    return np.array([each if type(each) is float else converted(each) for each in values], dtype=np.float64)


def _entry(place: str, video: str, about: Mapping[str, Any], actions: tuple[Action, ...], in_frames: bool) -> Entry:
    duration = positive(place, about, "duration" if about.get("duration") is not None else "duration_second")
    fps, frames = positive(place, about, "fps"), positive(place, about, "frame")
    named = layouts.THUMOS_ID.fullmatch(video)  # THUMOS14's ids name the subset
    subset = about.get("subset") or (named and {"validation": "val", "test": "test"}[named[1]])
    return Entry(subset, duration, fps, actions, in_frames, frames)
