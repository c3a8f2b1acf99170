"""A later stage notices that what an earlier one read, or wrote, is not what it was: it stops, or says so."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from notebook import run_cells
from standins import CLASSES, dataset, params, with_features

from tadlib.detector.proposals import predict
from tadlib.files import read_json, write_json
from tadlib.naming.fusion import write_detections
from tadlib.workbook import detectors, inference, runs
from tadlib.workbook.gathering import gather
from tadlib.workbook.inference import inference_windows
from tadlib.workbook.inheritance import complete
from tadlib.workbook.runs import RunError

pytestmark = pytest.mark.notebooks
SMALL = {"width": 16, "heads": 2, "queries": 4, "encoder_layers": 1, "decoder_layers": 1, "conv_layers": 0}
SMALL |= {"window": 32, "epochs": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A small data set, a run trained on it, and the same after its proposals were named."""
    home = tmp_path_factory.mktemp("first")
    said = {label: {"Elaboration": {"Description": f"people {label}"}} for label in CLASSES}
    with_features(dataset(home / "own"))
    write_json(home / "said.json", said)
    given = params(home / "own", **SMALL, text="description", descriptions=str(home / "said.json"))
    run_cells("train", "trainer.epochs()", **(given.model_dump() | {"run_dir": str(home / "trained")})).run.finish()
    shutil.copytree(home / "trained", home / "named")
    name(home, "named")
    return home


@pytest.fixture
def home(first, tmp_path):
    """A copy of all of it, to change."""
    shutil.copytree(first, tmp_path / "home")
    for path in (tmp_path / "home").glob("*/run.json"):
        path.write_text(path.read_text().replace(str(first), str(tmp_path / "home")))
    for path in (tmp_path / "home").glob("*/checkpoint.pt"):
        saved = torch.load(path, weights_only=True)
        where = {each: str(tmp_path / "home" / value) for each, value in (("dataset", "own"), ("data_dir", "."))}
        saved["params"] |= where | {"descriptions": str(tmp_path / "home" / "said.json")}
        torch.save(saved, path)
    return tmp_path / "home"


def at(stage, home, run):
    """The data and the run of a later stage."""
    given = complete(stage, {"run_dir": str(home / run)})
    return gather(given), given, runs.start(stage, given)


def name(home, run):
    """What classify.ipynb does."""
    data, given, run = at("classify", home, run)
    model = detectors.load_detector(data, given, run)
    windows = inference_windows(data.scored, data, given)
    proposals = inference.propose(predict(model, windows), windows, given)
    detectors.save_proposals(run.target("proposals.parquet"), proposals)
    write_detections(run.target("detections.json"), inference.name(data, proposals, given))
    return run.finish()


def score(home, run="named"):
    """What evaluate.ipynb starts with."""
    data, given, run = at("evaluate", home, run)
    return detectors.load_proposals(data, given, run)


def other_features(home, video):
    np.save(home / "own" / "features" / f"{video}.npy", np.random.default_rng(99).normal(size=(50, 16)))


def edited(home, video, **changes):
    content = json.loads((home / "own" / "annotations.json").read_text())
    content["database"][video] |= changes
    (home / "own" / "annotations.json").write_text(json.dumps(content))


def moved(home, video):
    edited(home, video, annotations=[{"segment": [3.0, 7.0], "label": CLASSES[int(video[1]) % 4]}])


