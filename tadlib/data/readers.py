"""Readers of published annotation formats, into entries that may lack duration and frame rate.

ActivityNet-style JSON, plain or gzip, as written by ActivityNet, OpenTAD, ActionFormer, TadTR and GAP, and T3AL's,
which has no `database` and no subset; THUMOS14's official text files; tables with named columns. Times are seconds,
or minutes:seconds. The frame rate may follow from frame counts, but not from T3AL's `duration_frame`, which counts
frames at 10 per second.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, TypeVar

from tadlib.data.annotations import Action, Video
from tadlib.files import naming, read_json, text_of, tidy

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp")
COLUMNS = {  # names of columns, ignoring case and - or _ or space
    "video": ("video-id", "video", "video-name", "filename"),
    "start": ("t-start", "start"),
    "end": ("t-end", "end"),
    "label": ("label", "class", "label-name"),
    "score": ("score",),
    "subset": ("subset",),
    "duration": ("duration", "video-duration", "seconds"),
    "fps": ("fps", "video-fps"),
}
CLOCK = re.compile(r"(?:(\d+):)?(\d+):([0-5]?\d(?:[.,]\d*)?)")  # hours:minutes:seconds
LONGEST_ID = 250  # bytes; file systems allow 255, with the ending
Value = TypeVar("Value")
THUMOS_ID = re.compile(r"video_(validation|test)_\d{7}")


@dataclass(frozen=True)
class Entry:
    """One video as described by a file; missing values are None."""

    subset: str | None
    duration: float | None
    fps: float | None
    actions: tuple[Action, ...]


@dataclass
class Names:
    """Normalises names (`files.tidy`; videos without file extension) and counts changes by kind (`checks.KINDS`)."""

    changed: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[bool, object], tuple[str, str]] = field(default_factory=dict)

    def label(self, name: object) -> str:
        """Normalise the name of a class or subset."""
        return self._of(name, False)

    def video(self, name: object) -> str:
        """Normalise a video's id: "ann.mp4" becomes "ann"."""
        return self._of(name, True)

    def _of(self, name: object, video: bool) -> str:
        if (video, name) not in self._known:  # names repeat in every row
            found, kind = tidy(name), ""
            if found != str(name):
                kind = "name with white space or decomposed letters"
            if video and PurePath(found).suffix.lower() in SUFFIXES:
                found, kind = found[: -len(PurePath(found).suffix)], "video named with the ending of its file"
            self._known[video, name] = found, kind
        found, kind = self._known[video, name]
        if kind:
            self.changed[kind] += 1
        return found

    def videos(self, content: Mapping[str, Value], path: Path | str) -> dict[str, Value]:
        """Key a JSON object by normalised video id; raises ValueError if two keys are the same video."""
        spelt: dict[str, str] = {}
        for key in content:
            with naming(path):
                name = self.video(key)
            if name in spelt:
                raise ValueError(f"{path}: keys {spelt[name]!r} and {key!r} are both video {name!r}: keep one of them")
            spelt[name] = key
        return {name: content[key] for name, key in spelt.items()}


def read(path: Path | str, names: Names | None = None) -> dict[str, Entry]:
    """Read the entries of an annotation file, or of a folder of THUMOS14's text files, by video.

    `names` counts normalised names. Raises ValueError naming file and video for an id that is no name of a file.
    """
    path, names = Path(path), names or Names()
    reader = read_thumos_text if path.is_dir() else read_csv if ".csv" in path.suffixes else read_json_entries
    for name in (entries := reader(path, names)):  # which name files, on any system
        if not name or name.startswith(".") or PureWindowsPath(name).name != name or len(name.encode()) > LONGEST_ID:
            raise ValueError(
                f"{path}: video id {name!r} must be a file's name without folder and ending, at most {LONGEST_ID} bytes"
            )
    return entries


def read_json_entries(path: Path | str, names: Names | None = None) -> dict[str, Entry]:
    """Read the entries of an ActivityNet-style JSON file; raises ValueError naming file, video and field."""
    content, names = read_json(path), names or Names()
    database = content.get("database", content) if isinstance(content, dict) else None
    if not isinstance(database, dict) or not all(
        isinstance(entry, dict) and "annotations" in entry for entry in database.values()
    ):
        raise ValueError(f"{path} has no 'database' of videos with 'annotations': expected ActivityNet's layout")
    return {name: _entry(path, name, entry, names) for name, entry in names.videos(database, path).items()}


def _entry(path: Path | str, name: str, entry: Mapping[str, Any], names: Names) -> Entry:
    try:
        actions = tuple(
            Action(seconds(row["segment"][0]), seconds(row["segment"][1]), names.label(row["label"]))
            for row in entry["annotations"]
        )
        duration = _number(entry.get("duration", entry.get("duration_second")))
        fps, frames = _number(entry.get("fps")), _number(entry.get("frame"))
        if fps is None and frames and duration:
            fps = frames / duration
        return Entry(names.label(entry.get("subset") or "") or _subset_of(name), duration, fps, actions)
    except KeyError as missing:
        raise ValueError(f"{path}: video {name} has no field {missing}") from missing
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: video {name} cannot be read: {error}") from error


