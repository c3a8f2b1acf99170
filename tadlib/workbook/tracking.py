"""Optional export of finished runs to MLflow."""

import os
from base64 import b64decode
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from tadlib.project import project_root
from tadlib.workbook import finished_runs

LONGEST = 500  # MLflow's limit on the letters of a parameter's value


def require() -> None:
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
        outputs = project_root() / "outputs"
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
        for name, picture in figures(folder):
            mlflow.log_image(picture, artifact_file=f"figures/{name}.png")
    marker.touch()


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the values, by names that MLflow allows."""
    renamed = {name.replace("@", "_at_").replace(" ", "_"): value for name, value in values.items()}
    return {name: float(value) for name, value in renamed.items() if isinstance(value, int | float)}


def figures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield the figures in a run's notebooks, in order, named by notebook and number."""
    for path in sorted(folder.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        pictures = [data["image/png"] for data in outputs if "image/png" in data]
        for number, picture in enumerate(pictures, start=1):
            yield f"{path.stem}_{number:02}", Image.open(BytesIO(b64decode(picture))).convert("RGB")
