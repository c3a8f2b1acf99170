"""A run goes on as it was begun: later stages take every parameter from it, and lose nothing that is there."""

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import stubs
import torch
import yaml
from conftest import ROOT

from tadlib.files import read_json, write_json
from tadlib.workbook import papermill_arguments, runs
from tadlib.workbook.inheritance import parameters
from tadlib.workbook.params import Params
from tadlib.workbook.stages import STAGES

RUN = {"split": 50, "split_id": 2}


def execute(stage: str, folder: Path, **given):
    """One notebook of the project by papermill with a run directory and nothing else but what is given."""
    words = yaml.safe_dump(given | {"run_dir": str(folder)})
    target = folder / f"{stage}.ipynb"
    folder.mkdir(exist_ok=True)
    source = str(ROOT / "notebooks" / f"{stage}.ipynb")
    return stubs.papermill(source, str(target), "-y", words, "--no-progress-bar", cwd=ROOT, timeout=600)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """A run that was trained on another split than the default one."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = execute("train", folder, **tiny | RUN)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def chained(trained, tmp_path_factory) -> Path:
    """The same run after `classify` and `evaluate`, which were given its folder alone."""
    folder = tmp_path_factory.mktemp("chained") / "run"
    shutil.copytree(trained, folder)
    for stage in ("classify", "evaluate"):
        done = execute(stage, folder)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    """The trained run, to go on with."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_later_stages_given_a_run_alone_say_what_its_training_said(trained, chained):
    records = read_json(chained / "run.json")
    kept = [{n: v for n, v in records[s]["parameters"].items() if n != "run_dir"} for s in records]
    assert list(records) == ["train", "classify", "evaluate"] and kept[0] == kept[1] == kept[2]
    assert kept[0]["split"] == 50 and kept[0]["split_id"] == 2
    before, after = read_json(trained / "metrics.json"), read_json(chained / "metrics.json")
    assert before["unseen"] == after["unseen"]
    assert {name: after[name] for name in before} == before
    assert read_json(chained / "detections.json") == read_json(trained / "detections.json")


def test_nothing_that_an_earlier_stage_wrote_is_lost(trained, chained):
    for name in ("detections", "metrics"):
        assert read_json(chained / f"{name}.train.json") == read_json(trained / f"{name}.json")
    assert (chained / "proposals.train.parquet").read_bytes() == (trained / "proposals.parquet").read_bytes()
    records = read_json(chained / "run.json")
    assert "metrics.json" in records["evaluate"]["files"] and "metrics.train.json" in records["train"]["files"]


