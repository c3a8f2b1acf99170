"""Arguments of `papermill notebooks/train.ipynb -p split 50`: checked, and completed with an output path.

Papermill imports every engine entry point before its command line reads `sys.argv`. Without an output path stock
papermill fails on a terminal, prints the notebook elsewhere, and takes a pipe on stdin for the notebook and the path
for the output. For notebooks of this project (`metadata.tadlib`) the arguments are therefore completed in time: the
output and the artefacts go into one new run directory. With an explicit output path nothing is added.
"""

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import yaml

# papermill's options that take values; a test compares them with papermill's own table
PAIRS = ("-p --parameters", "-r --parameters_raw")
SINGLE = (
    "-b --parameters_base64", "-f --parameters_file", "-y --parameters_yaml", "--engine", "--autosave-cell-every",
    "-k --kernel", "-l --language", "--cwd", "--stdout-file", "--stderr-file", "--log-level",
    "--start-timeout --start_timeout", "--execution-timeout",
)  # fmt: skip
OPTIONS = [
    *(click.Option(names.split(), nargs=2, multiple=True) for names in PAIRS),
    *(click.Option(names.split(), multiple=True) for names in SINGLE),
]
PARSER = click.Command(
    "papermill",
    params=[click.Argument(["words"], nargs=-1), *OPTIONS],
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how a file begins that papermill, which reads UTF-8 alone, cannot read itself
INFORMATIVE = {"--help-notebook", "-h", "--help", "--version"}


def parse(argv: Sequence[str]) -> dict[str, list]:
    """Papermill's arguments: `paths`, `flags`, and the values of every other option by its long name.

    What is wrong with them is left to papermill to say.
    """
    found = PARSER.make_context("papermill", list(argv), resilient_parsing=True).params
    words = found.pop("words")
    flags = [word for word in words if word.startswith("-") and word != "-"]
    options = {name: list(values or ()) for name, values in found.items()}
    return {"paths": [word for word in words if word not in flags], "flags": flags, **options}


def stage_of(notebook: str) -> str | None:
    """The stage of a notebook of this project that a path leads to; None for any other."""
    try:
        return json.loads(Path(notebook).read_text(encoding="utf-8"))["metadata"]["tadlib"].get("stage", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def given_parameters(argv: Sequence[str]) -> dict[str, object]:
    """The parameters papermill will inject, in its own order."""
    from tadlib.files import text_of, yaml_in  # numpy comes with it, which no process needs that only looks around

    found, given = parse(argv), {}
    for text in found["parameters_base64"]:
        given |= yaml_in(base64.b64decode(text).decode(), "-b")
    for path in found["parameters_file"]:
        given |= yaml_in(text_of(path), path)
    for text in found["parameters_yaml"]:
        given |= yaml_in(text, "-y")
    return given | {name: typed(value) for name, value in found["parameters"]} | dict(found["parameters_raw"])


def typed(word: str) -> object:
    """A `-p` value as papermill types it: True, False, None, a number, or text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return {"True": True, "False": False, "None": None}.get(word, word)


def vocabulary(notebook: str) -> type:
    """The parameters that a notebook takes, by its name (`metadata.tadlib.stage`)."""
    if notebook == "detect":
        from tadlib.workbook.asking import Asking as Parameters
    elif notebook == "report":
        from tadlib.workbook.asking import ReportParams as Parameters
    else:
        from tadlib.workbook.params import Params as Parameters
    return Parameters


def check(notebook: str, given: Mapping[str, Any]) -> Any:
    """The parameters of a notebook from what was given; a stage takes the rest from the run that it goes on with."""
    from tadlib.workbook import inheritance
    from tadlib.workbook.stages import STAGES

    return inheritance.complete(notebook, given) if notebook in STAGES else vocabulary(notebook).check(given)


def complete(argv: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Papermill's arguments with what is missing for a notebook of this project.

    Raises ValueError, in one sentence, for parameters that are not in the vocabulary and for an output that would
    overwrite the source or a finished notebook.
    """
    found = parse(argv)
    paths = found["paths"]
    if not paths or INFORMATIVE & set(found["flags"]) or (stage := stage_of(paths[0])) is None:
        return list(argv)
    from tadlib.workbook import runs

    argv = without_blocks(argv, say)
    source, given = Path(paths[0]), given_parameters(argv)
    params = check(stage, given)
    name = params.writes_to
    chosen = getattr(params, name)
    if len(paths) > 1:
        _make_way(source, Path(paths[1]), say)
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
    place = argv.index(paths[0]) + 1
    return [*argv[:place], str(shown), *argv[place:], *extra]


def without_blocks(argv: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """The arguments without what a plan varies (`sweep:` and its like), which one notebook cannot: said in one line.

    Where a file holds such a block, or papermill could not read it, one `-y` takes the place of all parameters.
    """
    from tadlib.workbook.experiment_files import BLOCKS

    found, given = parse(argv), given_parameters(argv)
    left_out, files = [name for name in BLOCKS if name in given], found["parameters_file"]
    if not left_out and not any(Path(file).read_bytes()[:2] in UTF16 for file in files):
        return list(argv)
    if left_out:
        say(
            f"left out: {', '.join(left_out)}; this is one run of what all have in common "
            f"(`tad run {(*files, 'FILE')[0]}` makes every run)"
        )
    others = [option for option in OPTIONS if not option.name.startswith("parameters")]
    kept = [word for option in others for value in found[option.name] for word in (option.opts[0], value)]
    flat = {name: value for name, value in given.items() if name not in BLOCKS}
    return [*found["paths"], *found["flags"], *kept, "-y", yaml.safe_dump(flat)]


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
