"""Runs given to a real scheduler with two worker processes, one of which is killed while it works."""

import os
import signal
import subprocess
import sys
import time

import instant
import numpy as np
import pytest
import standins
import torch
import yaml
from conftest import ROOT
from videos import steady, write_video

from tadlib.data.encoder import load_encoder
from tadlib.data.streams import BrokenVideo
from tadlib.workbook import executors, extraction, plans, runs, steps
from tadlib.workbook.params import Params
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


def test_the_workers_of_one_machine_share_its_cores(cluster):
    _, file, *_ = cluster
    while not file.is_file():
        time.sleep(0.02)
    with executors.dask(str(file)) as machines:
        machines.executor._client.wait_for_workers(2, timeout=60)
    with executors.dask(str(file)) as machines:
        assert machines.jobs == 2 and machines.remote


@pytest.mark.parametrize("broken", [False, True])
def test_videos_are_encoded_by_the_workers_and_prepare_finds_them(cluster, monkeypatch, broken):
    home, file, *_ = cluster
    folder = standins.dataset(home / "own", videos=5, seconds=8.0)
    (folder / "videos").mkdir()
    for number in range(5):
        write_video(folder / "videos" / f"v{number}.mp4", steady(200, 25.0))
    if broken:
        (folder / "videos" / "v3.mp4").write_bytes(b"no film")
    torch.save(load_encoder("tad-demo", "", torch.device("cpu")).model.state_dict(), home / "clip.pt")
    given = {"dataset": str(folder), "encoder": "tad-demo", "pretrained": str(home / "clip.pt"), "stride": 5}
    given |= {"data_dir": str(home / "data"), "window": 8, "device": "cpu"}
    (home / "own.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setattr(extraction, "SHARE", 2)
    said: list[str] = []
    while not file.is_file():
        time.sleep(0.02)
    with executors.dask(str(file)) as machines:
        extraction.extract_missing(plans.plan(home / "own.yaml"), home, Limits(), said.append, machines.executor)
    assert said[0] == f"features: 5 videos of {folder} in 3 shares ..." and len(said) == 4
    made = sorted(folder.glob("features/*/*.npy"))
    assert [path.stem for path in made] == [f"v{number}" for number in range(5) if not broken or number != 3]
    before = [path.stat().st_mtime_ns for path in made]
    params = Params.check(given)
    if broken:
        with pytest.raises(BrokenVideo, match="v3.mp4"):
            steps.gather(params)
        return
    steps.gather(params)
    assert [path.stat().st_mtime_ns for path in made] == before, "made by the workers, not again"
    there = [np.load(path) for path in made]
    for path in made:
        path.with_suffix(".json").unlink()
    steps.gather(params)
    for theirs, path in zip(there, made, strict=True):
        np.testing.assert_array_equal(theirs, np.load(path))


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be a scheduler file or an address"), executors.dask("nowhere"):
        pass
    with pytest.raises(ValueError, match="no scheduler answers at tcp://127.0.0.1:9 within 1 s"):
        with executors.dask("tcp://127.0.0.1:9", patience=1):
            pass
