"""Mean average precision, average recall and their conventions: the contract page.

Conventions. Segments in seconds; scores are compared, never interpreted. Numbers are fractions. Predictions of one
class are taken over all videos, best first; equal scores keep the order in which they were given. A prediction is a
hit at a threshold if the best still free action of its class in its video reaches the tIoU; several hits on one
action count once. Precision is made non-increasing from the right and summed where recall changes (VOC 2011). mAP is
the mean over the classes that have actions; a class without predictions counts 0, one without actions is left out.
This is the ActivityNet toolkit's rule.

Differences from published scorers, and which way each moves the number:
- order of equal scores: the toolkits sort unstably, so theirs depends on the machine; up to a point of AP either way;
- the THUMOS14 toolkit matches action by action, ignores ambiguous regions and does not interpolate: up to two points
  on sparse detections, more with many overlapping ones;
- repositories that score only videos with predictions count no miss for the others: higher than ours;
- repositories that drop false positives in videos without unseen actions: higher than ours.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from tadlib.data.annotations import Video

RECALL_TIOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
COUNTS = (1, 5, 10, 25, 50, 100)


@runtime_checkable
class Scored(Protocol):
    """Segments (n, 2) in seconds with scores (n,): proposals, or detections if there are labels too."""

    segments: object
    scores: object


def overlaps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """tIoU of segments (n, 2) with segments (n, 2), row by row; two of no length at the same place overlap fully."""
    inside = np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0])
    union = (found[:, 1] - found[:, 0]) + (true[:, 1] - true[:, 0]) - np.clip(inside, 0, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union > 0, np.clip(inside, 0, None) / union, (inside == 0).astype(float))


def _rows(found: Mapping[str, Scored], videos: Mapping[str, int], classes: Mapping[str, int] | None):
    """All predictions as flat arrays: video, class, start, end, score; refuses what is not a number."""
    video_ix, class_ix, segments, scores = [], [], [], []
    for video_id, detections in found.items():
        if video_id not in videos:
            continue
        start_end = np.asarray(detections.segments, dtype=np.float64).reshape(-1, 2)
        score = np.asarray(detections.scores, dtype=np.float64)
        if not (np.isfinite(start_end).all() and np.isfinite(score).all()):
            raise ValueError(f"video {video_id}: segments and scores must be finite numbers")
        if (start_end[:, 1] < start_end[:, 0]).any():
            raise ValueError(f"video {video_id}: a segment ends before it starts")
        labels = np.zeros(len(score), int)
        if classes is not None:
            labels = np.array([classes.get(label, -1) for label in detections.labels], dtype=int)
        video_ix.append(np.full(len(score), videos[video_id]))
        class_ix.append(labels)
        segments.append(start_end)
        scores.append(score)
    if not scores:
        return np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros(0)
    video, label = np.concatenate(video_ix), np.concatenate(class_ix)
    kept = label >= 0
    return video[kept], label[kept], np.concatenate(segments)[kept], np.concatenate(scores)[kept]


def average_precision(
    videos: Sequence[Video], detections: Mapping[str, Scored], classes: Sequence[str] | None, tious: Sequence[float]
) -> np.ndarray:
    """AP (k, number of tIoUs) of each class, NaN for a class without actions; `classes` None ignores labels.

    Every video given counts, with or without predictions; predictions of other videos and classes do not. Raises
    ValueError naming the video with a segment or score that is no number, or with a reversed segment.
    """
    video_of = {video.id: place for place, video in enumerate(videos)}
    class_of = None if classes is None else {label: place for place, label in enumerate(classes)}
    number = 1 if classes is None else len(classes)
    true = _true_rows(videos, class_of)
    video_ix, class_ix, segments, scores = _rows(detections, video_of, class_of)
    order = np.lexsort((-scores, class_ix))
    video_ix, class_ix, segments = video_ix[order], class_ix[order], segments[order]
    hits = _hits(video_ix * number + class_ix, segments, true[0] * number + true[1], true[2], tious)
    positives = np.bincount(true[1], minlength=number)
    first = np.searchsorted(class_ix, np.arange(number + 1))
    table = np.full((number, len(tious)), np.nan)
    for label in np.flatnonzero(positives):
        table[label] = _interpolated(hits[first[label] : first[label + 1]], positives[label])
    return table


def _true_rows(videos: Sequence[Video], class_of: Mapping[str, int] | None) -> tuple[np.ndarray, ...]:
    rows = [
        (place, 0 if class_of is None else class_of[action.label], action.start, action.end)
        for place, video in enumerate(videos)
        for action in video.actions
        if class_of is None or action.label in class_of
    ]
    if class_of is None:  # an action annotated under two names is one action
        rows = sorted(set(rows))
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:]


def _hits(
    group: np.ndarray, segments: np.ndarray, true_group: np.ndarray, true: np.ndarray, tious: Sequence[float]
) -> np.ndarray:
    """Which predictions hit (n, number of tIoUs); predictions of a group (video and class) come best first.

    All pairs of a prediction and an action of its group that reach the lowest threshold are laid out flat; then, rank
    by rank within the groups, all groups at once take their best free action.
    """
    hits = np.zeros((len(group), len(tious)), dtype=bool)
    if not len(group) or not len(true):
        return hits
    true_order = np.argsort(true_group, kind="stable")
    true_group, true = true_group[true_order], true[true_order]
    left, right = np.searchsorted(true_group, group, "left"), np.searchsorted(true_group, group, "right")
    counts = right - left
    pair_prediction = np.repeat(np.arange(len(group)), counts)
    pair_true = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(left, counts)
    overlap = overlaps(segments[pair_prediction], true[pair_true])
    near = overlap >= min(tious)
    pair_prediction, pair_true, overlap = pair_prediction[near], pair_true[near], overlap[near]
    # best action first for each prediction, predictions in their order: one pass a threshold
    order = np.lexsort((-overlap, pair_prediction))
    pair_prediction, pair_true, overlap = pair_prediction[order], pair_true[order], overlap[order]
    for place, tiou in enumerate(tious):
        reach = overlap >= tiou
        hits[:, place] = _greedy(pair_prediction[reach], pair_true[reach], len(group), len(true))
    return hits


def _greedy(prediction: np.ndarray, true: np.ndarray, predictions: int, actions: int) -> np.ndarray:
    """Greedy one-to-one matching: pairs in order of preference; rounds settle all undisputed pairs at once.

    In each round every open prediction points at its best free action; an action goes to the earliest prediction
    that points at it, if no earlier open prediction could still come to want it. An earlier prediction that points
    elsewhere may be refused there and come back, so an action waits while such a one is open.
    """
    hit = np.zeros(predictions, dtype=bool)
    while len(prediction):
        head = np.ones(len(prediction), dtype=bool)
        head[1:] = prediction[1:] != prediction[:-1]  # the best free action of each open prediction
        earliest = np.full(actions, predictions)
        np.minimum.at(earliest, true, prediction)  # the earliest open prediction that could want each action
        won = head & (earliest[true] == prediction)
        hit[prediction[won]] = True
        taken = np.zeros(actions, dtype=bool)
        taken[true[won]] = True
        keep = ~hit[prediction] & ~taken[true]
        prediction, true = prediction[keep], true[keep]
    return hit


def _interpolated(hits: np.ndarray, positives: int) -> np.ndarray:
    """AP per threshold from hits (n, thresholds), best first: precision non-increasing, summed where recall changes."""
    if not len(hits):
        return np.zeros(hits.shape[1])
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return (precision * hits).sum(axis=0) / positives


def mean_average_precision(
    videos: Sequence[Video], detections: Mapping[str, Scored], classes: Sequence[str] | None, tious: Sequence[float]
) -> dict[str, float]:
    """`mAP@t` for each tIoU and their mean `mAP`; classes without actions are left out of the mean over classes."""
    table = average_precision(videos, detections, classes, tious)
    if np.isnan(table).all():
        raise ValueError("none of the classes has an action in these videos: nothing can be measured")
    means = np.nanmean(table, axis=0)
    return {f"mAP@{tiou:g}": float(value) for tiou, value in zip(tious, means, strict=True)} | {
        "mAP": float(means.mean())
    }


def average_recall(
    videos: Sequence[Video], proposals: Mapping[str, Scored], counts: Sequence[int] = COUNTS
) -> dict[str, float]:
    """`AR@n`: recall of actions, whatever their name, averaged over tIoU 0.5:0.05:0.95, with n proposals a video.

    Unlike mAP each action only asks whether any of the best n proposals of its video reaches the tIoU, as the
    ActivityNet proposal task does with a fixed number per video.
    """
    best = {count: [] for count in counts}
    for video in videos:
        true = np.array(sorted({(action.start, action.end) for action in video.actions})).reshape(-1, 2)
        found = proposals.get(video.id)
        segments = np.zeros((0, 2)) if found is None else np.asarray(found.segments, dtype=np.float64).reshape(-1, 2)
        if found is not None:
            segments = segments[np.argsort(-np.asarray(found.scores), kind="stable")]
        pairs = np.zeros((len(segments), len(true)))
        if pairs.size:
            grid = np.meshgrid(np.arange(len(segments)), np.arange(len(true)), indexing="ij")
            pairs = overlaps(segments[grid[0].ravel()], true[grid[1].ravel()]).reshape(pairs.shape)
        for count in counts:
            best[count].append(pairs[:count].max(axis=0, initial=0.0))
    recall = {}
    for count in counts:
        reached = np.concatenate(best[count]) if best[count] else np.zeros(0)
        recall[f"AR@{count}"] = (
            float(np.mean([(reached >= tiou).mean() for tiou in RECALL_TIOUS])) if len(reached) else 0.0
        )
    return recall
