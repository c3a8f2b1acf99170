"""Every notebook executed as a user executes it, on a tiny data set: what it leaves, and that it repeats itself."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import fabricate
import nbformat
import pandas as pd
import pytest
import stubs
import torch
import yaml
from conftest import ROOT
from nbconvert.exporters import get_exporter
from notebook import run_cells
from standins import execute

from tadlib.files import read_json, write_json
from tadlib.workbook import cli, execution
from tadlib.workbook.execution import failure
from tadlib.workbook.runs import RunError
from tadlib.workbook.stages import STAGES

pytestmark = pytest.mark.notebooks
FIGURES = {"prepare": 5, "train": 5, "classify": 2, "evaluate": 5}  # at least so many pictures in each notebook
ADDRESS = re.compile(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(\s*["']?https?:""")
SPLIT = {"split": 50, "split_id": 2}  # another than the default


@pytest.fixture(scope="module")
def begun(tiny, tmp_path_factory) -> tuple[Path, Path]:
    """The README's command alone, then the other stages, given the folder of its run; and what the run was before."""
    project = Path(shutil.copytree(ROOT / "notebooks", tmp_path_factory.mktemp("run") / "project" / "notebooks")).parent
    (project / "pyproject.toml").touch()
    (project / "tiny.yaml").write_text(yaml.safe_dump(tiny | SPLIT))
    done = stubs.papermill("notebooks/train.ipynb", "-f", "tiny.yaml", "-p", "split", "50", cwd=project, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (project / "outputs" / "adhoc").iterdir()
    assert f"writing {folder / 'train.ipynb'}" in done.stderr
    trained = Path(shutil.copytree(folder, project / "trained"))
    for stage in ("prepare", "classify", "evaluate"):
        done = execute(stage, folder, {})
        assert done.returncode == 0, done.stderr[-3000:]
    return folder, trained


@pytest.fixture(scope="module")
def run(begun) -> Path:
    return begun[0]


@pytest.fixture(scope="module")
def trained(begun) -> Path:
    return begun[1]


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    """The run after its training, to go on with."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


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


def test_numbers_without_pages_are_those_of_the_pages(copy, run):
    for stage in execution.PAGELESS:
        execution.run_cells(
            stage, execution.cell_sources(ROOT / "notebooks" / f"{stage}.ipynb", {"run_dir": str(copy)})
        )
    for file in ("data.json", "detections.json", "metrics.json", "naming.json"):
        assert (copy / file).read_bytes() == (run / file).read_bytes(), file


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
    assert roles == ["floor"] * 3 + ["baseline"] * 4 + ["ours"] + ["ceiling"] * 2
    assert len(metrics["unseen"]) == 10 and set(metrics["per_class"]) <= set(metrics["unseen"])


def test_tad_evaluate_gives_the_notebooks_number_with_the_classes_in_its_metrics(run, tiny, tmp_path, capsys):
    words = ["evaluate", "--annotations", f"{tiny['dataset']}/annotations.json", "--subset", "test"]
    words += ["--detections", str(run / "detections.json"), "--json", str(tmp_path / "out.json")]
    assert cli.main(words) == 0
    assert "--classes, a file or metrics.json of a run" in capsys.readouterr().out
    assert cli.main([*words, "--classes", str(run / "metrics.json"), "--protocol", "strict"]) == 0
    assert read_json(tmp_path / "out.json")["mAP"] == pytest.approx(read_json(run / "metrics.json")["mAP"], rel=1e-12)


def test_detections_name_unseen_classes_only_and_stay_inside_their_videos(run, tiny):
    results = read_json(run / "detections.json")["results"]
    database = read_json(Path(tiny["dataset"]) / "annotations.json")["database"]
    unseen = set(read_json(run / "metrics.json")["unseen"])
    rows = [(video, row) for video, found in results.items() for row in found]
    assert rows and {row["label"] for _, row in rows} <= unseen
    assert all(0 <= row["segment"][0] < row["segment"][1] <= database[video]["duration"] for video, row in rows)


def test_the_same_seed_gives_the_same_numbers_in_another_process(trained, tiny, tmp_path):
    run_cells("train", **(tiny | SPLIT), run_dir=str(tmp_path))
    same, first = read_json(tmp_path / "metrics.json"), read_json(trained / "metrics.json")
    numbers = [name for name, value in same.items() if isinstance(value, float)]
    assert len(numbers) > 15 and {name: same[name] for name in numbers} == {name: first[name] for name in numbers}
    losses = [[row["loss"] for row in read_json(folder / "history.json")] for folder in (trained, tmp_path)]
    assert losses[0] == losses[1]


@pytest.mark.long
def test_an_interrupted_training_goes_on_where_it_stopped(tiny, tmp_path):
    parameters = tiny | {"epochs": 40, "seed": 11, "run_dir": str(tmp_path / "first")}
    words = [str(ROOT / "notebooks" / "train.ipynb"), str(tmp_path / "first.ipynb"), "-y", yaml.safe_dump(parameters)]
    project = fabricate.project(tmp_path / "project")  # other tests train in this one at the same time
    job, unfinished = stubs.started(*words, cwd=project), project / "outputs" / "unfinished"
    stubs.waited(lambda: any(unfinished.glob("[!.]*.pt")), 120, "an epoch")
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(timeout=60) != 0 and len(list(unfinished.glob("[!.]*.pt"))) == 1
    assert "did not finish" in nbformat.read(tmp_path / "first.ipynb", as_version=4).cells[0].source

    assert execute("train", tmp_path / "second", tiny | {"epochs": 40, "seed": 11}, project).returncode == 0
    history = read_json(tmp_path / "second" / "history.json")
    assert [row["epoch"] for row in history] == list(range(1, 41)) and not any(unfinished.glob("[!.]*.pt"))
    progress = stubs.output_texts(tmp_path / "second" / "train.ipynb")
    assert any("training, loss" in text and "40/40" in text for text in progress)


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_report_opens_without_a_network_and_without_code(stage, run):
    page, _ = get_exporter("report")().from_filename(str(run / f"{stage}.ipynb"))  # as nbconvert --to report
    assert page.count("data:image/png;base64,") >= FIGURES[stage]
    assert not ADDRESS.findall(page), "nothing is fetched"
    assert "globals()" not in page and 'class="tad-banner"' in page
    assert page.count("alt=") >= FIGURES[stage]


def test_a_result_for_programs_is_the_last_output(run):
    (last,) = nbformat.read(run / "evaluate.ipynb", as_version=4).cells[-1].outputs
    result = last.data["application/vnd.tad.result+json"]
    assert result["stage"] == "evaluate" and result["metrics"]["mAP"] == read_json(run / "metrics.json")["mAP"]
    assert json.dumps(result)


def test_later_stages_given_a_run_alone_say_what_its_training_said(trained, run):
    records = read_json(run / "run.json")
    kept = [{n: v for n, v in records[s]["parameters"].items() if n != "run_dir"} for s in STAGES]
    assert set(records) == set(STAGES) and all(each == kept[0] for each in kept)
    assert kept[0]["split"] == 50 and kept[0]["split_id"] == 2
    before, after = read_json(trained / "metrics.json"), read_json(run / "metrics.json")
    assert {name: after[name] for name in before} == before
    assert read_json(run / "detections.json") == read_json(trained / "detections.json")


def test_nothing_that_an_earlier_stage_wrote_is_lost(trained, run):
    for name in ("detections", "metrics"):
        assert read_json(run / f"{name}.train.json") == read_json(trained / f"{name}.json")
    assert (run / "proposals.train.parquet").read_bytes() == (trained / "proposals.parquet").read_bytes()
    records = read_json(run / "run.json")
    assert "metrics.json" in records["evaluate"]["files"] and "metrics.train.json" in records["train"]["files"]


def test_the_cells_evaluate_a_run_on_its_training_videos_and_what_the_test_wrote_stays(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    before = {path.name: stubs.digest(path) for path in folder.iterdir() if path.name != "run.json"}
    run_cells("evaluate", run_dir=str(folder), evaluate_on="training")
    new = {"metrics_on_training.json", "detections_on_training.json", "run.json"}
    assert {path.name: stubs.digest(path) for path in folder.iterdir() if path.name not in new} == before
    records, metrics = read_json(folder / "run.json"), read_json(folder / "metrics_on_training.json")
    assert records["evaluate_on_training"]["status"] == "finished" and metrics["evaluate_on"] == "training"
    assert {name: records[name] for name in STAGES} == read_json(run / "run.json")
    assert not set(metrics["seen"]) & set(read_json(folder / "metrics.json")["unseen"])


def test_a_checkpoint_that_saw_other_classes_is_refused(copy):
    saved = torch.load(copy / "checkpoint.pt", weights_only=True)
    saved["about"]["seen"] = saved["about"]["seen"][:-1] + ["Juggling"]
    torch.save(saved, copy / "checkpoint.pt")
    for stage in ("classify", "evaluate"):
        with pytest.raises(RunError, match="trained on the classes .*Juggling"):
            run_cells(stage, run_dir=str(copy))


def test_recall_is_that_of_the_segments_that_were_named(copy):
    frame = pd.read_parquet(copy / "proposals.parquet")
    frame[:0].to_parquet(copy / "proposals.parquet")
    run_cells("evaluate", run_dir=str(copy))
    metrics = read_json(copy / "metrics.json")
    assert metrics["AR@100"] == 0 and metrics["agnostic_mAP"] == 0


def test_detections_that_name_what_is_no_unseen_class_are_refused(copy):
    found = read_json(copy / "detections.json")
    next(rows for rows in found["results"].values() if rows)[0]["label"] = "Juggling"
    write_json(copy / "detections.json", found)
    with pytest.raises(RunError, match="detections.json of .*names 'Juggling'"):
        run_cells("evaluate", run_dir=str(copy))
