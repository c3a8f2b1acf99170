"""Durations and frame rates of videos, from published info files or from the video itself."""

import csv
import glob
import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tadlib.data.annotations import Video
from tadlib.data.readers import Entry, Names, seconds, whole
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import probe
from tadlib.files import read_json, shortened, text_of

PATTERNS = ("info.json", "video_info*.json", "video_info*.json.gz", "video_info*.csv", "video_info*.csv.gz")
NAMES = {  # names of the fields in info files
    "duration": ("duration", "seconds"),
    "fps": ("fps", "video_fps"),
    "frames": ("frames", "frame_length", "numFrame"),
}


@dataclass(frozen=True)
class Length:
    """A video's duration in seconds and frame rate; None if unknown."""

    duration: float | None = None
    fps: float | None = None


def read_lengths(folder: Path | str) -> dict[str, Length]:
    """Read the info files of a folder, by video; earlier files of `PATTERNS` have priority.

    Formats: `info.json`, GAP's `video_info_stride*.json`, BMN's `video_info*.csv`, and THUMOS14's `durations_*.txt`.
    """
    found: dict[str, Length] = {}
    names = Names()
    for path in reversed([path for pattern in PATTERNS for path in sorted(Path(folder).glob(pattern))]):
        for name, fields in names.videos(dict(_rows(path)), path).items():
            found[name] = _length(path, name, fields)
    for path in sorted(Path(folder).glob("durations_*.txt")):
        words = text_of(path).split()
        for name, lasts in names.videos(dict(zip(words[::2], words[1::2], strict=True)), path).items():
            found.setdefault(name, Length(float(lasts)))
    return found


def _rows(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if ".csv" in path.suffixes:
        # BMN's `fps` is nominal; `rfps` is measured
        table = csv.DictReader(io.StringIO(text_of(path)), skipinitialspace=True)
        if "video" not in (table.fieldnames or ()):
            raise ValueError(f"{path} has no column 'video'; its columns: {', '.join(table.fieldnames or ())}")
        return [(row["video"], row | {"fps": row.get("rfps") or row.get("fps")}) for row in table]
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(fields, dict) for fields in content.values()):
        raise ValueError(f"{path} must map every video to its fields (frames, fps, duration)")
    return content.items()


def _length(path: Path, name: str, fields: Mapping[str, Any]) -> Length:
    value = {ours: next((fields[n] for n in names if fields.get(n)), None) for ours, names in NAMES.items()}
    try:
        duration, fps, frames = (None if v is None else seconds(v) for v in value.values())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: video {name} cannot be read: {error}") from error
    if frames and fps and not duration:
        duration = frames / fps  # n frames last n frame periods
    return Length(duration, fps)


def variants(video_id: str) -> tuple[str, ...]:
    """A video's id and its other spellings: with or without `v_` (ActivityNet), with decomposed letters, as in files
    copied from a Mac ("é" is two), and shortened, as features are stored.
    """
    spellings = [video_id, f"v_{video_id}", video_id.removeprefix("v_")]
    spellings += [unicodedata.normalize("NFD", name) for name in spellings]
    return tuple(dict.fromkeys((*spellings, *map(shortened, spellings))))


def spelt(video_id: str, known: Collection[str]) -> str:
    """The spelling of a video's id among known ones; the id itself if there is none."""
    return next((name for name in variants(video_id) if name in known), video_id)


def complete(source: Path, entries: Mapping[str, Entry], folder: Path) -> tuple[Video, ...]:
    """Convert entries to videos; missing values are taken from the info files of `folder`, or from its `videos/`.

    Raises ValueError naming file, video and field if a value is missing everywhere.
    """
    lengths = read_lengths(folder)
    videos = []
    for name, entry in entries.items():
        entry = _filled(entry, lengths.get(spelt(name, lengths), Length()))
        if entry.duration is None or entry.fps is None:
            entry = _filled(entry, measure(folder / "videos", name))
        videos.append(whole(source, name, entry))
    return tuple(videos)


def other_lengths(entries: Mapping[str, Entry], folder: Path, least: float = 3.0) -> dict[str, float]:
    """Difference in seconds between info file and annotation for videos where it is more than `least`."""
    lengths, found = read_lengths(folder), {}
    for name, entry in entries.items():
        stated = lengths.get(spelt(name, lengths), Length()).duration
        if stated and entry.duration and abs(stated - entry.duration) > least:
            found[name] = stated - entry.duration
    return found


def _filled(entry: Entry, length: Length) -> Entry:
    return replace(entry, **{name: value for name, value in vars(length).items() if getattr(entry, name) is None})


def files_of(folder: Path | str, video_id: str) -> list[Path]:
    """Files of a video, with any ending, by spelling and ending."""
    found = [path for name in variants(video_id) for path in sorted(Path(folder).glob(f"{glob.escape(name)}.*"))]
    return [path for path in found if path.stem in variants(video_id)]  # a.b.mp4 is no file of a


def measure(folder: Path | str, video_id: str) -> Length:
    """Duration and mean frame rate from a video's file; empty if there is no readable one."""
    for path in files_of(folder, video_id):
        with suppress(BrokenVideo):  # extraction names a file that is no video
            clip = probe(path)
            return Length(clip.duration or None, clip.fps)
    return Length()
