"""Experiment files: common parameters of all runs, parameters that vary, and values chosen by looking at results.

A file is flat YAML: the question as a comment on top, the parameters common to all runs, and any of

    sweep: {split: [50, 75], seed: [0, 1]}        every combination
    zip: {lr: [1.0e-3, 1.0e-4], epochs: [40, 80]} side by side
    runs: [{fusion: clip}, {name: mild, fusion: geometric, fusion_weight: 0.1}]

A run in `runs` may have a name, which replaces its parameters in labels. Values chosen by looking at results are
declared with the data and class splits of these results, which are then not held out:

    chosen_on: {values: {agreement: 0.5}, dataset: demo, split: 50, split_id: [0, 1, 2, 3]}

Without `values` all common parameters but those of the data were chosen; without `split` or `split_id` the choice used
every class split. A declaration applies to all runs with such a value on such data, whichever file defines them.
"""

import itertools
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.data.checks import nearest
from tadlib.files import naming
from tadlib.foreign import text_of, yaml_in
from tadlib.project import from_root, project_root
from tadlib.workbook.params import Params
from tadlib.workbook.stages import DATA
from tadlib.workbook.vocabulary import meant

NAME = "name"  # key of a run's name in `runs`; the name replaces the parameters in labels
PLAIN_NAME = re.compile(r"\w[\w -]{,39}")  # a name valid in folders, tables and figures
CHOSEN_ON = "chosen_on"
BLOCKS = ("sweep", "zip", "runs")
MAX_RUNS = 10_000  # of one experiment
FIELDS = ("values", "dataset", "features", "split", "split_id")  # keys of `chosen_on`
NEVER_CHOSEN = DATA | {"protocol", "evaluate_on", "run_dir"}  # parameters of the data, the evaluation and the folder
Change = Mapping[str, Any]  # changes to the common parameters


class Choice(NamedTuple):
    """Parameter values chosen by looking at results, and the data and class splits of these results."""

    values: Mapping[str, Any]
    where: Mapping[str, list[Any]]


class Story(NamedTuple):
    """Contents of the comment on top of an experiment file."""

    question: str
    claim: str  # the research log's verdict
    found: str  # our conclusion from our own measurements; empty without any
    rows: tuple[int, ...]  # numbers of the entries in the research log


class ExperimentFile(NamedTuple):
    """A parsed experiment file."""

    content: str
    common: dict[str, Any]
    blocks: dict[str, list[Change]]
    chosen: list[Choice]


def every(root: Path) -> list[Path]:
    """Return the paths of all experiment files of a project, sorted by chapter (folder) and name."""
    return sorted((root / "params").rglob("*.yaml"), key=lambda path: (path.parent, path.name))


def find(given: str | Path) -> Path:
    """Find an experiment file by its path, or by its name in the project; raises ValueError for none or several."""
    if os.path.lexists(given):
        return Path(given)
    known = every(project_root())
    found = [path for path in known if path.stem == str(given)]
    if len(found) > 1:
        raise ValueError(f"{given} is the name of {' and of '.join(map(str, found))}: pass one of these paths")
    if not found:
        raise ValueError(f"no experiment file {given}{nearest(Path(given).stem, [path.stem for path in known])}")
    return found[0]


def read(path: Path) -> ExperimentFile:
    """Read an experiment file and check the names of its parameters."""
    if "," in path.name:
        raise ValueError(f"{path} must have a name without a comma, which parts the folders of a report")
    content = text_of(path)
    given = from_root(yaml_in(content, path), path.parent)
    with naming(path):
        block = given.pop(CHOSEN_ON, [])
        blocks = _blocks(given)
        common = {name: value for name, value in given.items() if name not in BLOCKS}
        with naming(CHOSEN_ON):
            choices = [_choice(entry, common) for entry in (block if isinstance(block, list) else [block])]
        return ExperimentFile(content, common, blocks, choices)


def _blocks(given: Mapping[str, Any]) -> dict[str, list[Change]]:
    """Return each block of a file as a list of changes; a parameter may occur in one block only."""
    for name in given:
        if name not in BLOCKS and name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(str(name), Params, (*BLOCKS, CHOSEN_ON))}")
    blocks = {block: _expanded(block, given[block]) for block in BLOCKS if given.get(block) is not None}
    owner: dict[str, str] = {}
    for block, changes in blocks.items():
        for name in set().union(*changes) - ({NAME} if block == "runs" else set()):
            if name not in Params.model_fields:
                raise ValueError(f"{block}: unknown parameter {name!r}{meant(str(name), Params)}")
            if name in owner:
                raise ValueError(f"{name} is varied by {owner[name]} and by {block}: keep one of them")
            owner[name] = block
    return blocks


