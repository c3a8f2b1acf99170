"""Stages are made once for all runs that depend on the same, and every run still gets its own numbers."""

import os
import shutil
import threading

import fabricate
import instant
import pytest
from notebook import run_cells

from tadlib.files import dangling, read_json, write_json
from tadlib.locks import locked
from tadlib.task import Task
from tadlib.workbook import execution, finished_runs, report, runs, stage_store, stages
from tadlib.workbook.execution import INTERRUPTED, failure
from tadlib.workbook.params import Params
from tadlib.workbook.stages import STAGES

NAMINGS = [{"fusion": "clip"}, {"text": "name"}, {"top_k": 7}, {"nms": "hard"}, {"roi_bins": 4}, {"pooling": "max"}]
NAMINGS += [{"head": "mlp", "head_lr": 0.1}, {"reject": "video"}, {"keep": "class_one"}, {"temperature": 2.0}]


@pytest.fixture
def home(quick_home):
    """A project whose stages take no time."""
    return quick_home


def obtain_all(folder, given) -> list[str | None]:
    return [stage_store.obtain(stage, folder, given, say=lambda text: None) for stage in STAGES]


def stored(home) -> list[str]:
    return [path.name for path in (home / "outputs" / ".stages").iterdir() if path.is_dir()]


def test_two_ways_of_keeping_share_a_training_and_have_their_own_numbers(home):
    first, second = home / "outputs" / "e" / "v" / "a", home / "outputs" / "e" / "v" / "b"
    assert obtain_all(first, {"top_k": 5}) == [None] * 4
    assert obtain_all(second, {"top_k": 9}) == [None] * 4
    assert instant.executed(home) == {"prepare": 1, "train": 1, "classify": 2, "evaluate": 2}
    lr = Params.check({}).lr
    assert [read_json(folder / "metrics.json")["mAP"] for folder in (first, second)] == [lr + 5, lr + 9]
    for notebook in (home / "outputs" / ".stages").glob("*/*.ipynb"):
        text = notebook.read_text(encoding="utf-8")
        assert f"run_dir = 'outputs/.stages/{notebook.parent.name}'" in text and "/.stages/." not in text, "for both"
    for name in ("checkpoint.json", "train.ipynb"):
        link = (second / name).readlink()
        assert not link.is_absolute() and link.parts[-3] == ".stages" and link.parts[-2].startswith("train-")
        assert os.path.samefile(first / name, second / name), "no bytes twice"
    assert failure(second / "train.ipynb") is None
    records = read_json(second / "run.json")
    assert records["train"]["made_in"] == read_json(first / "run.json")["train"]["made_in"]
    assert {record["parameters"]["top_k"] for record in records.values()} == {9}, "the run's own, in every record"
    assert [run["run"] for run in fabricate.load(home / "outputs")] == ["a", "b"], "the store is no run"


def test_what_a_cell_sets_is_what_the_record_says_but_the_plan_says_which_videos_count(home, monkeypatch):
    own = {"train": {"epochs": 5}, "evaluate": {"evaluate_on": "training"}}

    def execute(stage, target, parameters, *rest):
        return instant.execute(stage, target, own.get(stage, {}) | parameters, *rest)

    monkeypatch.setattr(stage_store, "execute_notebook", execute)
    folder = home / "outputs" / "e" / "v" / "a"
    assert obtain_all(folder, {"top_k": 5}) == [None] * 4
    trained = read_json(folder / "run.json")["train"]["parameters"]
    assert (trained["epochs"], trained["top_k"]) == (5, 5) and read_json(folder / "metrics.json")
    assert obtain_all(folder.with_name("b"), own["evaluate"]) == [None] * 4
    assert read_json(folder.with_name("b") / "metrics_on_training.json")


def test_what_is_deleted_from_the_store_is_made_again_and_train_leaves_no_numbers_of_others(home):
    folder = home / "outputs" / "e" / "v" / "a"
    for stage in STAGES[:2]:
        stage_store.obtain(stage, folder, {}, say=lambda text: None)
    assert not (folder / "metrics.json").exists(), "a run has numbers when it is evaluated"
    shutil.rmtree(home / "outputs" / ".stages")
    assert not (folder / "train.ipynb").exists()
    assert obtain_all(folder, {}) == [None] * 4
    assert read_json(folder / "checkpoint.json") == Params.check({}).lr and failure(folder / "train.ipynb") is None


