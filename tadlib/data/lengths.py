"""Durations and frame rates of videos, from published info files or from the video itself."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tadlib.data.annotations import Action, Names, Video
from tadlib.data.layouts import positive
from tadlib.data.readers import Entry
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import probe
from tadlib.files import listed, named, read_json, shortened, tidy
from tadlib.foreign import check_unique, csv_in, text_of

PATTERNS = (
    "info.json", "video_info*.json", "video_info*.json.gz", "video_info*.csv", "video_info*.csv.gz", "durations_*.txt",
)  # fmt: skip
NAMES = {  # names of the fields in info files
    "duration": ("duration", "seconds"),
    "fps": ("fps", "video_fps"),
    "frames": ("frames", "frame_length", "numFrame"),
}
OTHER_LENGTH = 3.0  # seconds from which a duration in an info file is that of another copy


def read_lengths(folder: Path | str) -> dict[str, Entry]:
    """Read the info files of a folder, by video; earlier files of `PATTERNS` have priority.

    Formats: `info.json`, GAP's `video_info_stride*.json`, BMN's `video_info*.csv`, and THUMOS14's `durations_*.txt`.
    """
    found, names = dict[str, Entry](), Names()
    for path in reversed([path for pattern in PATTERNS for path in listed(folder, pattern)]):
        for name, fields in names.videos(dict(_rows(path)), path).items():
            found[name] = _length(f"{path}: video {name}", fields)
    return found


def _rows(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if path.suffix == ".txt":
        words = text_of(path).split()
        if len(words) % 2:
            raise ValueError(f"{path} holds {len(words)} words: expected pairs of a video and its seconds")
        check_unique(words[::2], path, "video")
        return [(video, {"duration": lasts}) for video, lasts in zip(words[::2], words[1::2], strict=True)]
    if ".csv" in path.suffixes:
        header, rows, _ = csv_in(text_of(path), path)
        check_unique(header, path, "column")
        if "video" not in header:
            raise ValueError(f"{path} has no column 'video'; its columns: {', '.join(header)}")
        table = [dict(zip(header, row, strict=True)) for row in rows]
        check_unique((row["video"] for row in table), path, "video")
        # BMN's `fps` is nominal; `rfps` is measured
        return [(row["video"], row | {"fps": row.get("rfps") or row.get("fps")}) for row in table]
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(fields, dict) for fields in content.values()):
        raise ValueError(f"{path} must map every video to its fields (frames, fps, duration)")
    return content.items()


def _length(place: str, fields: Mapping[str, Any]) -> Entry:
    given = {ours: next((name for name in names if fields.get(name)), names[0]) for ours, names in NAMES.items()}
    duration, fps, frames = (positive(place, fields, name) for name in given.values())
    subset = fields.get("subset") or None
    if not isinstance(subset, str | None):
        raise ValueError(f"{place} has subset {subset!r}: expected text")
    return Entry(subset and tidy(subset), duration, fps, frames=frames)


def variants(video_id: str) -> tuple[str, ...]:
    """Return a video's id and its other spellings: with or without `v_` (ActivityNet), with decomposed letters as in
    files copied from a Mac ("é" is two), and shortened as in the names of features.
    """
    spellings = [video_id, f"v_{video_id}", video_id.removeprefix("v_")]
    spellings += [unicodedata.normalize("NFD", name) for name in spellings]
    return tuple(dict.fromkeys((*spellings, *map(shortened, spellings))))


def spelt(video_id: str, known: Collection[str]) -> str:
    """Return the spelling of a video's id among `known` ones; the id itself if there is none."""
    return next((name for name in variants(video_id) if name in known), video_id)


def stated(videos: Iterable[str], folder: Path) -> dict[str, Entry]:
    """Return the lengths of videos from the info files of a folder."""
    lengths = read_lengths(folder)
    return {name: lengths[spelling] for name in videos if (spelling := spelt(name, lengths)) in lengths}


def filled(entry: Entry, other: Entry) -> Entry:
    """Fill in missing values of an entry from another one of its video."""
    missing = {name: value for name, value in vars(other).items() if value is not None and getattr(entry, name) is None}
    return replace(entry, **missing) if missing else entry


def complete(source: Path, entries: Mapping[str, Entry], folder: Path) -> tuple[Video, ...]:
    """Convert entries to videos; a missing duration or frame rate is measured on the files in `videos/`.

    Raises ValueError naming file, video and field if a value is missing everywhere.
    """
    videos = []
    for name, entry in entries.items():
        if entry.duration is None or entry.fps is None:
            entry = filled(entry, measure(folder / "videos", name))
        for missing in ("subset", "duration", "fps"):
            if getattr(entry, missing) is None:
                raise ValueError(
                    f"{source}: video {name} has no field '{missing}': give it there, or in info.json beside it as "
                    f'{{"{name}": {{"{missing}": ...}}}}'
                )
        videos.append(Video(name, entry.duration, entry.fps, entry.subset, in_seconds(entry)))
    return tuple(videos)


def in_seconds(entry: Entry) -> tuple[Action, ...]:
    """Return the actions of an entry in seconds; times in frames need its frame rate."""
    rate = entry.fps if entry.in_frames and entry.actions else 1
    return tuple(Action(each.start / rate, each.end / rate, each.label) for each in entry.actions)


def other_lengths(entries: Mapping[str, Entry], lengths: Mapping[str, Entry]) -> dict[str, float]:
    """Return the difference in seconds between info file and annotation for videos where it exceeds 3 s."""
    pairs = [(name, length.duration, entries[name].duration) for name, length in lengths.items() if name in entries]
    found = {name: stated - annotated for name, stated, annotated in pairs if stated and annotated}
    return {name: difference for name, difference in found.items() if abs(difference) > OTHER_LENGTH}


def files_of(folder: Path | str, video_id: str) -> list[Path]:
    """Return the files of a video with any extension, sorted by spelling, then extension."""
    return [path for name in variants(video_id) for path in named(folder, name)]


def measure(folder: Path | str, video_id: str) -> Entry:
    """Measure duration and mean frame rate on a video's file; empty if no file is readable."""
    for path in files_of(folder, video_id):
        with suppress(BrokenVideo):  # extraction reports a file that is no video
            clip = probe(path)
            return Entry(duration=clip.duration or None, fps=clip.fps)
    return Entry()
