"""What `papermill notebooks/train.ipynb -p split 50` lacks: an output path, and a check before anything runs.

Papermill imports every engine entry point before its command line reads `sys.argv`. Without an output path stock
papermill fails on a terminal, prints the notebook elsewhere, and takes a pipe on stdin for the notebook and the path
for the output. For notebooks of this project (`metadata.tadlib`) the arguments are therefore completed in time: the
output and the artefacts go into one new run directory. With an explicit output path nothing is added.
"""

import base64
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

# papermill's options by how many values they take; a test compares them with papermill's own table
TWO_VALUES = {"-p", "--parameters", "-r", "--parameters_raw"}
ONE_VALUE = {
    "-f", "--parameters_file", "-y", "--parameters_yaml", "-b", "--parameters_base64", "--engine",
    "--autosave-cell-every", "-k", "--kernel", "-l", "--language", "--cwd", "--stdout-file", "--stderr-file",
    "--log-level", "--start-timeout", "--start_timeout", "--execution-timeout",
}  # fmt: skip
LAYERS = {"-f", "--parameters_file", "-y", "--parameters_yaml"}  # what may hold the blocks of a plan
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how a file begins that papermill, which reads UTF-8 alone, cannot read itself
INFORMATIVE = {"--help-notebook", "-h", "--help", "--version"}


def parse(argv: Sequence[str]) -> tuple[list[int], list[tuple[str, list[str]]]]:
    """Places of the positional words, and the options with their values, in order."""
    places, options, place = [], [], 0
    while place < len(argv):
        word = argv[place]
        if word == "--":
            return places + list(range(place + 1, len(argv))), options
        if word == "-" or not word.startswith("-"):
            places.append(place)
            place += 1
            continue
        name, _, joined = word.partition("=")
        if not word.startswith("--"):  # the value may stand right behind the letter: -fbase.yaml
            name, joined = word[:2], word[2:]
        count = (2 if name in TWO_VALUES else int(name in ONE_VALUE)) - bool(joined)
        options.append((name, [joined] * bool(joined) + list(argv[place + 1 : place + 1 + max(count, 0)])))
        place += 1 + max(count, 0)
    return places, options