def seconds(value: Any) -> float:
    """Parse seconds: a number, or hours:minutes:seconds, with a comma or a point; raises ValueError for others."""
    if not isinstance(value, str):
        return float(value)
    if clock := CLOCK.fullmatch(value.strip()):
        hours, minutes, rest = clock.groups()
        return 3600 * float(hours or 0) + 60 * float(minutes) + float(rest.replace(",", "."))
    return float(value.replace(",", ".") if value.count(",") == 1 and "." not in value else value)


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else seconds(value)


def _subset_of(name: str) -> str | None:
    """Subset of a video according to THUMOS14's file names."""
    match = THUMOS_ID.fullmatch(name)
    return {"validation": "val", "test": "test"}[match[1]] if match else None


def whole(path: Path | str, name: str, entry: Entry) -> Video:
    """Convert a complete entry to a video; raises ValueError naming file, video and the missing field."""
    for missing in ("subset", "duration", "fps"):
        if getattr(entry, missing) is None:
            raise ValueError(
                f"{path}: video {name} has no field '{missing}': give it there, or in info.json beside it as "
                f'{{"{name}": {{"{missing}": ...}}}}'
            )
    return Video(name, entry.duration, entry.fps, entry.subset, entry.actions)


def read_thumos_text(folder: Path | str, names: Names | None = None) -> dict[str, Entry]:
    """Read THUMOS14's official text files, `<Class>_val.txt` and `<Class>_test.txt`, at any depth.

    A line is `video start end` in seconds; `Ambiguous_*.txt` holds ambiguous regions.
    """
    entries: dict[str, Entry] = {}
    names = names or Names()
    for suffix in ("val", "test"):
        for path in sorted(Path(folder).rglob(f"*_{suffix}.txt")):
            for spelt, action in _lines(path, names.label(path.name.removesuffix(f"_{suffix}.txt"))):
                with naming(path):
                    name = names.video(spelt)
                entries[name] = _with(entries.get(name), Entry(suffix, None, None, (action,)), f"{path}: video {name}")
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
                pass  # reported below, like a line with too few parts
        if parts and not path.name.startswith("readme"):
            raise ValueError(f"{path}, line {number}: expected 'video start end' in seconds, got {line!r}")


def read_csv(path: Path | str, names: Names | None = None) -> dict[str, Entry]:
    """Read the entries of a table, one action a row; columns are found by name (`video-id, t-start, t-end, label`)."""
    names, entries = names or Names(), {}
    columns = columns_of(path, text_of(path), ("video", "start", "end", "label"))
    for number, values in enumerate(zip(*columns.values(), strict=True), start=2):
        value = dict(zip(columns, values, strict=True))
        try:
            action = Action(seconds(value["start"]), seconds(value["end"]), names.label(value["label"]))
            name = names.video(value["video"])
            subset = names.label(value.get("subset", "")) or _subset_of(name)
            fresh = Entry(subset, _number(value.get("duration")), _number(value.get("fps")), (action,))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {value} cannot be read: {error}") from error
        entries[name] = _with(entries.get(name), fresh, f"{path}, line {number}: video {name}")
    return entries


def _with(entry: Entry | None, row: Entry, place: str) -> Entry:
    """Add the actions of another row to a video's entry; raises ValueError if the two disagree."""
    entry, known = entry or replace(row, actions=()), {}
    for name in ("subset", "duration", "fps"):
        was, now = getattr(entry, name), getattr(row, name)
        if None not in (was, now) and was != now:
            raise ValueError(f"{place} has {name} {now!r}, in an earlier row {was!r}: a video has one {name}")
        known[name] = now if was is None else was
    return replace(entry, actions=entry.actions + row.actions, **known)


def columns_of(path: Path | str, text: str, needed: Sequence[str]) -> dict[str, Sequence[str]]:
    """Columns of a table that are named in `COLUMNS`, by our name, with their values as text.

    The separator is that of the header: comma, semicolon or tab. Raises ValueError naming the file for a missing
    `needed` column, and for a line with more or fewer fields than the header.
    """
    first, _, _ = text.lstrip().partition("\n")
    mark = max(",;\t", key=first.count)  # comma if there is none
    table = csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True)
    header, *rows = [row for row in table if any(row)] or [[]]
    place = _places(header)
    if missing := [COLUMNS[name][0] for name in needed if name not in place]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}; its columns: {', '.join(header)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}: line {number} has {len(row)} fields, the header {len(header)}: put a field that holds "
                f"{mark!r} between quotes"
            )
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return {name: columns[at] for name, at in place.items()}


def _places(header: Sequence[str]) -> dict[str, int]:
    """Index of our columns in a header."""
    spelt = [re.sub(r"[\s_]+", "-", name.strip().lower()) for name in header]
    found = {
        ours: next((spelt.index(name) for name in known if name in spelt), None) for ours, known in COLUMNS.items()
    }
    return {ours: at for ours, at in found.items() if at is not None}
