"""Readers for annotation and result files: JSON in ActivityNet's layout or CSV, plain or gzip.

JSON: `database: {video: {subset, annotations: [{segment, label}]}}` (or that mapping alone) and `results: {video:
[{segment, score, label}]}` (or that mapping alone). CSV: columns by name, `video-id, t-start, t-end, label[, score,
subset]`, in any order. Times in seconds. Invalid rows are counted by kind and named, and are an error unless the
caller drops them. Other rows are kept, as in published scorers: times outside the video, segments of length zero,
any score, infinite ones too, and duplicate rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tadlib.data.annotations import AMBIGUOUS, Action, Video
from tadlib.data.lengths import spelt
from tadlib.data.readers import Names, columns_of, seconds
from tadlib.files import json_in, naming, text_of, tidy

MAX_EXAMPLES = 3  # number of bad rows named per kind in a message


class Rows(NamedTuple):
    """Detections of one video, in the order of the file."""

    segments: Float[np.ndarray, "n 2"]  # start, end; seconds
    scores: Float[np.ndarray, " n"]
    labels: tuple[str, ...]


@dataclass
class Table:
    """Columns of a file; values that are no number are NaN."""

    video: list[str] = field(default_factory=list)
    segment: list[tuple[object, object]] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    score: list[object] = field(default_factory=list)
    subset: list[str] = field(default_factory=list)
    about: dict[str, Mapping] = field(default_factory=dict)  # of JSON annotations: the entry of each video


class Faults(NamedTuple):
    """Numbers of invalid rows by kind, with examples."""

    counts: dict[str, int]
    examples: dict[str, list[str]]


def read_actions(
    path: Path | str, *, drop_bad: bool = False, names: Names | None = None
) -> tuple[tuple[Video, ...], dict[str, int]]:
    """Read videos with their actions, ambiguous regions included, and numbers of dropped rows by kind.

    Frame rate and duration are 0 if missing; `names` counts normalised names. Raises ValueError naming the bad rows.
    """
    table = _read(path, "database", names or Names())
    segments = _times(table.segment)
    bad = _bad_rows(table, segments)
    faults = _faults(bad, table, segments)
    _refuse(path, faults, drop_bad)
    actions: dict[str, list[Action]] = {video: [] for video in table.about}
    subsets = {video: str(entry.get("subset", "")) for video, entry in table.about.items()}
    wrong = np.any(list(bad.values()), axis=0)
    for row in np.flatnonzero(~wrong).tolist():
        video = table.video[row]
        actions.setdefault(video, []).append(Action(*segments[row].tolist(), table.label[row]))
        subset = table.subset[row] if table.subset else ""
        if subsets.setdefault(video, subset) != subset and table.subset:
            raise ValueError(
                f"{path}, row {row + 1}: video {video} is of subset {subset!r}, in an earlier row of "
                f"{subsets[video]!r}: a video has one subset"
            )
    videos = []
    for video, own in actions.items():
        duration, fps = (_length(path, video, name, table.about.get(video, {})) for name in ("duration", "fps"))
        videos.append(Video(video, duration, fps, subsets[video], tuple(own)))
    return tuple(videos), faults.counts


def read_found(
    path: Path | str,
    videos: Collection[str],
    classes: Collection[str],
    *,
    drop_bad: bool = False,
    names: Names | None = None,
) -> tuple[dict[str, Rows], dict[str, int]]:
    """Read the detections of each video, and numbers of dropped rows by kind.

    Rows of unknown videos and classes are bad; a `v_` before an id in only one of the files is ignored. Raises
    ValueError naming the bad rows.
    """
    table = _read(path, "results", names or Names())
    known_as = {name: spelt(name, videos) for name in dict.fromkeys(table.video)}
    for name, video in known_as.items():
        if video != name and video in known_as:
            raise ValueError(f"{path}: {name!r} and {video!r} are both video {video!r}: keep one of them")
    segments, scores = _times(table.segment), _numbers([_score_value(score) for score in table.score])
    if len(scores) != len(segments):
        raise ValueError(f"{path}: detections need a score each, expected a column or field 'score'")
    known = frozenset(classes) - {AMBIGUOUS}
    bad = _bad_rows(table, segments) | {
        "score is no number": np.isnan(scores),
        "unknown video": np.array([known_as[name] not in videos for name in table.video], dtype=bool),
        "unknown class": np.array([label not in known for label in table.label], dtype=bool),
    }
    faults = _faults(bad, table, segments, scores)
    _refuse(path, faults, drop_bad)
    right = np.flatnonzero(~np.any(list(bad.values()), axis=0))
    rows: dict[str, list[int]] = {}
    for row in right.tolist():
        rows.setdefault(known_as[table.video[row]], []).append(row)
    return {
        video: Rows(segments[own], scores[own], tuple(table.label[row] for row in own)) for video, own in rows.items()
    }, faults.counts


def read_classes(path: Path | str) -> tuple[str, ...]:
    """Read class names, one a line; raises ValueError if there are none or one comes twice."""
    names = tuple(name for line in text_of(path).splitlines() if (name := tidy(line, path)))
    if not names or len(set(names)) != len(names):
        twice = next((f", {name!r} twice" for place, name in enumerate(names) if name in names[:place]), "")
        raise ValueError(f"{path} must name each class once, one a line; got {len(names)} lines{twice}")
    return names


def _read(path: Path | str, key: str, names: Names) -> Table:
    """Read the rows of a file; `key` is the key of ActivityNet's layout."""
    text = text_of(path).strip()
    if not text:
        raise ValueError(f"{path} is empty: expected JSON in ActivityNet's layout or CSV with a header")
    if text[0] not in "{[":
        return _from_csv(path, text, names)
    content = json_in(text, path)
    inner = content.get(key, content) if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        raise ValueError(f"{path} has no {key!r}: expected ActivityNet's layout, a mapping from video to its rows")
    return _from_json(path, names.videos(inner, path), key, names)