def test_a_run_whose_shared_stages_were_deleted_is_told_by_list_and_report(home):
    version = home / "outputs" / "e" / "v"
    write_json(version / "experiment.json", {"runs": {"a": {}, "b": {}}, "status": {}})
    assert obtain_all(version / "a", {"top_k": 5}) == obtain_all(version / "b", {"top_k": 9}) == [None] * 4
    (train,) = (home / "outputs" / ".stages").glob("train-*")
    shutil.rmtree(train)
    lost = f"checkpoint.json, train.ipynb {finished_runs.GONE}"
    told = []
    report.compare([str(version)], {}, told.append)
    assert f"a: {lost}" in told
    shutil.rmtree(home / "outputs" / ".stages")
    (line,) = finished_runs.listing(home / "outputs")
    assert f"of 2 runs 0 finished, 2 {finished_runs.DELETED}; no numbers yet" in line
    with pytest.raises(
        runs.RunError, match="2 do not count, first v/a: .*metrics.json.* lay in outputs/.stages, which"
    ):
        finished_runs.read([version])
    assert obtain_all(version / "a", {"top_k": 5}) == [None] * 4 and not dangling(version / "a")


def test_where_the_disk_has_no_links_a_run_has_copies(home, monkeypatch):
    def symlink(*words):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(stage_store.os, "symlink", symlink)
    first, second = home / "outputs" / "e" / "v" / "a", home / "outputs" / "e" / "v" / "b"
    assert obtain_all(first, {"top_k": 5}) == obtain_all(second, {"top_k": 9}) == [None] * 4
    assert not any(path.is_symlink() for path in (home / "outputs").rglob("*"))
    assert read_json(second / "metrics.json")["mAP"] == Params.check({}).lr + 9
    records = runs.records(second)
    assert [records[stage]["files"] for stage in ("train", "classify")] == [["checkpoint.json"], ["detections.json"]]


def test_what_a_killed_attempt_left_is_swept_and_a_failure_is_the_runs_alone(home):
    folder, source = home / "outputs" / "e" / "v" / "a", home / "notebooks" / "train.ipynb"
    name = f"train-{stages.key('train', {'lr': 0.5}, runs.device_name('auto'))}"
    (home / "outputs" / ".stages" / f".{name}-abcdef" / "x").mkdir(parents=True)
    assert stage_store.obtain("train", folder, {"lr": 0.5}, say=lambda text: None) is None
    assert stored(home) == [name]
    source.write_text("fail")
    assert stage_store.obtain("train", folder, {"lr": 0.5}, say=lambda text: None) == "KeyError: bad"
    assert runs.records(folder)["train"]["status"] == "failed" and failure(folder / "train.ipynb") == "KeyError: bad"
    assert stored(home) == [name]
    source.write_text("mended")
    assert stage_store.obtain("train", folder, {"lr": 0.5}, say=lambda text: None) is None
    assert runs.records(folder)["train"]["status"] == "finished" and failure(folder / "train.ipynb") is None


def test_a_run_that_waits_for_another_batch_gives_up_with_its_own(home, monkeypatch):
    monkeypatch.setattr(execution, "stopping", threading.Event())
    folder, said = home / "outputs" / "e" / "v" / "a", []
    folder.parent.mkdir(parents=True)
    name = f"train-{stages.key('train', {}, runs.device_name('auto'))}"
    with locked(home / "outputs" / ".stages" / name):
        threading.Timer(1.5, execution.stopping.set).start()
        assert INTERRUPTED in stage_store.obtain("train", folder, {}, say=said.append)
    assert said == [f"waiting for another run that is making {name}"] and not (home / "calls").is_file()


