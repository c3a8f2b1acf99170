"""Work given to jobs is done whatever happens to one of them; SLURM's are tried by processes here."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import fabricate
import instant
import pytest
import stubs
from conftest import ROOT

from tadlib.workbook import executors
from tadlib.workbook.params import Params


def test_what_a_lost_job_did_is_begun_again_and_what_failed_is_not():
    begun = []

    def work(label: str, lost: int) -> str:
        begun.append(label)
        if label == "bad":
            raise LookupError("no such thing")
        return "interrupted" if begun.count(label) <= lost else "finished"

    calls = {"once": ("once", 1), "always": ("always", 99), "bad": ("bad", 0)}
    told = {}
    with ThreadPoolExecutor(1) as pool:
        found = executors.outcomes(pool, work, calls, told.__setitem__)
    assert told == found == {"once": "finished", "always": "interrupted", "bad": "failed: LookupError: no such thing"}
    assert [begun.count(label) for label in calls] == [2, executors.TRIES, 1]


def processes_of(home: Path) -> list[int]:
    """The processes of jobs that are at work in a project."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if b"submitit.core._submit" in words and any(str(home).encode() in word for word in words):
                found.append(int(path.parent.name))
    return found


def start(home: Path, **given) -> subprocess.Popen:
    """`tad run --slurm local` of stages that take no time, once the first of them is at work."""
    pytest.importorskip("submitit")
    if not (home / "params").is_dir():
        instant.project(home)
    (home / "params" / "e.yaml").write_text("lr: 0.1\n")
    (home / "sitecustomize.py").write_text(instant.PRELOAD)
    path = os.pathsep.join([str(home), str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    given = {"PYTHONPATH": path, "TAD_TEST_SECONDS": "0.5"} | given
    process = instant.start(home, "params/e.yaml", "--slurm", "local", **given)
    while not (home / "calls").is_file() and process.poll() is None:
        time.sleep(0.05)
    return process


@pytest.mark.long
def test_a_batch_of_jobs_survives_the_end_of_one(tmp_path):
    process = start(tmp_path)
    os.kill(processes_of(tmp_path)[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    (run,) = fabricate.load(tmp_path / "outputs")
    assert run["metrics"]["mAP"] == 0.1 + Params.check({}).top_k and "run: finished" in said


@pytest.mark.long
def test_jobs_end_with_their_batch_which_goes_on_where_it_stopped(tmp_path):
    process = start(tmp_path, within=("env", "--default-signal=INT"), TAD_TEST_SECONDS="5")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on where it stopped" in said, said
    stubs.waited(lambda: not processes_of(tmp_path), 10, "the end of the jobs")
    assert not fabricate.load(tmp_path / "outputs")
    said, _ = start(tmp_path).communicate(timeout=200)
    (folder,) = instant.versions(tmp_path, "e")
    assert len(fabricate.load(folder)) == 1, said


def test_a_slurm_that_is_not_there_and_options_it_does_not_know_are_named(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--slurm: .*srun"):
        executors.slurm(["time=60"])
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    with pytest.raises(ValueError, match="--slurm: .*partiton"):
        executors.slurm(["partiton=long"])
    with pytest.raises(ValueError, match="--slurm must be NAME=VALUE, .* got time"):
        executors.slurm(["time"])
    asked = {"partition": "long", "time": "60", "gpus_per_node": 1}
    assert executors.slurm(["partition=long", "time=60"], gpus=1).parameters == asked
    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path / "home")))
    assert executors.slurm(["local"]).parameters["timeout_min"] > 60, "no job ends after submitit's two minutes"
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match="--slurm needs submitit, got none"):
        executors.slurm(["local"])
