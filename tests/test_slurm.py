"""Runs given to Dask's workers that a real SLURM started, one of whose jobs is cancelled while it works."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import instant
import pytest
from conftest import ROOT

from tadlib.workbook import runs

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("slurmctld"), reason="no slurmctld found: expected Debian's slurm-wlm"),
]
SWEEP = "# Q?\nsweep: {lr: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}\n"
CONFIGURATION = """
ClusterName=tad
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MailProg=/bin/true
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES
"""


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(true: Callable[[], object], what: str, seconds: float = 300) -> None:
    for _ in range(int(seconds * 10)):
        if true():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {seconds:g} s")


def at_work(home: Path) -> int:
    """How many stages were begun and have not ended."""
    calls = (home / "calls").read_text().splitlines() if (home / "calls").is_file() else []
    return sum({"begin": 1, "end": -1}.get(line.split()[0], 0) for line in calls)


@pytest.fixture
def slurm(tmp_path):
    """An environment in which SLURM's commands speak to a cluster of one node; it is gone afterwards."""
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    facts = {"host": socket.gethostname(), "user": getpass.getuser(), "folder": tmp_path, "ports": free_ports(2)}
    (tmp_path / "slurm.conf").write_text(CONFIGURATION.format(**facts))
    environment = os.environ | {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    daemons = []
    for name in ("slurmctld", "slurmd"):
        with open(tmp_path / f"{name}.log", "wb") as log:
            daemons.append(subprocess.Popen([name, "-D"], env=environment, stdout=log, stderr=log))

    def said(*words: str) -> str:
        return subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip()

    try:
        wait_until(lambda: said("sinfo", "-h", "-o", "%t") == "idle", "an idle node")
        yield environment, said
        said("scancel", "--user", facts["user"])
        wait_until(lambda: not said("squeue", "-h"), "the end of all jobs", 60)
    finally:
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(60)


def test_a_batch_survives_the_end_of_a_job_and_its_results_are_the_local_ones(slurm, tmp_path):
    environment, said = slurm
    home = instant.project(tmp_path / "project")
    (home / "params" / "e.yaml").write_text(SWEEP)
    environment |= {"PYTHONPATH": str(ROOT / "tests"), "TAD_TEST_SECONDS": "4", "TAD_ROOT": str(home)}
    dask, file = str(Path(sys.executable).with_name("dask")), str(tmp_path / "scheduler.json")
    reached = ["--scheduler-file", file, "--no-dashboard", "--host", "127.0.0.1"]
    worker = [dask, "worker", *reached, "--nthreads", "1", "--no-nanny", "--preload", f"'{instant.PRELOAD}'"]
    submit = ["sbatch", "--parsable", "--output", str(tmp_path / "worker-%j.log"), "--wrap", " ".join(worker)]
    started = [subprocess.Popen([dask, "scheduler", *reached, "--port", "0"], cwd=home, env=environment)]
    try:
        wait_until(Path(file).is_file, "a scheduler")
        lost, _ = (subprocess.check_output(submit, cwd=home, env=environment, text=True).strip() for _ in range(2))
        wait_until(lambda: said("squeue", "-h", "-t", "running", "-o", "%i").count("\n") == 1, "two jobs")
        command = [sys.executable, str(ROOT / "tests" / "instant.py"), "run", "params/e.yaml"]
        batch = subprocess.Popen(
            [*command, "--scheduler", file],
            cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(batch)
        wait_until(lambda: at_work(home) == 2, "two stages at work")
        said("scancel", lost)
        told, _ = batch.communicate(timeout=600)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert batch.returncode == 0, told
    assert "JobState=CANCELLED" in said("scontrol", "show", "job", lost)
    assert at_work(home) == 1, "one stage was begun in vain"
    remote = {run["run"]: run["metrics"] for run in runs.load(home / "outputs")}
    assert len(remote) == 6 and instant.executed_here(home, command, environment) == remote
