"""Each protocol counts what its table says, and says what it counted."""

import pytest
from answers import found, video

from tadlib.data.annotations import Benchmark
from tadlib.evaluation import protocols, scoring

NAMES = ("video_test_0000270", "video_test_0000504", "video_test_0000001", "video_test_0000002")


VIDEOS = (
    *(video(name, (0, 10, "Diving")) for name in NAMES[:2]),
    video(NAMES[2], (0, 10, "Diving"), (20, 20.2, "Diving"), (0, 10.0005, "Diving"), (50, 60, "Ambiguous")),
    video(NAMES[3], (0, 10, "Shotput")),
)


def test_an_unknown_protocol_is_named():
    with pytest.raises(ValueError, match="'srtict'; did you mean 'strict'"):
        scoring.score(VIDEOS, {}, ["Diving"], (0.5,), "srtict")


@pytest.mark.parametrize(
    ("protocol", "videos", "actions"),
    [
        ("plain", 4, 5),
        ("strict", 3, 4),  # without 270
        ("gap", 1, 2),  # without 270 and 504, the video of Shotput, and the action of 6 frames
        ("t3al", 3, 5),  # without the video of Shotput
        ("opentad", 3, 3),  # without 270 and the action annotated twice within a millisecond
        ("thumos-toolkit", 4, 5),
    ],
)
def test_each_protocol_counts_its_videos_and_actions(protocol, videos, actions):
    chosen = protocols.chosen(VIDEOS, ["Diving"], protocol, stride=8)
    counted = protocols.counts(chosen, NAMES)
    assert (counted["videos"], counted["actions"]) == (videos, actions)


def test_without_a_frame_rate_a_short_action_lasts_a_second_or_less():
    short = video("a", (0, 1.0, "Diving"), (2, 3.1, "Diving"))
    (chosen,) = protocols.chosen([short], ["Diving"], "gap")
    assert [action.start for action in chosen.actions] == [2]


def test_t3al_counts_training_videos_too_and_only_where_something_was_detected(tmp_path):
    videos = (video("a", (0, 10, "Diving")), video("b", (0, 10, "Diving"), subset="val"))
    benchmark = Benchmark("x", tmp_path, videos, ("Diving",), "val", "test", (0.5,))
    assert len(protocols.scored_videos(benchmark, ["Diving"], "t3al", 8)) == 2
    assert len(protocols.scored_videos(benchmark, ["Diving"], "strict", 8)) == 1
    result = scoring.score(videos, {"a": found((0, 10, 0.9, "Diving"))}, ["Diving"], [0.5], "t3al")
    assert result["mAP"] == 1.0 and result["counts"]["videos"] == 1
    assert scoring.score(videos, {"a": found((0, 10, 0.9, "Diving"))}, ["Diving"], [0.5], "plain")["mAP"] == 0.5
    empty = {"a": found((0, 10, 0.9, "Diving")), "b": found()}
    assert scoring.score(videos, empty, ["Diving"], [0.5], "t3al")["mAP"] == 1.0, "an empty list is no detection"


def test_t3al_rounds_each_class_to_a_tenth_of_a_point():
    videos = [video("a", *((10 * n, 10 * n + 5, "Diving") for n in range(3)))]
    one_of_three = {"a": found((0, 5, 0.9, "Diving"))}
    assert scoring.score(videos, one_of_three, ["Diving"], [0.5], "plain")["mAP"] == pytest.approx(1 / 3)
    assert scoring.score(videos, one_of_three, ["Diving"], [0.5], "t3al")["mAP"] == 0.333


@pytest.mark.parametrize(
    ("one", "rows", "toolkit", "plain"),
    [
        (VIDEOS[2], [(52, 53, 0.9, "Diving"), (0, 10, 0.8, "Diving")], 1 / 3, 1 / 6),  # on an ambiguous region
        (VIDEOS[0], [(0, 8, 0.9, "Diving"), (0, 10, 0.1, "Diving")], 0.5, 1.0),  # the tighter is preferred to the surer
        (VIDEOS[0], [(0, 5, 0.9, "Diving")], 0.0, 1.0),  # more than the threshold is asked for
    ],
)
def test_the_thumos_toolkit_scores_otherwise(one, rows, toolkit, plain):
    for protocol, expected in (("thumos-toolkit", toolkit), ("plain", plain)):
        result = scoring.score([one], {one.id: found(*rows)}, ["Diving"], [0.5], protocol)
        assert result["mAP"] == pytest.approx(expected)


def test_what_was_counted_is_said():
    result = scoring.score(VIDEOS, {NAMES[2]: found((0, 10, 0.9, "Diving"))}, ["Diving", "PoleVault"], [0.5], "strict")
    assert result["protocol"] == "strict"
    told = {"videos": 3, "videos_without_actions": 1, "videos_without_detections": 2, "videos_left_out": 1}
    told |= {"actions": 4, "ambiguous_regions": 1, "detections": 1, "classes": 1}
    assert result["counts"] == told | {"classes_without_actions": ["PoleVault"]}


def test_a_protocol_that_counts_nothing_is_named_with_the_number_of_videos():
    short = (video("a", (0, 0.1, "Diving")), video("b", (5, 5.2, "Diving")))
    with pytest.raises(ValueError, match="protocol=gap counts 0 of 2 videos and no action of the 1 classes"):
        scoring.score(short, {"a": found((0, 10, 0.9, "Diving"))}, ["Diving"], [0.5], "gap")
    with pytest.raises(ValueError, match="protocol=t3al counts only videos with detections, and none of 2 has any"):
        scoring.class_table(short, {}, ["Diving"], [0.5], "t3al")