def _from_json(path: Path | str, videos: Mapping, key: str, names: Names) -> Table:
    table = Table()
    for video, entry in videos.items():
        try:
            rows = entry.get("annotations", []) if key == "database" else entry
            table.video += [video] * len(rows)
            table.segment += [() if isinstance(row["segment"], str) else tuple(row["segment"]) for row in rows]
            table.label += [names.label(row["label"]) for row in rows]
            if key == "results":
                table.score += [row["score"] for row in rows]
            else:
                table.about[video] = entry | {"subset": names.label(entry.get("subset") or "")}
        except ValueError as error:
            raise ValueError(f"{path}: video {video} cannot be read: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: video {video} cannot be read ({error!r}): expected rows with 'segment' and 'label'"
                + (" and 'score'" if key == "results" else " under 'annotations'")
            ) from error
    return table


def _from_csv(path: Path | str, text: str, names: Names) -> Table:
    column = columns_of(path, text, ("video", "start", "end", "label"))
    with naming(path):
        videos = list(map(names.video, column["video"]))
        labels, subsets = (list(map(names.label, column.get(name, ()))) for name in ("label", "subset"))
    segments = list(zip(column["start"], column["end"], strict=True))
    return Table(videos, segments, labels, list(column.get("score", ())), subsets)


def _times(values: Sequence[tuple]) -> Float[np.ndarray, "n 2"]:
    """Segments as floats; NaN for invalid numbers and pairs."""
    pairs = [value if len(value) == 2 else (None, None) for value in values]
    return _numbers([each for pair in pairs for each in pair]).reshape(-1, 2)


def _numbers(values: Sequence) -> Float[np.ndarray, " n"]:
    """Values as floats; NaN for invalid ones."""
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return np.nan if isinstance(value, bool) else seconds(value)
    except (ValueError, TypeError):
        return np.nan


def _score_value(score: object) -> object:
    """Return a score, or None for minutes:seconds, which only a time may be."""
    return None if isinstance(score, str) and ":" in score else score


def _length(path: Path | str, video: str, name: str, entry: Mapping[str, object]) -> float:
    """Duration or frame rate of a video, 0 if missing; raises ValueError for an invalid one."""
    value = entry.get(name)
    number = 0.0 if value is None or value == "" else _number(value)
    if not 0 <= number < np.inf:
        raise ValueError(f"{path}: video {video} has {name} {value!r}: expected a positive number")
    return number


def _bad_rows(table: Table, segments: Float[np.ndarray, "n 2"]) -> dict[str, Bool[np.ndarray, " n"]]:
    return {
        "no label": np.array([not label for label in table.label], dtype=bool),
        "time is no finite number": ~np.isfinite(segments).all(axis=1),
        "end before start": segments[:, 1] < segments[:, 0],
    }


def _faults(
    bad: Mapping[str, Bool[np.ndarray, " n"]],
    table: Table,
    segments: Float[np.ndarray, "n 2"],
    scores: Float[np.ndarray, " n"] | None = None,
) -> Faults:
    counts = {kind: int(wrong.sum()) for kind, wrong in bad.items() if wrong.any()}
    examples = {
        kind: [
            f"row {row + 1}: video {table.video[row]} [{segments[row, 0]:g}, {segments[row, 1]:g}] "
            f"{table.label[row]!r}" + ("" if scores is None else f" score {scores[row]:g}")
            for row in np.flatnonzero(bad[kind])[:MAX_EXAMPLES].tolist()
        ]
        for kind in counts
    }
    return Faults(counts, examples)


def _refuse(path: Path | str, faults: Faults, drop_bad: bool) -> None:
    if not faults.counts or drop_bad:
        return
    kinds = []
    for kind, number in faults.counts.items():
        more = ", ..." if number > len(faults.examples[kind]) else ""
        kinds.append(f"{number} with {kind} ({', '.join(faults.examples[kind])}{more})")
    raise ValueError(f"{path}: {'; '.join(kinds)}; repair the file, or drop these rows with --drop-bad")
