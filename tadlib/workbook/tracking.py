"""Optional export of finished runs to MLflow."""

import os
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import nbformat
from PIL import Image

from tadlib.files import read_json
from tadlib.workbook import edits, runs
from tadlib.workbook.stages import planned

LONGEST = 500  # letters of a parameter's value that MLflow takes


def require() -> None:
    """Raise ValueError, saying what to install, where MLflow is not there."""
    try:
        import mlflow  # noqa: F401
    except ImportError:
        raise ValueError("--track mlflow needs mlflow, got none: pip install 'tadlib[mlflow]'") from None


def track(experiment: str, folder: Path) -> None:
    """Tell MLflow a run's parameters, metrics, figures and executed notebooks, once.

    It writes where MLFLOW_TRACKING_URI says, by default to outputs/mlflow.db with notebooks and figures under
    outputs/mlflow.
    """
    import mlflow

    told = folder / ".told-mlflow"
    if told.is_file():
        return
    records, path = planned(runs.records(folder), folder)
    edited = edits.mark(edits.of_records(records))
    parameters = next(iter(records.values()))["parameters"] | ({"edited_notebook": edited} if edited else {})
    if "MLFLOW_TRACKING_URI" not in os.environ:
        outputs = runs.project_root() / "outputs"
        mlflow.set_tracking_uri(f"sqlite:///{outputs / 'mlflow.db'}")  # plain files MLflow takes no more
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, artifact_location=(outputs / "mlflow" / experiment).as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({name: str(value)[:LONGEST] for name, value in parameters.items()})
        mlflow.log_metrics(_numbers(read_json(path)))
        for row in read_json(folder / "history.json") if (folder / "history.json").is_file() else []:
            mlflow.log_metrics(_numbers(row), step=int(row["epoch"]))
        for notebook in sorted(folder.glob("*.ipynb")):
            mlflow.log_artifact(str(notebook))
        for name, picture in figures(folder):
            mlflow.log_image(picture, artifact_file=f"figures/{name}.png")
    told.touch()


def _numbers(found: dict) -> dict[str, float]:
    """What is a number, by names in the letters that MLflow takes."""
    plain = {name.replace("@", "_at_").replace(" ", "_"): value for name, value in found.items()}
    return {name: float(value) for name, value in plain.items() if isinstance(value, int | float)}


def figures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """The pictures in a run's notebooks, in their order, each named by its notebook and a number."""
    for path in sorted(folder.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        pictures = [data["image/png"] for data in outputs if "image/png" in data]
        for number, picture in enumerate(pictures, start=1):
            yield f"{path.stem}_{number:02}", Image.open(BytesIO(b64decode(picture))).convert("RGB")
