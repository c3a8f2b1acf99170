"""All metrics of one result under one protocol."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from tadlib.data.annotations import Video
from tadlib.data.checks import nearest
from tadlib.evaluation import thumos
from tadlib.evaluation.matching import Ties
from tadlib.evaluation.metrics import means, precision_table
from tadlib.evaluation.protocols import PROTOCOLS, chosen, counts, detected
from tadlib.evaluation.recall import COUNTS, RECALL_TIOUS, area, recall_table
from tadlib.evaluation.rows import Comparison, Scored, compare, without_labels


def table_of(
    comparison: Comparison, tious: Sequence[float], protocol: str, ties: Ties = "stable"
) -> Float[np.ndarray, "k tious"]:
    """Return the AP of each class at each tIoU under the protocol."""
    rules = PROTOCOLS[protocol]
    if rules.thumos:
        return thumos.precision_table(comparison, tious, comparison.ambiguous)
    table = precision_table(comparison, tious, ties)
    return table.round(3) if rules.rounded else table


def class_table(
    videos: Sequence[Video],
    found: Mapping[str, Scored],
    classes: Sequence[str] | None,
    tious: Sequence[float],
    protocol: str = "plain",
    ties: Ties = "stable",
) -> Float[np.ndarray, "k tious"]:
    """Return the AP of each class at each tIoU under a protocol; `classes` None ignores labels.

    Raises ValueError if the protocol counts no video.
    """
    counted = detected(videos, found, protocol)
    if not counted:
        raise ValueError(
            f"protocol={protocol} counts only videos with detections, and none of {len(videos)} has any: nothing can "
            "be measured; choose another protocol"
        )
    return table_of(compare(counted, found, classes), tious, protocol, ties)


def score(
    videos: Sequence[Video],
    detections: Mapping[str, Scored],
    classes: Sequence[str],
    tious: Sequence[float],
    protocol: str = "plain",
    *,
    stride: int | None = 8,
    ties: Ties = "stable",
) -> dict[str, object]:
    """Return all metrics of detections: mAP, class-agnostic mAP, AR, AUC, AP per class, protocol and counts.

    If a protocol removes short actions, these have at most `stride` frames, or last at most 1 s (None). Raises
    ValueError naming the protocol if no class has an action in the videos that count.
    """
    scored = counted(videos, detections, classes, protocol, stride)
    if not any(video.actions for video in scored):
        annotated = {action.label for video in videos for action in video.actions}
        if not annotated.intersection(classes):
            first = f", first {classes[0]!r}{nearest(classes[0], sorted(annotated))}" if classes else ""
            raise ValueError(f"none of the {len(classes)} classes is annotated in the {len(videos)} videos{first}")
        raise ValueError(
            f"protocol={protocol} counts {len(scored)} of {len(videos)} videos and no action of the "
            f"{len(classes)} classes in them: nothing can be measured; choose another protocol"
        )
    rows = compare(scored, detections, classes)
    table = table_of(rows, tious, protocol, ties)
    agnostic = table_of(without_labels(rows), tious, protocol, ties)
    per_class = {c: row.tolist() for c, row in zip(classes, table, strict=True) if not np.isnan(row).any()}
    missing = [label for label in classes if label not in per_class]
    numbers = means(table, tious) | means(agnostic, tious, "agnostic_") | recalls(rows, ties)
    told = counts(scored, {scored[place].id for place in np.unique(rows.predictions.video)}) | {
        "ambiguous_regions": len(rows.ambiguous.video),
        "videos_left_out": len(videos) - len(scored),
        "detections": len(rows.predictions.label),
        "classes": rows.classes - len(missing),
        "classes_without_actions": missing,
    }
    return numbers | {"tious": list(tious), "per_class": per_class, "protocol": protocol, "counts": told}


def same_videos(
    videos: Sequence[Video], found: Mapping[str, Scored], classes: Sequence[str], protocol: str
) -> Comparison:
    """Flatten a result so that it can be paired with others, under any protocol: the same videos in each.

    Where a protocol leaves out videos without detections, their actions are left out here.
    """
    kept = set(detected(videos, found, protocol))
    return compare([video if video in kept else video.only(()) for video in videos], found, classes)


def counted(
    videos: Sequence[Video],
    detections: Mapping[str, Scored],
    classes: Sequence[str],
    protocol: str,
    stride: int | None = 8,
) -> tuple[Video, ...]:
    """Return the videos and actions that count under a protocol, for these detections."""
    return detected(chosen(videos, classes, protocol, stride), detections, protocol)


def recalls(rows: Comparison, ties: Ties = "stable") -> dict[str, object]:
    """Return `AR@n`, `AUC`, and `recall` at each tIoU with 100 proposals per video on average."""
    table = recall_table(rows, RECALL_TIOUS, ties=ties)
    average = table.mean(axis=0)
    return {f"AR@{number}": float(average[number - 1]) for number in COUNTS} | {
        "AUC": area(table),
        "recall": {f"{tiou:g}": float(value) for tiou, value in zip(RECALL_TIOUS, table[:, -1], strict=True)},
    }
