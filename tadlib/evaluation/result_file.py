"""Scoring of a result file against an annotation file (`tad evaluate`)."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tadlib.data.annotations import AMBIGUOUS, Names, Video, spoken
from tadlib.data.checks import nearest, one_of, separate_ambiguous
from tadlib.data.datasets import ACTIVITYNET_TIOUS, THUMOS14_TIOUS, folder_beside, is_thumos14, read_conventions
from tadlib.data.layouts import THUMOS14_NAMES
from tadlib.data.lengths import in_seconds, spelt, stated
from tadlib.data.readers import read, read_table, valid_rows
from tadlib.evaluation import statistics
from tadlib.evaluation.matching import Ties
from tadlib.evaluation.metrics import generalised
from tadlib.evaluation.protocols import PROTOCOLS, chosen
from tadlib.evaluation.scoring import class_table, same_videos, score
from tadlib.files import tidy
from tadlib.foreign import json_in, text_of
from tadlib.naming.text import spoken_alike

NOT_FOUND = "classes without detections (AP 0; name those that count by --classes, a file or metrics.json of a run)"
NO_HIT = "no detection hits an action, whatever its class: are both in seconds"
THUMOS14_STRIDE = 8  # frames per snippet in the published features


class Task(NamedTuple):
    """Annotations and settings that detections are scored with."""

    videos: tuple[Video, ...]  # of the subset, as annotated
    known: frozenset[str]  # ids of all annotated videos
    annotated: tuple[str, ...]  # all annotated classes
    classes: tuple[str, ...]  # evaluated classes
    seen: tuple[str, ...]  # classes used in training, if they compete with the evaluated ones
    tious: tuple[float, ...]
    protocol: str
    subset: str
    stride: int | None  # largest number of frames of a short action; None for one second
    dropped: dict[str, int]  # number of dropped invalid annotation rows by kind
    changed: dict[str, int] = {}  # number of normalised names by kind


class Rows(NamedTuple):
    """Detections of one video, in the order of the file."""

    segments: Float[np.ndarray, "n 2"]  # start, end; seconds
    scores: Float[np.ndarray, " n"]
    labels: tuple[str, ...]
    rows: Sequence[int] = ()  # places in the file, whose order counts for equal scores in several videos


class Found(NamedTuple):
    """Detections of a result file in the videos of a task, and what else the file held."""

    detections: dict[str, Rows]
    rows: int  # number of rows in the file
    dropped: dict[str, int]  # number of dropped invalid rows by kind
    changed: dict[str, int]  # number of normalised names by kind


def read_task(
    annotations: Path | str,
    *,
    subset: str = "",
    classes: Path | str | None = None,
    seen: Path | str | None = None,
    protocol: str = "plain",
    tious: Sequence[float] = (),
    stride: int | None = None,
    drop_bad: bool = False,
) -> Task:
    """Read the task of an annotation file; `classes` and `seen` are files of class names, in any spelling.

    Defaults: all videos; all annotated classes that are not `seen`; `tious` of `benchmark.yaml` beside the annotations,
    otherwise those of THUMOS14 if the annotations are THUMOS14's, else those of ActivityNet; for THUMOS14 a `stride` of
    8 frames, else None (1 s). Raises ValueError naming invalid rows, or a video without the fps that `stride` needs.
    """
    if stride is not None and stride < 1:
        raise ValueError(f"stride must be a whole number of frames, at least 1; got {stride}")
    one_of("protocol", protocol, PROTOCOLS)
    if stride is not None and not PROTOCOLS[protocol].longer_than_a_snippet:
        raise ValueError(f"stride={stride} has no effect: it needs protocol=gap, got protocol={protocol}")
    if not all(0 < tiou <= 1 for tiou in tious) or len(set(tious)) < len(tious):
        raise ValueError(f"tIoU thresholds must be above 0, at most 1 and each once, got {', '.join(map(str, tious))}")
    names, folder, dropped = Names(), folder_beside(annotations), Counter[str]()
    conventions = read_conventions(folder)
    entries = read(annotations, names, conventions.times == "frames", dropped if drop_bad else None)
    annotated = tuple(sorted({action.label for each in entries.values() for action in each.actions} - {AMBIGUOUS}))
    trained = read_classes(seen, annotated, names) if seen else ()
    if trained and not set(trained) & set(annotated):
        first = f"{trained[0]!r}{nearest(trained[0], annotated)}"
        raise ValueError(f"{seen}: none of the {len(trained)} classes is annotated in {annotations}, first {first}")
    listed = read_classes(classes, annotated, names) if classes else ()
    thumos = conventions.benchmark == "thumos14" or is_thumos14(annotated, entries)
    default_tious, default_stride = (THUMOS14_TIOUS, THUMOS14_STRIDE) if thumos else (ACTIVITYNET_TIOUS, None)
    tious = tuple(tious or conventions.tious or default_tious)
    subsets = sorted({entry.subset or "" for entry in entries.values()})
    if subset and subset not in subsets:
        raise ValueError(f"{annotations} has no videos of subset {subset!r}: it has {', '.join(map(repr, subsets))}")
    stride = default_stride if stride is None else stride
    shortest = stride and PROTOCOLS[protocol].longer_than_a_snippet
    needs_rates = shortest or any(entry.in_frames for entry in entries.values())
    videos, lengths = [], stated(entries, folder) if needs_rates else {}
    for name, entry in entries.items():
        if subset in ("", entry.subset):
            if entry.fps is None and name in lengths:
                entry = replace(entry, fps=lengths[name].fps)
            if entry.fps is None and entry.actions and (shortest or entry.in_frames):
                why = f"protocol={protocol} leaves out actions of at most {stride} frames"
                why = "times are frames of unknown rate" if entry.in_frames else why
                raise ValueError(f"{annotations}: {why}: give the fps of {name}, there or in info.json beside it")
            video = Video(name, entry.duration or 0.0, entry.fps or 0.0, entry.subset or "", in_seconds(entry))
            videos.append(separate_ambiguous(video))
    return Task(
        videos=tuple(videos),
        known=frozenset(entries),
        annotated=annotated,
        classes=listed or tuple(label for label in annotated if label not in trained),
        seen=trained,
        tious=tious,
        protocol=protocol,
        subset=subset,
        stride=stride,
        dropped=dict(dropped),
        changed=dict(names.changed),
    )


def read_result(task: Task, path: Path | str, *, drop_bad: bool = False) -> Found:
    """Read a result file; raises ValueError naming bad rows, unless they are dropped and counted.

    Rows of unknown videos and classes are bad; a prefix `v_` of ids in only one of the files is ignored.
    """
    names, dropped = Names(), Counter[str]()
    table = read_table(path, "results", names)
    if table.in_frames:
        raise ValueError(
            f"{path}: times of video {min(table.in_frames)} are frames at an unknown rate: give its task an 'fps'"
        )
    known_as = {name: spelt(name, task.known) for name in dict.fromkeys(table.video)}
    for name, video in known_as.items():
        if video != name and video in known_as:
            raise ValueError(f"{path}: {name!r} and {video!r} are both video {video!r}: keep one of them")
    if len(table.score) != len(table.video):
        raise ValueError(f"{path}: detections need a score each, expected a column or field 'score'")
    classes = {*task.annotated, *task.classes, *task.seen}
    table.label = _as_known(table.label, classes, names)
    unknown = {
        "unknown video": [known_as[name] not in task.known for name in table.video],
        "unknown class": [label not in classes for label in table.label],
    }
    segments, scores, valid = valid_rows(table, dropped if drop_bad else None, unknown)
    inside, rows = {video.id for video in task.videos}, dict[str, list[int]]()
    for row in valid:
        if (video := known_as[table.video[row]]) in inside:
            rows.setdefault(video, []).append(row)
    detections = {
        video: Rows(segments[own], scores[own], tuple(table.label[row] for row in own), own)
        for video, own in rows.items()
    }
    return Found(detections, len(valid), dict(dropped), dict(names.changed))


def read_classes(path: Path | str, known: Collection[str] = (), names: Names | None = None) -> tuple[str, ...]:
    """Read class names, a line each or in a run's metrics.json, spelt like `known`; ValueError for a duplicate."""
    lines = (text := text_of(path)).splitlines()
    if Path(path).suffix == ".json" and isinstance(metrics := json_in(text, path), dict):
        lines = next((metrics[name] for name in ("unseen", "seen") if isinstance(metrics.get(name), list)), ())
    listed = [name for line in lines if (name := tidy(line, path))]
    found = _as_known(listed, {*known}, names or Names())
    if not found or len(set(found)) != len(found):
        twice = next((f", {name!r} twice" for place, name in enumerate(found) if name in found[:place]), "")
        raise ValueError(f"{path} must name each class once, one a line; got {len(found)} lines{twice}")
    return tuple(found)


