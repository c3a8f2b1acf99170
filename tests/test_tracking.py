"""Trackers are told what a run was; one that is not installed is named before anything runs."""

import sys
from base64 import b64encode
from io import BytesIO

import fabricate
import nbformat
import pytest
from PIL import Image

from tadlib.workbook import report

buffer = BytesIO()
Image.new("RGBA", (4, 3), "navy").save(buffer, "PNG")
PNG = b64encode(buffer.getvalue()).decode()


@pytest.mark.long
def test_mlflow_itself_keeps_all_of_it(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path / "home")))
    run = fabricate.run(tmp_path / "run", {"lr": 0.1}, 0.25)
    figure = nbformat.v4.new_output("display_data", {"image/png": PNG}, metadata={})
    cells = [nbformat.v4.new_code_cell("draw()", outputs=[figure, figure]), nbformat.v4.new_markdown_cell("Text")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), run / "train.ipynb")
    for _ in range(2):  # it is told once
        report.track("question", run)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'home' / 'outputs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("question").experiment_id])
    assert found.data.params["lr"] == "0.1" and found.data.metrics["mAP_at_0.5"] == 0.25
    assert [each.value for each in client.get_metric_history(found.info.run_id, "loss")] == [3.0, 1.5, 1.0]
    artifacts = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"evaluate.ipynb", "train.ipynb", "figures"}
    pictures = {each.path for each in client.list_artifacts(found.info.run_id, "figures")}
    assert pictures == {"figures/train_01.png", "figures/train_02.png"}


def test_a_tracker_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ValueError, match=r"--track mlflow needs .*pip install 'tadlib\[mlflow\]'"):
        report.require_mlflow()
