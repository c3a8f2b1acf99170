"""What prepare.ipynb says about a data set is what is there."""

import numpy as np
import pytest
import yaml
from notebook import run_cells
from standins import SMALL, dataset, params, simulated, with_features
from videos import steady, write_video

from tadlib.workbook import data_summary
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params


@pytest.fixture
def data(tmp_path):
    folder = with_features(dataset(tmp_path / "own"), v1=np.ones((50, 17)))
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "v4.mp4", steady(400, 25))
    return gather(params(folder, missing="skip"))


def test_the_overview_counts_what_is_there_and_names_what_was_skipped(data):
    rows = {row["what"]: row["found"] for row in data_summary.overview(data)}
    assert rows["annotations"] == "own/annotations.json"
    assert rows["training videos ('training')"] == "3" and rows["test actions"] == "4"
    assert rows["video files"] == "1 of 7" and rows["features"].startswith("7 videos, ")
    assert "v1.npy: has 17 channels, expected 16" in rows["skipped: v1"]


def test_settings_are_proposed_from_lengths_and_counts_with_their_reasons(data, tmp_path):
    of_others = data_summary.settings(data)  # actions of 100 frames, one a video
    found = data_summary.settings(gather(Params.check(SMALL | {"dataset": str(simulated(tmp_path))})))
    assert [value for value, _ in found.values()] == [8, 16, 16, 100]  # actions of 48 frames, two a video
    assert "up to 2 actions" in found["queries"][1] and "at most 6 snippets" in found["window"][1]
    fixed = SMALL | {"dataset": str(tmp_path), "snippets": 50}  # of 0.8 s, whatever the frame rate
    found = data_summary.settings(gather(Params.check(fixed)), fixed["snippets"])
    assert "stride" not in found and found["snippets"][0] == 50 and "at most 8 snippets" in found["window"][1]
    block = data_summary.as_block(of_others, "my data: 2")
    given = {"dataset": "my data: 2", "stride": 8, "window": 32, "queries": 16, "top_k": 100}
    assert yaml.safe_load(block.split("```")[1].removeprefix("yaml")) == given
    assert block.endswith("`-p dataset 'my data: 2' -p stride 8 -p window 32 -p queries 16 -p top_k 100`")


def test_the_notebook_looks_at_every_video_and_names_what_is_odd(tmp_path):
    folder = with_features(dataset(tmp_path / "own"), v1=np.ones((50, 17)))
    made = run_cells("prepare", "run.finish", dataset=str(folder), data_dir=str(tmp_path), missing="skip")
    assert [row["video"] for row in made.health] == [video.id for video in made.data.benchmark.videos]
    assert [row["found"] for row in made.findings] == ["video without usable features"]
    assert made.leaks[-1] == {"finding": "test windows without an unseen action", "number": 3, "of": 4}, (
        "of the videos scored"
    )
