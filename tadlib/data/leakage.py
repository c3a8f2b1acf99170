"""What of the unseen classes the training videos give away, and what of the seen ones the test videos hold.

Two actions coincide when their tIoU is above 0.9. A class that coincides with one on the other side of the split is
learnt under the other's name (THUMOS14's CliffDiving is always annotated as Diving too).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tadlib.data.annotations import Action, Benchmark, Video, repaired
from tadlib.data.grid import Grid
from tadlib.data.splits import ClassSplit
from tadlib.data.windows import actions_in, cover
from tadlib.segments import pairwise_tiou

COINCIDES = 0.9
OFTEN = 0.1  # share of a class's actions that are no coincidence


def coinciding(videos: Iterable[Video]) -> Counter[tuple[str, str]]:
    """How many actions of the first class coincide with one of the second, for every ordered pair of classes."""
    pairs: Counter[tuple[str, str]] = Counter()
    for video in videos:
        same = _coincide(video.actions, video.actions)
        for action, row in zip(video.actions, same, strict=True):
            others = {video.actions[place].label for place in row} - {action.label}
            pairs.update((action.label, other) for other in others)
    return pairs


def _coincide(actions: Sequence[Action], others: Sequence[Action]) -> list[list[int]]:
    """For each action the places of the others that coincide with it."""
    tiou = pairwise_tiou(_segments(actions), _segments(others)) > COINCIDES
    return [torch.nonzero(row)[:, 0].tolist() for row in tiou]


def _segments(actions: Sequence[Action]) -> torch.Tensor:
    return torch.tensor([[a.start, a.end] for a in actions], dtype=torch.float64).reshape(-1, 2)


def across(benchmark: Benchmark, split: ClassSplit) -> list[dict[str, object]]:
    """Pairs of classes on different sides of the split whose actions coincide, a row each and subset."""
    return [
        row for subset in (benchmark.train_subset, benchmark.test_subset) for row in _across(benchmark, split, subset)
    ]


def renamed(benchmark: Benchmark, split: ClassSplit) -> list[str]:
    """Unseen classes that training learns under the name of a seen one: a tenth of their actions and more coincide."""
    rows = _across(benchmark, split, benchmark.train_subset)
    return [f"{row['unseen']} is {row['seen']}" for row in rows if row["coincide"] >= OFTEN * row["of"]]


def _across(benchmark: Benchmark, split: ClassSplit, subset: str) -> list[dict[str, Any]]:
    videos = [video for video in benchmark.videos if video.subset == subset]
    return [
        {"subset": subset, "unseen": unseen, "seen": seen, "coincide": number, "of": _number(videos, unseen)}
        for (unseen, seen), number in sorted(coinciding(videos).items())
        if unseen in split.unseen and seen in split.seen and split.split
    ]


def _number(videos: Iterable[Video], label: str) -> int:
    return sum(action.label == label for video in videos for action in video.actions)


def unlabelled(benchmark: Benchmark, split: ClassSplit) -> dict[str, int]:
    """Unseen actions in the videos that train: how many videos hold some, how many actions, how many have no label.

    These coincide with no seen action: in a window with a seen one the detector is taught that they are background.
    """
    videos = {video.id: video for video in benchmark.videos}
    beside = hidden(benchmark, split)
    found = {"training videos": 0, "with unseen actions": 0, "unseen actions": 0, "without a label": 0}
    for training in benchmark.training_videos(split.seen):
        unseen = videos[training.id].only(set(split.unseen) - set(split.seen)).actions
        found["training videos"] += 1
        found["with unseen actions"] += bool(unseen)
        found["unseen actions"] += len(unseen)
        found["without a label"] += len(beside[training.id])
    return found


def hidden(benchmark: Benchmark, split: ClassSplit) -> dict[str, tuple[Action, ...]]:
    """The actions of unseen classes in each video that trains, but for those that coincide with a seen one."""
    videos = {video.id: repaired(video) for video in benchmark.videos if video.subset == benchmark.train_subset}
    found = {}
    for training in benchmark.training_videos(split.seen):
        unseen = videos[training.id].only(set(split.unseen) - set(split.seen)).actions
        alike = _coincide(unseen, training.actions)
        found[training.id] = tuple(action for action, row in zip(unseen, alike, strict=True) if not row)
    return found


def shared_test_videos(videos: Iterable[Video], split: ClassSplit) -> int:
    """Test videos that hold both unseen and seen actions; `videos` show every class."""
    seen = set(split.seen) - set(split.unseen)
    return sum(bool(video.only(split.unseen).actions and video.only(seen).actions) for video in videos)


def empty_windows(
    videos: Iterable[Video], snippets: Mapping[str, int], stride: int, length: int, overlap: float
) -> tuple[int, int]:
    """How many windows hold none of the videos' actions, and how many windows there are; `snippets` per video."""
    empty = total = 0
    for video in videos:
        for window in cover(video.id, snippets[video.id], length, overlap):
            total += 1
            empty += not actions_in(window, video.actions, Grid(video.fps, stride))[1]
    return empty, total


def report(
    benchmark: Benchmark, split: ClassSplit, snippets: Mapping[str, int], stride: int, length: int, overlap: float
) -> list[dict[str, object]]:
    """The leakage of a class split in rows of a finding, its number and what it is a part of."""
    beside = unlabelled(benchmark, split)
    test = [video for video in benchmark.videos if video.subset == benchmark.test_subset]
    unseen = benchmark.test_videos(split.unseen)
    empty, total = empty_windows(unseen, snippets, stride, length, overlap)
    pairs = [
        {"finding": f"{row['unseen']} (unseen) is {row['seen']} (seen), {row['subset']}", **_part(row)}
        for row in across(benchmark, split)
    ]
    neither = len(set(benchmark.classes) - {*split.seen, *split.unseen})
    out = [_row("classes that are neither seen nor unseen", neither, len(benchmark.classes))] if neither else []
    return [
        *pairs,
        *out,
        _row("training videos with unseen actions", beside["with unseen actions"], beside["training videos"]),
        _row("unseen actions without a label in training", beside["without a label"], beside["unseen actions"]),
        _row("test videos that hold seen actions too", shared_test_videos(test, split), len(unseen)),
        _row("test windows without an unseen action", empty, total),
    ]


def _part(row: Mapping[str, object]) -> dict[str, object]:
    return {"number": row["coincide"], "of": row["of"]}


def _row(finding: str, number: int, of: int) -> dict[str, object]:
    return {"finding": finding, "number": number, "of": of}
