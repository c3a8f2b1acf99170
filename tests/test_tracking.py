"""Trackers are told what a run was; one that is not installed is named before anything runs."""

import sys
from contextlib import nullcontext
from types import ModuleType

import pytest

from tadlib.files import write_json
from tadlib.workbook import tracking


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
    (tmp_path / "train.ipynb").touch()
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


def test_tensorboard_gets_scalars_and_the_final_numbers_of_the_parameters(run, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", recorder)
    tracking.track("tensorboard", "question", run)
    assert ("add_scalar", "loss", 2.0, 1) in recorder.told
    assert ("add_hparams", {"lr": 0.1, "dataset": "demo"}, {"mAP_at_0.5": 0.25}, ".") in recorder.told


@pytest.mark.parametrize("tracker, module", [("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")])
def test_a_tracker_that_is_not_installed_is_named(tracker, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"--track {tracker} needs .*pip install 'tadlib\[(mlflow|logs)\]'"):
        tracking.require(tracker)
