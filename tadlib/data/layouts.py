"""Layouts of annotation and result files, read as rows of one table.

ActivityNet's JSON, as written by ActivityNet, OpenTAD, ActionFormer, TadTR and GAP, and T3AL's, which has no
`database`; tables with named columns; THUMOS14's text files; Label Studio's tasks. Times are seconds, or
minutes:seconds. `key` is "database" for annotations, "results" for detections, empty to tell from a text file.
"""

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

from tadlib.data.annotations import SUFFIXES, Names
from tadlib.files import tidy
from tadlib.foreign import check_unique, csv_in, text_of

COLUMNS = {  # names of columns, where case, -, _ and spaces are ignored; the first one found counts, if two are allowed
    "video": ("video-id", "video", "video-name", "filename", "file-name", "file", "video-path", "video-file"),
    "start": ("t-start", "start", "start-time", "begin", "segment-start", "start-seconds"),
    "end": ("t-end", "end", "end-time", "stop", "segment-end", "end-seconds"),
    "label": ("label", "class", "label-name", "class-name", "action", "category", "tag", "text"),
    "score": ("score", "confidence"),
    "subset": ("subset",),
    "duration": ("duration", "video-duration", "seconds"),
    "fps": ("fps", "video-fps"),
}
LARGEST = 10**7  # seconds (115 days), frames (3 days at 30 frames per second), or frames per second
CLOCK = re.compile(r"(?:(\d+):)?(\d+):([0-5]?\d(?:[.,]\d*)?)")  # hours:minutes:seconds
THUMOS_ID = re.compile(r"video_(validation|test)_\d{7}")
THUMOS14_CLASSES = tuple(
    "BaseballPitch BasketballDunk Billiards CleanAndJerk CliffDiving CricketBowling CricketShot Diving FrisbeeCatch "
    "GolfSwing HammerThrow HighJump JavelinThrow LongJump PoleVault Shotput SoccerPenalty TennisSwing ThrowDiscus "
    "VolleyballSpiking".split()
)
THUMOS14_NUMBERS = "7 9 12 21 22 23 24 26 31 33 36 40 45 51 68 79 85 92 93 97".split()  # ids in submissions
THUMOS14_NAMES = dict(zip(THUMOS14_NUMBERS, THUMOS14_CLASSES, strict=True))
TEXT_FILE = re.compile(r"(.+?)(?:_(val|test))?\.txt")


@dataclass
class Table:
    """Rows of a file, each an action or a detection; times and scores are unchanged."""

    path: Path
    video: list[str] = field(default_factory=list)
    segment: list[Sequence[Any]] = field(default_factory=list)  # (start, end)
    label: list[str] = field(default_factory=list)  # "" where it is no text
    score: list[Any] = field(default_factory=list)  # empty if the file has none
    about: dict[str, dict[str, Any]] = field(default_factory=dict)  # subset, duration and fps of each video
    lines: list[int] = field(default_factory=list)  # line of each row, in text files
    files: list[Path] = field(default_factory=list)  # file of each row, in a folder
    in_frames: set[str] = field(default_factory=set)  # videos whose times are frames

    def place(self, row: int) -> str:
        """Return the line of a row, in a folder with its file, or else its number."""
        where = f"{self.files[row]}, " if self.files else ""
        return f"{where}line {self.lines[row]}" if self.lines else f"row {row + 1}"

    def tell(self, row: int, name: str, value: Any) -> None:
        """Record a property of a row's video; raises ValueError if an earlier row has another value."""
        known = self.about.setdefault(self.video[row], {})
        if value not in ("", None) and known.setdefault(name, value) != value:
            both = f"{name} {value!r}, in an earlier row {known[name]!r}: a video has one {name}"
            raise ValueError(f"{self.path}, {self.place(row)}: video {self.video[row]} has {both}")


def number(value: Any) -> float:
    """Convert a number, or its text with a decimal point or comma, or a fraction; raises ValueError for others."""
    try:  # not `suppress`, which takes longer than the rest: every number of a table comes here
        if isinstance(value, str) and "_" not in value:
            parts = [part if "." in part else part.replace(",", ".") for part in value.split("/")]
            numerator, denominator = map(float, parts if len(parts) > 1 else [*parts, 1])
            return numerator / denominator
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        pass
    raise ValueError(f"{reprlib.repr(value)} is no number")