def test_nothing_is_said_where_nothing_changed(home):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        name(home, "trained")
        assert score(home).keys() == {"v4", "v5", "v6", "v7"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda home: other_features(home, "v1"), "features of the training videos"),
        (lambda home: moved(home, "v1"), "annotations of the training videos"),
        (lambda home: moved(home, "v3"), ""),  # of an unseen class alone: not a training video
        (lambda home: edited(home, "v1", fps=24), "durations or frame rates of the training videos"),
        (lambda home: edited(home, "v1", subset="spare"), "list of videos, .*annotations"),
    ],
)
def test_training_videos_that_changed_are_refused_by_every_later_stage(change, told, home):
    change(home)
    if not told:
        name(home, "trained")
        score(home)
        return
    for later in (lambda: name(home, "trained"), lambda: score(home)):
        with pytest.raises(RunError, match=f"{told}.* changed since the detector in .* was trained: train again"):
            later()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda home: other_features(home, "v5"), "features"),
        (lambda home: edited(home, "v5", duration=16.1), "durations or frame rates"),
        (lambda home: np.savez(home / "own" / "text_features.npz", **dict.fromkeys(CLASSES, np.ones(16))), "text enc"),
        (
            lambda home: (home / "said.json").write_text((home / "said.json").read_text().replace("pe", "Pe")),
            "class te",
        ),
    ],
)
def test_detections_of_other_test_videos_or_texts_are_refused_and_can_be_made_anew(change, told, home):
    change(home)
    with pytest.raises(RunError, match=f"{told}.* of the test videos .* since classify made the detections") as refused:
        score(home)
    copy = f"mkdir {home}/named_classify && cp {home}/named/checkpoint.pt {home}/named_classify && "
    assert f"{copy}papermill notebooks/classify.ipynb -p run_dir {home}/named_classify" in str(refused.value)
    (home / "named_classify").mkdir()
    shutil.copy(home / "named" / "checkpoint.pt", home / "named_classify")
    name(home, "named_classify")
    assert score(home, "named_classify")


def test_test_annotations_that_changed_are_scored_by_and_said(home):
    moved(home, "v5")
    with pytest.warns(UserWarning, match="annotations of the test videos .* changed since classify made"):
        score(home)
    (home / "named" / "run.json").unlink()
    with pytest.warns(UserWarning, match="no record says from which videos and texts the detections in .* were made"):
        score(home)


def test_detections_and_proposals_of_two_stages_are_refused(home):
    record = read_json(home / "named" / "run.json")
    record["classify"]["files"].remove("detections.json")
    record["train"]["files"].append("detections.json")
    write_json(home / "named" / "run.json", record)
    with pytest.raises(RunError, match=r"detections.json in .* is of train and proposals.parquet of classify"):
        score(home)


def rewritten(home, change):
    path = home / "trained" / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda saved: saved.pop("about"), "has no about and no seen and no trained_on"),
        (lambda saved: saved["about"].pop("trained_on"), "has no trained_on"),
        (lambda saved: saved.pop("network"), "has no network"),
        (lambda saved: saved["params"].update(spilt=3), "holds parameters .*unknown parameter 'spilt'"),
        (lambda saved: saved["network"]["weights"].pop("project.weight"), "holds another network .*project.weight"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_named_with_what_to_do(change, told, home):
    rewritten(home, change)
    with pytest.raises(RunError, match=f"checkpoint.pt {told}.*: train again in another run_dir, or go on with"):
        name(home, "trained")


def test_a_checkpoint_without_a_record_that_lacks_its_parameters_is_named(home):
    (home / "trained" / "run.json").unlink()
    rewritten(home, lambda saved: saved.pop("params"))
    with pytest.raises(RunError, match="checkpoint.pt has no params: it is of another program or version: train again"):
        name(home, "trained")


def test_a_run_without_proposals_is_told_the_command_that_makes_them(home):
    with pytest.raises(RunError, match=f"run `papermill notebooks/classify.ipynb -p run_dir {home}/trained` first"):
        score(home, "trained")
    record = read_json(home / "named" / "run.json")
    record["classify"]["parameters"]["pooling"] = "max"
    write_json(home / "named" / "run.json", record)
    (home / "named" / "proposals.parquet").unlink()
    with pytest.raises(RunError) as refused:
        score(home)
    assert f"papermill notebooks/classify.ipynb -p run_dir {home}/named_classify -p pooling max` first" in str(
        refused.value
    )
