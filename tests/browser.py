"""A headless Chromium driven over its DevTools protocol, and a JupyterLab to open in it: a few calls, no library."""

import base64
import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websocket
from stubs import waited

PATIENCE = 300.0  # seconds: other work may share the cores
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab; every address that it asks for is kept in `asked`."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self._number = 0
        self.asked: list[str] = []
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **given):
        """The result of a method of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": given}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("method") == "Network.requestWillBeSent":
                self.asked.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def run(self, script: str):
        """The value of an expression of JavaScript, awaited where it is a promise."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE):
        """The first true value of an expression."""
        return waited(lambda: self.run(script), seconds, script)

    def open(self, address: str) -> None:
        """Go to an address and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address[:7])})")

    def look(self, width: int = 1440, height: int = 900) -> None:
        """Make the window so large, in light colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])

    def picture(self, path: Path) -> None:
        """A screenshot of the window."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(shot["data"]))


def _ask(address: str, method: str = "GET") -> str:
    with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=10) as answer:
        return answer.read().decode()


@contextmanager
def started(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()  # the kernels of a server end with it
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a headless browser, its profile below a folder; the test is skipped where there is no browser."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser found: expected one of {', '.join(BROWSERS)}")
    profile = folder / "profile"
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    with started([*command, f"--user-data-dir={profile}", "about:blank"]):
        note = profile / "DevToolsActivePort"
        port = waited(lambda: note.is_file() and note.read_text().split("\n")[0], PATIENCE, "a browser that listens")
        page = Page(json.loads(_ask(f"http://127.0.0.1:{port}/json/new", "PUT"))["webSocketDebuggerUrl"])
        page.look()
        yield page


@contextmanager
def lab(folder: Path, page: Page) -> Iterator[Callable[[str], None]]:
    """JupyterLab in a folder; gives a function that opens a notebook of it in the page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    words += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    words += [f"--ServerApp.root_dir={folder}", f"--LabApp.workspaces_dir={folder / '.workspaces'}", "--allow-root"]
    with started([sys.executable, "-m", "jupyterlab", *words], cwd=folder):
        home = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            try:
                return bool(_ask(f"{home}/api"))
            except OSError:
                return False

        waited(ready, PATIENCE, "JupyterLab")

        def show(notebook: str) -> None:
            page.open(f"{home}/lab/tree/{notebook}?reset")
            page.wait("!!window.jupyterapp && window.jupyterapp.restored.then(() => true)", PATIENCE)
            page.wait(f"({NOTEBOOK})?.context.isReady && ({NOTEBOOK}).sessionContext.session?.kernel != null", PATIENCE)

        yield show


NOTEBOOK = "window.jupyterapp.shell.currentWidget"
