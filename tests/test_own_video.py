"""The README's commands for a video of one's own, as they stand there; and words other than class names on the demo."""

import json
import shlex
from pathlib import Path

import nbformat
import numpy as np
import pytest
import stubs
import torch
from conftest import ROOT
from torch.nn import functional
from verdicts import PARAPHRASES
from videos import steady, write_video

from tadlib.data import own
from tadlib.data.demo.clip import SAYINGS
from tadlib.data.demo.performances import CLASSES
from tadlib.naming.descriptions import described
from tadlib.naming.fusion import read_detections
from tadlib.naming.words import read_words
from tadlib.segments import roi_mean
from tadlib.task import BACKGROUND
from tadlib.workbook import cli
from tadlib.workbook.execution import failure
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

HEADING = "## Your own video, your own words"


def commands() -> list[list[str]]:
    """The words of each command of the README's section, without the launcher."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    lines = section.split("```")[1].strip().splitlines()
    return [shlex.split(line.removeprefix("uv run ")) for line in lines]


def test_the_section_has_commands_for_notebook_and_doctor():
    assert [words[0] for words in commands()] == ["papermill", "papermill", "tad"]
    assert cli.main(commands()[-1][1:]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_the_command_answers_as_the_readme_says(number, tmp_path):
    write_video(tmp_path / "clip.mp4", steady(80, 10.0))
    (tmp_path / "words.txt").write_text("diving\ngolf: a man hits a ball with a club\n", encoding="utf-8")
    names = {"clip.mp4": str(tmp_path / "clip.mp4"), "words.txt": str(tmp_path / "words.txt")}
    words = [names.get(word, word) for word in commands()[number][1:]]
    done = stubs.papermill(*words, "-p", "output_dir", str(tmp_path / "out"), cwd=ROOT, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert failure(tmp_path / "out" / "detect.ipynb") is None
    found = read_detections(tmp_path / "out" / "detections.json")["clip"]
    assert set(found.labels) <= {"diving", "golf", "a golf swing"}
    assert len(list(tmp_path.glob("out/clips/*.mp4"))) == (min(3, len(found.labels)) if number else 0)
    pictures = [
        output
        for cell in nbformat.read(tmp_path / "out" / "detect.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", ["run", "none"])
@pytest.mark.parametrize("name", ["video_test_0000946", "video_validation_0000986", "v_GGSY1Qvo990"])
def test_a_filmed_video_is_answered_and_what_spoils_the_answer_is_said(name, how, shared_data, tmp_path):
    words = ["baseball pitch", "volleyball spiking", "clean and jerk"]
    given = {"video": str(shared_data / "clips" / f"{name}.mp4"), "classes": json.dumps(words)}
    given |= {"detector": how, "output_dir": str(tmp_path)}
    flags = [each for pair in given.items() for each in ("-p", *pair)]
    done = stubs.papermill("notebooks/detect.ipynb", *flags, cwd=ROOT, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = read_detections(tmp_path / "detections.json")[name]
    assert not found.labels, "the small CLIP knows drawings"
    assert "WARNING, pictures" in (tmp_path / "detect.ipynb").read_text(encoding="utf-8")


DISTRACTORS = ("a cat sleeps", "reading a book", "cooking soup", "a train at a station")


def ranked(data, text: str) -> tuple[np.ndarray, list[set[str]]]:
    """How far each true action of the test videos is above background for a text, and its labels."""
    (word,) = read_words([text])
    texts = functional.normalize(data.encoder.texts([*word.texts, *BACKGROUND]), dim=1)
    values, labels = [], []
    for video in (video for video in data.benchmark.videos if video.subset == data.benchmark.test_subset):
        spans = sorted({(action.start, action.end) for action in video.actions})
        if not spans:
            continue
        segments_ix = data.grid(video).snippets(torch.tensor(spans, dtype=torch.float32))
        cosine = functional.normalize(roi_mean(data.features(video), segments_ix), dim=1) @ texts.T
        values += (cosine[:, 0] - cosine[:, 1:].mean(dim=1)).tolist()
        labels += [{a.label for a in video.actions if (a.start, a.end) == span} for span in spans]
    return np.array(values), labels


def test_no_caption_of_the_small_clip_holds_a_sentence_of_the_table():
    read = {saying for several in SAYINGS.values() for saying in several}
    assert set(PARAPHRASES) == set(SAYINGS) == set(CLASSES)
    assert not read & {said for several in PARAPHRASES.values() for said in several}
    assert not read & {said for (said,) in described(CLASSES, "description")}


@pytest.mark.slow
def test_other_words_than_class_names_rank_the_right_actions_first(capsys):
    """The area under the curve is 0.5 by chance."""
    data, lines = gather(Params.check({"split": 50})), []
    areas: dict[str, list[float]] = {"paraphrase": [], "description": []}
    descriptions = described(CLASSES, "description")
    for label, (description,) in zip(CLASSES, descriptions, strict=True):
        for kind, said in (*(("paraphrase", said) for said in PARAPHRASES[label]), ("description", description)):
            values, labels = ranked(data, said)
            right = np.array([label in several for several in labels])
            areas[kind].append(float((values[right][:, None] > values[~right][None]).mean()))
            best = float(right[np.argsort(-values)[: right.sum()]].mean())
            lines.append(f"{said[:60]:62}{label:18}{areas[kind][-1]:6.2f}{best:8.2f}{values[right].mean():8.2f}")
    for text in DISTRACTORS:
        values, _ = ranked(data, text)
        lines.append(f"{text:62}{'(none)':32}{values.max():8.2f}")
    with capsys.disabled():
        print("\nwords, class, area under the curve, right among the first n, mean above background (none: most)")
        print(*lines, sep="\n")
        print({kind: (round(np.mean(several), 3), min(several)) for kind, several in areas.items()})
    for several in areas.values():
        assert np.mean(several) >= 0.85 and np.mean(np.array(several) > 0.7) >= 0.9


MANY = ("a/of the club/{}.mp4", "c/{}.mp4", "x/y_z.mp4", "x_y/z.mp4")


@pytest.mark.parametrize("files", [("clip.mp4", "clip .mp4"), ("caf\u00e9.mp4", "cafe\u0301.mp4"), MANY])
def test_every_file_has_a_name_of_its_own_that_a_folder_can_have(files):
    found = own.names([Path("videos") / file.format("\u6f22" * 80) for file in files])
    assert len(set(found)) == len(files) and max(len(name.encode()) for name in found) <= 255
