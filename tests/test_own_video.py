"""The README's commands for a video of one's own, as they stand there; and words other than class names on the demo."""

import shlex
from pathlib import Path

import nbformat
import pytest
import stubs
from conftest import ROOT
from verdicts import PARAPHRASES
from videos import steady, write_video

from tadlib.data.demo.clip import SAYINGS
from tadlib.data.demo.performances import CLASSES
from tadlib.naming.descriptions import described
from tadlib.naming.fusion import read_detections
from tadlib.workbook import cli, own_files
from tadlib.workbook.execution import failure

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


def test_no_caption_of_the_small_clip_holds_a_sentence_of_the_table():
    read = {saying for several in SAYINGS.values() for saying in several}
    assert set(PARAPHRASES) == set(SAYINGS) == set(CLASSES)
    assert not read & {said for several in PARAPHRASES.values() for said in several}
    assert not read & {said for (said,) in described(CLASSES, "description")}


MANY = ("a/of the club/{}.mp4", "c/{}.mp4", "x/y_z.mp4", "x_y/z.mp4")


@pytest.mark.parametrize("files", [("clip.mp4", "clip .mp4"), ("caf\u00e9.mp4", "cafe\u0301.mp4"), MANY])
def test_every_file_has_a_name_of_its_own_that_a_folder_can_have(files):
    found = own_files.names([Path("videos") / file.format("\u6f22" * 80) for file in files])
    assert len(set(found)) == len(files) and max(len(name.encode()) for name in found) <= 255
