"""Scoring of a result file against an annotation file (`tad evaluate`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tadlib.data.annotations import AMBIGUOUS, Names, Video
from tadlib.data.checks import one_of
from tadlib.data.datasets import ACTIVITYNET_TIOUS, THUMOS14_TIOUS, is_thumos14, read_conventions
from tadlib.evaluation import statistics
from tadlib.evaluation.metrics import generalised
from tadlib.evaluation.protocols import PROTOCOLS, with_detections
from tadlib.evaluation.ranking import Ties
from tadlib.evaluation.recall import COUNTS
from tadlib.evaluation.result_rows import Rows, read_actions, read_classes, read_found
from tadlib.evaluation.rows import compare
from tadlib.evaluation.scoring import counted, score
from tadlib.naming.text import spoken_alike

NOT_FOUND = "classes without detections (AP 0; name those that count by --classes)"
NO_HIT = "no detection hits an action, whatever its class: are both in seconds"
ODD = ("videos_without_detections", "dropped_detections", "detections_outside_video", "detections_given_twice")
THUMOS14_STRIDE = 8  # frames per snippet in the published features


class Task(NamedTuple):
    """Annotations and settings that detections are scored with."""

    videos: tuple[Video, ...]  # of the subset, as annotated
    known: frozenset[str]  # ids of all annotated videos
    annotated: tuple[str, ...]  # all annotated classes
    classes: tuple[str, ...]  # those that count
    seen: tuple[str, ...]  # of these the classes used in training, if they compete with unseen ones
    tious: tuple[float, ...]
    protocol: str
    subset: str
    stride: int | None  # largest number of frames of a short action; None for one second
    dropped: dict[str, int]  # number of bad annotation rows dropped, by kind
    changed: dict[str, int] = {}  # names that were normalised


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
    """Read the task of an annotation file; `classes` and `seen` are files of class names.

    Defaults: all videos without `subset`; all annotated classes without `classes`; `tious` of `benchmark.yaml` beside
    the annotations, otherwise those of THUMOS14 or ActivityNet, whichever the annotations look like; likewise a
    `stride` of 8 frames or 1 s. Raises ValueError naming bad rows.
    """
    if stride is not None and stride < 1:
        raise ValueError(f"stride must be a whole number of frames, at least 1; got {stride}")
    one_of("protocol", protocol, PROTOCOLS)
    if stride is not None and not PROTOCOLS[protocol].longer_than_a_snippet:
        raise ValueError(f"stride={stride} has no effect: it needs protocol=gap, got protocol={protocol}")
    if not all(0 < tiou <= 1 for tiou in tious) or len(set(tious)) < len(tious):
        raise ValueError(f"tIoU thresholds must be above 0, at most 1 and each once, got {', '.join(map(str, tious))}")
    names = Names()
    videos, dropped = read_actions(annotations, drop_bad=drop_bad, names=names)
    annotated = tuple(sorted({action.label for video in videos for action in video.actions} - {AMBIGUOUS}))
    trained = read_classes(seen) if seen else ()
    chosen = read_classes(classes) if classes else tuple(label for label in annotated if label not in trained)
    folder = Path(annotations).resolve().parent
    stated = read_conventions(folder.parent if folder.name == "annotations" else folder)
    thumos = stated.benchmark == "thumos14" or is_thumos14(annotated, [video.id for video in videos])
    usual, usual_stride = (THUMOS14_TIOUS, THUMOS14_STRIDE) if thumos else (ACTIVITYNET_TIOUS, None)
    tious = tuple(tious) or stated.tious or usual
    subsets = sorted({video.subset for video in videos})
    if subset and subset not in subsets:
        raise ValueError(f"{annotations} has no videos of subset {subset!r}: it has {', '.join(map(repr, subsets))}")
    inside = tuple(video for video in videos if not subset or video.subset == subset)
    known = frozenset(video.id for video in videos)
    stride = usual_stride if stride is None else stride
    changed = dict(names.changed)
    return Task(inside, known, annotated, chosen, trained, tious, protocol, subset, stride, dropped, changed)


def evaluate(
    task: Task, detections: Path | str, *, ties: Ties = "stable", drop_bad: bool = False, only_found: bool = False
) -> dict[str, object]:
    """All metrics of a result file, with the protocol and numbers of counted, ignored and dropped rows.

    With `only_found` those of the task's classes count that a detection has, as each of several splits has its own.
    With seen classes also `base`, `novel` and `harmonic` (generalised zero-shot). Raises ValueError naming bad rows.
    """
    names = Names()
    found, read, dropped = _read(task, detections, drop_bad, names)
    present = {label for each in found.values() for label in each.labels}
    if only_found and present:
        task = task._replace(classes=tuple(label for label in task.classes if label in present))
    result = score(task.videos, found, task.classes, task.tious, task.protocol, stride=task.stride, ties=ties)
    ours = result["counts"]
    assert isinstance(ours, dict)
    ours |= {"detections_read": read, "detections_ignored": read - ours["detections"]}
    ours |= {"dropped_actions": task.dropped, "dropped_detections": dropped}
    annotated = {video.id: np.array([(a.start, a.end) for a in video.actions]).reshape(-1, 2) for video in task.videos}
    segments = {"actions": annotated, "detections": {video: each.segments for video, each in found.items()}}
    ours |= {f"{name}_outside_video": _outside(task.videos, own) for name, own in segments.items()}
    distinct = [{*zip(map(tuple, each.segments.tolist()), each.labels, strict=True)} for each in found.values()]
    ours["detections_given_twice"] = sum(len(each.scores) for each in found.values()) - sum(map(len, distinct))
    if found and not result["agnostic_mAP"]:  # perhaps times in another unit
        spans = {name: np.concatenate([*own.values()]) for name, own in segments.items()}
        ours[NO_HIT] = ", ".join(f"{name} from {own.min():g} to {own.max():g} s" for name, own in spans.items())
    ours |= {"tidied_annotations": task.changed, "tidied_detections": dict(names.changed)}
    ours[NOT_FOUND] = [label for label in result["per_class"] if label not in present]
    ours["seen_classes_without_actions"] = [label for label in task.seen if label not in task.annotated]
    ours["classes_read_alike"] = [" = ".join(map(repr, names)) for names in spoken_alike((*task.annotated, *task.seen))]
    if task.seen:
        videos = counted(task.videos, with_detections(found), [*task.seen, *task.classes], task.protocol, task.stride)
        result |= generalised(videos, found, task.seen, task.classes, task.tious)
    return result | {"subset": task.subset}


def paired(files: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The files of each split by option; raises ValueError unless an option has one for all splits or one for each."""
    number = len(files["detections"])
    for option, paths in files.items():
        if len(paths) not in (0, 1, number):
            raise ValueError(f"--{option} names {len(paths)} files, --detections {number}: give one, or one for each")
    there = {option: paths * number if len(paths) == 1 else paths for option, paths in files.items() if paths}
    return [dict(zip(there, each, strict=True)) for each in zip(*there.values(), strict=True)]


