"""The official class splits are the published ones; other class lists get seeded draws."""

import json
from pathlib import Path

import pytest

from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.layouts import THUMOS14_CLASSES
from tadlib.data.splits import ClassSplit, class_split, hold_out_classes, of_folder

FOLDERS = {75: "train_75_test_25", 50: "train_50_test_50"}


@pytest.mark.parametrize("benchmark", ["THUMOS14", "ActivityNet"])
@pytest.mark.parametrize("split", [75, 50])
def test_official_splits_equal_the_published_lists(shared_data, benchmark, split):
    for split_id in range(10):
        seen, unseen = (
            (shared_data / "splits" / FOLDERS[split] / benchmark / part / f"split_{split_id}.list").read_text()
            for part in ("train", "test")
        )
        drawn = class_split(seen.splitlines() + unseen.splitlines(), split, split_id)
        assert (set(drawn.seen), set(drawn.unseen)) == (set(seen.splitlines()), set(unseen.splitlines()))


def test_any_other_class_list_is_split_by_seed_whatever_its_order():
    names = [f"class {number}" for number in range(12)]
    first, again, other = (class_split(order, 75, seed) for order, seed in ((names, 0), (names[::-1], 0), (names, 1)))
    assert first == again and len(first.unseen) == 3 and first.unseen != other.unseen


def own(folder, content):
    (folder / "splits.json").write_text(json.dumps(content))
    return of_folder(folder, ["a", "b", "c", "d"], 75, 1)


def test_a_split_of_your_own_comes_from_the_file_and_a_ratio_that_it_does_not_have_is_drawn(tmp_path):
    split = own(tmp_path, {"75": [{"unseen": ["a"]}, {"unseen": ["d", "b"]}]})
    assert split == ClassSplit(75, 1, ("a", "c"), ("b", "d"))
    some = own(tmp_path, {"75": [{}, {"seen": ["b"], "unseen": ["c"]}]})
    assert some == ClassSplit(75, 1, ("b",), ("c",)), "others are left out"
    assert own(tmp_path, {"50": [{"unseen": ["a"]}]}) == class_split(["a", "b", "c", "d"], 75, 1)
    assert of_folder(tmp_path, ["a", "b"], 0, 0).seen == ("a", "b")


def test_held_out_seen_classes_are_tested_in_training_videos_that_nothing_is_learned_from():
    classes = ClassSplit(50, 0, ("a", "b", "c"), ("d", "e"))
    shows = {"one": "a", "two": "b", "three": "c", "four": "d", "both": "abc", "tested": "abc"}
    videos = tuple(
        Video(name, 9.0, 1.0, "test" if name == "tested" else "val", tuple(Action(0.0, 1.0, each) for each in labels))
        for name, labels in shows.items()
    )
    whole = Benchmark("own", Path(), videos, ("a", "b", "c", "d", "e"), "val", "test", (0.5,))
    assert hold_out_classes(whole, classes, 0) == (whole, classes)
    made, drawn = hold_out_classes(whole, classes, 1)
    (held,) = drawn.unseen
    assert sorted((*drawn.seen, held)) == ["a", "b", "c"]
    sides = {video.id: video.subset for video in made.videos}
    alone = {"a": "one", "b": "two", "c": "three"}
    assert sides == {"both": "val"} | {name: "test" if label == held else "val" for label, name in alone.items()}
    with pytest.raises(ValueError, match="held_out must be 0..2, classes that a training video shows alone; got 3"):
        hold_out_classes(whole, classes, 3)


@pytest.mark.parametrize(("split", "unseen"), [(75, 5), (50, 10)])
def test_seen_and_unseen_are_disjoint_and_together_everything(split, unseen):
    for split_id in range(10):
        drawn = class_split(THUMOS14_CLASSES, split, split_id)
        assert len(drawn.unseen) == unseen
        assert sorted(drawn.seen + drawn.unseen) == sorted(THUMOS14_CLASSES)
