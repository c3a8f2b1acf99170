"""Plans: the runs of an experiment file, with all parameters checked before anything starts.

A file is flat YAML: the question as a comment on top, the parameters common to all runs, and any of

    sweep: {split: [50, 75], seed: [0, 1]}        every combination
    zip: {lr: [1.0e-3, 1.0e-4], epochs: [40, 80]} side by side
    runs: [{fusion: clip}, {name: mild, fusion: geometric, fusion_weight: 0.1}]

All combinations of these blocks become runs. A run in `runs` may have a name, which replaces its parameters in labels.
A base is another such file, whose common values are defaults for the question's own file.
"""

import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.data.checks import nearest
from tadlib.files import digest, naming
from tadlib.foreign import text_of, yaml_in
from tadlib.project import from_root, project_root
from tadlib.workbook.params import Params
from tadlib.workbook.vocabulary import meant

NAME = "name"  # key of a run's name in `runs`; the name replaces the parameters in labels
PLAIN_NAME = re.compile(r"\w[\w -]{,39}")  # a name valid in folders, tables and figures
BLOCKS = ("sweep", "zip", "runs")
MAX_RUNS = 10_000  # of one experiment
QUICK = {"epochs": 2, "head_epochs": 2, "width": 128}  # upper limits; and one seed and one class split
# parameters whose changes leave the question the same
SAME_QUESTION = {"split_id", "seed", "demo_seed", "world_seed", "device", "precision", "data_dir"}
LONGEST = 100  # bytes of a label, which is the name of a folder
Change = Mapping[str, Any]  # changes to the common parameters


class ExperimentFile(NamedTuple):
    """A parsed experiment file."""

    question: str
    common: dict[str, Any]
    blocks: dict[str, list[Change]]


@dataclass(frozen=True)
class Experiment:
    """A question and its runs: label -> parameters."""

    name: str
    asks: str  # names of its file and base; marked if changed or of another size, which is another question
    question: str
    runs: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]  # label -> name given in the file

    @property
    def common(self) -> dict[str, Any]:
        """The parameters given to all runs with the same value."""
        first, *others = self.runs.values()
        return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}


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
        common = {name: value for name, value in given.items() if name not in BLOCKS}
        return ExperimentFile(question(content), common, _blocks(given))


def _blocks(given: Mapping[str, Any]) -> dict[str, list[Change]]:
    """Return each block of a file as a list of changes; a parameter may occur in one block only."""
    for name in given:
        if name not in BLOCKS and name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(str(name), Params, BLOCKS)}")
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


def question(content: str) -> str:
    """Return the comment on top of an experiment file; the rest of its text need not be valid."""
    top = itertools.takewhile(lambda line: line.startswith("#"), content.splitlines())
    return " ".join(line.lstrip("# ") for line in top)


def plan(
    path: Path | str, changes: Mapping[str, Any] | None = None, quick: bool = False, base: Path | str = ""
) -> Experiment:
    """Return the distinct runs of an experiment file, with checked parameters.

    `path` and `base` are paths, or names of files below `params/`. `changes` override the file; a list of values
    becomes several runs. Common parameters are left out of runs in which they have no effect, but must have one in some
    run. With `quick` every run is limited to `QUICK`, and runs that differ only in seed or class split become one.
    Raises ValueError with the file and the parameter.
    """
    path, base = find(path), find(base) if base else ""
    wanted = {}
    for name, value in (changes or {}).items():
        values = value if isinstance(value, list) else [value]
        if not values or None in values:
            raise ValueError(f"--set {name} must have a value, and one after each comma; got {value}")
        wanted[name] = [each for place, each in enumerate(values) if each not in values[:place]]
    own, defaults = read(path), read(base) if base else ExperimentFile("", {}, {})
    ours, theirs = (file.common.get("dataset") for file in (own, defaults))
    if ours and theirs and ours != theirs:
        raise ValueError(f"{path} asks about dataset {ours}, --base {base} is about {theirs}")
    fixed = {name: values[0] for name, values in wanted.items() if len(values) == 1}
    with naming(f"{path} with --base {base}" if base else path):
        asked = own.common.keys() | fixed.keys()
        runs, names = _combine(defaults.common | own.common | fixed, _replaced(own.blocks, wanted), quick, asked)
    name = path.stem + (f"-{base.stem}" if base else "")
    asks = name + "-changed" * bool(set(wanted) - SAME_QUESTION) + "-quick" * quick
    return Experiment(name + "-quick" * quick, asks, own.question, runs, names)


