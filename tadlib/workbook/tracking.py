"""Finished runs told to an experiment tracker: MLflow or TensorBoard, for those who use one; nothing needs it."""

import importlib
import os
from pathlib import Path

from tadlib.files import read_json
from tadlib.workbook import runs

NEEDS = {"mlflow": ("mlflow", "mlflow"), "tensorboard": ("torch.utils.tensorboard", "logs")}  # module, extra
LONGEST = 500  # letters of a parameter's value that MLflow takes


def require(tracker: str) -> None:
    """Raise ValueError, saying what to install, where a tracker is not there."""
    module, extra = NEEDS[tracker]
    try:
        importlib.import_module(module)
    except ImportError:
        raise ValueError(f"--track {tracker} needs {module}, got none: pip install 'tadlib[{extra}]'") from None


def track(tracker: str, experiment: str, folder: Path) -> None:
    """Tell a tracker a run's parameters, metrics and executed notebooks.

    MLflow writes where MLFLOW_TRACKING_URI says, by default under outputs/mlflow; TensorBoard's logs go to the run.
    """
    records, metrics = runs.records(folder), read_json(folder / "metrics.json")
    parameters = next(iter(records.values()))["parameters"]
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    history = read_json(folder / "history.json") if (folder / "history.json").is_file() else []
    to = {"mlflow": _to_mlflow, "tensorboard": _to_tensorboard}[tracker]
    to(experiment, folder, parameters, numbers, history)


def _to_mlflow(experiment: str, folder: Path, parameters: dict, numbers: dict, history: list) -> None:
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri((runs.project_root() / "outputs" / "mlflow").as_uri())
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({name: str(value)[:LONGEST] for name, value in parameters.items()})
        mlflow.log_metrics({_plain(name): value for name, value in numbers.items()})
        for row in history:
            mlflow.log_metrics({_plain(name): float(value) for name, value in row.items()}, step=int(row["epoch"]))
        for path in sorted(folder.glob("*.ipynb")):
            mlflow.log_artifact(str(path))


def _to_tensorboard(experiment: str, folder: Path, parameters: dict, numbers: dict, history: list) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("experiment", experiment)
        writer.add_text("notebooks", "\n\n".join(str(path) for path in sorted(folder.glob("*.ipynb"))))
        for row in history:
            for name, value in row.items():
                writer.add_scalar(_plain(name), value, int(row["epoch"]))
        plain = {name: value for name, value in parameters.items() if isinstance(value, int | float | str)}
        writer.add_hparams(plain, {_plain(name): value for name, value in numbers.items()}, run_name=".")


def _plain(name: str) -> str:
    """A name in the letters that both trackers take."""
    return name.replace("@", "_at_").replace(" ", "_")
