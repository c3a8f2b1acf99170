"""A run goes on as it was begun: later stages take every parameter from it."""

from pathlib import Path

import pytest
from conftest import ROOT

from tadlib.files import read_json, write_json
from tadlib.workbook import papermill_arguments, runs
from tadlib.workbook.inheritance import parameters
from tadlib.workbook.params import Params

RUN = {"split": 50, "split_id": 2}


@pytest.fixture
def copy(tmp_path) -> Path:
    """The record of a run that was trained on another split than the default one."""
    return recorded(tmp_path / "trained", "train")


def recorded(folder: Path, *stages: str, **given) -> Path:
    """A run folder in which these stages have finished with such parameters."""
    record = {"status": "finished", "parameters": Params.check(RUN | given).model_dump()}
    write_json(folder / "run.json", dict.fromkeys(stages, record))
    return folder


@pytest.mark.parametrize("stage", ["classify", "evaluate"])
@pytest.mark.parametrize(
    "given", [{"split": 75}, {"split_id": 0}, {"seed": 4}, {"queries": 9}, {"window": 96}, {"dataset": "thumos14"}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_what_training_settled_cannot_be_changed(stage, given, copy):
    ((name, value),) = given.items()
    was = read_json(copy / "run.json")["train"]["parameters"][name]
    with pytest.raises(runs.RunError, match=name) as refused:
        passed(stage, copy, given)
    assert repr(was) in str(refused.value) and repr(value) in str(refused.value)


def passed(stage: str, folder: Path, given: dict, cell: str = "split: int = 75") -> Params:
    """The parameters of a stage whose notebook has one parameters cell and was given some more by papermill."""
    given = given | {"run_dir": str(folder)}
    for name in ("checkpoint.pt", "detections.json"):
        (folder / name).touch()
    injected = "# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in given.items())
    namespace: dict = {"In": ["", cell, injected]}
    exec(cell, namespace)
    return parameters(stage, namespace | given)


def test_words_of_naming_may_differ_from_the_training_and_not_from_the_naming(copy, tmp_path):
    chained = recorded(tmp_path / "chained", "train", "classify")
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
    folder = recorded(tmp_path, "train", text="subactions")
    params = papermill_arguments.check("classify", {"run_dir": str(folder), "lead": "prompt"})
    assert (params.lead, params.text, params.split_id) == ("prompt", "subactions", 2)
    words = [str(ROOT / "notebooks" / "classify.ipynb"), "-p", "run_dir", str(folder), "-p", "split", "75"]
    with pytest.raises(runs.RunError, match="split of train .* is 50, classify was given 75"):
        papermill_arguments.complete(words, lambda text: None)


def test_what_was_prepared_can_be_trained_on_in_any_way_but_on_other_data(tmp_path):
    recorded(tmp_path, "prepare")
    params = passed("train", tmp_path, {"epochs": 3})
    assert (params.split, params.split_id, params.epochs) == (50, 2, 3)
    with pytest.raises(runs.RunError, match="split_id of prepare"):
        passed("train", tmp_path, {"split_id": 1})


def test_the_same_folder_written_in_another_way_is_the_same_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "resolve", lambda path: tmp_path / path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "annotations.json").touch()
    recorded(tmp_path / "run", "train", dataset="mine")
    for written in ("./mine", str(tmp_path / "mine")):
        assert passed("classify", tmp_path / "run", {"dataset": written}).split == 50
    with pytest.raises(runs.RunError, match="dataset of train .* is 'mine', classify was given './other'"):
        passed("classify", tmp_path / "run", {"dataset": "./other"})


def test_a_misspelt_folder_is_told_and_nothing_is_written_there(tmp_path):
    given = f"# Parameters\nrun_dir = {str(tmp_path / 'nothere')!r}\n"
    for stage in ("classify", "evaluate"):
        namespace = {"In": ["", "split: int = 75", given], "split": 75, "run_dir": str(tmp_path / "nothere")}
        with pytest.raises(runs.RunError, match=f"{stage} needs .* and .*nothere has none: run `papermill notebooks/"):
            parameters(stage, namespace)
    assert not (tmp_path / "nothere").exists()
