"""Annotations are read as published, checked, and every mistake is named with its file, video and field."""

import json
import time

import numpy as np
import pytest

from tadlib.data import datasets
from tadlib.data.annotations import Action, Video, repaired
from tadlib.data.checks import FATAL, KINDS, check, find
from tadlib.data.lengths import complete
from tadlib.data.readers import read as read_entries


def read(path):
    """Videos of a JSON file that says everything itself."""
    return complete(path, read_entries(path), path.parent)


@pytest.mark.parametrize("missing", ["subset", "duration", "fps"])
def test_a_missing_field_is_named_with_file_and_video(tmp_path, missing):
    row = {"subset": "test", "duration": 20.0, "fps": 30, "annotations": [{"segment": [1, 2.5], "label": " Diving "}]}
    del row[missing]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"database": {"v1": row}}))
    with pytest.raises(ValueError, match=f"annotations.json: video v1 has no field '{missing}'"):
        read(path)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video("v", 0.0, 30.0, "test", ()), r"duration is not positive: 1 time, first video v \(0.0 s"),
        (Video("v", 9.0, float("nan"), "test", ()), "fps is not positive: 1 time, first video v"),
        (Video("v", 9.0, 30.0, "test", (Action(1.0, 2.0, "Divin"),)), "unknown class: .*; did you mean 'Diving'"),
    ],
)
def test_what_nobody_can_repair_is_an_error(video, message):
    with pytest.raises(ValueError, match=message):
        check([video], ["Diving"])


CLASSES = ["Diving", "Shotput"]
ODD = Video(
    "v",
    9.0,
    30.0,
    "test",
    (
        *(Action(1.0, 2.0, "Diving"), Action(3.0, 4.0, "Ambiguous"), Action(9.5, 11.0, "Diving")),
        *(Action(8.0, 9.2, "Diving"), Action(5.0, 5.0, "Diving"), Action(1.0, 2.0, "Diving")),
        *(Action(1.5, 3.0, "Diving"), Action(-0.5, 0.5, "Diving"), Action(0.4, 0.8, "Shotput")),
    ),
)


def test_every_oddity_is_found_and_counted_and_evaluation_keeps_every_action():
    (video,), repairs = check([ODD], CLASSES)
    assert video.actions == ODD.actions[:1] + ODD.actions[2:]
    assert video.ambiguous == ((3.0, 4.0),)
    of_times = {"starts before the video", "starts after the video's end", "ends after the video's end", "zero length"}
    assert repairs == dict.fromkeys(
        of_times | {"ambiguous", "duplicate", "overlaps its own class", "overlaps another class"}, 1
    )


def test_training_sees_actions_cut_to_the_video_without_empty_ones_and_duplicates():
    (video,), _ = check([ODD], CLASSES)
    kept = [(1.0, 2.0), (8.0, 9.0), (1.5, 3.0), (0.0, 0.5), (0.4, 0.8)]
    assert [(action.start, action.end) for action in repaired(video).actions] == kept


def test_every_kind_of_finding_is_either_repaired_or_fatal():
    broken = Video("w", float("inf"), 0.0, "test", (Action(0.0, 1.0, "x"),))
    doubted = Video("video_test_0000270", 1.0, 1.0, "test", ())
    counted = Video("f", 9.0, 30.0, "test", (Action(30.0, 90.0, "Diving"),))
    kinds = {finding.kind for finding in find([ODD, broken, doubted, counted], CLASSES)}
    of_data_sets = {"video of another subset", "video without usable features", "copy of another length"}
    of_names = {"name with white space or decomposed letters", "video named with the ending of its file"}
    assert kinds | of_data_sets | of_names == set(KINDS) | set(FATAL)


def test_a_data_set_without_annotations_says_where_they_are_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotations of 'thumos14': expected .*thumos14.*annotations.json"):
        datasets.load("thumos14", tmp_path)
    with pytest.raises(FileNotFoundError, match="or such a folder; did you mean 'thumos14'?"):
        datasets.load("thumos", tmp_path)


def test_an_action_is_compared_with_all_that_stand_before_it_however_many():
    """As pair by pair; and twenty thousand of them in a second."""
    rng = np.random.default_rng(0)

    def pairwise(actions):
        for place, action in enumerate(actions):
            earlier = [
                other for other in actions[:place] if min(action.end, other.end) > max(action.start, other.start)
            ]
            labels = {other.label for other in earlier}
            yield "duplicate" if action in actions[:place] else "own" if action.label in labels else ""
            yield "another" if labels - {action.label} else ""

    names = {"duplicate": "duplicate", "overlaps its own class": "own", "overlaps another class": "another"}
    for _ in range(60):
        ends = np.sort(rng.integers(0, 12, (8, 2)), axis=1).astype(float).tolist()
        actions = tuple(
            Action(start, end, "ab"[label]) for (start, end), label in zip(ends, rng.integers(0, 2, 8), strict=True)
        )
        found = [
            names[each.kind] for each in find([Video("v", 20.0, 5.0, "test", actions)], "ab") if each.kind in names
        ]
        assert found == list(filter(None, pairwise(actions)))
    starts = rng.uniform(0, 20_000, 20_000).tolist()
    many = tuple(Action(start, start + 5, "abcd"[place % 4]) for place, start in enumerate(starts))
    began = time.process_time()
    find([Video("v", 20_009.0, 5.0, "test", many)], "abcd")
    assert time.process_time() - began < 5  # in pairs it would be minutes
