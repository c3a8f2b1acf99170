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
from videos import steady, write_video

from tadlib.files import read_json
from tadlib.naming.fusion import read_detections
from tadlib.naming.words import read_words
from tadlib.workbook import cli, steps
from tadlib.workbook.execution import failure
from tadlib.workbook.params import Params
from tadlib.workbook.steps.asked import BACKGROUND

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
    assert set(found.labels) <= {"diving", "golf", "a golf swing"} and len(found.scores)
    assert len(list(tmp_path.glob("out/clips/*.mp4"))) == (3 if number else 0)
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
    clips = {Path(clip["file"]).stem: clip for clip in read_json(shared_data / "clips" / "clips.json")["clips"]}
    words = ["baseball pitch", "volleyball spiking", "clean and jerk"]
    given = {"video": str(shared_data / "clips" / f"{name}.mp4"), "classes": json.dumps(words)}
    given |= {"detector": how, "output_dir": str(tmp_path)}
    flags = [each for pair in given.items() for each in ("-p", *pair)]
    done = stubs.papermill("notebooks/detect.ipynb", *flags, cwd=ROOT, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = read_detections(tmp_path / "detections.json")[name]
    assert len(found.scores) and set(found.labels) <= set(words)
    assert float(found.segments.max()) <= clips[name]["duration_s"] + 0.1
    assert "WARNING, pictures" in (tmp_path / "detect.ipynb").read_text(encoding="utf-8")


# Words that are not class names -> the class whose actions they should rank first, and the least area under the curve
# (0.5 is chance). Measured on the demo's small CLIP, which has read class names in captions and little else: 0.95,
# 0.98, 0.99, 0.97, 0.94, 0.95, 0.87, 0.85, and 0.12 and 0.00 for the two sentences without a word of the name. Of
# distractors the most alike action is up to 0.47 above background, as much as of golf: values compare within one text.
PARAPHRASES = {
    "golf": ("GolfSwing", 0.9),
    "a golf swing": ("GolfSwing", 0.9),
    "swinging a golf club": ("GolfSwing", 0.9),
    "an athlete throws a javelin": ("JavelinThrow", 0.9),
    "a tennis player hits the ball": ("TennisSwing", 0.9),
    "a person doing pole vault": ("PoleVault", 0.9),
    "weightlifting: clean and jerk of a barbell": ("CleanAndJerk", 0.8),
    "playing billiards": ("Billiards", 0.8),
    "a dive from a cliff": ("CliffDiving", 0.0),
    "somebody jumps into the water": ("Diving", 0.0),
}
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
        cosine = functional.normalize(data.pooled(video, torch.tensor(spans, dtype=torch.float32)), dim=1) @ texts.T
        values += (cosine[:, 0] - cosine[:, 1:].mean(dim=1)).tolist()
        labels += [{a.label for a in video.actions if (a.start, a.end) == span} for span in spans]
    return np.array(values), labels


@pytest.mark.slow
def test_other_words_than_class_names_rank_the_right_actions_first(capsys):
    data, lines, missed = steps.gather(Params.check({"split": 50})), [], []
    for text, (label, least) in PARAPHRASES.items():
        values, labels = ranked(data, text)
        right = np.array([label in several for several in labels])
        area = float((values[right][:, None] > values[~right][None]).mean())
        best = float(right[np.argsort(-values)[: right.sum()]].mean())
        lines.append(f"{text:46}{label:16}{area:6.2f}{best:8.2f}{values[right].mean():8.2f}")
        missed += [lines[-1]] if area < least else []
    for text in DISTRACTORS:
        values, _ = ranked(data, text)
        lines.append(f"{text:46}{'(none)':16}{'':14}{values.max():8.2f}")
    with capsys.disabled():
        print("\nwords, class, area under the curve, right among the first n, mean above background (none: most)")
        print(*lines, sep="\n")
    assert not missed
