"""Rows of annotation and result files (`data.layouts`), checked for scoring.

Invalid rows are counted by kind, and are an error that names them unless the caller drops them. All other rows are
kept, as in published scorers: times outside the video, segments of length zero, infinite scores, and duplicate rows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tadlib.data.annotations import AMBIGUOUS, Action, Names, Video
from tadlib.data.encoder import spoken
from tadlib.data.layouts import THUMOS14_NAMES, Table, number, positive, seconds
from tadlib.data.lengths import spelt
from tadlib.data.readers import read_table
from tadlib.files import tidy
from tadlib.foreign import text_of

MAX_EXAMPLES = 3  # number of invalid rows of each kind that a message names


class Rows(NamedTuple):
    """Detections of one video, in the order of the file."""

    segments: Float[np.ndarray, "n 2"]  # start, end; seconds
    scores: Float[np.ndarray, " n"]
    labels: tuple[str, ...]
    rows: Sequence[int] = ()  # places in the file, whose order counts for equal scores in several videos


def read_actions(
    path: Path | str, *, drop_bad: bool = False, names: Names | None = None, in_frames: bool = False
) -> tuple[tuple[Video, ...], dict[str, int]]:
    """Read videos with their actions, ambiguous regions included, and numbers of dropped rows by kind.

    Frame rate and duration are 0 if missing; `names` counts normalised names; `in_frames` as for `read_table`. Raises
    ValueError naming invalid rows, or a video whose frame rate is needed.
    """
    table = read_table(path, "database", names, in_frames)
    segments = _times(table.segment)
    if table.in_frames:
        rates = {video: positive(f"{path}: video {video}", about, "fps") for video, about in table.about.items()}
        if unknown := [video for video in table.video if video in table.in_frames and not rates[video]]:
            raise ValueError(f"{path}: times are frames of unknown rate, video {unknown[0]} has no fps: give it")
        segments /= np.array([rates[video] if video in table.in_frames else 1 for video in table.video])[:, None]
    counts, right = _checked(table, segments, None, {}, drop_bad)
    actions: dict[str, list[Action]] = {video: [] for video in table.about}
    for row in right:
        actions[table.video[row]].append(Action(*segments[row].tolist(), table.label[row]))
    videos = []
    for video, about in table.about.items():
        duration, fps = (positive(f"{path}: video {video}", about, name) or 0.0 for name in ("duration", "fps"))
        videos.append(Video(video, duration, fps, about.get("subset") or "", tuple(actions[video])))
    return tuple(videos), counts


def read_found(
    path: Path | str,
    videos: Collection[str],
    classes: Collection[str],
    *,
    drop_bad: bool = False,
    names: Names | None = None,
) -> tuple[dict[str, Rows], dict[str, int]]:
    """Read the detections of each video, and numbers of dropped rows by kind.

    Rows of unknown videos and classes are invalid; a prefix `v_` of ids in only one of the files is ignored. Raises
    ValueError naming invalid rows.
    """
    table = read_table(path, "results", names)
    if table.in_frames:
        raise ValueError(
            f"{path}: times of video {min(table.in_frames)} are frames at an unknown rate: give its task an 'fps'"
        )
    known_as = {name: spelt(name, videos) for name in dict.fromkeys(table.video)}
    for name, video in known_as.items():
        if video != name and video in known_as:
            raise ValueError(f"{path}: {name!r} and {video!r} are both video {video!r}: keep one of them")
    segments, scores = _times(table.segment), _numbers(table.score, number)
    if len(scores) != len(segments):
        raise ValueError(f"{path}: detections need a score each, expected a column or field 'score'")
    known = frozenset(classes) - {AMBIGUOUS}
    table.label = _as_known(table.label, known, names)
    bad = {
        "score is no number": np.isnan(scores),
        "unknown video": np.array([known_as[name] not in videos for name in table.video], dtype=bool),
        "unknown class": np.array([label not in known for label in table.label], dtype=bool),
    }
    counts, right = _checked(table, segments, scores, bad, drop_bad)
    rows: dict[str, list[int]] = {}
    for row in right:
        rows.setdefault(known_as[table.video[row]], []).append(row)
    return {
        video: Rows(segments[own], scores[own], tuple(table.label[row] for row in own), own)
        for video, own in rows.items()
    }, counts


def read_classes(path: Path | str, known: Collection[str] = (), names: Names | None = None) -> tuple[str, ...]:
    """Read class names, one per line, in the spelling of `known` ones; raises ValueError for a duplicate or no name."""
    listed = [name for line in text_of(path).splitlines() if (name := tidy(line, path))]
    found = _as_known(listed, frozenset(known), names)
    if not found or len(set(found)) != len(found):
        twice = next((f", {name!r} twice" for place, name in enumerate(found) if name in found[:place]), "")
        raise ValueError(f"{path} must name each class once, one a line; got {len(found)} lines{twice}")
    return tuple(found)


def _as_known(labels: Sequence[str], known: frozenset[str], names: Names | None) -> list[str]:
    """Replace and count other spellings of known classes ("clean and jerk" is CleanAndJerk) and numbers of THUMOS14."""
    by_spoken = {spoken(name).casefold(): name for name in known}
    if len(by_spoken) < len(known):
        return list(labels)
    others = {label: spoken(THUMOS14_NAMES.get(label, label)).casefold() for label in {*labels} - known}
    same = {label: by_spoken[other] for label, other in others.items() if other in by_spoken}
    if names and (number := sum(label in same for label in labels)):
        names.changed["class spelt otherwise"] += number
    return [same.get(label, label) for label in labels]


def _times(values: Sequence[Sequence]) -> Float[np.ndarray, "n 2"]:
    """Return segments as floats; NaN for invalid numbers and pairs."""
    pairs = [value if len(value) == 2 else (None, None) for value in values]
    return _numbers([each for pair in pairs for each in pair], seconds).reshape(-1, 2)


def _numbers(values: Sequence, convert: Callable[[object], float]) -> Float[np.ndarray, " n"]:
    return np.array([each if type(each) is float else _number(each, convert) for each in values], dtype=np.float64)


def _number(value: object, convert: Callable[[object], float]) -> float:
    try:
        return convert(value)
    except ValueError:
        return np.nan


def _checked(
    table: Table,
    segments: Float[np.ndarray, "n 2"],
    scores: Float[np.ndarray, " n"] | None,
    others: Mapping[str, Bool[np.ndarray, " n"]],
    drop_bad: bool,
) -> tuple[dict[str, int], list[int]]:
    """Return the numbers of invalid rows by kind, and the valid rows; raises ValueError unless `drop_bad`."""
    bad = {
        "no label": np.array([not label for label in table.label], dtype=bool),
        "time is no finite number": ~np.isfinite(segments).all(axis=1),
        "end before start": segments[:, 1] < segments[:, 0],
        **others,
    }
    counts = {kind: int(wrong.sum()) for kind, wrong in bad.items() if wrong.any()}
    if not counts or drop_bad:
        return counts, np.flatnonzero(~np.any(list(bad.values()), axis=0)).tolist()
    kinds = []
    for kind, count in counts.items():
        examples = [
            f"row {row + 1}: video {table.video[row]} [{segments[row, 0]:g}, {segments[row, 1]:g}] {table.label[row]!r}"
            + ("" if scores is None else f" score {scores[row]:g}")
            for row in np.flatnonzero(bad[kind])[:MAX_EXAMPLES].tolist()
        ]
        kinds.append(f"{count} with {kind} ({', '.join(examples)}{', ...' if count > MAX_EXAMPLES else ''})")
    raise ValueError(f"{table.path}: {'; '.join(kinds)}; repair the file, or drop these rows with --drop-bad")
