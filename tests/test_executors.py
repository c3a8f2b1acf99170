"""Work given to an executor is done whatever happens to one that does it; SLURM's jobs are tried by processes here."""

import os
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

from tadlib.workbook import executors
from tadlib.workbook.params import Params


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
    environment = os.environ | {"PYTHONPATH": path, "TAD_TEST_SECONDS": "0.5", "TAD_ROOT": str(home)}
    command = [sys.executable, str(ROOT / "tests" / "instant.py"), "run", "params/e.yaml"]
    batch = subprocess.Popen(
        [*command, "--slurm", "local"],
        cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (home / "calls").is_file() and batch.poll() is None:
        time.sleep(0.05)
    lost = process_of(home)
    os.kill(lost, signal.SIGKILL)
    said, _ = batch.communicate(timeout=200)
    assert batch.returncode == 0, said
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
