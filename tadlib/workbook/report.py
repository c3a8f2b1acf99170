"""Reports: executed notebooks as HTML pages without code, comparison of runs, and export of finished runs to MLflow.

`jupyter nbconvert --to report` makes a self-contained page.
"""

import os
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter
from PIL import Image
from traitlets import default
from traitlets.config import Config

from tadlib.files import dangling, read_json, write_text
from tadlib.workbook import execution, finished_runs, lab_log, runs
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.stage_store import link_or_copy, relative

LONGEST = 500  # MLflow's limit on the letters of a parameter's value
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
            succeeded.append(_succeeds(f"telling {tracker} of {label}", partial(track, experiment, folder / label)))
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


def require_mlflow() -> None:
    """Raise ValueError, with what to install, if MLflow is missing."""
    try:
        import mlflow  # noqa: F401
    except ImportError:
        raise ValueError("--track mlflow needs mlflow, got none: pip install 'tadlib[mlflow]'") from None


def track(experiment: str, folder: Path) -> None:
    """Log a run's parameters, metrics, figures and executed notebooks to MLflow, once.

    The destination is MLFLOW_TRACKING_URI, by default outputs/mlflow.db, with notebooks and figures under
    outputs/mlflow.
    """
    import mlflow

    marker = folder / ".told-mlflow"
    if marker.is_file():
        return
    (run,), _ = finished_runs.read([folder])
    parameters = dict(run.parameters) | ({"edited_notebook": run.edit} if run.edit else {})
    if "MLFLOW_TRACKING_URI" not in os.environ:
        outputs = runs.project_root() / "outputs"
        mlflow.set_tracking_uri(f"sqlite:///{outputs / 'mlflow.db'}")  # MLflow no longer supports plain files
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, artifact_location=(outputs / "mlflow" / experiment).as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({name: str(value)[:LONGEST] for name, value in parameters.items()})
        mlflow.log_metrics(_numbers(run.metrics))
        for row in run.history:
            mlflow.log_metrics(_numbers(row), step=int(row["epoch"]))
        for notebook in sorted(folder.glob("*.ipynb")):
            mlflow.log_artifact(str(notebook))
            cells = nbformat.read(notebook, as_version=4).cells
            outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
            pictures = [data["image/png"] for data in outputs if "image/png" in data]
            for number, picture in enumerate(pictures, start=1):
                image = Image.open(BytesIO(b64decode(picture))).convert("RGB")
                mlflow.log_image(image, artifact_file=f"figures/{notebook.stem}_{number:02}.png")
    marker.touch()


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the values, by names that MLflow allows."""
    renamed = {name.replace("@", "_at_").replace(" ", "_"): value for name, value in values.items()}
    return {name: float(value) for name, value in renamed.items() if isinstance(value, int | float)}
