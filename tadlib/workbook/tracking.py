"""Export of finished runs to MLflow or TensorBoard; nothing needs it."""

import importlib
import os
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from tadlib.files import read_json
from tadlib.workbook import edits, runs
from tadlib.workbook.stages import planned

NEEDS = {"mlflow": ("mlflow", "mlflow"), "tensorboard": ("torch.utils.tensorboard", "logs")}  # module, extra
LONGEST = 500  # letters of a parameter's value that MLflow takes


def require(tracker: str) -> None:
    """Raise ValueError, saying what to install, where a tracker is not there."""
    module, extra = NEEDS[tracker]
    try:
        importlib.import_module(module)
    except ImportError:
        raise ValueError(f"--track {tracker} needs {module}, got none: pip install 'tadlib[{extra}]'") from None


def track_once(tracker: str, experiment: str, folder: Path) -> None:
    """Tell a tracker of a run unless it was told before: a command that is repeated doubles nothing."""
    told = folder / f".told-{tracker}"
    if not told.is_file():
        track(tracker, experiment, folder)
        told.touch()


def track(tracker: str, experiment: str, folder: Path) -> None:
    """Tell a tracker a run's parameters, metrics, figures and executed notebooks.

    MLflow writes where MLFLOW_TRACKING_URI says, by default to outputs/mlflow.db with notebooks and figures under
    outputs/mlflow; TensorBoard's logs go to the run.
    """
    records, path = planned(runs.records(folder), folder)
    edited = edits.mark(edits.of_records(records))
    parameters = next(iter(records.values()))["parameters"] | ({"edited_notebook": edited} if edited else {})
    history = read_json(folder / "history.json") if (folder / "history.json").is_file() else []
    epochs = {int(row["epoch"]): _numbers(row) for row in history}
    to = {"mlflow": _to_mlflow, "tensorboard": _to_tensorboard}[tracker]
    to(experiment, folder, parameters, _numbers(read_json(path)), epochs)


def _to_mlflow(experiment: str, folder: Path, parameters: dict, metrics: dict, epochs: dict) -> None:
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        outputs = runs.project_root() / "outputs"
        mlflow.set_tracking_uri(f"sqlite:///{outputs / 'mlflow.db'}")  # plain files MLflow takes no more
        if mlflow.get_experiment_by_name(experiment) is None:
            mlflow.create_experiment(experiment, artifact_location=(outputs / "mlflow" / experiment).as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({name: str(value)[:LONGEST] for name, value in parameters.items()})
        mlflow.log_metrics(metrics)
        for epoch, numbers in epochs.items():
            mlflow.log_metrics(numbers, step=epoch)
        for path in sorted(folder.glob("*.ipynb")):
            mlflow.log_artifact(str(path))
        for name, picture in figures(folder):
            mlflow.log_image(picture, artifact_file=f"figures/{name}.png")


def _to_tensorboard(experiment: str, folder: Path, parameters: dict, metrics: dict, epochs: dict) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("experiment", experiment)
        writer.add_text("notebooks", "\n\n".join(str(path) for path in sorted(folder.glob("*.ipynb"))))
        for epoch, numbers in epochs.items():
            for name, value in numbers.items():
                writer.add_scalar(name, value, epoch)
        for name, picture in figures(folder):
            writer.add_image(name, np.asarray(picture), dataformats="HWC")
        plain = {name: value for name, value in parameters.items() if isinstance(value, int | float | str)}
        writer.add_hparams(plain, metrics, run_name=".")


def _numbers(found: dict) -> dict[str, float]:
    """What is a number, by names in the letters that both trackers take."""
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
