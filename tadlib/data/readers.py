"""Readers of annotations as others publish them, into entries that may still lack duration and frame rate.

ActivityNet-style JSON, plain or gzip, as ActivityNet itself, OpenTAD, ActionFormer, TadTR and GAP write it, and
T3AL's, which has no `database` and no subset; THUMOS14's official text files; CSV tables with named columns.
Times are seconds. Frame counts serve to find the frame rate; T3AL's `duration_frame` does not: its frames are at 10
frames per second, whatever the video's rate.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tadlib.data.annotations import Action, Video

COLUMNS = {  # what a column of a CSV table may be called
    "video": ("video-id", "video_id", "video", "video-name", "filename"),
    "start": ("t-start", "t_start", "start"),
    "end": ("t-end", "t_end", "end"),
    "label": ("label", "class", "label-name"),
    "subset": ("subset",),
    "duration": ("duration", "video-duration", "seconds"),
    "fps": ("fps", "video-fps"),
}
THUMOS_ID = re.compile(r"video_(validation|test)_\d{7}")


@dataclass(frozen=True)
class Entry:
    """One video as a file describes it; what the file does not say is None."""

    subset: str | None
    duration: float | None
    fps: float | None
    actions: tuple[Action, ...]


def text_of(path: Path | str) -> str:
    """The text of a file, unpacked where its name ends in .gz; raises ValueError naming a damaged one."""
    path = Path(path)
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be unpacked as text ({error}): copy or download it again") from error


def json_of(path: Path | str) -> Any:
    """The value in a JSON file, plain or gzip; a file that is no JSON raises ValueError naming it."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not readable JSON ({error}): delete it or restore it") from error


def read(path: Path | str) -> dict[str, Entry]:
    """The entries of an annotation file, or of a folder of THUMOS14's text files, by video."""
    path = Path(path)
    if path.is_dir():
        return read_thumos_text(path)
    return read_csv(path) if ".csv" in path.suffixes else read_json_entries(path)


def read_json_entries(path: Path | str) -> dict[str, Entry]:
    """The entries of an ActivityNet-style JSON file; raises ValueError naming file, video and field."""
    content = json_of(path)
    database = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(
        isinstance(entry, dict) and "annotations" in entry for entry in database.values()
    ):
        raise ValueError(f"{path} has no 'database' of videos with 'annotations': expected ActivityNet's layout")
    return {name: _entry(path, name, entry) for name, entry in database.items()}


def _entry(path: Path | str, name: str, entry: Mapping[str, Any]) -> Entry:
    try:
        actions = tuple(
            Action(float(row["segment"][0]), float(row["segment"][1]), str(row["label"]).strip())
            for row in entry["annotations"]
        )
        duration = _number(entry.get("duration", entry.get("duration_second")))
        fps, frames = _number(entry.get("fps")), _number(entry.get("frame"))
        if fps is None and frames and duration:
            fps = frames / duration
        return Entry(entry.get("subset") or _subset_of(name), duration, fps, actions)
    except KeyError as missing:
        raise ValueError(f"{path}: video {name} has no field {missing}") from missing
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: video {name} cannot be read: {error}") from error


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _subset_of(name: str) -> str | None:
    """THUMOS14's file names say which subset a video belongs to."""
    match = THUMOS_ID.fullmatch(name)
    return {"validation": "val", "test": "test"}[match[1]] if match else None


def read_activitynet(path: Path | str) -> tuple[Video, ...]:
    """Videos of a JSON file that says everything itself: `database: {id: {subset, duration, fps, annotations}}`."""
    return tuple(whole(path, name, entry) for name, entry in read_json_entries(path).items())


def whole(path: Path | str, name: str, entry: Entry) -> Video:
    """The video of a complete entry; raises ValueError naming file, video and the field that is missing."""
    for field in ("subset", "duration", "fps"):
        if getattr(entry, field) is None:
            raise ValueError(
                f"{path}: video {name} has no field '{field}': give it there, or in info.json beside it as "
                f'{{"{name}": {{"{field}": ...}}}}'
            )
    return Video(name, entry.duration, entry.fps, entry.subset, entry.actions)


def read_thumos_text(folder: Path | str) -> dict[str, Entry]:
    """The entries of THUMOS14's official text files, `<Class>_val.txt` and `<Class>_test.txt`, at any depth.

    A line is `video start end` in seconds; `Ambiguous_*.txt` holds moments that are no class.
    """
    entries: dict[str, Entry] = {}
    for suffix in ("val", "test"):
        for path in sorted(Path(folder).rglob(f"*_{suffix}.txt")):
            for name, action in _lines(path, path.name.removesuffix(f"_{suffix}.txt")):
                entry = entries.setdefault(name, Entry(suffix, None, None, ()))
                entries[name] = replace(entry, actions=(*entry.actions, action))
    if not entries:
        raise ValueError(f"{folder} holds no annotations: expected files like Diving_val.txt and Diving_test.txt")
    return entries


def _lines(path: Path, label: str) -> Iterator[tuple[str, Action]]:
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        parts = line.split()
        if len(parts) == 3:
            try:
                yield parts[0], Action(float(parts[1]), float(parts[2]), label)
                continue
            except ValueError:
                pass  # named below, like a line with too few parts
        if parts and not path.name.startswith("readme"):
            raise ValueError(f"{path}, line {number}: expected 'video start end' in seconds, got {line!r}")


def read_csv(path: Path | str) -> dict[str, Entry]:
    """The entries of a CSV table, one action a row; columns are found by name (`video-id, t-start, t-end, label`)."""
    rows = csv.DictReader(io.StringIO(text_of(path)), skipinitialspace=True)
    columns = {
        ours: next((name for name in names if name in (rows.fieldnames or ())), None) for ours, names in COLUMNS.items()
    }
    for ours in ("video", "start", "end", "label"):
        if columns[ours] is None:
            raise ValueError(
                f"{path} has no column {COLUMNS[ours][0]!r}; its columns: {', '.join(rows.fieldnames or ())}"
            )
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, start=2):
        value = {ours: row[name] if name else None for ours, name in columns.items()}
        try:
            action = Action(float(value["start"]), float(value["end"]), value["label"].strip())
            name, subset = value["video"], value["subset"] or _subset_of(value["video"])
            fresh = Entry(subset, _number(value["duration"]), _number(value["fps"]), ())
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: {dict(row)} cannot be read: {error}") from error
        entry = entries.setdefault(name, fresh)
        entries[name] = replace(entry, actions=(*entry.actions, action))
    return entries