def test_what_a_stage_depends_on():
    def trained(**given) -> str:
        return stages.key("train", given)

    assert len({trained(**naming) for naming in NAMINGS}) == 1
    assert trained(run_dir="a") == trained() == trained(epochs=Params.check({}).epochs)
    assert len({trained(), trained(lr=0.5), trained(split=50), trained(fuse_text=True), trained(curves=True)}) == 5
    assert trained(fuse_text=True) != trained(fuse_text=True, text="name"), "a detector that reads the texts"
    assert trained(agreement=0.0) == trained(agreement=0.3)
    for stage, keys in zip(STAGES, (1, 1, 1, 2), strict=True):
        on = ({"curves": True}, {"curves": True, "evaluate_on": "training"})
        assert len({stages.key(stage, given) for given in on}) == keys, "which videos are scored, evaluate alone asks"
    watched = [{}, {"nms": "hard"}, {"filter_threshold": 0.1}, {"protocol": "plain"}]
    assert len({trained(validation=0.2, **each) for each in watched}) == 4, "an epoch is watched by its proposals"
    assert len({stages.key("prepare", given) for given in ({}, {"lr": 0.5}, {"top_k": 3})}) == 1
    assert len({stages.key("classify", naming) for naming in NAMINGS}) == len(NAMINGS)
    assert stages.key("train", {}, "cpu") != stages.key("train", {}, "cuda")


def test_other_code_other_data_other_key(home):
    data = home / "mine"
    (data / "features").mkdir(parents=True)
    (data / "annotations.json").write_text("{}")
    given = {"dataset": str(data)}
    keys = [stages.key("train", given)]
    (data / "annotations.json").write_text('{"database": {}}')
    keys.append(stages.key("train", given))
    (data / "features" / "v.npy").write_bytes(b"1")
    keys.append(stages.key("train", given))
    (home / "notebooks" / "train.ipynb").write_text("changed")
    keys.append(stages.key("train", given))
    (home / "notebooks" / "evaluate.ipynb").write_text("changed")
    assert len(set(keys)) == 4 and stages.key("train", given) == keys[-1]
    (data / "features" / ".cache").write_bytes(b"1")
    assert stages.key("train", given) == keys[-1]
    given, keys = {"descriptions": str(home / "mine.json")}, []
    for text in ("{}", '{"a": "b"}'):
        (home / "mine.json").write_text(text)
        keys += [stages.key(stage, given) for stage in ("train", "classify")]
    assert keys[0] == keys[2] and keys[1] != keys[3], "descriptions are read by naming alone"


class Noting(Params):
    """Parameters that note who is asked for."""

    def __getattribute__(self, name):
        if name in Params.model_fields:
            NOTED.add(name)
        return super().__getattribute__(name)


HANDED = {"stride", "protocol", "candidates", "ignore_unseen", "validation", "seed", "text", "lead", "descriptions"}


class NotingTask(Task):
    """A task that notes which of the words that it was given are asked for."""

    def __getattribute__(self, name):
        NOTED.update({"text", "lead", "descriptions"} if name == "wording" else {name} & HANDED)
        return super().__getattribute__(name)


NOTED: set[str] = set()


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("stage", "until", "switches"),
    [
        ("prepare", "similarity_over_time", {}),
        ("train", "trainer.epochs()", {}),
        ("train", "trainer.epochs()", {"fuse_text": True, "text": "name", "curves": True, "validation": 0.3}),
    ],
    ids=str,
)
def test_a_stage_reads_nothing_that_is_not_in_its_key(tiny, stage, until, switches, tmp_path, monkeypatch):
    recorded_of_the_default_naming = "tadlib.workbook.detectors.facts_of_test"
    monkeypatch.setattr(recorded_of_the_default_naming, lambda data, params: {})
    monkeypatch.setattr("tadlib.workbook.gathering.Task", NotingTask)
    params = Noting.check(tiny | {"epochs": 1, "overlap": 0.0, "run_dir": str(tmp_path / "r")} | switches)
    gathered = "data = gather(params, progress=display.Progress())"
    taken = ((f'parameters("{stage}", globals())', "NOTING"), ("params)\nparams", "params)\nNOTED.clear()"))
    taken += ((gathered, f"{gathered}\nNOTED.difference_update(HANDED)"),)  # handed on, and noted where they are read
    run_cells(stage, until, taken, {"NOTING": params, "NOTED": NOTED, "HANDED": HANDED})
    # windows to watch are cut with these two, but without `curves` and `validation` there are no videos to cut; a
    # protocol under which nothing counts is refused; a file of ideas is in the key if it has a hook of training
    harmless = {"test_overlap", "test_window", "protocol", "ideas"} if stage == "train" else set()
    extra = NOTED - stages.depends_on(stage, params) - harmless
    assert not extra, f"read by {stage} and not in its key: {sorted(extra)}"
    assert "dataset" in NOTED and (stage == "prepare" or {"epochs", "lr"} <= NOTED)