def _replaced(blocks: Mapping[str, list[Change]], wanted: Mapping[str, list[Any]]) -> dict[str, list[Change]]:
    """Replace values in the blocks by the wanted ones; changes that become equal are merged.

    The name of a change is dropped if its value changes. Several values of a parameter in no block are a new block.
    """
    made = dict(blocks)
    for name, values in wanted.items():
        owner = next((block for block, changes in blocks.items() if any(name in each for each in changes)), "")
        if not owner and len(values) == 1:  # common to all runs
            continue
        kept: list[Change] = []
        for change, value in itertools.product(made.get(owner, [{}]), values):
            same = change.get(name, value) == value
            new = {key: each for key, each in change.items() if key != NAME or same} | {name: value}
            if _unnamed(new) not in map(_unnamed, kept):
                kept.append(new)
        made[owner or name] = kept
    return made


def _unnamed(change: Change) -> Change:
    return {name: value for name, value in change.items() if name != NAME}


def _combine(
    shared: Mapping[str, Any], blocks: Mapping[str, list[Change]], quick: bool, asked: Collection[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Return a run for each combination of the blocks, and the names given to runs, both by label."""
    runs: dict[str, Mapping[str, Any]] = {}
    names: dict[str, str] = {}
    never: dict[str, str] = {}  # common parameters without effect in all runs so far, with the reason
    seen: set[str] = set()
    limited("the whole plan", map(len, blocks.values()))
    for chosen in itertools.product(*blocks.values()):
        change = {name: value for part in chosen for name, value in _unnamed(part).items()}
        parameters = {**shared, **change}
        if "run_dir" in parameters:
            raise ValueError("run_dir has no effect: every run gets a folder of its own below outputs/")
        if quick:
            params = Params.read(parameters)
            parameters |= {name: size for name, size in QUICK.items() if getattr(params, name) > size}
        idle = {name: why for name, why in Params.idle(parameters).items() if name not in change}
        never = {name: why for name, why in (never if runs else idle).items() if name in idle}
        parameters = {name: value for name, value in parameters.items() if name not in idle}
        params = Params.check(parameters)
        identity = digest(params.model_dump(exclude={"seed", "split_id"} if quick else set()))
        labelled = {name: value for part in chosen for name, value in part.items() if name == NAME or NAME not in part}
        text = "_".join(value if name == NAME else f"{name}-{value}" for name, value in labelled.items()) or "run"
        if identity not in seen:
            label = _label(text, change, runs)
            runs[label] = parameters
            names |= {label: labelled[NAME]} if NAME in labelled else {}
        elif not quick:
            same = "_".join(f"{name}-{value}" for name, value in change.items())
            raise ValueError(f"two runs are the same: {same}")
        seen.add(identity)
    if refused := [why for name, why in never.items() if name in asked]:
        raise ValueError("; ".join(refused))
    return runs, names


def _label(text: str, change: Change, taken: Iterable[str]) -> str:
    """Return a folder name for a run, from what distinguishes it, in characters that every file system allows."""
    label = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text)
    if len(label.encode()) > LONGEST or label in taken:
        label = f"{label.encode()[: LONGEST - 13].decode(errors='ignore')}_{digest(dict(change))}"
    return label


def shown(value: Any) -> str:
    """Format the value of a parameter for a label."""
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def listing(experiment: Experiment) -> str:
    """Return the question of a plan, its number of runs, and the values of the parameters that vary."""
    given = experiment.runs.values()
    names = dict.fromkeys(name for run in given for name in run if name not in experiment.common)
    values = [f"{name} {', '.join(dict.fromkeys(shown(run[name]) for run in given if name in run))}" for name in names]
    contents = f"{len(given)} run{'s' * (len(given) > 1)}{': ' * bool(values)}{'; '.join(values)}"
    return f"{experiment.name}: {experiment.question}\n{contents}"
