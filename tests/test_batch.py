"""Experiments: executed run by run, shared, resumed where they stopped, whatever stops them."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future

import fabricate
import instant
import nbformat
import pytest
import stubs

from tadlib.files import LOG, read_json, write_json
from tadlib.workbook import batch, cli, execution, executors, finished_runs, plans
from tadlib.workbook.execution import failure
from tadlib.workbook.params import Params
from tadlib.workbook.stages import STAGES


def test_a_dry_run_shows_the_plan_and_runs_nothing(home, capsys):
    (home / "params" / "two.yaml").write_text("# Does it go on?\nsweep:\n  split: [50, 75]\n")
    assert cli.main(["run", "params/two.yaml", "--dry-run"]) == 0
    assert "2 runs: split 50, 75\n" in capsys.readouterr().out
    (home / "params" / "small.yaml").write_text("epochs: 3\n")
    words = ["run", "params/two.yaml", "--dry-run", "--base", "params/small.yaml", "--set", "split=75"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("two-small: Does it go on?\n1 run\nin common: epochs=3, split=75\n")
    assert not list((home / "outputs").glob("*"))


@pytest.mark.long
def test_an_attempt_that_was_killed_leaves_no_notebook_under_its_name_and_the_next_makes_it(home):
    target = home / "outputs" / "killed" / "a" / "b" / "prepare.ipynb"
    code = (
        "import os, threading, pathlib; from tadlib.workbook import execution\n"
        "def end():\n"
        "    while not execution.alive: pass\n"
        "    print(*(process.pid for process in execution.alive), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "threading.Thread(target=end).start()\n"
        f"execution.execute_notebook('prepare', pathlib.Path({str(target)!r}), {{'run_dir': {str(target.parent)!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and not target.exists()
    stubs.waited(lambda: not os.path.exists(f"/proc/{int(done.stdout)}"), 60, "it notices")
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".prepare-")]
    source = home / "notebooks" / "prepare.ipynb"
    nbformat.write(stubs.notebook(f"import os\nassert os.environ[{LOG!r}].endswith('run.log')"), source)
    given = {"run_dir": str(target.parent)}
    assert execution.execute_notebook("prepare", target, given, log=home / "run.log") is None
    assert [path.name for path in target.parent.glob("[!.]*")] == ["prepare.ipynb"]


def test_a_torn_notebook_is_not_finished_and_what_tore_it_is_told(home, monkeypatch):
    target = home / "outputs" / "torn" / "prepare.ipynb"
    target.parent.mkdir(parents=True)
    for content in ("", '{"cells": [', "[]"):
        target.write_text(content)
        assert execution.failure(target) == "it is no whole notebook"

    def start(words, environment, stdin, stdout, stderr):
        open(words[2], "w").close()
        stderr.write(b"Traceback\nOSError: [Errno 28] No space left on device\n")
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(execution, "start", start)
    assert execution.execute_notebook("prepare", target, {}) == "OSError: [Errno 28] No space left on device"
    assert [path.name for path in target.parent.iterdir()] == ["prepare.ipynb"]


def test_a_notebook_that_was_ended_by_a_signal_was_interrupted_and_has_not_failed(home, monkeypatch):
    for number, told in ((signal.SIGTERM, execution.INTERRUPTED), (signal.SIGKILL, "no output")):

        def start(*_, number=number, **streams):
            return subprocess.Popen(["sh", "-c", f"kill -{int(number)} $$"])

        monkeypatch.setattr(execution, "start", start)
        assert told in execution.execute_notebook("prepare", home / "prepare.ipynb", {})


def test_a_second_batch_of_the_same_plan_is_refused_while_the_first_is_at_work(quick_home, monkeypatch, capsys):
    path = experiment(quick_home, "lr: 0.1")
    planned = plans.plan(path)
    folder = batch.version_dir(planned)

    def execute(stage, target, *rest):
        if stage == "prepare":
            assert cli.main(["run", path]) == 1
        return instant.execute(stage, target, *rest)

    monkeypatch.setattr("tadlib.workbook.stage_store.execute_notebook", execute)
    assert batch.execute(planned, folder) == {"run": "finished"}
    assert "another `tad run` is at work" in capsys.readouterr().err
    assert not (folder / ".stop").exists() and cli.main(["run", path]) == 0


@pytest.mark.parametrize("during", ["prepare", "train"])
@pytest.mark.parametrize("changing", ["notebooks/train.ipynb", "mine/annotations.json", "part.py"])
def test_what_changes_while_a_batch_runs_is_in_no_later_result(changing, during, quick_home, monkeypatch, capsys):
    (quick_home / "mine").mkdir()
    (quick_home / "mine" / "ideas.py").write_text("def loss():\n    import part\n")
    (changing := quick_home / changing).touch()
    before, time_of_before = changing.read_text(), changing.stat().st_mtime_ns

    def execute(stage, target, *rest):
        if stage == during:
            changing.write_text("# changed")
        return instant.execute(stage, target, *rest)

    monkeypatch.setattr("tadlib.workbook.stage_store.execute_notebook", execute)
    words = ["run", experiment(quick_home, f"dataset: {quick_home / 'mine'}\nideas: mine/ideas.py\n")]
    assert cli.main(words) == 1
    assert re.search("e/run failed in (train|prepare): .*changed (since|while)", capsys.readouterr().err)
    monkeypatch.setattr("tadlib.workbook.stage_store.execute_notebook", instant.execute)
    trained = instant.executed(quick_home)["train"]
    assert cli.main(words) == 0, "in a version of its own"
    assert instant.executed(quick_home)["train"] == trained + 1 and len(instant.versions(quick_home, "e")) == 2
    changing.write_text(before)
    os.utime(changing, ns=(time_of_before, time_of_before))
    assert cli.main(words) == 0, "what was made while it changed is not taken for that of before"
    assert instant.executed(quick_home)["train"] == trained + 2


def test_a_comment_that_is_added_to_a_file_is_in_the_next_report(quick_home, capsys):
    assert cli.main(["run", experiment(quick_home, "# Which?\nsweep: {lr: [0.1, 0.2]}\n")]) == 0
    path = experiment(quick_home, QUESTION)
    assert cli.main(["run", path]) == 0
    (folder,) = instant.versions(quick_home, "e")
    found, _ = finished_runs.read([folder])
    assert {run.question for run in found} == {"Which? Log: the first. Rows: 1."}


def test_a_job_that_slurm_ends_begins_no_other_stage(home, monkeypatch):
    def start(*_, **streams):
        os.kill(os.getpid(), signal.SIGTERM)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(execution, "start", start)
    monkeypatch.setattr(execution, "stopping", threading.Event())
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # as submitit does
    try:
        folder = batch.version_dir(plans.plan(experiment(home, "split: 75")))
        told = batch.run_as_job(folder, "run", {}, 1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == "interrupted in prepare: KeyboardInterrupt: prepare was stopped"


def experiment(home, text: str) -> str:
    (home / "params" / "e.yaml").write_text(text)
    return "params/e.yaml"


def test_six_ways_of_keeping_cost_one_training_at_four_at_once(quick_home, capsys):
    assert cli.main(["run", experiment(quick_home, "# Q?\nsweep: {top_k: [1, 2, 3, 4, 5, 6]}\n"), "--jobs", "4"]) == 0
    assert instant.executed(quick_home) == {"prepare": 1, "train": 1, "classify": 6, "evaluate": 6}
    (folder,) = instant.versions(quick_home, "e")
    numbers = {run["parameters"]["top_k"]: run["metrics"]["mAP"] for run in fabricate.load(folder)}
    assert numbers == {k: Params.check({}).lr + k for k in range(1, 7)}, "each has its own numbers"
    said = capsys.readouterr().out
    assert "(6 of 6 runs)" in said and "left)" in said and "train is shared: outputs/.stages/train-" in said
    log = (folder / "batch.log").read_text()
    assert "top_k-3: evaluate done in" in log and "evaluate done in" in (folder / "top_k-3" / "run.log").read_text()

    assert cli.main(["run", "params/e.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "train: 1 for 6 runs, 1 of them made already" in said
    assert f"goes on in outputs/e/{folder.name}: 6 of 6 runs finished already\n" in said
    assert cli.main(["run", "params/e.yaml", "--dry-run", "--new"]) == 0
    assert "goes on in" not in capsys.readouterr().out


def test_a_failing_training_fails_for_all_who_share_it_and_costs_one_attempt(quick_home, capsys):
    (quick_home / "notebooks" / "train.ipynb").write_text("fail")
    assert cli.main(["run", experiment(quick_home, "sweep: {top_k: [1, 2, 3]}"), "--jobs", "2"]) == 1
    said = capsys.readouterr()
    assert instant.executed(quick_home)["train"] == 1 and "3 of 3 runs failed" in said.err
    assert said.err.count("failed in train: KeyError: bad") == 3 and said.err.count("(as in top_k-") == 2
    assert not instant.told(quick_home, "report"), "there is nothing to report"
    assert cli.main(["list"]) == 0
    assert ": of 3 runs 0 finished, 3 failed; no numbers yet\n" in capsys.readouterr().out


def test_the_list_says_how_runs_ended_and_shows_single_runs_of_one_experiment_alone(quick_home, capsys):
    assert cli.main(["run", experiment(quick_home, "sweep: {lr: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}")]) == 0
    (folder,) = instant.versions(quick_home, "e")
    shutil.rmtree(folder / "lr-0.3")
    ends = {"lr-0.4": {"train": {"status": "failed", "reason": "bad"}}, "lr-0.5": {}, "lr-0.6": {}}
    for label, end in ends.items():
        stages = read_json(folder / label / "run.json")
        write_json(folder / label / "run.json", {"prepare": stages["prepare"]} | end)
        (folder / label / "metrics.json").unlink()
    numbers = read_json(folder / "lr-0.1" / "metrics.json")
    (folder / "lr-0.1" / "metrics.json").unlink()
    write_json(folder / "lr-0.1" / "metrics.json", {name: each for name, each in numbers.items() if name != "mAP@0.5"})
    own = quick_home / "outputs" / "adhoc" / "mine"
    shutil.copytree(folder / "lr-0.1", own, ignore_dangling_symlinks=True)
    capsys.readouterr()
    top_k = Params.check({}).top_k
    line = (
        f"e/{folder.name}, commit unknown: of 6 runs 2 finished, 1 failed, 2 interrupted or at work, 1 not begun; "
        f"mean mAP {100 * (top_k + 0.15):.1f} %\n"
    )
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == line + "adhoc: 1 run of no experiment, 1 finished\n"
    for place in ("outputs/e", f"outputs/e/{folder.name}"):
        assert cli.main(["list", place]) == 0
        said = capsys.readouterr().out
        assert said.startswith(line) and "\nlr-0.2 " in said
        (row,) = [row.split() for row in said.splitlines() if row.startswith("lr-0.1 ")]
        assert row[2] == "-", "not measured at that threshold"
    assert cli.main(["list", "outputs/adhoc"]) == 0
    assert "\nmine " in capsys.readouterr().out
    shutil.copytree(folder, folder.with_name("later"), ignore_dangling_symlinks=True)
    assert cli.main(["list", "outputs/e"]) == 0
    said = capsys.readouterr().out
    assert f"\n{folder.name}/lr-0.1 " in said and "\nlater/lr-0.1 " in said
    assert cli.main(["list", "outputs/ee"]) == 2
    assert "no folder" in capsys.readouterr().err


QUESTION = "# Which? Log: the first. Rows: 1.\nsweep: {lr: [0.1, 0.2]}\n"


def test_a_batch_ends_with_its_report_and_the_lab_log_and_a_quick_one_leaves_the_log_alone(quick_home, capsys):
    assert cli.main(["run", experiment(quick_home, QUESTION)]) == 0
    assert "report: " in capsys.readouterr().out and (quick_home / "outputs" / "e" / "report.ipynb").is_file()
    log = quick_home / "outputs" / "README.md"
    (line,) = [line for line in log.read_text().splitlines() if "params/e.yaml" in line]
    assert "| the first. | demo: mAP 1" in line and "lr=0.2: +10.0" in line
    before = log.read_text()
    (quick_home / "params" / "other.yaml").write_text(QUESTION)
    for words in (["params/e.yaml", "--quick", "--set", "lr=0.3,0.4"], ["params/other.yaml", "--quick"]):
        assert cli.main(["run", *words]) == 0
    assert instant.told(quick_home, "report") == [f"report outputs/{name}" for name in ("e", "e-quick", "other-quick")]
    assert log.read_text() == before


def test_several_files_are_one_batch_with_one_report_and_a_failure_in_one_stops_no_other(
    quick_home, capsys, monkeypatch
):
    def execute(stage, target, parameters, *rest):
        if parameters.get("lr") == 13:
            raise OSError(28, "No space left on device", str(target))
        return instant.execute(stage, target, parameters, *rest)

    monkeypatch.setattr("tadlib.workbook.stage_store.execute_notebook", execute)
    experiment(quick_home, QUESTION)
    (quick_home / "params" / "other.yaml").write_text(QUESTION.replace("0.1, 0.2", "0.3, 13"))
    assert cli.main(["run", "params/e.yaml", "params/other.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("2 runs: lr ") == 2 and not (quick_home / "outputs" / "e").exists()
    assert cli.main(["run", "params/other.yaml", "params/e.yaml"]) == 1
    said = capsys.readouterr()
    assert "tad: other/lr-13 failed in train: cannot write" in said.err and "No space left on device" in said.err
    assert "tad: 1 of 4 runs failed" in said.err
    assert instant.told(quick_home, "report") == ["report outputs/other,outputs/e"]
    assert cli.main(["run", "params/e.yaml", "params/none.yaml"]) == 2


def test_a_report_that_fails_is_told_and_no_run_is_lost(quick_home, capsys, monkeypatch):
    monkeypatch.setattr("tadlib.workbook.execution.execute_notebook", lambda *words: "KeyError: bad")
    assert cli.main(["run", experiment(quick_home, QUESTION)]) == 1
    said = capsys.readouterr()
    assert "`tad report outputs/e` failed (RunError: report.ipynb failed (KeyError: bad)" in said.err
    assert said.err.count("tad: ") == 1 and "lr-0.2: finished (2 of 2 runs)" in said.out
    assert len(fabricate.load(quick_home / "outputs")) == 2


def test_a_tracker_that_fails_is_told_and_hears_of_the_other_runs(quick_home, capsys, monkeypatch):
    heard = []

    def track(name, folder):
        if folder.name == "lr-0.1":
            raise LookupError("no such server")
        heard.append((name, folder.name))

    monkeypatch.setattr("tadlib.workbook.report.require_mlflow", lambda: None)
    monkeypatch.setattr("tadlib.workbook.report.track", track)
    assert cli.main(["run", experiment(quick_home, QUESTION), "--track", "mlflow"]) == 1
    assert (
        capsys.readouterr().err
        == "tad: telling mlflow of lr-0.1 failed (LookupError: no such server); the runs are kept\n"
    )
    assert heard == [("e", "lr-0.2")]


def test_every_option_of_slurm_counts(quick_home, monkeypatch):
    asked = []

    def slurm(options, gpus):
        asked.append((options, gpus))
        return Here()

    class Here(Executor):
        def submit(self, work, *words):
            job = Future()
            job.set_result([] if work is batch.encode else work(*words))
            return job

    monkeypatch.setattr(executors, "slurm", slurm)
    words = ["run", experiment(quick_home, "lr: 0.1"), "--slurm", "time=60", "--slurm", "mem=8GB", "--gpus", "1"]
    assert cli.main(words) == 0 and asked == [(("time=60", "mem=8GB"), 1)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "spilt=50"], "did you mean 'split'"),
        (["--set", "lr"], "--set lr must be NAME=VALUE"),
        (["--set", "lr=0.1,"], "--set lr must have a value, and one after each comma; got [0.1, None]"),
        (["--set", "run_dir=a"], "run_dir has no effect: every run gets a folder of its own"),
        (["--set", "lr=[0.1"], "--set lr is not readable YAML: "),
        (["--set", "lr=0.1", "--set", "lr=0.2"], "--set lr is given twice, as 0.1 and 0.2: keep one of them"),
        (["--jobs", "0"], "'--jobs': 0 is not in the range x>=1"),
        (["--gpus", "1"], "--gpus 1 has no effect without --slurm"),
        (["--slurm", "local", "--jobs", "2"], "--jobs 2 has no effect with --slurm"),
        (["params/e.yaml"], "experiment 'e' stands twice: keep one of them"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_sentence(words, message, quick_home, capsys):
    assert cli.main(["run", experiment(quick_home, "lr: 0.1"), *words]) == 2
    assert message in capsys.readouterr().err


def test_pages_are_made_of_the_runs_that_are_asked_for(quick_home, monkeypatch):
    monkeypatch.setattr("tadlib.workbook.stage_store.execute_cells", instant.execute_cells)
    words = ["run", experiment(quick_home, "sweep: {top_k: [1, 3, 2]}"), "--pages"]

    def pages(label):
        return {path.stem for path in (folder / label).glob("*.ipynb")}

    assert cli.main([*words, "best"]) == 0
    (folder,) = instant.versions(quick_home, "e")
    assert pages("top_k-1") == pages("top_k-2") == {"train"} and pages("top_k-3") == set(STAGES)
    assert [round(read_json(folder / f"top_k-{k}" / "metrics.json")["mAP"]) for k in (1, 2, 3)] == [1, 2, 3]
    before, stored = (quick_home / "calls").read_text(), quick_home / "outputs" / ".stages"
    assert list(stored.glob("classify-*.numbers")) and not list(stored.glob("classify-*-*")), "like attempts"
    assert cli.main([*words, "none"]) == 0 and "classify" not in (quick_home / "calls").read_text()[len(before) :]
    assert cli.main([*words, "all"]) == 0 and pages("top_k-1") == pages("top_k-2") == set(STAGES)
    told = (quick_home / "calls").read_text()
    assert told.count("begin train") == 1 and told.count("begin classify") == 3 + 3
    made = {(folder / f"top_k-{k}" / "train.html").resolve() for k in (1, 2, 3)}
    assert len(made) == 1 and stored in made.pop().parents, "one page of one training"


@pytest.mark.long
def test_a_disk_that_is_full_is_told_and_the_rest_goes_on(tmp_path):
    instant.project(tmp_path)
    experiment(tmp_path, "# Q?\nsweep: {lr: [0.1, 0.2]}\n")
    (tmp_path / "params" / "other.yaml").write_text("# Q?\nsweep: {lr: [0.3, 0.4]}\n")
    (tmp_path / "outputs" / "other").mkdir()
    mount = "mount -t tmpfs -o size=48k none outputs/other"
    alone = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    if not shutil.which("unshare") or subprocess.run([*alone, mount], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("a disk of one's own needs Linux's unshare and the right to mount")
    within = (*alone, f'{mount} && exec "$@"', "sh")
    process = instant.start(tmp_path, "params/other.yaml", "params/e.yaml", within=within)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "No space left on device" in said, said
    assert "lr-0.2: finished (2 of 2 runs)" in said and "Traceback" not in said
    assert {run["run"] for run in fabricate.load(tmp_path / "outputs")} == {"lr-0.1", "lr-0.2"}
    process = instant.start(tmp_path, "params/other.yaml", "params/e.yaml")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and len(fabricate.load(tmp_path / "outputs")) == 4, said


@pytest.mark.notebooks
def test_a_batch_ended_in_any_way_goes_on_where_it_stopped_and_runs_nothing_finished_twice(tmp_path):
    instant.project(tmp_path)
    experiment(tmp_path, "# Q?\nsweep: {lr: [0.1, 0.2], top_k: [1, 2, 3, 4]}\n")
    dice = random.Random(int(os.environ.get("TAD_TEST_SEED", "0")))
    finished_before: dict[str, int] = {}
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        within = ("env", "--default-signal=INT") if number == signal.SIGINT else ()
        process = instant.start(tmp_path, "params/e.yaml", "--jobs", "3", within=within)
        enough = len(instant.told(tmp_path)) + dice.randint(4, 8)
        while len(instant.told(tmp_path)) < enough and process.poll() is None:
            time.sleep(0.01)
        (os.killpg if number == signal.SIGKILL else os.kill)(process.pid, number)
        said, _ = process.communicate(timeout=60)
        if number != signal.SIGKILL:
            assert process.returncode == 130 and "the same command goes on where it stopped" in said
        for path in tmp_path.glob("outputs/e/*/*/[!.]*.ipynb"):
            finished_before.setdefault(str(path), path.stat().st_mtime_ns)
    assert 0 < len(finished_before) < 32, "ended in the middle"
    process = instant.start(tmp_path, "params/e.yaml", "--jobs", "3")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (folder,) = instant.versions(tmp_path, "e")
    found = {run["run"]: run["metrics"]["mAP"] for run in fabricate.load(folder)}
    assert found == {f"lr-{lr}_top_k-{k}": lr + k for lr in (0.1, 0.2) for k in range(1, 5)}
    whole = list(folder.glob("*/[!.]*.ipynb"))  # kill -9 may leave a torn .file
    assert len(whole) == 32 and all(failure(path) is None for path in whole)
    again = {path for path, when in finished_before.items() if os.stat(path).st_mtime_ns != when}
    assert not again, "what was finished is not touched"
    per_stage = Counter(instant.told(tmp_path, "end"))
    assert sum(per_stage.values()) - len(per_stage) <= 9, "only what was executing was executed again"
    assert not [path for path in (tmp_path / "outputs" / ".stages").iterdir() if path.is_dir() and path.name[0] == "."]
