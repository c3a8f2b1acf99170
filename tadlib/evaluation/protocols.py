"""Which videos and actions count, by name: the same detections give different numbers under different protocols."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tadlib.data.annotations import Benchmark, Video


@dataclass(frozen=True)
class Protocol:
    """One table of choices."""

    name: str
    excluded: tuple[str, ...]  # videos whose published annotations are known to be wrong or missing
    everywhere: bool  # are videos without an action of the classes scored too (false positives there count)?
    longer_than_a_snippet: bool  # are actions of one snippet or less removed?


PROTOCOLS = {
    # every official test video but the one annotated beyond its end and the one without any action; all actions
    "strict": Protocol("strict", ("video_test_0000270", "video_test_0001292"), True, False),
    # as the published GAP system counts: five videos left out, short actions removed, only videos with actions
    "gap": Protocol(
        "gap",
        tuple(f"video_test_000{number}" for number in ("0270", "1292", "1496", "0814", "0504")),
        False,
        True,
    ),
}


def scored_videos(benchmark: Benchmark, classes: Sequence[str], protocol: str, stride: int) -> tuple[Video, ...]:
    """The test videos that count, showing the actions of `classes` that count."""
    rules = PROTOCOLS[protocol]
    videos = []
    for video in benchmark.videos:
        if video.subset != benchmark.test_subset or video.id in rules.excluded:
            continue
        shown = video.only(classes)
        if rules.longer_than_a_snippet:
            least = stride / video.fps
            shown = replace(shown, actions=tuple(a for a in shown.actions if a.end - a.start > least))
        if shown.actions or rules.everywhere:
            videos.append(shown)
    return tuple(videos)


def counts(videos: Sequence[Video], detected: Sequence[str]) -> dict[str, int]:
    """What was counted, for the record: videos, those without actions, those without detections, actions."""
    known = set(detected)
    return {
        "videos": len(videos),
        "videos_without_actions": sum(not video.actions for video in videos),
        "videos_without_detections": sum(video.id not in known for video in videos),
        "actions": sum(len(video.actions) for video in videos),
    }
