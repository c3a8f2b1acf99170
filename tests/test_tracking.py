"""Trackers are told what a run was; one that is not installed is named before anything runs."""

import sys
from base64 import b64encode
from contextlib import nullcontext
from io import BytesIO
from types import ModuleType

import fabricate
import nbformat
import pytest
from conftest import ROOT
from PIL import Image

from tadlib.files import write_json
from tadlib.workbook import tracking

buffer = BytesIO()
Image.new("RGBA", (4, 3), "navy").save(buffer, "PNG")
PNG = b64encode(buffer.getvalue()).decode()


class Recorder(ModuleType):
    """A tracker that remembers what it was told."""

    def __init__(self):
        super().__init__("mlflow")
        self.told: list[tuple] = []

    def __getattr__(self, name):
        def tell(*words, **options):
            self.told.append((name, *words, *options.values()))
            return nullcontext(self)

        return tell


@pytest.fixture
def run(tmp_path):
    write_json(tmp_path / "run.json", {"prepare": {"parameters": {"lr": 0.1, "dataset": "demo"}}})
    write_json(tmp_path / "metrics.json", {"mAP@0.5": 0.25, "rows": []})
    write_json(tmp_path / "history.json", [{"epoch": 1, "loss": 2.0}])
    figure = nbformat.v4.new_output("display_data", {"image/png": PNG}, metadata={})
    cells = [nbformat.v4.new_code_cell("draw()", outputs=[figure, figure]), nbformat.v4.new_markdown_cell("Text")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "train.ipynb")
    return tmp_path


def test_mlflow_gets_parameters_metrics_curves_and_notebooks(run, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", recorder)
    tracking.require("mlflow")
    tracking.track("mlflow", "question", run)
    assert ("set_experiment", "question") in recorder.told and ("start_run", run.name) in recorder.told
    assert ("log_params", {"lr": "0.1", "dataset": "demo"}) in recorder.told
    assert ("log_metrics", {"mAP_at_0.5": 0.25}) in recorder.told
    assert ("log_metrics", {"epoch": 1.0, "loss": 2.0}, 1) in recorder.told
    assert ("log_artifact", str(run / "train.ipynb")) in recorder.told


def test_a_run_is_told_once(run, monkeypatch):
    told = []
    monkeypatch.setattr(tracking, "track", lambda *words: told.append(words))
    for tracker in ("mlflow", "mlflow", "tensorboard"):
        tracking.track_once(tracker, "e", run)
    assert [tracker for tracker, *_ in told] == ["mlflow", "tensorboard"]


def test_tensorboard_gets_scalars_and_the_final_numbers_of_the_parameters(run, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", recorder)
    tracking.track("tensorboard", "question", run)
    assert ("add_scalar", "loss", 2.0, 1) in recorder.told
    assert ("add_hparams", {"lr": 0.1, "dataset": "demo"}, {"mAP_at_0.5": 0.25}, ".") in recorder.told


@pytest.mark.notebooks
def test_mlflow_itself_keeps_all_of_it(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path / "home", ROOT)))
    tracking.track("mlflow", "question", run)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'home' / 'outputs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    assert found.data.params["lr"] == "0.1" and found.data.metrics["mAP_at_0.5"] == 0.25
    assert [each.value for each in client.get_metric_history(found.info.run_id, "loss")] == [2.0]
    assert {each.path for each in client.list_artifacts(found.info.run_id)} == {"train.ipynb", "figures"}
    pictures = {each.path for each in client.list_artifacts(found.info.run_id, "figures")}
    assert pictures == {"figures/train_01.png", "figures/train_02.png"}


@pytest.mark.notebooks
def test_tensorboard_itself_reads_all_of_it(run):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracking.track("tensorboard", "question", run)
    found = reading.EventAccumulator(str(run / "tensorboard"), {reading.IMAGES: 0})
    found.Reload()
    assert [each.value for each in found.Scalars("loss")] == [2.0]
    assert found.Tags()["images"] == ["train_01", "train_02"]
    assert (found.Images("train_01")[0].width, found.Images("train_01")[0].height) == (4, 3)


@pytest.mark.parametrize("tracker, module", [("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")])
def test_a_tracker_that_is_not_installed_is_named(tracker, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"--track {tracker} needs .*pip install 'tadlib\[(mlflow|logs)\]'"):
        tracking.require(tracker)
