"""Your own data, as the README of the notebooks tells it, word for word: its files make a usable data set."""

import re
import shlex

import numpy as np
import pytest
import torch
from conftest import ROOT
from notebook import run_cells
from videos import steady, write_video

from tadlib.data.encoder import load_encoder
from tadlib.workbook import cli, data_summary
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params


@pytest.fixture(scope="module")
def chapter():
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    return re.search(r"^## Your own data$(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]


def test_the_answers_of_a_language_model_score_what_the_chapter_says(chapter, folder, capsys):
    (folder.parent / "answers.csv").write_text(re.search(r"```\n(video,start.*?)```", chapter, re.DOTALL)[1])
    command = " ".join(re.search(r"`uv run tad (evaluate [^`]+)`", chapter)[1].split())
    assert cli.main(shlex.split(command)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"bow (\d+\.\d)", said)[1] == re.search(r"has ([\d.]+)\s+AP", chapter)[1] and "wave" in said


@pytest.fixture
def folder(chapter, tmp_path, monkeypatch):
    """The example's folder, in the working directory of the example."""
    files = re.findall(r"`(my_data/[\w.]+)`[^\n]*:\n\n```(?:json|yaml)\n(.*?)```", chapter, re.DOTALL)
    assert [name for name, _ in files] == [
        f"my_data/{name}" for name in ("annotations.json", "info.json", "splits.json", "benchmark.yaml")
    ]
    (tmp_path / "my_data").mkdir()
    for name, content in files:
        (tmp_path / name).write_text(content)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_data"


def commands(chapter):
    """The parameters of every command of the chapter."""
    for line in re.findall(r"^uv run papermill (.*)$", chapter, re.MULTILINE):
        words = shlex.split(line)
        assert words[0] == "notebooks/prepare.ipynb"
        yield {words[at + 1]: words[at + 2] for at, word in enumerate(words) if word == "-p"}


def with_videos(folder):
    (folder / "videos").mkdir()
    for name in ("ann", "bob", "cleo", "dan"):
        write_video(folder / "videos" / f"{name}.mp4", steady(200, 25))


def with_features(chapter):
    exec(re.search(r"```python\n(.*?)```", chapter, re.DOTALL)[1], {})


def small_clip(folder):
    """An encoder that can be had without a network, in place of the one that the command names."""
    torch.save(load_encoder("tad-demo", "", torch.device("cpu")).model.state_dict(), folder.parent / "clip.pt")
    return {"encoder": "tad-demo", "pretrained": "clip.pt"}


def is_prepared(given):
    """Every step of prepare.ipynb works on the example and says what is in it; its data."""
    made = run_cells("prepare", "similarity_over_time", **given)
    data = made.data
    assert (data.classes.seen, data.classes.unseen) == (("clap", "jump", "wave"), ("bow",))
    assert data.benchmark.tious == (0.3, 0.5, 0.7)
    assert [(each.id, each.duration, each.fps) for each in data.test_videos] == [("cleo", 8.0, 25), ("dan", 8.0, 25)]
    rows = {row["what"]: row["found"] for row in data_summary.overview(data)}
    assert (rows["training videos ('training')"], rows["test actions"]) == ("2", "3")
    assert made.findings[0]["found"] == "nothing odd"
    assert [row["snippets"] for row in made.health] == [25] * 4
    assert made.leaks[0] == {"finding": "training videos with unseen actions", "number": 0, "of": 2}
    assert made.pictures[0].ndim == 3 and np.isfinite(made.similarity).all()
    return data


def test_the_example_with_videos_is_prepared(chapter, folder):
    with_videos(folder)
    given = next(commands(chapter))
    assert given == {"dataset": "my_data", "encoder": "ViT-B-16", "pretrained": "openai"}
    data = is_prepared(given | small_clip(folder))
    assert data.store.read("ann").shape == (25, 128)


def test_videos_say_themselves_how_long_they_are(chapter, folder):
    with_videos(folder)
    (folder / "info.json").unlink()
    data = gather(Params.check(next(commands(chapter)) | small_clip(folder)))
    assert [(each.id, each.duration, each.fps) for each in data.test_videos] == [("cleo", 8.0, 25), ("dan", 8.0, 25)]


def test_the_example_with_features_is_prepared(chapter, folder):
    with_features(chapter)
    given = list(commands(chapter))[-1]
    assert given == {"dataset": "my_data"}
    data = is_prepared(given | small_clip(folder))
    assert data.store.read("ann").shape == (25, 768)
    np.testing.assert_allclose(data.class_embeddings(["bow"]).norm(dim=1), 1, rtol=1e-5)