@pytest.mark.parametrize("stage", ["classify", "evaluate"])
@pytest.mark.parametrize(
    "given", [{"split": 75}, {"split_id": 0}, {"seed": 4}, {"queries": 9}, {"window": 64}, {"dataset": "demo"}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_what_training_settled_cannot_be_changed(stage, given, copy, monkeypatch):
    ((name, value),) = given.items()
    was = read_json(copy / "run.json")["train"]["parameters"][name]
    with pytest.raises(runs.RunError, match=name) as refused:
        passed(stage, copy, given)
    assert repr(was) in str(refused.value) and repr(value) in str(refused.value)


def passed(stage: str, folder: Path, given: dict, cell: str = "split: int = 75") -> Params:
    """The parameters of a stage whose notebook has one parameters cell and was given some more by papermill."""
    given = given | {"run_dir": str(folder)}
    injected = "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in given.items())
    namespace: dict = {"In": ["", cell, injected]}
    exec(cell, namespace)
    return parameters(stage, namespace | given)


def test_words_of_naming_may_differ_from_the_training_and_not_from_the_naming(copy, chained):
    assert passed("classify", copy, {"text": "name"}).text == "name"
    with pytest.raises(runs.RunError, match="text of classify .* is 'prompt', evaluate was given 'name'"):
        passed("evaluate", chained, {"text": "name"})
    assert passed("evaluate", chained, {"protocol": "plain"}).protocol == "plain"


def test_a_cell_that_repeats_defaults_gives_nothing_and_an_edited_one_does(copy):
    assert passed("classify", copy, {}).split == 50
    with pytest.raises(runs.RunError, match="split_id of train .* is 2, classify was given 3"):
        passed("classify", copy, {}, "split: int = 75\nsplit_id: int = 3")
    same = passed("classify", copy, {"split": "50", "lr": "1e-3"})
    assert same.split == 50, "the same value in another type is no other value"


def test_a_word_that_fits_the_run_alone_is_taken_and_one_that_does_not_stops_before_a_kernel_starts(tmp_path):
    record = {"status": "finished", "parameters": Params.check(RUN | {"text": "subactions"}).model_dump()}
    write_json(tmp_path / "run.json", {"train": record})
    params = papermill_arguments.check("classify", {"run_dir": str(tmp_path), "lead": "prompt"})
    assert (params.lead, params.text, params.split_id) == ("prompt", "subactions", 2)
    done = execute("classify", tmp_path, split=75)
    assert done.returncode and "split of train" in done.stderr and "is 50, classify was given 75" in done.stderr
    assert not (tmp_path / "classify.ipynb").exists() and "Traceback" not in done.stderr


def test_what_was_prepared_can_be_trained_on_in_any_way_but_on_other_data(tmp_path):
    write_json(tmp_path / "run.json", {"prepare": {"status": "finished", "parameters": Params.check(RUN).model_dump()}})
    params = passed("train", tmp_path, {"epochs": 3})
    assert (params.split, params.split_id, params.epochs) == (50, 2, 3)
    with pytest.raises(runs.RunError, match="split_id of prepare"):
        passed("train", tmp_path, {"split_id": 1})


@pytest.mark.parametrize("name", ["dataset", "features", "text_features", "descriptions", "pretrained"])
def test_a_path_may_be_written_in_another_way(name, tmp_path, monkeypatch):
    root = Path(shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")).parent
    (root / "pyproject.toml").touch()
    monkeypatch.setenv("TAD_ROOT", str(root))
    for place in ("own", "other"):
        (root / place).touch()
    read = {"text": "description"} if name == "descriptions" else {}
    record = {"status": "finished", "parameters": Params.check(read | {name: "own"}).model_dump()}
    write_json(root / "run" / "run.json", {"train": record, "classify": record})
    for other in ("own", "./own", str(root / "own"), "own/", "other/../own"):
        assert getattr(passed("evaluate", root / "run", {name: other}), name) == other
    with pytest.raises(runs.RunError, match=f"{name} of .* is 'own', evaluate was given './other'"):
        passed("evaluate", root / "run", {name: "./other"})


@pytest.mark.parametrize(("name", "word"), [("dataset", "demo"), ("features", "auto"), ("features", "simulate")])
def test_a_name_is_no_folder_of_that_name(name, word, tmp_path):
    record = {"status": "finished", "parameters": Params.check({name: word}).model_dump()}
    write_json(tmp_path / "run.json", {"train": record})
    for folder in (f"./{word}", str(runs.resolve(word))):
        with pytest.raises(runs.RunError, match=f"{name} of train .* is '{word}', classify was given"):
            passed("classify", tmp_path, {name: folder})


def test_a_run_is_evaluated_on_its_training_videos_and_what_the_test_wrote_stays(chained, tmp_path):
    folder = Path(shutil.copytree(chained, tmp_path / "run"))
    before = {path.name: stubs.digest(path) for path in folder.iterdir() if path.name != "run.json"}
    source, target = str(ROOT / "notebooks" / "evaluate.ipynb"), folder / "evaluate_training.ipynb"
    words = ("-p", "run_dir", str(folder), "-p", "evaluate_on", "training", "--no-progress-bar")
    done = stubs.papermill(source, str(target), *words, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    new = {target.name, "metrics_on_training.json", "detections_on_training.json", "run.json"}
    assert {path.name: stubs.digest(path) for path in folder.iterdir() if path.name not in new} == before
    records, metrics = read_json(folder / "run.json"), read_json(folder / "metrics_on_training.json")
    assert records["evaluate_on_training"]["status"] == "finished" and metrics["evaluate_on"] == "training"
    assert {name: records[name] for name in STAGES[1:]} == read_json(chained / "run.json")
    assert set(metrics["per_class"]) <= set(metrics["seen"])
    assert not set(metrics["seen"]) & set(read_json(folder / "metrics.json")["unseen"])
    said = nbformat.read(target, as_version=4)
    (table,) = (cell.outputs[-1].data["text/html"] for cell in said.cells if "beside_test" in cell.source)
    assert "test, unseen" in table and f"{100 * read_json(folder / 'metrics.json')['mAP']:.1f}" in table
    assert "learned from, seen" in table and f"{100 * metrics['mAP']:.1f}" in table


def test_a_checkpoint_that_saw_other_classes_is_refused(copy):
    saved = torch.load(copy / "checkpoint.pt", weights_only=True)
    saved["about"]["seen"] = saved["about"]["seen"][:-1] + ["Juggling"]
    torch.save(saved, copy / "checkpoint.pt")
    for stage in ("classify", "evaluate"):
        done = execute(stage, copy)
        assert done.returncode and "trained on the classes" in done.stderr and "Juggling" in done.stderr


def test_recall_is_that_of_the_segments_that_were_named(copy):
    frame = pd.read_parquet(copy / "proposals.parquet")
    frame[:0].to_parquet(copy / "proposals.parquet")
    done = execute("evaluate", copy)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = read_json(copy / "metrics.json")
    assert metrics["AR@100"] == 0 and metrics["agnostic_mAP"] == 0


def test_detections_that_name_what_is_no_unseen_class_are_refused(copy):
    found = read_json(copy / "detections.json")
    next(rows for rows in found["results"].values() if rows)[0]["label"] = "Juggling"
    write_json(copy / "detections.json", found)
    done = execute("evaluate", copy)
    assert done.returncode and "detections.json of" in done.stderr and "names 'Juggling'" in done.stderr
