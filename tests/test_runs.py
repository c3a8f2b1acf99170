"""Runs: where they are, what they record, and that nothing finished is ever overwritten."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import fabricate
import IPython  # noqa: F401  a notebook has it
import pytest
import torch

from tadlib import devices
from tadlib.files import read_json, write_json
from tadlib.locks import claim, try_lock
from tadlib.workbook import display, finished_runs, runs
from tadlib.workbook.params import Params


def begin(folder: Path | str = "", stage: str = "train", **given) -> runs.Run:
    return runs.start(stage, Params.check({"run_dir": str(folder), **given}))


def test_the_project_is_found_from_below_and_from_elsewhere(home, monkeypatch):
    monkeypatch.delenv("TAD_ROOT")
    monkeypatch.chdir(home / "notebooks")
    assert runs.project_root() == home
    monkeypatch.chdir(home.parent)
    assert (runs.project_root() / "tadlib").is_dir(), "outside any project: the one this package lies in"


def test_a_record_says_what_is_needed_to_tell_why_two_runs_differ(home):
    run = begin(seed=7)
    run.finish({"mAP": 0.25}, data="0123456789ab")
    record = read_json(run.dir / "run.json")["train"]
    assert record["status"] == "finished" and record["parameters"]["seed"] == 7 and record["data"] == "0123456789ab"
    assert set(record["versions"]) == set(runs.PACKAGES) and all(record["versions"].values())
    assert record["seconds"] >= 0 and record["peak_memory_mb"] > 10 and record["device"].startswith("cpu")
    assert record["threads"] == torch.get_num_threads()
    assert record["commit"] == "unknown" and record["started"] <= record["finished"]
    assert read_json(run.dir / "metrics.json") == {"mAP": 0.25}


def test_a_record_keeps_the_peak_of_the_process_and_that_of_a_gpu_beside_it(home, monkeypatch):
    run = begin()
    assert set(run.finish().record) & set(display.MEMORY) == {"peak_memory_mb"}
    run = begin()
    monkeypatch.setattr(devices, "pick", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5.4e9)
    told = run.finish()
    assert told.record["peak_gpu_memory_mb"] == 5400 and told.record["peak_memory_mb"] > 10
    assert "peak GPU memory 5400 MB" in told._repr_mimebundle_()["text/plain"]


def test_the_commit_says_whether_the_tree_differs_from_it(home):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=home, check=True)

    (home / "outputs" / "README.md").write_text("nothing measured yet")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "First")
    clean = runs.commit()
    assert len(clean) == 12 and int(clean, 16)
    (home / "outputs" / "README.md").write_text("what a batch has measured")
    assert runs.commit() == clean
    (home / "pyproject.toml").write_text("changed")
    assert runs.commit() == f"{clean}+changes"


def test_stages_that_write_their_records_at_once_lose_none(home, monkeypatch):
    (home / "r").mkdir()
    read = runs.records
    monkeypatch.setattr(runs, "records", lambda folder: (read(folder), time.sleep(0.01))[0])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: runs.write_record(home / "r", f"stage {number}", {}), range(4)))
    assert read(home / "r").keys() == {f"stage {number}" for number in range(4)}


def test_a_finished_stage_is_never_run_again_in_its_folder(home):
    first = begin(home / "r")
    first.save_json("history.json", 1)
    first.finish()
    with pytest.raises(runs.RunError, match="train has already finished in .*pass another run_dir$"):
        begin(home / "r")
    with pytest.raises(runs.RunError, match="train has already finished in .*history.json is not overwritten"):
        first.save_json("history.json", 2)  # a kernel that goes on with its next cells
    classify = begin(home / "r", "classify")
    assert classify.stage == "classify", "another stage goes on in it"
    classify.finish()
    begin(home / "r", "evaluate").finish()
    for stage, how in {"classify": "$", "evaluate": ", and run classify there first"}.items():
        with pytest.raises(runs.RunError, match=f"pass another run_dir with a copy of its checkpoint.pt{how}"):
            begin(home / "r", stage)


def test_new_detections_outdate_an_evaluation_which_may_then_be_made_again(home):
    folder = home / "outputs" / "adhoc" / "r"
    folder.mkdir(parents=True)
    train = begin(folder)
    train.save_json("detections.json", {"by": "train"})
    train.finish({"mAP": 0.1})
    begin(folder, "evaluate").finish({"mAP": 0.2})
    write_json(folder / "evaluate.ipynb", "the first")
    classify = begin(folder, "classify")
    classify.save_json("detections.json", {"by": "classify"})
    classify.finish()
    record = runs.records(folder)
    assert [record[stage]["status"] for stage in ("train", "evaluate", "classify")] == [
        "finished", "outdated", "finished"
    ]  # fmt: skip
    with pytest.raises(runs.RunError, match="adhoc/r: evaluate is outdated: classify wrote new detections after it"):
        finished_runs.read([folder])
    write_json(home / "outputs" / "e" / "v" / "experiment.json", {"runs": {}, "status": {}})
    assert list(finished_runs.listing(home))[-1] == "adhoc: 1 run of no experiment, 0 finished, 1 outdated"
    assert runs.command("evaluate", folder) == f"papermill notebooks/evaluate.ipynb -p run_dir {folder}"

    assert not (folder / "evaluate.ipynb").exists() and read_json(folder / "evaluate.outdated.ipynb") == "the first"
    begin(folder, "evaluate").finish({"mAP": 0.3})
    kept = {name: read_json(folder / f"metrics{name}.json")["mAP"] for name in (".train", ".evaluate", "")}
    assert kept == {".train": 0.1, ".evaluate": 0.2, "": 0.3}
    assert runs.records(folder)["evaluate"]["status"] == "finished"
    (entry,), _ = finished_runs.read([folder])
    assert entry.metrics == {"mAP": 0.3}


def test_an_unfinished_stage_may_be_run_again_but_not_by_two_processes_at_once(home):
    begin(home / "r")
    lock = home / "r" / ".train.lock"
    with open(lock, "ab") as handle, open(home / "r" / ".classify.lock", "ab") as held:
        assert not try_lock(handle) and try_lock(held)
        with pytest.raises(runs.RunError, match="another process runs classify in .*r: end it"):
            begin(home / "r", "classify")
    begin(home / "r").finish()
    assert not lock.exists() and runs.records(home / "r").keys() == {"train"}
    assert runs.records(home / "r")["train"]["status"] == "finished"


def test_a_stage_that_another_process_finishes_during_the_start_is_not_run_again(home, monkeypatch):
    done = {"train": {"status": "finished"}}
    monkeypatch.setattr(runs, "claim", lambda lock: write_json(lock.with_name("run.json"), done) or claim(lock))
    with pytest.raises(runs.RunError, match="train has already finished in "):
        begin(home / "r")
    assert runs.records(home / "r") == done and not (home / "r" / ".train.lock").exists()


def test_what_an_earlier_stage_should_have_written_is_asked_for_by_name(home):
    (home / "outputs" / "a").mkdir(parents=True)
    (home / "outputs" / "a" / "checkpoint.pt").touch()
    run = begin(home / "outputs" / "b", "classify")
    with pytest.raises(runs.RunError, match=r"classify needs checkpoint.pt.*\(the latest is .*outputs/a\)"):
        run.require("checkpoint.pt", "train")


def test_an_interrupted_training_is_found_again_and_a_finished_one_forgotten(home):
    begin().unfinished({"lr": 1}).write_text("half")
    assert not begin().unfinished({"lr": 2}).exists(), "another training has another checkpoint"
    for _ in range(2):
        run = begin()
        assert run.unfinished({"lr": 1}).read_text() == "half"  # a figure that fails later does not cost the training
    run.earlier = 100.0
    run.finish()
    assert not run.unfinished({"lr": 1}).exists() and runs.records(run.dir)["train"]["seconds"] >= 100


def test_two_equal_trainings_at_once_do_not_share_a_checkpoint(home):
    one = begin()
    shared = one.unfinished({"lr": 1})
    one.finish()
    with open(shared.with_suffix(".lock"), "ab") as elsewhere:
        assert try_lock(elsewhere) and begin().unfinished({"lr": 1}) != shared
    assert begin().unfinished({"lr": 1}) == shared


def test_an_evaluation_on_training_videos_stands_beside_that_on_the_test_and_counts_for_nothing(home):
    folder = home / "outputs" / "e" / "a"
    begin(folder).finish({"mAP": 0.125})
    begin(folder, "evaluate").finish({"mAP": 0.25})
    before = (folder / "metrics.json").read_bytes()
    begin(folder, "evaluate", evaluate_on="training").finish({"mAP": 0.75})
    assert (folder / "metrics.json").read_bytes() == before
    assert read_json(folder / "metrics_on_training.json") == {"mAP": 0.75}
    records = read_json(folder / "run.json")
    assert list(records) == ["train", "evaluate", "evaluate_on_training"]
    assert records["evaluate_on_training"]["parameters"]["evaluate_on"] == "training"
    assert records["evaluate_on_training"]["files"] == ["metrics_on_training.json"]
    with pytest.raises(runs.RunError, match="evaluate_on_training has already finished"):
        begin(folder, "evaluate", evaluate_on="training")
    (loaded,) = fabricate.load(home / "outputs")
    (entry,), _ = finished_runs.read([folder])
    assert loaded["metrics"] == entry.metrics == {"mAP": 0.25}
    assert entry.parameters["evaluate_on"] == "test"


def test_a_headline_says_what_was_measured_on_which_classes_and_where_it_lies(home):
    for given, side in (({}, "unseen"), ({"split": 0}, "all"), ({"evaluate_on": "training"}, "seen")):
        told = begin(home / "r" / side, "evaluate", **given).finish({"mAP": 0.3141}).headline
        assert told.split(" finished: ")[1] == f"mAP of {side} classes 31.4 % (protocol strict); run folder r/{side}"
    assert begin(home / "r" / "p", "prepare").finish().headline == "prepare finished; run folder r/p"


def test_a_cell_that_ends_in_an_error_leaves_its_stage_failed_until_it_is_finished_after_all(home, monkeypatch):
    watching = []
    events = SimpleNamespace(register=lambda name, ask: watching.append(ask))
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(events=events))
    run = begin(home / "outputs" / "a" / "b")
    (after,) = watching
    after(SimpleNamespace(error_in_exec=None, error_before_exec=None))
    assert runs.records(run.dir)["train"]["status"] == "running"
    after(SimpleNamespace(error_in_exec=runs.RunError("no such run"), error_before_exec=None))
    record = runs.records(run.dir)["train"]
    assert (record["status"], record["reason"]) == ("failed", "RunError: no such run")
    run.finish()
    assert runs.records(run.dir)["train"]["status"] == "finished"
