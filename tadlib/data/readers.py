"""Annotation and result files, told apart by content; entries of annotations, which may lack duration and frame rate.

The frame rate may follow from frame counts, but not from T3AL's `duration_frame`, which counts frames at 10 per second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from tadlib.data import layouts
from tadlib.data.annotations import Action, Names, Video
from tadlib.data.layouts import Table, number, positive, seconds
from tadlib.foreign import json_in, text_of

LONGEST_ID = 250  # bytes; file systems allow 255, with the ending


@dataclass(frozen=True)
class Entry:
    """One video as described by a file; missing values are None."""

    subset: str | None
    duration: float | None
    fps: float | None
    actions: tuple[Action, ...]
    in_frames: bool = False  # times of the actions are frames


def read_table(path: Path | str, key: str, names: Names | None = None) -> Table:
    """Read the rows of a file or a folder of text files; `key` is "database" for annotations, "results" for detections.

    Raises ValueError naming a file that cannot be read, or of another layout.
    """
    table, names = Table(Path(path)), names or Names()
    names.origin = path
    if table.path.is_dir():
        layouts.read_folder(table, key, names)
        return table
    text = text_of(path).strip()
    if not text:
        raise ValueError(f"{path} is empty: expected JSON in ActivityNet's layout or CSV with a header")
    if text[0] in "{[" or ".json" in table.path.suffixes:
        layouts.read_activitynet(table, json_in(text, path), key, names)
    else:
        lines = table.path.suffix == ".txt" and not any(mark in text.partition("\n")[0] for mark in ",;\t")
        (layouts.read_lines if lines else layouts.read_csv)(table, text, key, names)
    return table


def read(path: Path | str, names: Names | None = None) -> dict[str, Entry]:
    """Read the entries of an annotation file, or of a folder of THUMOS14's text files, by video.

    `names` counts normalised names. Raises ValueError naming file, line or video, and what is wrong.
    """
    table = read_table(path, "database", names)
    for name in table.about:  # which name files, on any system
        if not name or name.startswith(".") or PureWindowsPath(name).name != name or len(name.encode()) > LONGEST_ID:
            raise ValueError(
                f"{path}: video id {name!r} must be a file's name without folder and ending, at most {LONGEST_ID} bytes"
            )
    actions: dict[str, list[Action]] = {video: [] for video in table.about}
    for video, action, _ in actions_of(table):
        actions[video].append(action)
    return {
        video: _entry(f"{path}: video {video}", video, about, tuple(actions[video]))
        for video, about in table.about.items()
    }


def actions_of(table: Table) -> Iterator[tuple[str, Action, float | None]]:
    """Video, action and score of every row; raises ValueError naming the line or video of one that is none."""
    scores = table.score or [None] * len(table.video)
    rows = zip(table.video, table.segment, table.label, scores, strict=True)
    for row, (video, segment, label, score) in enumerate(rows):
        try:
            if not video:
                raise ValueError("it has no name")
            if not label:
                raise ValueError("it has no label: name its class")
            start, end = map(seconds, segment)
            yield video, Action(start, end, label), number(score) if table.score else None
        except ValueError as error:
            raise ValueError(f"{table.place(row)}: video {video} cannot be read: {error}") from error


def _entry(place: str, video: str, about: Mapping[str, Any], actions: tuple[Action, ...]) -> Entry:
    duration = positive(place, about, "duration" if about.get("duration") is not None else "duration_second")
    fps, frames = positive(place, about, "fps"), positive(place, about, "frame")
    if fps is None and frames and duration:
        fps = frames / duration
    named = layouts.THUMOS_ID.fullmatch(video)  # THUMOS14's ids name the subset
    subset = about.get("subset") or (named and {"validation": "val", "test": "test"}[named[1]])
    return Entry(subset, duration, fps, actions)


def whole(path: Path | str, name: str, entry: Entry) -> Video:
    """Convert a complete entry to a video; raises ValueError naming file, video and the missing field."""
    for missing in ("subset", "duration", "fps"):
        if getattr(entry, missing) is None:
            raise ValueError(
                f"{path}: video {name} has no field '{missing}': give it there, or in info.json beside it as "
                f'{{"{name}": {{"{missing}": ...}}}}'
            )
    actions = entry.actions
    if entry.in_frames:
        actions = tuple(Action(each.start / entry.fps, each.end / entry.fps, each.label) for each in actions)
    return Video(name, entry.duration, entry.fps, entry.subset, actions)
