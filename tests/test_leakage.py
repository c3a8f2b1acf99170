"""What a class split leaks is found: on two made-up videos, and on THUMOS14 as it is known to leak."""

from dataclasses import replace

import pytest

from tadlib.data import datasets, leakage
from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.splits import ClassSplit, class_split

SPLIT = ClassSplit(50, 0, ("Diving", "Shotput"), ("CliffDiving", "HighJump"))
VIDEOS = (
    Video("a", 40.0, 10.0, "val", (Action(1, 9, "Diving"), Action(1, 9, "CliffDiving"), Action(20, 30, "HighJump"))),
    Video("b", 40.0, 10.0, "val", (Action(1, 9, "Shotput"), Action(45, 50, "HighJump"))),
    Video("c", 40.0, 10.0, "test", (Action(1, 9, "Shotput"), Action(30, 31, "HighJump"))),
    Video("d", 40.0, 10.0, "test", (Action(1, 9, "HighJump"),)),
)


@pytest.fixture
def benchmark(tmp_path):
    classes = ("CliffDiving", "Diving", "HighJump", "Shotput")
    return Benchmark("x", tmp_path, VIDEOS, classes, "val", "test", (0.5,))


@pytest.fixture(scope="module")
def thumos14(shared_data):
    return datasets.load(str(shared_data / "thumos14"), shared_data)


def test_unseen_classes_that_train_under_another_name_are_found_and_told(benchmark):
    assert leakage.across(benchmark, SPLIT, "val") == [
        {"subset": "val", "unseen": "CliffDiving", "seen": "Diving", "coincide": 1, "of": 1}
    ]
    assert leakage.across(benchmark, SPLIT, "test") == []
    assert leakage.renamed(benchmark, SPLIT) == ["CliffDiving is Diving"]
    closed = ClassSplit(0, 0, benchmark.classes, benchmark.classes)
    assert leakage.renamed(benchmark, closed) == []
    rows = report(benchmark, closed)
    assert rows[:2] == [
        ("training videos with unseen actions", 0, 2),
        ("unseen actions without a label in training", 0, 0),
    ]


def test_what_no_label_says_is_in_training_videos_is_listed(tmp_path):
    actions = (
        Action(1, 9, "Diving"),
        Action(1, 9.2, "CliffDiving"),
        Action(20, 50, "HighJump"),
        Action(30, 45, "Shotput"),
    )
    videos = (Video("a", 40.0, 10.0, "val", (*actions, Action(30, 60, "CliffDiving"))), *VIDEOS[1:])
    classes = ("CliffDiving", "Diving", "HighJump", "Shotput")
    found = leakage.hidden(Benchmark("x", tmp_path, videos, classes, "val", "test", (0.5,)), SPLIT)
    assert found == {"a": (Action(20, 40, "HighJump"),), "b": ()}, "cut to the video, without doubles of seen actions"


def report(benchmark, split, *scored):
    """40 s are 40 snippets of 10 frames; windows of 16 start at 0, 12, 24: [1, 9) is in the first, [30, 31) last."""
    snippets = {video.id: 40 for video in scored}
    rows = leakage.report(benchmark, split, scored, snippets, stride=10, length=16, overlap=0.25)
    return [(row["finding"], row["number"], row["of"]) for row in rows]


def test_the_report_has_a_row_for_every_leak(benchmark):
    scored = (*benchmark.test_videos(SPLIT.unseen), replace(VIDEOS[3], id="e", actions=()))
    assert report(benchmark, SPLIT, *scored) == [
        ("CliffDiving (unseen) is Diving (seen), val", 1, 1),
        ("training videos with unseen actions", 1, 2),
        ("unseen actions without a label in training", 1, 2),
        ("test videos that hold seen actions too", 1, 2),
        ("test windows without an unseen action", 7, 9),
    ]


def test_videos_that_are_trained_on_and_tested_are_told_of_once(benchmark):
    videos = tuple(replace(video, subset="all") for video in VIDEOS)
    rows = report(replace(benchmark, videos=videos, train_subset="all", test_subset="all"), SPLIT)
    assert [row[0] for row in rows if "is Diving" in row[0]] == ["CliffDiving (unseen) is Diving (seen), all"]


def test_classes_that_a_split_leaves_out_are_told(benchmark):
    rows = report(benchmark, ClassSplit(50, 0, ("Diving",), ("HighJump",)))
    assert ("classes that are neither seen nor unseen", 2, 4) in rows


def test_every_cliff_diving_of_thumos14_is_diving(thumos14):
    for subset, number in (("val", 143), ("test", 217)):
        pairs = leakage.coinciding(video for video in thumos14.videos if video.subset == subset)
        assert pairs["CliffDiving", "Diving"] == number
        assert sum(a.label == "CliffDiving" for v in thumos14.videos if v.subset == subset for a in v.actions) == number


def test_the_splits_that_separate_the_pair_are_found(thumos14):
    found = {"CliffDiving": set(), "Diving": set()}
    for split_id in range(10):
        for row in leakage.across(thumos14, class_split(thumos14.classes, 50, split_id), "val"):
            if {row["unseen"], row["seen"]} == set(found):
                found[row["unseen"]].add(split_id)
    assert found == {"CliffDiving": {4, 5, 6}, "Diving": {2, 7, 9}}
    splits = [class_split(thumos14.classes, 50, split_id) for split_id in range(10)]
    told = {each.split_id for each in splits if leakage.renamed(thumos14, each)}
    assert told == {2, 4, 5, 6, 7, 9}, "one action that coincides by chance is none of them"
