"""Runs given to a real scheduler with two worker processes, one of which is killed while it works."""

import os
import signal
import subprocess
import sys
import time

import instant
import pytest
from conftest import ROOT

from tadlib.workbook import clusters, runs
from tadlib.workbook.sharing import Way

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


def test_a_batch_survives_a_worker_and_its_results_are_the_local_ones(cluster):
    home, file, (_, lost, _), environment, _ = cluster
    command = [sys.executable, str(ROOT / "tests" / "instant.py"), "run", "params/e.yaml"]
    batch = subprocess.Popen(
        [*command, "--scheduler", str(file), "--gpus", "1"],
        cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (home / "calls").is_file() and batch.poll() is None:
        time.sleep(0.02)
    time.sleep(0.4)
    os.kill(lost.pid, signal.SIGKILL)
    said, _ = batch.communicate(timeout=150)
    assert batch.returncode == 0, said
    remote = {run["run"]: run["metrics"] for run in runs.load(home / "outputs")}
    assert len(remote) == 4 and "lr-0.4: finished" in said
    assert instant.executed_here(home, command, environment) == remote


def told_jobs(root: str, folder: str, given: dict, way: Way) -> str:
    """A run that says with how many others it is to share the cores."""
    return str(way.jobs)


def test_a_worker_shares_its_cores_with_those_that_are_there_when_a_run_begins(cluster):
    _, file, started, _, worker = cluster
    while not file.is_file():
        time.sleep(0.02)
    with clusters.workers(str(file)) as pool:
        for there in (2, 3):
            pool.workers._client.wait_for_workers(there, timeout=60)
            assert pool.submit(told_jobs, "", "", {}, Way(jobs=1)).result(60) == str(there)
            started.append(worker())


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be a scheduler file or an address"), clusters.workers("nowhere"):
        pass
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        with clusters.workers("tcp://127.0.0.1:9", patience=1):
            pass
