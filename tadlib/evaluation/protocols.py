"""Evaluation protocols by name: which videos and actions count.

A protocol is a set of choices; everything else follows the ActivityNet toolkit (see `metrics`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tadlib.data.annotations import AMBIGUOUS, Action, Benchmark, Video
from tadlib.data.checks import one_of
from tadlib.data.layouts import THUMOS14_CLASSES
from tadlib.evaluation.rows import Scored

LEAST_SECONDS = 1.0  # longest "short" action where the duration of a snippet is unknown
SAME = 0.001  # largest difference in seconds at which OpenTAD treats actions of one class as duplicates


def _test(*numbers: str) -> tuple[str, ...]:
    return tuple(f"video_test_000{number}" for number in numbers)


@dataclass(frozen=True)
class Protocol:
    """The choices of one protocol."""

    excluded: tuple[str, ...] = ()  # videos with wrong or missing published annotations
    everywhere: bool = True  # are videos without actions scored, so that their detections are false positives?
    training_too: bool = False  # do training videos count as well as test videos?
    longer_than_a_snippet: bool = False  # are actions of at most one snippet (stride None: 1 s) removed?
    once: bool = False  # are duplicate and empty actions removed?
    detected_only: bool = False  # are videos without detections left out?
    rounded: bool = False  # is the AP of each class rounded to 0.1 points before averaging?
    thumos: bool = False  # the THUMOS14 toolkit's matching, ambiguous regions and area instead of ActivityNet's


PROTOCOLS = {
    # the given annotations and detections as they are
    "plain": Protocol(),
    # all official test videos except one annotated beyond its end and one without any action; all actions
    "strict": Protocol(excluded=_test("0270", "1292")),
    # the published GAP system: five videos left out, short actions removed, only videos with actions
    "gap": Protocol(
        excluded=_test("0270", "1292", "1496", "0814", "0504"), everywhere=False, longer_than_a_snippet=True
    ),
    # T3AL and FreeZAD: training and test videos with both detections and actions; rounded
    "t3al": Protocol(everywhere=False, training_too=True, detected_only=True, rounded=True),
    # OpenTAD: two videos left out, duplicate and empty actions removed, false positives count in all videos
    "opentad": Protocol(excluded=_test("0270", "1292"), once=True),
    # the official THUMOS14 scorer on the official annotations
    "thumos-toolkit": Protocol(thumos=True),
}


def scored_videos(benchmark: Benchmark, classes: Sequence[str], protocol: str, stride: int) -> tuple[Video, ...]:
    """Return the videos and actions of `classes` that count before `detected`; a snippet has `stride` frames."""
    subsets = {benchmark.test_subset} | ({benchmark.train_subset} if PROTOCOLS[protocol].training_too else set())
    videos = [video for video in benchmark.videos if video.subset in subsets]
    return chosen(videos, classes, protocol, short(benchmark, stride))


def short(benchmark: Benchmark, stride: int) -> int | None:
    """Return the largest number of frames of a short action: one snippet of THUMOS14; else None, one second."""
    return stride if benchmark.classes == THUMOS14_CLASSES else None


def chosen(
    videos: Sequence[Video], classes: Collection[str], protocol: str, stride: int | None = None
) -> tuple[Video, ...]:
    """Return the videos and actions of `classes` that count; with `stride` None an action of at most 1 s is short."""
    one_of("protocol", protocol, PROTOCOLS)
    rules = PROTOCOLS[protocol]
    kept = []
    for video in videos:
        if video.id in rules.excluded:
            continue
        shown = video.only(set(classes) - {AMBIGUOUS})
        if rules.longer_than_a_snippet:
            least = stride / video.fps if stride and shown.actions else LEAST_SECONDS
            shown = replace(shown, actions=tuple(a for a in shown.actions if a.end - a.start > least))
        if rules.once:
            shown = replace(shown, actions=_once(shown.actions))
        if shown.actions or rules.everywhere:
            kept.append(shown)
    return tuple(kept)


def _once(actions: Sequence[Action]) -> tuple[Action, ...]:
    kept: list[Action] = []
    for action in actions:
        near = [max(abs(action.start - a.start), abs(action.end - a.end)) for a in kept if a.label == action.label]
        if action.end > action.start and min(near, default=np.inf) > SAME:
            kept.append(action)
    return tuple(kept)


def with_detections(detections: Mapping[str, Scored]) -> set[str]:
    """Return the ids of videos with at least one detection."""
    return {video_id for video_id, found in detections.items() if len(found.scores)}


def detected(videos: Sequence[Video], detections: Mapping[str, Scored], protocol: str) -> tuple[Video, ...]:
    """Remove videos without detections if the protocol requires it."""
    rules, found_ids = PROTOCOLS[protocol], with_detections(detections)
    return tuple(video for video in videos if video.id in found_ids or not rules.detected_only)


def counts(videos: Sequence[Video], detected: Collection[str]) -> dict[str, int]:
    """Count the videos, those without actions, those without detections, and the actions."""
    return {
        "videos": len(videos),
        "videos_without_actions": sum(not video.actions for video in videos),
        "videos_without_detections": len({video.id for video in videos} - set(detected)),
        "actions": sum(len(video.actions) for video in videos),
    }
