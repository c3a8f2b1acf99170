"""Reports: executed notebooks as HTML pages without code, and comparison of runs after a batch or by `tad report`.

`jupyter nbconvert --to report` makes a self-contained page.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter
from traitlets import default
from traitlets.config import Config

from tadlib.files import dangling, read_json, write_text
from tadlib.workbook import execution, finished_runs, lab_log, runs, tracking
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.stage_store import link_or_copy, relative

Say = Callable[[str], None]
Ended = tuple[str, Path, Mapping[str, str]]  # experiment, folder of its version, label of a run -> status


class ReportExporter(HTMLExporter):
    """HTML page with text, figures and tables, a banner with status and parameters, and no code."""

    export_from_notebook = "Report (no code)"

    @default("template_name")
    def _template_name_default(self):
        return "tad"

    @property
    def extra_template_basedirs(self):
        """Folder of the template."""
        return [str(Path(__file__).parent / "templates")]

    @property
    def default_config(self):
        """No code, no prompts, no parameter cells; figures embedded."""
        hidden = {"parameters", "injected-parameters", "no-report"}
        config = Config(super().default_config)
        config.TemplateExporter.update(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
        config.HTMLExporter.embed_images = True
        config.TagRemovePreprocessor.update(enabled=True, remove_cell_tags=hidden)
        config.CoalesceStreamsPreprocessor.enabled = True
        return config

    def from_notebook_node(self, nb, resources=None, **kwargs):
        """Export a notebook with its status and parameters."""
        banner = {"status": execution.status(nb), "parameters": _parameters(nb)}
        return super().from_notebook_node(nb, {**(resources or {}), **banner}, **kwargs)


def _parameters(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the lines of the injected cell; papermill's metadata are outdated if the reader has edited the cell."""
    cells = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", ())]
    return [line for line in "\n".join(cells[-1:]).splitlines() if line and not line.startswith(("#", "run_dir ="))]


def page(notebook: Path) -> Path:
    """Write the page of an executed notebook next to it, atomically; return its path."""
    text, _ = ReportExporter().from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    write_text(path, text)
    return path


def conclude(ended: Sequence[Ended], tracker: str | None, say: Say) -> int:
    """Print how batches ended, and update report, lab log and tracker; return the exit status."""
    places, succeeded, failed, total = [], [], 0, 0
    for experiment, folder, status in ended:
        say("\n".join(finished_runs.table(folder)))
        finished = [label for label, text in status.items() if text == "finished"]
        for label, text in status.items():
            if text != "finished":
                print(f"tad: {experiment}/{label} {text}", file=sys.stderr)
        failed, total = failed + len(status) - len(finished), total + len(status)
        places += [f"outputs/{experiment}"] if finished else []
        for label in finished if tracker else ():
            track = partial(tracking.track, experiment, folder / label)
            succeeded.append(_succeeds(f"telling {tracker} of {label}", track))
    if failed:
        print(f"tad: {failed} of {total} runs failed; the same command tries them again", file=sys.stderr)
    if places:
        command = f"`tad report {' '.join(places)}`"
        succeeded.append(_succeeds(command, lambda: say(f"report: {compare(places, {}, say)}")))
    return 1 if failed or not all(succeeded) else 0


def _succeeds(what: str, act: Callable[[], None]) -> bool:
    """Call `act`, a step after a batch; print an error instead of raising it, and return whether it succeeded."""
    try:
        act()
    except Exception as error:  # a tracker may raise anything, and the other steps must still run
        print(f"tad: {what} failed ({type(error).__name__}: {error}); the runs are kept", file=sys.stderr)
        return False
    return True


def compare(folders: Sequence[str], changes: Mapping[str, Any], say: Say) -> Path:
    """Compare all runs below the folders; return the path of the page, which is next to its notebook.

    The report of one folder is written into it, that of several into a new folder under outputs/reports/. Raises
    ValueError for invalid parameters, and RunError if there is no run or report.ipynb fails.
    """
    params = ReportParams.check({"experiments": ",".join(folders)} | dict(changes))
    places = [runs.resolve(folder) for folder in params.folders]
    root = runs.project_root()
    for run in finished_runs.read(places)[0]:
        _pages(run.dir, say)
    target = places[0] if len(places) == 1 else root / "outputs" / "reports" / runs.new_name()
    given = params.changed() | {"experiments": params.experiments, "run_dir": relative(target)}
    reason = execution.execute_notebook("report", target / "report.ipynb", given)
    if reason is not None:
        raise runs.RunError(f"report.ipynb failed ({reason}): see {target / 'report.ipynb'}")
    made = page(target / "report.ipynb")
    kept = target / "report.json"
    for line in lab_log.update(root, read_json(kept)) if kept.is_file() else ():
        say(line)
    return made


def _pages(folder: Path, say: Say) -> None:
    """Make the missing and outdated pages of a run's executed notebooks; the page of a shared stage is linked."""
    if lost := dangling(folder):
        say(f"{folder.name}: {', '.join(lost)} {finished_runs.GONE}")
    for notebook in sorted(path for path in folder.glob("[!.]*.ipynb") if path.is_file()):
        made, here = notebook.resolve().with_suffix(".html"), notebook.with_suffix(".html")
        if not made.is_file() or made.stat().st_mtime < notebook.stat().st_mtime:
            say(f"page: {page(notebook.resolve())}")
        if not here.exists() or not here.samefile(made):
            link_or_copy(made, here)
