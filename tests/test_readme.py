"""What the READMEs tell users to type exists: notebooks, parameters and their values, commands and options, files."""

import re
import shlex

import pytest
from conftest import ROOT

from tadlib.workbook import cli, papermill_arguments

FOLDERS = ("", "notebooks", "params", "tadlib", "tests")
TEXT = "\n".join((ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS)
CODE = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", TEXT)]  # may be broken over lines
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.splitlines()]
TYPED = [part.strip() for line in (*CODE, *LINES) for part in line.split("&&")]


def commands(start: str) -> list[str]:
    """What is typed after `start`, with or without the launcher."""
    typed = [line.removeprefix("uv run ") for line in TYPED]
    return sorted({line.split("  #")[0].removeprefix(start).strip() for line in typed if line.startswith(start)})


def given(words: list[str]) -> dict[str, str]:
    """The parameters that words of a command line pass, but for files of the user's own."""
    pairs = {words[place + 1]: words[place + 2] for place, word in enumerate(words) if word == "-p"}
    return {name: value for name, value in pairs.items() if not value.endswith(".txt")}


@pytest.mark.parametrize("command", commands("papermill notebooks/"))
def test_a_notebook_knows_the_parameters_it_is_given(command):
    notebook, *words = shlex.split(command)
    assert (ROOT / "notebooks" / notebook).is_file()
    papermill_arguments.vocabulary(notebook.removesuffix(".ipynb")).check(given(words))


@pytest.mark.parametrize("command", commands("-p "))
def test_a_parameter_in_passing_is_one(command):
    found = {name: value for name, value in given(["-p", *shlex.split(command), ""]).items() if name}
    known = [papermill_arguments.vocabulary(notebook) for notebook in ("train", "detect", "report")]
    meant = {name: value for name, value in found.items() if value and not value.endswith(("...", ".py"))}
    for name in meant:
        (first, *_) = [each for each in known if name in each.model_fields]
        first.check({other: value for other, value in meant.items() if other in first.model_fields})
    assert all(any(name in each.model_fields for each in known) for name in found)


@pytest.mark.parametrize("command", commands("tad "))
def test_a_command_takes_its_options(command, monkeypatch):
    for kind in (cli.FILE, cli.FILES):
        monkeypatch.setattr(kind, "exists", False)
    for each in cli.tad.commands.values():
        monkeypatch.setattr(each, "callback", lambda **options: 0)
    assert cli.main(shlex.split(command)) == 0


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z][a-z-]+)", TEXT)) - {"--to"}))
def test_an_option_in_passing_is_one_of_tad(option, capsys):
    for command in ("run", "evaluate", "export"):
        assert cli.main([command, "--help"]) == 0
    assert option in capsys.readouterr().out


def test_the_first_readme_is_short_and_its_links_lead_somewhere():
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(first.split()) <= 1500 and first.index("## Install and run") < 1500
    for link in re.findall(r"\]\(([\w/.]+)\)", first):
        assert (ROOT / link).is_file(), link


def test_benchmarks_and_files_exist():
    for benchmark in re.findall(r"`(\w+_speed.py)`", TEXT):
        assert (ROOT / "tests" / "benchmarks" / benchmark).is_file(), benchmark
    for path in re.findall(r"\b((?:params|notebooks|tadlib|tests)/[\w/.]+\.(?:ya?ml|ipynb|py))", TEXT):
        assert (ROOT / path).is_file(), path
    for page in (ROOT / "README.md", ROOT / "notebooks" / "README.md"):
        for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / picture).is_file(), picture
