"""The vocabulary of detect.ipynb refuses as the others do, and the command line knows which notebook speaks which."""

import json

import pytest
import yaml
from conftest import ROOT

from tadlib.workbook import papermill_arguments
from tadlib.workbook.notebook_params import DetectParams

NOTEBOOK = str(ROOT / "notebooks" / "detect.ipynb")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vidoe": "a.mp4"}, "unknown parameter 'vidoe'; did you mean 'video'?"),
        ({"detector": "non"}, "detector must be one of run, none; got 'non'; did you mean 'none'?"),
        ({"threshold": 2}, "threshold must be a number >= 0 and <= 1; got 2"),
        ({"classes": ["", "a"]}, "classes has an empty name at place 1 of 2: leave it out or write a word"),
        ({"epochs": 3}, "unknown parameter 'epochs'; "),
        ({"encoder": "ViT-B-16"}, "encoder and pretrained belong together"),
        ({"pretrained": "openai"}, "encoder and pretrained belong together"),
    ],
)
def test_a_mistake_is_named(given, message):
    with pytest.raises(ValueError) as error:
        DetectParams.check(given)
    assert str(error.value).startswith(message)


def test_what_papermill_hands_over_is_understood():
    given = DetectParams.check({"classes": '["diving", "a golf swing"]', "video": 7, "threshold": "0.1"})
    assert [word.name for word in given.words] == ["diving", "a golf swing"]
    assert (given.video, given.threshold) == (7, 0.1), "a file may be called 7"
    assert DetectParams.check({}).words == [] and DetectParams.check({"classes": " "}).words == []
    assert [word.name for word in DetectParams.check({"classes": 100}).words] == ["100"]


def test_the_command_line_speaks_the_notebooks_vocabulary(tmp_path):
    words = [NOTEBOOK, "-p", "video", "a.mp4", "-p", "output_dir", str(tmp_path / "made")]
    completed = papermill_arguments.complete(words, lambda text: None)
    assert completed[1] == str(tmp_path / "made" / "detect.ipynb")
    with pytest.raises(ValueError, match="unknown parameter 'epochs'"):
        papermill_arguments.complete([NOTEBOOK, "-p", "epochs", "3"], lambda text: None)


def test_a_misspelt_data_set_starts_no_kernel():
    train = str(NOTEBOOK).replace("detect", "train")
    with pytest.raises(FileNotFoundError, match="no annotations of 'thumos': .* did you mean 'thumos14'?"):
        papermill_arguments.complete([train, "-p", "dataset", "thumos"], lambda text: None)


def test_a_trained_run_is_read_and_never_written_into(tmp_path):
    notebook = tmp_path / "notebooks" / "detect.ipynb"
    notebook.parent.mkdir()
    (tmp_path / "pyproject.toml").touch()
    notebook.write_text(json.dumps({"metadata": {"tadlib": {"stage": "detect"}}}), encoding="utf-8")
    completed = papermill_arguments.complete([str(notebook), "-p", "run_dir", str(tmp_path / "run")], lambda text: None)
    output = yaml.safe_load(completed[-1])["output_dir"]
    assert str(tmp_path / "outputs" / "adhoc") in output and completed[1].startswith(output)