def spreads(results: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """Mean, deviation and interval over splits of every mAP."""
    names = [f"mAP@{tiou:g}" for tiou in results[0]["tious"]] + ["mAP"]
    return {name: statistics.spread([result[name] for result in results])._asdict() for name in names}


def as_text_of_splits(results: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Format the mAP of several splits in per cent, with mean, standard deviation and interval over them."""
    over, (first, *_) = spreads(list(results.values())), results.values()
    width = max(24, *map(len, results))
    lines = [f"{'mAP (%) at tIoU':{width}}" + "".join(f"{tiou:>8g}" for tiou in first["tious"]) + "    mean classes"]
    for name, result in results.items():
        lines.append(_line(name, [result[column] for column in over], width) + f"{len(result['per_class']):8}")
    rows = {"mean": "mean", "deviation": "standard deviation", "low": "95 % interval from", "high": "to"}
    lines += [_line(told, [each[field] for each in over.values()], width) for field, told in rows.items()]
    return lines + [line for name, result in results.items() for line in odd(name, result["counts"])]


def odd(name: str, counts: Mapping[str, Any]) -> list[str]:
    """What may be wrong with a result file, a line each."""
    kinds = (kind for kind in (*ODD, NOT_FOUND, NO_HIT) if counts.get(kind))
    return [f"{name}: {kind.replace('_', ' ')}: {_shown(counts[kind])}" for kind in kinds]


def against(task: Task, first: Path | str, second: Path | str, *, drop_bad: bool = False) -> statistics.Verdict:
    """Compare two results by mAP under the ActivityNet rule, with a bootstrap over videos."""
    rows = []
    for path in (first, second):
        found, _, _ = _read(task, path, drop_bad, Names())
        # with all videos treated as detected, both runs have the same videos
        videos = counted(task.videos, task.known, task.classes, task.protocol, task.stride)
        rows.append(compare(videos, found, task.classes))
    return statistics.compare_videos(*rows, task.tious)


def over_splits(found: Sequence[Mapping[str, Any]]) -> statistics.Verdict:
    """A difference over splits with Student's interval, from those of each; of one split that over its videos."""
    values = [each["difference"] for each in found]
    return statistics.compare_splits(values, [0.0] * len(values)) if len(found) > 1 else statistics.Verdict(**found[0])


def _read(task: Task, path: Path | str, drop_bad: bool, names: Names) -> tuple[dict[str, Rows], int, dict[str, int]]:
    """Read the detections of the task's videos, the number of rows in the file, and numbers of dropped rows."""
    classes = {*task.annotated, *task.classes, *task.seen}
    found, dropped = read_found(path, task.known, classes, drop_bad=drop_bad, names=names)
    inside = {video.id for video in task.videos}
    own = {video: each for video, each in found.items() if video in inside}
    return own, sum(len(each.scores) for each in found.values()), dropped


def _outside(videos: Sequence[Video], segments: Mapping[str, Float[np.ndarray, "n 2"]]) -> dict[str, int]:
    """Numbers of segments partly outside their video; published scorers accept these."""
    own = [(segments[video.id], video.duration or np.inf) for video in videos if video.id in segments]
    counts = {
        "start before 0": sum(int((rows[:, 0] < 0).sum()) for rows, _ in own),
        "end after the video": sum(int((rows[:, 1] > duration).sum()) for rows, duration in own),
    }
    return {kind: number for kind, number in counts.items() if number}


def as_text(result: dict[str, object]) -> list[str]:
    """Format as a text table: AP in per cent at each tIoU and on average, recall, and counts."""
    tious, classes = result["tious"], result["per_class"]
    width = max(24, *(len(label) for label in classes))
    lines = [f"{'AP (%) at tIoU':{width}}" + "".join(f"{tiou:>8g}" for tiou in tious) + f"{'mean':>8}"]
    lines += [_line(label, [*row, sum(row) / len(row)], width) for label, row in classes.items()]
    for name, prefix in (("mAP", ""), ("without labels", "agnostic_")):
        lines.append(_line(name, [result[f"{prefix}mAP@{t:g}"] for t in tious] + [result[f"{prefix}mAP"]], width))
    if "harmonic" in result:
        lines += ["", f"{'seen and unseen compete':{width}}" + "".join(f"{name:>9}" for name in GENERALISED)]
        lines.append(f"{'mAP (%)':{width}}" + "".join(f"{100 * result[name]:9.2f}" for name in GENERALISED))
    lines += ["", f"{'proposals per video':{width}}" + "".join(f"{number:>8}" for number in COUNTS) + f"{'AUC':>8}"]
    lines.append(_line("average recall (%)", [result[f"AR@{n}"] for n in COUNTS] + [result["AUC"]], width))
    lines += ["", f"protocol {result['protocol']}" + (f", subset {result['subset']}" if result["subset"] else "")]
    return lines + [f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in result["counts"].items() if value]


GENERALISED = ("base", "novel", "harmonic")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} with {kind}" for kind, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(name: str, values: Sequence[float], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{100 * value:8.2f}" for value in values)
