"""`tad evaluate`: a result file against an annotation file, as numbers and as a table."""

from collections.abc import Collection, Sequence
from pathlib import Path

from tadlib.data.annotations import AMBIGUOUS, Video
from tadlib.data.datasets import ACTIVITYNET_TIOUS, THUMOS14_CLASSES, THUMOS14_TIOUS
from tadlib.evaluation.files import read_actions, read_classes, read_found
from tadlib.evaluation.recall import COUNTS
from tadlib.evaluation.scoring import score


def evaluate(
    annotations: Path | str,
    detections: Path | str,
    *,
    subset: str = "",
    classes: Path | str = "",
    protocol: str = "plain",
    tious: Sequence[float] = (),
    ties: str = "stable",
    drop_bad: bool = False,
) -> dict[str, object]:
    """Every number of a result file, with the protocol and what was counted, ignored and dropped.

    Without `subset` all annotated videos count, without `classes` (a file) all annotated classes; without `tious`
    those of THUMOS14 for its classes and those of ActivityNet for others. Raises ValueError naming bad rows.
    """
    if not all(0 < tiou <= 1 for tiou in tious):
        raise ValueError(f"tIoU thresholds must be above 0 and at most 1, got {', '.join(map(str, tious))}")
    videos, dropped_actions = read_actions(annotations, drop_bad=drop_bad)
    annotated = sorted({action.label for video in videos for action in video.actions} - {AMBIGUOUS})
    chosen = read_classes(classes) if classes else tuple(annotated)
    found, dropped = read_found(detections, {video.id for video in videos}, {*annotated, *chosen}, drop_bad=drop_bad)
    inside = _of_subset(videos, subset, annotations)
    thumos = set(chosen) <= set(THUMOS14_CLASSES)
    names = {video.id for video in inside}
    own = {video: each for video, each in found.items() if video in names}
    result = score(inside, own, chosen, tious or (THUMOS14_TIOUS if thumos else ACTIVITYNET_TIOUS), protocol, ties=ties)
    counts = result["counts"]
    assert isinstance(counts, dict)
    counts["detections_read"] = sum(len(each.scores) for each in found.values())
    counts["detections_ignored"] = counts["detections_read"] - counts["detections"]
    counts["dropped_actions"], counts["dropped_detections"] = dropped_actions, dropped
    return result | {"subset": subset}


def _of_subset(videos: Sequence[Video], subset: str, path: Path | str) -> list[Video]:
    subsets: Collection[str] = sorted({video.subset for video in videos})
    if subset and subset not in subsets:
        raise ValueError(f"{path} has no videos of subset {subset!r}: it has {', '.join(map(repr, subsets))}")
    return [video for video in videos if not subset or video.subset == subset]


def as_text(result: dict[str, object], per_class: bool = True) -> list[str]:
    """The table that is printed: AP in per cent at each tIoU and on average, recall, and what was counted."""
    tious, classes = result["tious"], result["per_class"]
    width = max(24, *(len(label) for label in classes)) if classes else 24
    lines = [f"{'AP (%) at tIoU':{width}}" + "".join(f"{tiou:>8g}" for tiou in tious) + f"{'mean':>8}"]
    for label, row in classes.items() if per_class else ():
        lines.append(_line(label, [*row, sum(row) / len(row)], width))
    for name, prefix in (("mAP", ""), ("without labels", "agnostic_"), ("twins merged", "merged_")):
        if f"{prefix}mAP" in result:
            lines.append(_line(name, [result[f"{prefix}mAP@{t:g}"] for t in tious] + [result[f"{prefix}mAP"]], width))
    lines.append("")
    lines.append(f"{'proposals per video':{width}}" + "".join(f"{number:>8}" for number in COUNTS) + f"{'AUC':>8}")
    lines.append(_line("average recall (%)", [result[f"AR@{n}"] for n in COUNTS] + [result["AUC"]], width))
    lines += ["", f"protocol {result['protocol']}" + (f", subset {result['subset']}" if result["subset"] else "")]
    for name, value in result["counts"].items():
        if value:
            lines.append(f"{name.replace('_', ' ')}: {_shown(value)}")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} with {kind}" for kind, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(name: str, values: Sequence[float], width: int) -> str:
    return f"{name:{width}}" + "".join(f"{100 * value:8.2f}" for value in values)
