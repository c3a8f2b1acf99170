"""Every notebook executed as a user executes it, on a tiny data set: what it leaves, and that it repeats itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fabricate
import nbformat
import pytest
import stubs
import yaml
from conftest import ROOT
from standins import execute

from tadlib.files import read_json
from tadlib.workbook.execution import failure
from tadlib.workbook.stages import STAGES

FIGURES = {"prepare": 5, "train": 5, "classify": 2, "evaluate": 5}  # at least so many pictures in each notebook
ADDRESS = re.compile(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(\s*["']?https?:""")


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Path:
    """A run directory in which all stages were executed."""
    folder = tmp_path_factory.mktemp("run")
    for stage in STAGES:
        done = execute(stage, folder, tiny)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_runs_from_top_to_bottom_with_its_figures(stage, run):
    assert failure(run / f"{stage}.ipynb") is None
    notebook = nbformat.read(run / f"{stage}.ipynb", as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == sorted(counts) and None not in counts
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= FIGURES[stage]
    assert all(len(output.metadata["image/png"]["alt"]) > 20 for output in pictures)
    assert not [output for output in outputs if output.get("name") == "stderr"], "no warnings"


def test_the_run_directory_holds_what_the_stages_promise(run):
    promised = {"data.json", "checkpoint.pt", "history.json", "proposals.parquet", "detections.json", "metrics.json"}
    assert promised | {"run.json"} <= {path.name for path in run.iterdir()}
    records = read_json(run / "run.json")
    assert [records[stage]["status"] for stage in STAGES] == ["finished"] * 4
    assert len({records[stage]["data"] for stage in STAGES}) == 1, "all stages saw the same data"


def test_metrics_are_fractions_with_their_protocol_and_counts(run):
    metrics = read_json(run / "metrics.json")
    assert all(0 <= value <= 1 for name, value in metrics.items() if name.startswith(("mAP", "AR@", "agnostic")))
    assert metrics["protocol"] == "strict" and metrics["counts"]["videos"] == 20
    roles = [row["role"] for row in metrics["rows"]]
    assert roles == ["floor"] * 3 + ["baseline"] * 2 + ["ours"] + ["ceiling"] * 2
    assert len(metrics["unseen"]) == 10 and set(metrics["per_class"]) <= set(metrics["unseen"])


def test_detections_name_unseen_classes_only_and_stay_inside_their_videos(run, tiny):
    results = read_json(run / "detections.json")["results"]
    database = read_json(Path(tiny["dataset"]) / "annotations.json")["database"]
    unseen = set(read_json(run / "metrics.json")["unseen"])
    rows = [(video, row) for video, found in results.items() for row in found]
    assert rows and {row["label"] for _, row in rows} <= unseen
    assert all(0 <= row["segment"][0] < row["segment"][1] <= database[video]["duration"] for video, row in rows)


def test_training_alone_is_a_whole_experiment_and_the_same_seed_gives_the_same_numbers(run, tiny, tmp_path):
    assert execute("train", tmp_path / "again", tiny).returncode == 0
    again, first = read_json(tmp_path / "again" / "metrics.json"), read_json(run / "metrics.json")
    numbers = [name for name, value in again.items() if isinstance(value, float)]
    assert len(numbers) > 15 and {name: again[name] for name in numbers} == {name: first[name] for name in numbers}
    same = ("loss", "loss_class", "loss_l1", "loss_giou")
    histories = [read_json(folder / "history.json") for folder in (run, tmp_path / "again")]
    assert [[row[name] for name in same] for row in histories[0]] == [
        [row[name] for name in same] for row in histories[1]
    ]


def test_an_interrupted_training_goes_on_where_it_stopped(tiny, tmp_path):
    parameters = tiny | {"epochs": 40, "seed": 11, "run_dir": str(tmp_path / "first")}
    words = [str(ROOT / "notebooks" / "train.ipynb"), str(tmp_path / "first.ipynb"), "-y", yaml.safe_dump(parameters)]
    project = fabricate.project(tmp_path / "project", ROOT)  # other tests train in this one at the same time
    job = subprocess.Popen(
        stubs.command(*words), cwd=project, env=stubs.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=stubs.interruptible,
    )  # fmt: skip
    unfinished = project / "outputs" / "unfinished"
    for _ in range(1200):
        if any(unfinished.glob("[!.]*.pt")):
            break
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(timeout=60) != 0 and len(list(unfinished.glob("[!.]*.pt"))) == 1
    assert "did not finish" in nbformat.read(tmp_path / "first.ipynb", as_version=4).cells[0].source

    assert execute("train", tmp_path / "second", tiny | {"epochs": 40, "seed": 11}, project).returncode == 0
    history = read_json(tmp_path / "second" / "history.json")
    assert [row["epoch"] for row in history] == list(range(1, 41)) and not any(unfinished.glob("[!.]*.pt"))
    progress = stubs.output_texts(tmp_path / "second" / "train.ipynb")
    assert any("training, loss" in text and "40/40" in text for text in progress)


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_report_opens_without_a_network_and_without_code(stage, run, tmp_path):
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "report", "--output-dir", str(tmp_path)]
    done = subprocess.run([*command, str(run / f"{stage}.ipynb")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / f"{stage}.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= FIGURES[stage]
    assert not ADDRESS.findall(page), "nothing is fetched"
    assert "globals()" not in page and 'class="tad-banner"' in page
    assert page.count("alt=") >= FIGURES[stage]


def test_a_stage_without_what_it_needs_says_what_to_run(tiny, tmp_path):
    done = execute("classify", tmp_path / "empty", tiny)
    assert done.returncode == 1 and "classify needs checkpoint.pt, which train.ipynb writes" in done.stderr


def test_a_finished_stage_is_not_run_again(run, tiny, tmp_path):
    given = yaml.safe_dump(tiny | {"run_dir": str(run)})
    before = stubs.digest(run / "metrics.json")
    source = str(ROOT / "notebooks" / "evaluate.ipynb")
    done = stubs.papermill(source, str(tmp_path / "again.ipynb"), "-y", given, cwd=ROOT, timeout=600)
    assert done.returncode == 1 and "evaluate has already finished" in done.stderr
    assert stubs.digest(run / "metrics.json") == before


def test_a_result_for_programs_is_the_last_output(run):
    (last,) = nbformat.read(run / "evaluate.ipynb", as_version=4).cells[-1].outputs
    result = last.data["application/vnd.tad.result+json"]
    assert result["stage"] == "evaluate" and result["metrics"]["mAP"] == read_json(run / "metrics.json")["mAP"]
    assert json.dumps(result)
