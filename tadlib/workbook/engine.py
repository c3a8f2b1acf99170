"""Papermill engine of this project: checks parameters, records how a run ended, and signs its notebook.

Installed as papermill's default engine by an entry point; notebooks without `metadata.tadlib` are executed as usual.
"""

import re
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

from markupsafe import Markup
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_markdown_cell
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import write_ipynb
from papermill.log import logger
from traitlets.config import Config

from tadlib.workbook import papermill_arguments
from tadlib.workbook.stages import RESULT

BAR = re.compile(r"[^\r\n]+: \d+/\d+ \[[^\]\r\n]*\]")  # a progress bar as `display` writes it
PROGRESS_INTERVAL = 15.0  # seconds between two lines of progress on the terminal


class TadEngine(NBClientEngine):
    """Execution by nbclient; the output notebook of a run that was stopped says why."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, **options):
        if "tadlib" not in nb.metadata:
            return super().execute_notebook(nb, kernel_name, output_path=output_path, **options)
        from tadlib.workbook.execution import EXECUTED, held, status

        given = nb.metadata.get("papermill", {}).get("parameters", {})
        papermill_arguments.check(nb.metadata.tadlib.get("stage", ""), given)  # for calls of papermill from Python
        options.setdefault("coalesce_streams", True)
        if threading.current_thread() is threading.main_thread():
            # a scheduler's time limit ends a run as Ctrl-C does, with its notebook saved
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # channels of the kernel are sockets in a folder, whose path must be short: of two notebooks that start at once
        # and choose the same TCP port one would die
        sockets = tempfile.TemporaryDirectory(prefix="tad-", dir="/tmp", ignore_cleanup_errors=True)
        with held(output_path), sockets as folder:
            options.setdefault("config", Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}}))
            try:
                done = super().execute_notebook(nb, kernel_name, output_path=output_path, **options)
            except PapermillExecutionError:
                raise
            except BaseException as stopped:
                _tell(nb, stopped)
                if output_path:
                    write_ipynb(nb, output_path)
                raise
            finally:
                NotebookNotary().sign(nb)  # JupyterLab removes HTML and scripts of figures from unsigned ones
        if status(done).word == EXECUTED:  # papermill itself reports errors
            with suppress(OSError):  # the terminal may be closed
                print(_summary(done, output_path), file=sys.stderr, flush=True)
        return done

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, input_path=None, **options
    ):
        """Execute as papermill does, with a client that prints progress."""
        timeouts = {"startup_timeout": start_timeout, "timeout": execution_timeout}
        return _Client(nb_man, **(options | timeouts), kernel_name=kernel_name, log=logger).execute()


class _Client(PapermillNotebookClient):
    """Client that regularly prints the notebook's latest progress bar on the terminal during long cells."""

    def __init__(self, nb_man: Any, **options: Any) -> None:
        super().__init__(nb_man, **options)
        self._printed_at = time.monotonic()

    def process_message(self, msg: dict[str, Any], *others: Any, **options: Any) -> Any:
        bars = BAR.findall(msg["content"].get("text", "")) if msg["msg_type"] == "stream" else ()
        if bars and self.nb_man.pbar is not None and time.monotonic() - self._printed_at >= PROGRESS_INTERVAL:
            self._printed_at = time.monotonic()
            with suppress(OSError):
                self.nb_man.pbar.write(bars[-1], file=sys.stderr)
        return super().process_message(msg, *others, **options)


def _summary(nb: NotebookNode, output_path: str | None) -> str:
    """Return the last line for the terminal: the result, and the path of the notebook."""
    outputs = [output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", [])]
    results = [data[RESULT]["headline"] for data in outputs if "headline" in data.get(RESULT, {})]
    result = results[-1] if results else f"{nb.metadata.tadlib.get('stage', 'notebook')} finished"
    return f"{result}; notebook {output_path}" if output_path else result


def _tell(nb: NotebookNode, stopped: BaseException) -> None:
    """Correct papermill's metadata after a dead kernel, a time-out or an interruption, and insert a banner on top."""
    reason = f"{type(stopped).__name__}: {stopped}".strip(": ")[:300]
    last = None
    for cell in nb.cells:
        if cell.cell_type == "code" and cell.source.strip() and "papermill" in cell.metadata:
            if cell.metadata.papermill.get("start_time"):
                last = cell
            else:
                cell.metadata.papermill["status"] = "pending"
    if last is not None:
        last.metadata.papermill.update(status="failed", exception=True)
    nb.metadata.papermill.update(exception=True, stopped_by=reason)
    html = Markup(
        '<div style="border-left:6px solid #c22;background:#fdecea;padding:.6em 1em"><b>This run did not finish.</b> '
        "It was stopped: {}. Cells without a number never ran.</div>"
    ).format(" ".join(reason.split()))  # an empty line or $ would be read as Markdown
    banner = new_markdown_cell(html.replace("$", "&#36;"))
    banner.metadata["papermill"] = {"status": "completed", "exception": False}
    nb.cells.insert(0, banner)


papermill_engines.register(None, TadEngine)
papermill_arguments.install()