def _expanded(block: str, value: Any) -> list[Change]:
    """Check a block and return its changes: `sweep` every combination, `zip` side by side, `runs` as they are."""
    if block == "runs":
        if not isinstance(value, list) or not value or not all(isinstance(run, dict) for run in value):
            raise ValueError(f"runs must be a list of runs, each of names and values, got {value!r}")
        names = [run[NAME] for run in value if NAME in run]
        for name in names:
            if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name) or names.count(name) > 1:
                raise ValueError(f"runs: name must be 1 to 40 letters, digits, spaces or -, each its own; got {name!r}")
        return value
    if not isinstance(value, dict) or not value or not all(isinstance(each, list) and each for each in value.values()):
        raise ValueError(f"{block} must hold parameters, each with a list of values; got {value!r}")
    lengths = {name: len(values) for name, values in value.items()}
    if block == "zip" and len(set(lengths.values())) > 1:
        raise ValueError(f"zip puts lists side by side, so all must be as long as each other; got {lengths}")
    if block == "sweep":
        limited(block, lengths.values())
    combined = itertools.product(*value.values()) if block == "sweep" else zip(*value.values(), strict=True)
    return [dict(zip(value, values, strict=True)) for values in combined]


def limited(block: str, lengths: Iterable[int]) -> None:
    """Raise ValueError if all combinations of lists with these lengths are more than MAX_RUNS runs."""
    if (number := math.prod(lengths)) > MAX_RUNS:
        raise ValueError(f"{block} makes {number:,} runs, at most {MAX_RUNS:,} are allowed: vary fewer values")


def _choice(entry: Any, common: Mapping[str, Any]) -> Choice:
    if not isinstance(entry, dict) or "dataset" not in entry:
        raise ValueError(f"it must say on which dataset, and may say {', '.join(FIELDS)}; got {entry!r}")
    for name, value in entry.items():
        if name not in FIELDS:
            raise ValueError(f"unknown field {name!r}{nearest(str(name), FIELDS)}")
        if value == [] and name != "values":
            raise ValueError(f"{name} must be a value or a list of values, got []")
    where = {name: value if isinstance(value, list) else [value] for name, value in entry.items() if name != "values"}
    shared = {name: value for name, value in common.items() if name not in NEVER_CHOSEN}
    values = entry.get("values", shared)
    if not isinstance(values, dict) or not values:
        raise ValueError(f"values must hold parameters and what was chosen for them, got {values!r}")
    for name in values:
        if name in NEVER_CHOSEN:
            raise ValueError(f"{name} says what a run is about, it is no value that is chosen")
    for place in itertools.product(*where.values()):
        checked = Params.read(shared | values | dict(zip(where, place, strict=True))).model_dump()
    return Choice({name: checked[name] for name in values}, where)


def choices_of(path: Path) -> list[Choice]:
    """Return the choices declared in an experiment file; raises ValueError naming the file and the field."""
    return read(path).chosen if CHOSEN_ON in text_of(path) else []


def had_part(choices: Iterable[Choice], parameters: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of a run that were chosen on the run's own data and class split; none in other worlds."""
    found: set[str] = set()
    if parameters.get("demo_seed") or parameters.get("held_out"):
        return frozenset()
    for values, where in choices:
        simulated = [features == "simulate" for features in where.get("features", ["auto"])]  # simulated: other data
        conditions = {name: where[name] for name in ("dataset", "split", "split_id") if name in where}
        applies = all(parameters.get(name) in allowed for name, allowed in conditions.items())
        if applies and (parameters.get("features") == "simulate") in simulated:
            found |= {name for name, value in values.items() if parameters.get(name) == value}
    return frozenset(found)


def question(content: str) -> str:
    """Return the comment on top of an experiment file; the rest of its text need not be valid."""
    top = itertools.takewhile(lambda line: line.startswith("#"), content.splitlines())
    return " ".join(line.lstrip("# ") for line in top)


def story(comment: str) -> Story:
    """Parse the comment on top of an experiment file: question, the log's claim, our conclusion, and log rows."""
    asked, _, rest = comment.partition(" Log: ")
    verdicts, _, tail = rest.partition(" Rows: ")
    claim, _, found = verdicts.partition(" Found: ")
    numbers = re.match(r"[\d, ]+", tail)
    rows = tuple(int(number) for number in re.findall(r"\d+", numbers[0] if numbers else ""))
    return Story(asked.strip(), claim.strip(), found.strip(), rows)
