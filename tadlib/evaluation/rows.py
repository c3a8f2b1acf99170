"""Actions and predictions of all videos as flat arrays, the input of all metrics.

Segments are (start, end) in seconds. Videos and labels are indices into the given lists.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from tadlib.data.annotations import Video


@runtime_checkable
class Scored(Protocol):
    """Segments (n, 2) in seconds with scores (n,): proposals, or detections if they also have labels."""

    segments: object
    scores: object


class Actions(NamedTuple):
    """True actions, in the order given."""

    video: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    segments: Float[np.ndarray, "n 2"]


class Predictions(NamedTuple):
    """Proposals or detections, in the order given."""

    video: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    segments: Float[np.ndarray, "n 2"]
    scores: Float[np.ndarray, " n"]


class Ambiguous(NamedTuple):
    """Regions where it is unclear whether there is an action."""

    video: Int[np.ndarray, " m"]
    segments: Float[np.ndarray, "m 2"]


class Comparison(NamedTuple):
    """Predictions and actions of the same videos and classes, and the numbers of these."""

    videos: int
    classes: int
    actions: Actions
    predictions: Predictions
    ambiguous: Ambiguous = Ambiguous(np.zeros(0, np.int64), np.zeros((0, 2)))

    def groups(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " a"]]:
        """Return the number of video and class of every prediction and every action."""
        return tuple(each.video * self.classes + each.label for each in (self.predictions, self.actions))


def compare(videos: Sequence[Video], found: Mapping[str, Scored], classes: Sequence[str] | None = None) -> Comparison:
    """Flatten actions and predictions of `videos` and `classes`; `classes` None ignores labels.

    All given videos count, with or without predictions; predictions of other videos and classes are ignored. Raises
    ValueError naming a video with a segment that is not finite or reversed, or with a NaN score.
    """
    video_of = {video.id: place for place, video in enumerate(videos)}
    class_of = None if classes is None else {label: place for place, label in enumerate(classes)}
    rows = [
        (place, 0 if class_of is None else class_of[action.label], action.start, action.end)
        for place, video in enumerate(videos)
        for action in video.actions
        if class_of is None or action.label in class_of
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    actions = Actions(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])
    regions = [(place, *region) for place, video in enumerate(videos) for region in video.ambiguous]
    table = np.array(regions, dtype=np.float64).reshape(-1, 3)
    ambiguous = Ambiguous(table[:, 0].astype(np.int64), table[:, 1:])
    predictions = _predictions(found, video_of, class_of)
    start, end = predictions.segments.T
    right = np.isfinite(start) & np.isfinite(end) & (start <= end) & ~np.isnan(predictions.scores)
    if not right.all():
        row = np.flatnonzero(~right)[0]
        raise ValueError(
            f"video {videos[predictions.video[row]].id} has a segment that is not finite or ends before it starts, or "
            f"a score that is no number: [{start[row]}, {end[row]}] with score {predictions.scores[row]} "
            f"({(~right).sum()} of {len(right)} predictions): repair or drop them"
        )
    return Comparison(len(videos), 1 if classes is None else len(classes), actions, predictions, ambiguous)


def without_labels(comparison: Comparison) -> Comparison:
    """Replace all labels by one class."""
    actions, predictions = comparison.actions, comparison.predictions
    return comparison._replace(
        classes=1,
        actions=actions._replace(label=np.zeros_like(actions.label)),
        predictions=predictions._replace(label=np.zeros_like(predictions.label)),
    )


def _predictions(
    found: Mapping[str, Scored], video_of: Mapping[str, int], class_of: Mapping[str, int] | None
) -> Predictions:
    chosen = [(video_of[name], each) for name, each in found.items() if name in video_of]
    places = [np.full(len(each.scores), place) for place, each in chosen]
    video = np.concatenate([np.zeros(0, dtype=np.int64), *places])
    parts = [np.asarray(each.segments, dtype=np.float64).reshape(-1, 2) for _, each in chosen]
    segments = np.concatenate([np.zeros((0, 2)), *parts])
    scores = np.concatenate([np.zeros(0), *(np.asarray(each.scores, dtype=np.float64) for _, each in chosen)])
    label = np.zeros_like(video)
    if class_of is not None:
        label = np.array([class_of.get(name, -1) for _, each in chosen for name in each.labels], dtype=np.int64)
    kept = np.flatnonzero(label >= 0)
    if rows := [row for _, each in chosen for row in getattr(each, "rows", ())]:
        kept = kept[np.argsort(np.array(rows)[kept])]  # in a file, detections of several videos may alternate
    return Predictions(video[kept], label[kept], segments[kept], scores[kept])