def _as_known(labels: Sequence[str], known: set[str], names: Names) -> list[str]:
    """Replace and count other spellings of known classes ("clean and jerk" is CleanAndJerk) and numbers of THUMOS14."""
    by_spoken = {spoken(name).casefold(): name for name in known}
    if len(by_spoken) < len(known):
        return list(labels)
    others = {label: spoken(THUMOS14_NAMES.get(label, label)).casefold() for label in {*labels} - known}
    same = {label: by_spoken[other] for label, other in others.items() if other in by_spoken}
    if number := sum(label in same for label in labels):
        names.changed["class spelt otherwise"] += number
    return [same.get(label, label) for label in labels]


def evaluate(task: Task, read: Found, *, ties: Ties = "stable", only_found: bool = False) -> dict[str, object]:
    """Return all metrics of a result file, the protocol, and numbers of counted, ignored and dropped rows.

    With `only_found` only classes with detections count, because each of several splits has its own classes.
    With seen classes also `base`, `novel` and `harmonic` (generalised zero-shot).
    """
    found = read.detections
    present = {label for each in found.values() for label in each.labels}
    if only_found and present:
        task = task._replace(classes=tuple(label for label in task.classes if label in present))
    result = score(task.videos, found, task.classes, task.tious, task.protocol, stride=task.stride, ties=ties)
    assert isinstance(counts := result["counts"], dict)
    counts |= {"detections_read": read.rows, "detections_ignored": read.rows - counts["detections"]}
    counts |= {"dropped_actions": task.dropped, "dropped_detections": read.dropped}
    annotated = {video.id: [(a.start, a.end) for a in video.with_ambiguous().actions] for video in task.videos}
    annotated = {name: np.array(spans, dtype=np.float64).reshape(-1, 2) for name, spans in annotated.items()}
    segments = {"actions": annotated, "detections": {video: each.segments for video, each in found.items()}}
    counts |= {f"{kind}_outside_video": _outside(task.videos, of_kind) for kind, of_kind in segments.items()}
    distinct = [{*zip(map(tuple, each.segments.tolist()), each.labels, strict=True)} for each in found.values()]
    counts["detections_given_twice"] = sum(len(each.scores) for each in found.values()) - sum(map(len, distinct))
    if found and not result["agnostic_mAP"]:  # perhaps times in another unit
        times = {kind: np.concatenate([*of_kind.values()]) for kind, of_kind in segments.items()}
        counts[NO_HIT] = ", ".join(f"{kind} from {own.min():g} to {own.max():g} s" for kind, own in times.items())
    counts |= {"tidied_annotations": task.changed, "tidied_detections": read.changed}
    counts[NOT_FOUND] = [label for label in result["per_class"] if label not in present]
    counts["seen_classes_without_actions"] = [label for label in task.seen if label not in task.annotated]
    counts["classes_read_alike"] = [" = ".join(map(repr, same)) for same in spoken_alike((*task.annotated, *task.seen))]
    if task.seen:
        competing = [*task.seen, *task.classes]
        videos = chosen(task.videos, competing, task.protocol, task.stride)
        table = class_table(videos, found, competing, task.tious, task.protocol, ties)
        result |= generalised(table, task.seen, task.classes, task.tious)
    return result | {"subset": task.subset}


def against(task: Task, first: Found, second: Found, ties: Ties = "stable") -> statistics.Verdict:
    """Compare the mAP of two results under the task's protocol, with a bootstrap over videos."""
    videos = chosen(task.videos, task.classes, task.protocol, task.stride)
    found = {"first": first.detections, "second": second.detections}
    rows = {name: same_videos(videos, each, task.classes, task.protocol) for name, each in found.items()}
    return statistics.compare_videos(rows, "first", task.tious, protocol=task.protocol, ties=ties)["second"]


def _outside(videos: Sequence[Video], segments: Mapping[str, Float[np.ndarray, "n 2"]]) -> dict[str, int]:
    """Count the segments partly outside their video; published scorers accept these."""
    pairs = [(segments[video.id], video.duration or np.inf) for video in videos if video.id in segments]
    early = sum(int((rows[:, 0] < 0).sum()) for rows, _ in pairs)
    late = sum(int((rows[:, 1] > duration).sum()) for rows, duration in pairs)
    return {kind: number for kind, number in {"start before 0": early, "end after the video": late}.items() if number}
