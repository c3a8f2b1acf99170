"""Leakage between seen and unseen classes in training and test videos.

Two actions coincide if their tIoU is above 0.9. An unseen class whose actions coincide with those of a seen class is
learned under the seen class's name (THUMOS14's CliffDiving is always annotated as Diving too).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tadlib.data.annotations import Action, Benchmark, Video, repaired
from tadlib.data.splits import ClassSplit
from tadlib.data.windows import Grid, cover
from tadlib.segments import pairwise_tiou

COINCIDES = 0.9
RENAMED_SHARE = 0.1  # share of a class's actions from which it counts as renamed


def coinciding(videos: Iterable[Video]) -> Counter[tuple[str, str]]:
    """Count for every ordered pair of classes the actions of the first that coincide with an action of the second."""
    pairs: Counter[tuple[str, str]] = Counter()
    for video in videos:
        same = _coincide(video.actions, video.actions)
        for action, row in zip(video.actions, same, strict=True):
            others = {video.actions[place].label for place in row} - {action.label}
            pairs.update((action.label, other) for other in others)
    return pairs


def _coincide(actions: Sequence[Action], others: Sequence[Action]) -> list[list[int]]:
    """Return for each action the indices of the others that coincide with it."""
    times = ([(a.start, a.end) for a in each] for each in (actions, others))
    segments = (torch.tensor(each, dtype=torch.float64).reshape(-1, 2) for each in times)
    return [torch.nonzero(row)[:, 0].tolist() for row in pairwise_tiou(*segments) > COINCIDES]


def renamed(benchmark: Benchmark, split: ClassSplit) -> list[str]:
    """Return the unseen classes learned under the name of a seen one: at least a tenth of their actions coincide."""
    rows = across(benchmark, split, benchmark.train_subset)
    return [f"{row['unseen']} is {row['seen']}" for row in rows if row["coincide"] >= RENAMED_SHARE * row["of"]]


def across(benchmark: Benchmark, split: ClassSplit, subset: str) -> list[dict[str, Any]]:
    """Return a row for each pair of an unseen and a seen class with coinciding actions in a subset."""
    videos = [video for video in benchmark.videos if video.subset == subset]
    annotated = Counter(action.label for video in videos for action in video.actions)
    return [
        {"subset": subset, "unseen": unseen, "seen": seen, "coincide": number, "of": annotated[unseen]}
        for (unseen, seen), number in sorted(coinciding(videos).items())
        if unseen in split.unseen and seen in split.seen and split.split
    ]


def hidden(benchmark: Benchmark, split: ClassSplit) -> dict[str, tuple[Action, ...]]:
    """Return the actions of unseen classes in each training video that coincide with no seen action.

    In a training window such an action, which has no label, is treated as background.
    """
    videos = {video.id: repaired(video) for video in benchmark.videos if video.subset == benchmark.train_subset}
    found = {}
    for training in benchmark.training_videos(split.seen):
        unseen = videos[training.id].only(set(split.unseen) - set(split.seen)).actions
        alike = _coincide(unseen, training.actions)
        found[training.id] = tuple(action for action, row in zip(unseen, alike, strict=True) if not row)
    return found


def report(
    benchmark: Benchmark,
    split: ClassSplit,
    scored: Iterable[Video],
    snippets: Mapping[str, int],
    stride: int,
    length: int,
    overlap: float,
) -> list[dict[str, object]]:
    """Return a table of the leakage of a class split: finding, number, and total.

    `scored` are the evaluated videos with their unseen actions, `snippets` is the number of snippets of each, one
    every `stride` frames; test windows have a `length` in snippets and an `overlap`.
    """
    rows = [
        (f"{row['unseen']} (unseen) is {row['seen']} (seen), {row['subset']}", row["coincide"], row["of"])
        for subset in dict.fromkeys((benchmark.train_subset, benchmark.test_subset))
        for row in across(benchmark, split, subset)
    ]
    if neither := set(benchmark.classes) - {*split.seen, *split.unseen}:
        rows.append(("classes that are neither seen nor unseen", len(neither), len(benchmark.classes)))
    videos, without_label = {video.id: repaired(video) for video in benchmark.videos}, hidden(benchmark, split)
    trained = [videos[video_id].only(set(split.unseen) - set(split.seen)).actions for video_id in without_label]
    unlabelled = sum(map(len, without_label.values()))
    tested = benchmark.test_videos(split.unseen)
    seen_too = {video.id for video in benchmark.test_videos(set(split.seen) - set(split.unseen))}
    holds = []  # whether a window shows a part of an unseen action
    for video in scored:
        for window in cover(video.id, snippets[video.id], length, overlap):
            start, end = map(Grid(video.fps, stride).seconds, (window.first, window.stop))
            holds.append(any(action.start < end and action.end > start for action in video.actions))
    rows += [
        ("training videos with unseen actions", sum(map(bool, trained)), len(trained)),
        ("unseen actions without a label in training", unlabelled, sum(map(len, trained))),
        ("test videos that hold seen actions too", sum(video.id in seen_too for video in tested), len(tested)),
        ("test windows without an unseen action", holds.count(False), len(holds)),
    ]
    return [{"finding": finding, "number": number, "of": of} for finding, number, of in rows]
