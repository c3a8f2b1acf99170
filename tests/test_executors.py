"""Work given to an executor is done whatever happens to one that does it.

SLURM's jobs are tried by processes here, and Dask by a real scheduler with two workers, one of which is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabricate
import instant
import pytest
from conftest import ROOT
from standins import extraction_plan

from tadlib.workbook import batch, executors
from tadlib.workbook.params import Params
from tadlib.workbook.stage_store import Limits


def test_what_a_lost_worker_did_is_begun_again_and_what_failed_is_not():
    begun = []

    def work(label: str, lost: int) -> str:
        begun.append(label)
        if label == "bad":
            raise LookupError("no such thing")
        return "interrupted" if begun.count(label) <= lost else "finished"

    calls = {"once": ("once", 1), "always": ("always", 99), "bad": ("bad", 0)}
    with ThreadPoolExecutor(1) as pool:
        told = {label: status for label, status in executors.results(pool, work, calls) if label}
    assert told == {"once": "finished", "always": "interrupted", "bad": "failed: LookupError: no such thing"}
    assert [begun.count(label) for label in calls] == [2, executors.TRIES, 1]


def process_of(home: Path) -> int | None:
    """The process of a job that is at work in a project."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"submitit.core._submit" in words and any(str(home).encode() in word for word in words):
            return int(path.parent.name)
    return None


@pytest.mark.notebooks
def test_a_batch_of_jobs_survives_the_end_of_one(tmp_path):
    pytest.importorskip("submitit")
    home = instant.project(tmp_path)
    (home / "params" / "e.yaml").write_text("# Q?\nlr: 0.1\n")
    (home / "sitecustomize.py").write_text(instant.PRELOAD)
    path = os.pathsep.join([str(home), str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = instant.start(home, "params/e.yaml", "--slurm", "local", PYTHONPATH=path, TAD_TEST_SECONDS="0.5")
    while not (home / "calls").is_file() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process_of(home), signal.SIGKILL)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    (run,) = fabricate.load(home / "outputs")
    assert run["metrics"]["mAP"] == 0.1 + Params.check({}).top_k and "run: finished" in said


def test_a_slurm_that_is_not_there_and_options_it_does_not_know_are_named(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--slurm: .*srun"), executors.slurm(["time=60"]):
        pass
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    with pytest.raises(ValueError, match="--slurm: .*partiton"), executors.slurm(["partiton=long"]):
        pass
    with pytest.raises(ValueError, match="--slurm must be NAME=VALUE, .* got time"), executors.slurm(["time"]):
        pass
    with executors.slurm(["partition=long", "time=60"], gpus=1) as machines:
        assert machines.executor.parameters == {"partition": "long", "time": "60", "gpus_per_node": 1}
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match="--slurm needs submitit, got none"), executors.slurm(["local"]):
        pass


@pytest.fixture
def cluster(tmp_path):
    """A project, the file of a scheduler, and two workers whose stages take no time; all ended afterwards."""
    pytest.importorskip("distributed")
    instant.project(tmp_path)
    (tmp_path / "params" / "e.yaml").write_text("# Q?\nsweep: {lr: [0.1, 0.2, 0.3, 0.4]}\n")
    file = tmp_path / "scheduler.json"
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "TAD_TEST_SECONDS": "0.3", "TAD_ROOT": str(tmp_path)}
    common = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1"]
    alone = ["--nthreads", "1", "--no-nanny", "--resources", "gpu=1", "--preload", instant.PRELOAD]

    def dask(*words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    started = [dask("dask_scheduler", *common, "--port", "0")]
    started += [dask("dask_worker", *common, *alone) for _ in range(2)]
    yield tmp_path, file, started[1]
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.long
def test_a_batch_survives_a_worker_and_its_results_are_the_local_ones(cluster):
    home, file, lost = cluster
    process = instant.start(home, "params/e.yaml", "--scheduler", str(file), "--gpus", "1", TAD_TEST_SECONDS="0.3")
    while not (home / "calls").is_file() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.4)
    os.kill(lost.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    remote = {run["run"]: run["metrics"] for run in fabricate.load(home / "outputs")}
    assert len(remote) == 4 and "lr-0.4: finished" in said
    shutil.rmtree(home / "outputs" / ".stages")
    said, _ = instant.start(home, "params/e.yaml", "--new", TAD_TEST_SECONDS="0").communicate(timeout=150)
    here = {run["run"]: run["metrics"] for run in fabricate.load(instant.versions(home, "e")[-1])}
    assert here == remote and len(instant.versions(home, "e")) == 2, said


@pytest.mark.long
def test_videos_are_encoded_by_the_workers(cluster, monkeypatch):
    home, file, _ = cluster
    folder, plan = extraction_plan(home)
    monkeypatch.setattr(batch, "SHARE", 2)
    said: list[str] = []
    while not file.is_file():
        time.sleep(0.02)
    with executors.dask(str(file)) as machines:
        batch.extract_missing(plan, home, Limits(), said.append, machines.executor)
    assert said[0] == f"features: 5 videos of {folder} in 3 shares ..." and len(said) == 4
    assert len(list(folder.glob("features/*/*.npy"))) == 5


@pytest.mark.notebooks
def test_the_workers_of_one_machine_share_its_cores_and_do_what_they_are_given():
    made = pytest.importorskip("distributed").LocalCluster
    words = {"processes": False, "dashboard_address": ":0", "resources": {"gpu": 1}}
    with made(n_workers=2, threads_per_worker=1, **words) as found:
        with executors.dask(found.scheduler_address, gpus=1) as machines:
            assert machines.jobs == 2 and machines.remote
            told = executors.results(machines.executor, str.upper, {"first": ["a"], "second": ["b"]})
            assert {label: answer for label, answer in told if label} == {"first": "A", "second": "B"}
        with pytest.raises(ValueError, match="--gpus 2: no worker at .* offers that many"):
            with executors.dask(found.scheduler_address, gpus=2):
                pass


@pytest.mark.notebooks
def test_a_cluster_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match="must be a scheduler file or an address"), executors.dask("nowhere"):
        pass
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        with executors.dask("tcp://127.0.0.1:9", patience=1):
            pass
