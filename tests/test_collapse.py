"""Training does not collapse: on classes it never saw the last epoch is worth nearly what the best one is.

Each case takes minutes: the demo as its recipe trains it, and a rehearsal on simulated features of the short videos of
THUMOS14, whose timelines are real.
"""

import json

import pytest

from tadlib.workbook import runs, steps
from tadlib.workbook.params import Params
from tadlib.workbook.recipes import STEADY
from tadlib.workbook.steps import watching

LONGEST = 100.0  # seconds of a video that is rehearsed
SMALL = {"features": "simulate", "width": 128, "encoder_layers": 1, "decoder_layers": 2, "epochs": 60, "lr": 1e-3}
BOTH = (watching.UNSEEN, watching.NAMED)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory, shared_data):
    """A data set of the annotated THUMOS14 videos that are short."""
    folder = tmp_path_factory.mktemp("rehearsal")
    content = json.loads((shared_data / "thumos14" / "annotations.json").read_text(encoding="utf-8"))
    videos = content["database"].items()
    short = {name: video for name, video in videos if video["duration"] <= LONGEST and video["annotations"]}
    (folder / "annotations.json").write_text(json.dumps({"database": short}), encoding="utf-8")
    return {"dataset": str(folder)} | SMALL | STEADY


def curves(tmp_path, **words) -> dict[str, list[float]]:
    """What a detector is worth on unseen classes after every epoch, class-agnostic and with names."""
    params = Params.check({"split": 50, "curves": True, "run_dir": str(tmp_path / "run")} | words)
    data = steps.gather(params)
    history = steps.train(data, steps.training_windows(data, params), params, runs.start("train", params))[1]
    return {name: [row[name] for row in history] for name in BOTH}


@pytest.mark.slow
@pytest.mark.parametrize("split_id", [0, 1, 2])
def test_the_last_epoch_of_the_demo_is_nearly_the_best(split_id, tmp_path):
    assert all(row[-1] >= 0.9 * max(row) > 0.09 for row in curves(tmp_path, split_id=split_id).values())


@pytest.mark.slow
@pytest.mark.parametrize("split_id", [0, 1, 2])
def test_the_last_epoch_of_the_rehearsal_is_nearly_the_best(split_id, rehearsal, tmp_path):
    """What the detector answers for; with names, which CLIP gives, split 1 ended at 0.87 of its best."""
    found = curves(tmp_path, split_id=split_id, **rehearsal)[watching.UNSEEN]
    assert found[-1] >= 0.9 * max(found) > 0.05
