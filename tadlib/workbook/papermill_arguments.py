"""Papermill's command line for notebooks of this project: parameters checked, an output path added.

Papermill imports every engine entry point before its command line reads `sys.argv`. For notebooks of this project
(`metadata.tadlib`) the arguments are completed at this import, because papermill needs an output path: output and
artefacts go into one new run directory. All parameters are passed on as one `-y`.
"""

import base64
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from tadlib.foreign import text_of, yaml_in, yaml_out
from tadlib.locks import try_lock

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
INFORMATIVE = {"--help-notebook", "-h", "--help", "--version"}


def parse(argv: Sequence[str]) -> dict[str, list]:
    """Parse papermill's arguments into `paths`, `flags`, and the values of each other option; errors are ignored."""
    found = PARSER.make_context("papermill", list(argv), resilient_parsing=True).params
    words = found.pop("words")
    flags = [word for word in words if word.startswith("-") and word != "-"]
    options = {name: list(values or ()) for name, values in found.items()}
    return {"paths": [word for word in words if word not in flags], "flags": flags, **options}


def stage_of(notebook: str) -> str | None:
    """Return the stage of a notebook of this project; None for any other file."""
    try:
        return json.loads(Path(notebook).read_text(encoding="utf-8"))["metadata"]["tadlib"].get("stage", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def given_parameters(found: Mapping[str, list], free: Collection[str] = ()) -> dict[str, object]:
    """Return the parameters that papermill will inject from parsed arguments, merged in papermill's order.

    Those named in `free` are text, as written after `-p`: papermill takes a folder 2024_11_30 for a number.
    """
    given: dict[str, object] = {}
    for text in found["parameters_base64"]:
        given |= yaml_in(base64.b64decode(text).decode(), "-b")
    for path in found["parameters_file"]:
        given |= yaml_in(text_of(path), path)
    for text in found["parameters_yaml"]:
        given |= yaml_in(text, "-y")
    for name, word in found["parameters"]:
        given[name] = word if name in free and word != "None" else typed(word)
    return given | dict(found["parameters_raw"])


def typed(word: str) -> object:
    """Convert a `-p` value as papermill does: to True, False, None, a number, or text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return {"True": True, "False": False, "None": None}.get(word, word)


def vocabulary(notebook: str) -> type:
    """Return the class of a notebook's parameters, by the notebook's name (`metadata.tadlib.stage`)."""
    if notebook in ("detect", "report"):
        from tadlib.workbook import notebook_params

        return notebook_params.DetectParams if notebook == "detect" else notebook_params.ReportParams
    from tadlib.workbook.params import Params

    return Params


def check(notebook: str, given: Mapping[str, Any]) -> Any:
    """Return the checked parameters of a notebook; a stage inherits those not given from the run it continues."""
    from tadlib.workbook import inheritance
    from tadlib.workbook.stages import STAGES

    return inheritance.complete(notebook, given) if notebook in STAGES else vocabulary(notebook).check(given)


def complete(argv: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Complete papermill's arguments for a notebook of this project; return others unchanged.

    Raises ValueError for unknown parameters, and for an output that would overwrite the source or a finished notebook.
    """
    found = parse(argv)
    paths, flags = found["paths"], found["flags"]
    if not paths or INFORMATIVE & set(flags) or (stage := stage_of(paths[0])) is None:
        return list(argv)
    from tadlib.workbook.plans import BLOCKS

    given = given_parameters(found, vocabulary(stage).free_text())
    if varied := [name for name in BLOCKS if name in given]:
        raise ValueError(f"{', '.join(varied)}: such a file plans several runs, start them by `tad run FILE`")
    params = check(stage, given)
    # papermill warns of valid parameters that the parameters cell does not set
    accepted = {f"Passed unknown parameter: {name}" for name in (*given, params.writes_to)}
    logging.getLogger("papermill").addFilter(lambda record: record.getMessage() not in accepted)
    if len(paths) > 1:
        _make_way(Path(paths[0]), Path(paths[1]), say)
    else:
        output, folder = _new_output(Path(paths[0]), stage, given, getattr(params, params.writes_to))
        _make_way(Path(paths[0]), output, say)
        output.parent.mkdir(parents=True, exist_ok=True)
        say(f"writing {output}")
        paths.append(str(output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output))
        given |= {params.writes_to: folder}
    others = [option for option in OPTIONS if not option.name.startswith("parameters")]
    kept = [word for option in others for value in found[option.name] for word in (option.opts[0], value)]
    return [*paths, *flags, *kept, "-y", yaml_out(given, sort_keys=False)]


def _new_output(source: Path, stage: str, given: Mapping[str, Any], chosen: str) -> tuple[Path, str]:
    """Return the path of a notebook whose output path was not given, and its run folder as passed to the kernel."""
    from tadlib.workbook import runs

    videos = given.get("evaluate_on", "test")
    name = f"{source.stem}_on_{videos}.ipynb" if stage == "evaluate" and videos != "test" else source.name
    if chosen:
        return runs.resolve(chosen) / name, chosen
    tag = "_".join([source.stem, *(f"{parameter}-{value}" for parameter, value in given.items())])
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in tag)
    safe = safe.encode()[:60].decode(errors="ignore")
    root = runs.project_root(source.resolve().parent)
    folder = root / "outputs" / "adhoc" / runs.new_name(safe)
    # relative if the kernel resolves it alike: the path is recorded in the notebook, which may be shared
    return folder / name, str(folder.relative_to(root) if runs.project_root() == root else folder)


def _make_way(source: Path, output: Path, say: Callable[[str], None]) -> None:
    """Rename an unfinished output notebook of the same stage; raise ValueError for any other notebook."""
    if str(output) == "-" or not output.exists():
        return
    if output.resolve() == source.resolve():
        raise ValueError(f"the output {output} is the source notebook itself: pass another output path, or none")
    stage = stage_of(str(output))
    if stage is None or not json.loads(output.read_text(encoding="utf-8"))["metadata"].get("papermill"):
        return
    from tadlib.workbook import execution, runs

    if stage != stage_of(str(source)) or execution.failure(output) is None:
        raise ValueError(f"{output} exists and is never overwritten: pass another output path, or none for a new run")
    with open(output, "rb") as handle:
        if not try_lock(handle):
            raise ValueError(f"{output} is being written by another papermill: wait for it, or pass another path")
    kept = runs.kept_as(output, "unfinished")
    os.replace(output, kept)
    say(f"{output.name} did not finish, it is now {kept.name}")


def install() -> None:
    """Complete `sys.argv` if this process is papermill's command line; called when the engine is imported."""
    words = getattr(sys, "orig_argv", sys.argv)
    if Path(sys.argv[0]).stem != "papermill" and words[1:3] != ["-m", "papermill"]:
        return
    try:
        sys.argv[1:] = complete(sys.argv[1:], lambda text: print(text, file=sys.stderr, flush=True))
    except (ValueError, RuntimeError, OSError) as error:
        print(f"papermill: {error}", file=sys.stderr)
        raise SystemExit(2) from None
