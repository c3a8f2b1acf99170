"""Annotations are read as published, checked, and every mistake is named with its file, video and field."""

import json

import pytest

from tadlib.data import datasets
from tadlib.data.annotations import Action, Benchmark, Video, check, read_activitynet


def written(folder, **changes):
    row = {"subset": "test", "duration": 20.0, "fps": 30, "annotations": [{"segment": [1, 2.5], "label": " Diving "}]}
    path = folder / "annotations.json"
    path.write_text(json.dumps({"database": {"v1": {name: v for name, v in (row | changes).items() if v is not None}}}))
    return path


def test_a_video_and_its_actions_are_read_in_seconds(tmp_path):
    (video,) = read_activitynet(written(tmp_path))
    assert video == Video("v1", 20.0, 30.0, "test", (Action(1.0, 2.5, "Diving"),))


@pytest.mark.parametrize("missing", ["subset", "duration", "fps"])
def test_a_missing_field_is_named_with_file_and_video(tmp_path, missing):
    with pytest.raises(ValueError, match=f"annotations.json: video v1 has no field '{missing}'"):
        read_activitynet(written(tmp_path, **{missing: None}))


def test_a_segment_without_an_end_is_named(tmp_path):
    with pytest.raises(ValueError, match="annotations.json: video v1 cannot be read"):
        read_activitynet(written(tmp_path, annotations=[{"segment": [1], "label": "Diving"}]))


def test_a_truncated_file_is_named(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match="annotations.json is not readable JSON"):
        read_activitynet(path)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video("v", 0.0, 30.0, "test", ()), "video v: duration must be positive, got 0.0"),
        (Video("v", 9.0, float("nan"), "test", ()), "video v: fps must be positive, got nan"),
        (Video("v", 9.0, 30.0, "test", (Action(3.0, 2.0, "Diving"),)), "must have 0 <= start <= end"),
        (Video("v", 9.0, 30.0, "test", (Action(float("nan"), 2.0, "Diving"),)), "must have 0 <= start <= end"),
        (Video("v", 9.0, 30.0, "test", (Action(1.0, 2.0, "Knitting"),)), "unknown class 'Knitting'; known: Diving"),
    ],
)
def test_what_nobody_can_repair_is_an_error(video, message):
    with pytest.raises(ValueError, match=message):
        check([video], ["Diving"])


def test_what_is_left_out_is_counted():
    actions = (
        Action(1.0, 2.0, "Diving"),
        Action(3.0, 4.0, "Ambiguous"),
        Action(9.5, 11.0, "Diving"),
        Action(8.0, 9.2, "Diving"),
    )
    (video,), repairs = check([Video("v", 9.0, 30.0, "test", actions)], ["Diving"])
    assert video.actions == (Action(1.0, 2.0, "Diving"), Action(8.0, 9.2, "Diving"))
    assert repairs == {
        "ambiguous rows left out": 1,
        "actions after the video's end left out": 1,
        "ends beyond the video's end kept": 1,
    }


def test_a_benchmark_shows_only_videos_and_actions_of_the_labels_asked_for(tmp_path):
    videos = (
        Video("a", 9.0, 30.0, "val", (Action(1.0, 2.0, "Diving"), Action(3.0, 4.0, "Shotput"))),
        Video("b", 9.0, 30.0, "val", (Action(1.0, 2.0, "Shotput"),)),
        Video("c", 9.0, 30.0, "validation", (Action(1.0, 2.0, "Diving"),)),
    )
    benchmark = Benchmark("x", tmp_path, videos, ("Diving", "Shotput"), "val", "test", (0.5,))
    (shown,) = benchmark.training_videos(["Diving"])
    assert shown == Video("a", 9.0, 30.0, "val", (Action(1.0, 2.0, "Diving"),))
    assert benchmark.test_videos(["Diving"]) == ()


def test_a_folder_with_annotations_is_a_data_set(tmp_path):
    written(tmp_path)
    benchmark = datasets.load(str(tmp_path), tmp_path / "elsewhere")
    assert (benchmark.test_subset, benchmark.tious) == ("test", (0.3, 0.4, 0.5, 0.6, 0.7))
    assert [video.id for video in benchmark.test_videos(["Diving"])] == ["v1"]


def test_a_data_set_without_annotations_says_where_they_are_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotations of 'thumos14': expected .*thumos14.*annotations.json"):
        datasets.load("thumos14", tmp_path)


def test_the_published_thumos14_annotations_pass_and_their_known_errors_are_counted(shared_data):
    benchmark = datasets.load(str(shared_data / "thumos14"), shared_data)
    subsets = [video.subset for video in benchmark.videos]
    assert (subsets.count("val"), subsets.count("test")) == (200, 213)
    assert benchmark.repairs["ambiguous rows left out"] == 89 + 99
    assert benchmark.repairs["actions after the video's end left out"] == 30
