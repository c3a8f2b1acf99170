"""Processes that start with everything imported: a batch pays for its imports once, and not twice for every stage.

A server imports the libraries and then only copies itself, a copy for every notebook and one for every kernel.
Each is a process of its own, in the state of a fresh start. Only on Linux, where copying a process is safe; elsewhere,
and where nobody called `warm_up`, processes start cold. (The fork server of `multiprocessing` cannot do this: a copy
that wants a copy, as a notebook wants its kernel, starts another server.)
"""

import atexit
import ctypes
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

IMPORTED = (
    "papermill.cli",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "open_clip",
    "tadlib.workbook.display",
    "tadlib.workbook.engine",
    "tadlib.workbook.figures",
    "tadlib.workbook.steps",
)
PROVISIONER = "tadlib-warm"  # the entry point of `WarmProvisioner`
SERVER = "TAD_WARM"  # the environment variable with the server's address
LONGEST = 1 << 20  # bytes of a message
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_servers: list[subprocess.Popen] = []


def warm_up(environment: Mapping[str, str]) -> None:
    """Start the server, once, with an environment: libraries settle how many threads they take when they are loaded."""
    if sys.platform != "linux" or _servers:
        return
    private = tempfile.mkdtemp(prefix="tad-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    address = f"{private}/warm"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    os.environ[SERVER] = address
    command = [sys.executable, "-m", "tadlib.workbook.warm", str(listener.fileno())]
    with listener:
        _servers.append(
            subprocess.Popen(
                command,
                env={**environment, SERVER: address},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        )


def end_with_parent() -> None:
    """Linux tells a process that its parent has died, be it by kill -9; elsewhere it would run on to its end."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def is_warm() -> bool:
    """Whether this process has a server to copy."""
    return bool(_servers) and _servers[0].poll() is None


class WarmProcess:
    """A Python module at work in a copy of the server, with the manners of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path | str, said: str = os.devnull
    ):
        """`arguments` as after `python -m`; what it says on stderr goes into the file `said`.

        Raises OSError where the server has ended, as one does that cannot import what it should.
        """
        self.args = list(arguments)
        self.returncode: int | None = None
        self._reading = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(environment[SERVER])
        wanted = {"arguments": self.args, "environment": dict(environment), "folder": str(folder), "said": said}
        self._server.sendall(json.dumps(wanted).encode())
        number = self._server.recv(LONGEST)
        if not number:
            raise ConnectionError("the server of warm processes has ended")
        self.pid = int(number)

    def poll(self) -> int | None:
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], timeout)[0]:
            with self._reading:  # several threads may wait; one of them is told
                if self.returncode is None:
                    self.returncode = int(self._server.recv(LONGEST) or -signal.SIGKILL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmProvisioner(LocalProvisioner):
    """Kernels as copies of the server that their notebook's process is a copy of."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> dict[str, Any]:
        _, flag, *arguments = cmd
        if flag != "-m" or SERVER not in options["env"]:
            return await super().launch_kernel(cmd, **options)
        try:
            self.process = WarmProcess(arguments, options["env"], options.get("cwd") or Path.cwd())
        except OSError:
            return await super().launch_kernel(cmd, **options)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def serve(listener: socket.socket) -> None:
    """Copy this process whenever somebody asks; a copy returns from here, as what it has become, at its end."""
    for name in IMPORTED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    while True:
        asker, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _keep(asker)
        asker.close()


def _keep(asker: socket.socket) -> None:
    """Start what is asked for, tell its number and how it ended; end it when nobody is there to be told."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    wanted = json.loads(asker.recv(LONGEST))
    process = os.fork()
    if process == 0:
        asker.close()
        return _become(**wanted)
    asker.sendall(str(process).encode())

    def end_with_asker() -> None:
        asker.recv(LONGEST)  # it never says more, so this returns at its end
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)

    threading.Thread(target=end_with_asker, daemon=True).start()
    _, status = os.waitpid(process, 0)
    with suppress(OSError):
        asker.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(arguments: list[str], environment: dict[str, str], folder: str, said: str) -> None:
    """Run a module as `python -m` does."""
    os.setsid()  # the terminal's Ctrl-C goes to who started the batch, and that one stops it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv, sys.path[0] = arguments, folder
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
