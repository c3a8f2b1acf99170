"""Reports: executed notebooks as pages without code, and runs compared at the end of a batch or by `tad report`.

`jupyter nbconvert --to report` makes a page that opens without a network.
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
Ended = tuple[str, Path, Mapping[str, str]]  # an experiment, the folder of its version, how each run ended


class ReportExporter(HTMLExporter):
    """HTML with text, figures and tables, a banner with what happened and the parameters, and no code."""

    export_from_notebook = "Report (no code)"

    @default("template_name")
    def _template_name_default(self):
        return "tad"

    @property
    def extra_template_basedirs(self):
        """Where our template lies."""
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
        """The page of a notebook, with what happened to it."""
        told = {"status": execution.status(nb), "parameters": _parameters(nb)}
        return super().from_notebook_node(nb, {**(resources or {}), **told}, **kwargs)


def _parameters(notebook: nbformat.NotebookNode) -> list[str]:
    """The lines of papermill's cell, as they stand: papermill's own record is older where somebody has edited it."""
    cells = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", ())]
    return [line for line in "\n".join(cells[-1:]).splitlines() if line and not line.startswith(("#", "run_dir ="))]


def page(notebook: Path) -> Path:
    """Write the page of an executed notebook beside it, whole or not at all; returns its path."""
    text, _ = ReportExporter().from_filename(str(notebook))
    path = notebook.with_suffix(".html")
    write_text(path, text)
    return path


def conclude(ended: Sequence[Ended], tracker: str | None, say: Say = print) -> int:
    """Tell how batches ended, bring report, lab log and tracker up to date; the exit status."""
    places, told, failed, every = [], [], 0, 0
    for experiment, folder, status in ended:
        say("\n".join(finished_runs.table(folder)))
        finished = [label for label, text in status.items() if text == "finished"]
        for label, text in status.items():
            if text != "finished":
                print(f"tad: {experiment}/{label} {text}", file=sys.stderr)
        failed, every = failed + len(status) - len(finished), every + len(status)
        places += [f"outputs/{experiment}"] if finished else []
        for label in finished if tracker else ():
            tell = partial(tracking.track, experiment, folder / label)
            told.append(_succeeds(f"telling {tracker} of {label}", tell))
    if failed:
        print(f"tad: {failed} of {every} runs failed; the same command tries them again", file=sys.stderr)
    if places:
        ask = f"`tad report {' '.join(places)}`"
        told.append(_succeeds(ask, lambda: say(f"report: {compare(places, {}, say)}")))
    return 1 if failed or not all(told) else 0


def _succeeds(what: str, act: Callable[[], None]) -> bool:
    """Do what follows a batch; where it fails that is said, and the runs stay what they are."""
    try:
        act()
    except Exception as error:  # a tracker raises what it likes, and the others must still be told
        print(f"tad: {what} failed ({type(error).__name__}: {error}); the runs are kept", file=sys.stderr)
        return False
    return True


def compare(folders: Sequence[str], changes: Mapping[str, Any], say: Say = print) -> Path:
    """The page of a comparison of all runs below the folders, beside its notebook.

    One folder: the report lies in it; several: in a new folder under outputs/reports/. Raises ValueError for
    parameters that cannot be, and RunError where there is no run or where report.ipynb fails.
    """
    params = ReportParams.check({"experiments": list(folders)} | dict(changes))
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
    """Make the page of every executed notebook that has none, or an older one; runs link to that of a shared stage."""
    if lost := dangling(folder):
        say(f"{folder.name}: {', '.join(lost)} {finished_runs.GONE}")
    for notebook in sorted(path for path in folder.glob("[!.]*.ipynb") if path.is_file()):
        made, here = notebook.resolve().with_suffix(".html"), notebook.with_suffix(".html")
        if not made.is_file() or made.stat().st_mtime < notebook.stat().st_mtime:
            say(f"page: {page(notebook.resolve())}")
        if not here.exists() or not here.samefile(made):
            link_or_copy(made, here)