def seconds(value: Any) -> float:
    """Convert seconds: a number, or hours:minutes:seconds, with a comma or a point; raises ValueError for others."""
    clock = CLOCK.fullmatch(value.strip()) if isinstance(value, str) and ":" in value else None
    hours, minutes, rest = clock.groups() if clock else (0, 0, value)
    before = 3600 * number(hours or 0) + 60 * number(minutes) if clock else 0
    if not abs(found := before + number(rest)) <= LARGEST:
        raise ValueError(f"{reprlib.repr(value)} is no finite number up to {LARGEST:,}")
    return found


def positive(place: str, fields: Mapping[str, Any], name: str) -> float | None:
    """Return a positive field of a video, None if missing; raises ValueError naming `place` for another value."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    convert = seconds if name.startswith(("duration", "seconds")) else number  # a rate of 30:1 is no clock time
    try:  # not `suppress`: lengths of ActivityNet's videos come here 160,000 times
        if 1 / LARGEST < (found := convert(value)) <= LARGEST:
            return found
    except ValueError:
        pass  # reported below
    raise ValueError(f"{place} has {name} {reprlib.repr(value)}: expected a positive number up to {LARGEST:,}")


def read_activitynet(table: Table, content: Any, key: str, names: Names) -> None:
    """Add the rows of ActivityNet's JSON; raises ValueError naming the video and what is wrong."""
    detections, other = key == "results", {"database", "results"} - {key}
    inner = content.get(key, {} if other & set(content) else content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or (key not in content and other & set(content)):
        raise ValueError(
            f"{table.path} has no {key!r}: expected ActivityNet's layout, a mapping from video to its "
            f"{'rows' if detections else 'annotations'}, or a list of Label Studio's tasks"
        )
    for video, entry in names.videos(inner, table.path).items():
        try:
            rows = entry if detections else entry.get("annotations", []) if key in content else entry["annotations"]
            if not isinstance(rows, list):
                raise TypeError(f"{type(rows).__name__} in place of a list")
            table.segment += [row["segment"] if isinstance(row["segment"], list) else () for row in rows]
            table.label += [names.label(row["label"]) for row in rows]
            table.score += [row["score"] for row in rows] if detections else []
            table.video += [video] * len(rows)
            about = {} if detections else dict(entry)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{table.path}: video {video} cannot be read ({error!r}): expected rows with 'segment' and 'label'"
                + (" and 'score'" if detections else " under 'annotations'")
            ) from error
        subset = about.get("subset") or ""
        if not isinstance(subset, str):
            raise ValueError(f"{table.path}: video {video} has subset {reprlib.repr(subset)}: expected text")
        table.about[video] = about | {"subset": names.label(subset)}


def read_csv(table: Table, text: str, key: str, names: Names) -> None:
    """Add the rows of a table, whose columns are found by name (`video-id, t-start, t-end, label`)."""
    header, rows, table.lines = csv_in(text, table.path)
    at = columns_of(table.path, header, ("video", "start", "end", "label"))
    column = {name: [row[place] for row in rows] for name, place in at.items()}
    table.video += map(names.video, column["video"])
    table.segment += zip(column["start"], column["end"], strict=True)
    table.label += map(names.label, column["label"])
    table.score += column.get("score", ())
    if key == "results" and "score" not in at and tidy(header[at["label"]]).lower() == "text":
        table.score += map(float, range(len(rows), 0, -1))  # answers of a language model, the first ranks highest
    table.about = {video: {} for video in table.video}
    for name in ("subset", "duration", "fps"):
        for row, value in enumerate(column.get(name, ())):
            table.tell(row, name, names.label(value))


def columns_of(path: Path | str, header: Sequence[str], needed: Iterable[str]) -> dict[str, int]:
    """Return the indices of `COLUMNS` in a header; raises ValueError for a missing `needed` column or a duplicate."""
    spelt = [re.sub(r"[\s_]+", "-", name.strip().lower()) for name in header]
    same = {name: ours for ours in ("start", "end", "label", "score") for name in COLUMNS[ours]}  # perhaps frames
    check_unique((same.get(name, name) for name in spelt if name), path, "column")
    at = {ours: next((spelt.index(name) for name in known if name in spelt), None) for ours, known in COLUMNS.items()}
    if missing := [COLUMNS[name][0] for name in needed if at[name] is None]:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}; its columns: {reprlib.repr(header)}")
    return {ours: place for ours, place in at.items() if place is not None}


