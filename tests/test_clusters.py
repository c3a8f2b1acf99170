"""Runs given to a real scheduler of Dask: to two worker processes, one of which is killed, or to threads."""

import os
import signal
import subprocess
import sys
import time

import fabricate
import instant
import pytest
from conftest import ROOT
from standins import extraction_plan

from tadlib.workbook import batch, executors
from tadlib.workbook.stage_store import Limits

pytest.importorskip("distributed")
SWEEP = "# Q?\nsweep: {lr: [0.1, 0.2, 0.3, 0.4]}\n"


@pytest.fixture
def cluster(tmp_path):
    """A project, the file of a scheduler, and two workers whose stages take no time; all ended afterwards."""
    instant.project(tmp_path)
    (tmp_path / "params" / "e.yaml").write_text(SWEEP)
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

    def worker() -> subprocess.Popen:
        return dask("dask_worker", *common, *alone)

    started = [dask("dask_scheduler", *common, "--port", "0"), worker(), worker()]
    yield tmp_path, file, started, environment, worker
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.long
def test_a_batch_survives_a_worker_and_its_results_are_the_local_ones(cluster):
    home, file, (_, lost, _), environment, _ = cluster
    command = [sys.executable, str(ROOT / "tests" / "instant.py"), "run", "params/e.yaml"]
    process = subprocess.Popen(
        [*command, "--scheduler", str(file), "--gpus", "1"],
        cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (home / "calls").is_file() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.4)
    os.kill(lost.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    remote = {run["run"]: run["metrics"] for run in fabricate.load(home / "outputs")}
    assert len(remote) == 4 and "lr-0.4: finished" in said
    assert instant.executed_here(home, command, environment) == remote


@pytest.mark.long
def test_videos_are_encoded_by_the_workers(cluster, monkeypatch):
    home, file, *_ = cluster
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
    from distributed import LocalCluster

    words = {"processes": False, "dashboard_address": ":0", "resources": {"gpu": 1}}
    with LocalCluster(n_workers=2, threads_per_worker=1, **words) as made:
        with executors.dask(made.scheduler_address, gpus=1) as machines:
            assert machines.jobs == 2 and machines.remote
            told = executors.results(machines.executor, str.upper, {"first": ["a"], "second": ["b"]})
            assert {label: answer for label, answer in told if label} == {"first": "A", "second": "B"}
        with pytest.raises(ValueError, match="--gpus 2: no worker at .* offers that many"):
            with executors.dask(made.scheduler_address, gpus=2):
                pass


@pytest.mark.notebooks
def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be a scheduler file or an address"), executors.dask("nowhere"):
        pass
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        with executors.dask("tcp://127.0.0.1:9", patience=1):
            pass
