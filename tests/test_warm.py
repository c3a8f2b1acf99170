"""Warm processes are what cold ones are: their own environment, folder, arguments, state, and end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tadlib.workbook import execution, warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")
PROBE = """
import os, sys, pathlib
import tadlib.workbook.steps as steps
pathlib.Path(sys.argv[1]).write_text(f"{os.getcwd()} {os.environ['ASKED']} {os.environ.get('HOME')} "
                                     f"{getattr(steps, 'touched', 'fresh')} {os.getppid()}")
steps.touched = "used"
print("on stderr", file=sys.stderr)
sys.exit(int(sys.argv[2]))
"""
SLEEPER = "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(60)\n"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    warm.warm_up(dict(os.environ) | {"OMP_NUM_THREADS": "1"})
    assert warm.is_warm()
    return dict(os.environ)


def module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


def test_a_copy_is_a_process_of_its_own_in_a_fresh_state(environment, tmp_path):
    module(tmp_path, "probe", PROBE)
    own = {"ASKED": "for", warm.SERVER: environment[warm.SERVER]}
    for number in range(2):
        answer, said = tmp_path / f"{number}.txt", tmp_path / f"{number}.err"
        process = warm.WarmProcess(["probe", str(answer), str(number)], own, tmp_path, str(said))
        assert process.wait(120) == number == process.poll() == process.returncode
        assert answer.read_text().split()[:4] == [str(tmp_path), "for", "None", "fresh"]
        assert said.read_text() == "on stderr\n"


def test_it_can_be_waited_for_terminated_and_killed(environment, tmp_path):
    module(tmp_path, "sleeper", SLEEPER)
    for end, number in (("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)):
        process = warm.WarmProcess(["sleeper", str(tmp_path / end)], environment, tmp_path)
        wait_for(tmp_path / end)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        getattr(process, end)()
        assert process.wait(30) == -number
        getattr(process, end)()  # what has ended is left alone


def test_it_ends_when_who_asked_for_it_is_killed(environment, tmp_path):
    module(tmp_path, "sleeper", SLEEPER)
    asker = (
        "import os, sys, time\nfrom tadlib.workbook import warm\n"
        f"asked = warm.WarmProcess(['sleeper', {str(tmp_path / 'there')!r}], dict(os.environ), {str(tmp_path)!r})\n"
        "print(asked.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", asker], stdout=subprocess.PIPE, text=True, env=environment) as process:
        pid = int(process.stdout.readline())
        wait_for(tmp_path / "there")
        process.kill()
    for _ in range(300):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} goes on alone")


def test_a_server_that_has_ended_is_named_and_notebooks_start_cold(tmp_path, monkeypatch):
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(dead))
    given = dict(os.environ) | {warm.SERVER: str(dead)}
    with pytest.raises(OSError):
        warm.WarmProcess(["this"], given, tmp_path)
    monkeypatch.setattr(warm, "is_warm", lambda: True)
    process = execution._start(["this"], given, tmp_path, tmp_path / "said")
    assert isinstance(process, subprocess.Popen) and process.wait(60) == 0


def test_a_server_that_ends_before_it_answers_is_named(tmp_path):
    address = tmp_path / "mute"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        listener.listen()
        ending = threading.Thread(target=lambda: listener.accept()[0].close())
        ending.start()
        with pytest.raises(OSError, match=r"the server of warm processes has ended|reset|Broken pipe"):
            warm.WarmProcess(["this"], {warm.SERVER: str(address)}, tmp_path)
        ending.join()


def wait_for(file: Path) -> None:
    for _ in range(600):
        if file.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"{file} never came")