def stage_of(notebook: str) -> str | None:
    """The stage of a notebook of this project that a path leads to; None for any other."""
    try:
        return json.loads(Path(notebook).read_text(encoding="utf-8"))["metadata"]["tadlib"].get("stage", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def given_parameters(options: Sequence[tuple[str, list[str]]]) -> dict[str, object]:
    """The parameters papermill will inject, by its own order: -b, then files, then -y, then -p, then -r."""
    from tadlib.files import text_of, yaml_in  # numpy comes with it, which no process needs that only looks around

    given: dict[str, object] = {}
    ranks = (
        ("-b", "--parameters_base64"),
        ("-f", "--parameters_file"),
        ("-y", "--parameters_yaml"),
        ("-p", "--parameters"),
        ("-r", "--parameters_raw"),
    )
    for names in ranks:
        for name, values in options:
            if name not in names or not values:
                continue
            if names[0] == "-f":
                given |= yaml_in(text_of(values[0]), values[0])
            elif names[0] in ("-y", "-b"):
                given |= yaml_in(values[0] if names[0] == "-y" else base64.b64decode(values[0]).decode(), name)
            else:
                given[values[0]] = typed(values[1]) if names[0] == "-p" else values[1]
    return given


def typed(word: str) -> object:
    """A `-p` value as papermill types it: True, False, None, a number, or text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return {"True": True, "False": False, "None": None}.get(word, word)


def complete(argv: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Papermill's arguments with what is missing for a notebook of this project.

    Raises ValueError, in one sentence, for parameters that are not in the vocabulary and for an output that would
    overwrite the source or a finished notebook.
    """
    places, options = parse(argv)
    if not places or INFORMATIVE & {name for name, _ in options} or (stage := stage_of(argv[places[0]])) is None:
        return list(argv)
    from tadlib.workbook import runs, vocabularies

    argv = without_blocks(argv, say)
    places, options = parse(argv)
    source = Path(argv[places[0]])
    given = given_parameters(options)
    params = vocabularies.check(stage, given)
    name = params.writes_to
    chosen = getattr(params, name)
    if len(places) > 1:
        _make_way(source, Path(argv[places[1]]), say)
        return list(argv)
    tag = "_".join([source.stem, *(f"{word}-{value}" for word, value in given.items() if word != name)])
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in tag)[:60]
    root = runs.project_root(source.resolve().parent)
    folder = runs.resolve(chosen) if chosen else root / "outputs" / "adhoc" / runs.new_name(safe)
    second = stage == "evaluate" and given.get("evaluate_on", "test") != "test"  # of one run, beside that on the test
    output = folder / (f"{source.stem}_on_{given['evaluate_on']}.ipynb" if second else source.name)
    _make_way(source, output, say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise ValueError(f"cannot write into {folder} ({error.strerror}): free space or pass an output path") from error
    say(f"writing {output}")
    # relative where that means the same to the kernel: paths are recorded in the notebook, which others may see
    known = folder.relative_to(root) if not chosen and runs.project_root() == root else folder
    extra = [] if chosen else ["-p", name, str(known)]
    shown = output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output
    place = places[0] + 1
    return [*argv[:place], str(shown), *argv[place:], *extra]


def without_blocks(argv: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """The arguments without what a plan varies (`sweep:` and its like), which one notebook cannot: said in one line.

    A file that holds such a block gives way, with all the other YAML, to one `-y` of the same parameters.
    """
    from tadlib.workbook.blocks import BLOCKS

    places, options = parse(argv)
    layers = [option for option in options if option[0] in LAYERS]
    given = given_parameters(layers)
    left_out = [name for name in BLOCKS if name in given]
    files = [values[0] for name, values in layers if name in ("-f", "--parameters_file")]
    if not left_out and not any(Path(file).read_bytes()[:2] in UTF16 for file in files):
        return list(argv)
    flat = {name: value for name, value in given.items() if name not in BLOCKS}
    if left_out:
        say(
            f"left out: {', '.join(left_out)}; this is one run of what all have in common "
            f"(`tad run {(*files, 'FILE')[0]}` makes every run)"
        )
    others = [word for name, values in options if name not in LAYERS for word in (name, *values)]
    return [*(argv[place] for place in places), *others, "-y", yaml.safe_dump(flat)]


def _make_way(source: Path, output: Path, say: Callable[[str], None]) -> None:
    """Set aside an output notebook of the same stage that did not finish; raise ValueError for a finished one."""
    if str(output) == "-" or not output.exists():
        return
    if output.resolve() == source.resolve():
        raise ValueError(f"the output {output} is the source notebook itself: pass another output path, or none")
    stage = stage_of(str(output))
    if stage is None or not json.loads(output.read_text(encoding="utf-8"))["metadata"].get("papermill"):
        return
    from tadlib.workbook import execution, runs

    if stage != stage_of(str(source)) or execution.finished(output):
        raise ValueError(f"{output} exists and is never overwritten: pass another output path, or none for a new run")
    if execution.at_work(output):
        raise ValueError(f"{output} is being written by another papermill: wait for it, or pass another output path")
    kept = runs.kept_as(output, "unfinished")
    os.replace(output, kept)
    say(f"{output.name} did not finish, it is now {kept.name}")


def install() -> None:
    """Complete `sys.argv` if this process is papermill's command line; called once, when the engine is imported."""
    words = getattr(sys, "orig_argv", sys.argv)
    if Path(sys.argv[0]).stem != "papermill" and words[1:3] != ["-m", "papermill"]:
        return
    try:
        sys.argv[1:] = complete(sys.argv[1:], lambda text: print(text, file=sys.stderr, flush=True))
    except (ValueError, RuntimeError, OSError) as error:
        print(f"papermill: {error}", file=sys.stderr)
        raise SystemExit(2) from None
