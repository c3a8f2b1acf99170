"""What prepare.ipynb says about a data set is what is there."""

import json

import numpy as np
import pytest
from standins import dataset, params, with_features
from videos import steady, write_video

from tadlib.workbook import health
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params


@pytest.fixture
def data(tmp_path):
    folder = with_features(dataset(tmp_path / "own"), v1=np.ones((16, 50)))
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "v4.mp4", steady(400, 25))
    return gather(params(folder, missing="skip"))


def test_the_overview_counts_what_is_there_and_names_what_was_skipped(data):
    rows = {row["what"]: row["found"] for row in health.overview(data)}
    assert rows["annotations"] == "own/annotations.json"
    assert rows["training videos ('training')"] == "3" and rows["test actions"] == "4"
    assert rows["video files"] == "1 of 7" and rows["features"].startswith("7 videos, ")
    assert "v1.npy: shape (16, 50) is transposed" in rows["skipped: v1"]


def test_classes_of_which_the_same_is_said_are_told(tmp_path):
    folder, said = with_features(dataset(tmp_path / "own")), tmp_path / "said.json"
    texts = {"clap": "hands meet", "jump": "feet leave the floor", "run": "fast steps", "wave": "hands meet"}
    said.write_text(json.dumps({name: {"Elaboration": {"Description": text}} for name, text in texts.items()}))
    rows = health.overview(gather(params(folder, text="description", descriptions=str(said))))
    assert [row["found"] for row in rows if row["what"] == "beware, read alike"] == ["'clap', 'wave'"]


def test_published_numbers_stand_beside_those_of_the_known_benchmarks():
    assert health.PUBLISHED["thumos14"] == {"training": (200, 3007), "test": (213, 3358)}
    assert health.PUBLISHED["activitynet13"] == {"training": (10024, 15410), "test": (4926, 7654)}


def test_findings_are_a_table_even_where_there_are_none(data, tmp_path):
    assert [row["found"] for row in health.findings(data)] == ["video without usable features"]
    clean = gather(params(with_features(dataset(tmp_path / "clean"))))
    assert health.findings(clean)[0]["found"] == "nothing odd"


def test_frames_are_grey_where_there_is_no_video(data):
    with_file = next(video for video in data.benchmark.videos if video.id == "v4")
    without = next(video for video in data.benchmark.videos if video.id == "v5")
    assert len({image.mean() for _, image in health.frames(data, with_file)}) > 3
    shown = health.frames(data, without, count=4)
    assert [seconds for seconds, _ in shown] == [2.0, 6.0, 10.0, 14.0]
    assert {int(image.mean()) for _, image in shown} == {200}
    assert data.frame(without, 3.0).mean() == 200 != data.frame(with_file, 3.0).mean()


def test_health_and_leaks_cover_every_video(data):
    rows = health.feature_health(data)
    assert [row["video"] for row in rows] == [video.id for video in data.benchmark.videos]
    leaks = health.leaks(data, rows, Params())
    assert leaks[-1] == {"finding": "test windows without an unseen action", "number": 0, "of": 1}