def read_folder(table: Table, key: str, names: Names) -> None:
    """Add the rows of text files at any depth: `<Class>_val.txt` and `<Class>_test.txt`, else any .txt files."""
    paths = [path for suffix in ("_val", "_test") for path in sorted(table.path.rglob(f"*{suffix}.txt"))]
    paths = [path for path in paths or sorted(table.path.rglob("*.txt")) if not path.name.lower().startswith("readme")]
    for path in paths:
        read_lines(table, text_of(path), key, names, path)
    if not table.video:
        raise ValueError(f"{table.path} is a directory without rows: expected files like Diving_val.txt in it")


def read_lines(table: Table, text: str, key: str, names: Names, path: Path | None = None) -> None:
    """Add lines `video start end`, with a score for detections; the class follows `end`, or is the file's name."""
    label, subset = TEXT_FILE.fullmatch((path or table.path).name).groups()
    first = next(filter(None, map(str.split, text.splitlines())), [])
    scored = key == "results" or (not key and (len(first) == 5 or (len(first) == 4 and not first[3][:1].isalpha())))
    for line, words in enumerate(map(str.split, text.splitlines()), start=1):
        if not words:
            continue
        if len(words) not in (3 + scored, 4 + scored):
            given, score = reprlib.repr(" ".join(words)), " score" if scored else ""
            raise ValueError(
                f"{path or table.path}, line {line}: expected 'video start end{score}' in seconds, "
                f"or 'video start end class{score}'; got {given}"
            )
        table.video.append(names.video(words[0]))
        table.segment.append(words[1:3])
        name = words[3] if len(words) == 4 + scored else label
        numbers = THUMOS14_NAMES if THUMOS_ID.fullmatch(table.video[-1]) else {}
        table.label.append(names.label(numbers.get(name, name)))
        table.score += words[-1:] if scored else []
        table.lines.append(line)
        table.files += [path] if path else []
        table.tell(len(table.video) - 1, "subset", subset)


def read_tasks(table: Table, content: Sequence[Any], key: str, names: Names) -> None:
    """Add the regions of Label Studio's tasks: ranges of frames, counted from 1 with both ends included, or of seconds.

    Frames have the frame rate of the project, which a task may state as `fps`, otherwise that of the video.
    """
    for place, task in enumerate(content, start=1):
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not (file := _video_in(data)):
            raise ValueError(f"{table.path} has no {key!r}, and its task {place} no 'data' with a video file's name")
        video = names.video(file)
        about = table.about.setdefault(video, {})
        about |= {name: data[name] for name in ("subset", "duration") if data.get(name)}
        try:
            fps = positive("it", data, "fps")
            for region in _regions(task, "predictions" if key == "results" else "annotations"):
                value, ranges = region["value"], region["value"].get("ranges")
                labels = value.get("timelinelabels") or value.get("labels")
                for span in ranges or ([value] if "start" in value and "end" in value else []):
                    start, end = span["start"], span["end"]
                    if ranges:
                        start, end = ((number(each) - shift) / (fps or 1) for each, shift in ((start, 1), (end, 0)))
                        table.in_frames |= set() if fps else {video}
                    for label in labels if isinstance(labels, list) else [""]:
                        table.video.append(video)
                        table.segment.append((start, end))
                        table.label.append(names.label(label))
                        table.score += [region.get("score")] if key == "results" else []
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            reason = error if isinstance(error, ValueError) else f"{error!r}, expected results with a value"
            raise ValueError(f"{table.path}, task {place}: video {video} cannot be read: {reason}") from error


def _video_in(data: Mapping[str, Any]) -> str:
    """Return the file name of a task's video, without its URL and the 8-digit prefix of an upload."""
    for url in (data.get("video"), *data.values()):
        for part in url.split("?") if isinstance(url, str) else ():
            name = re.split(r"[\\/=]", unquote(part))[-1]
            if PurePath(name).suffix.lower() in SUFFIXES:
                return re.sub(r"^[0-9a-f]{8}-", "", name) if "/upload/" in part else name
    return ""


def _regions(task: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    finished = [each for each in task.get(kind) or () if not each.get("was_cancelled")]
    finished = [each for each in finished if each.get("ground_truth")] or finished
    if len(finished) > 1:
        raise ValueError(f"it has {len(finished)} {kind}: mark one of them as ground_truth")
    return finished[0]["result"] if finished else []
