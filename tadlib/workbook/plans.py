"""Plans: an experiment file becomes runs, every parameter of every run checked before anything starts.

A file is flat YAML: what all runs have in common, the question as a comment on top, and any of

    sweep: {split: [50, 75], seed: [0, 1]}        every combination
    zip: {lr: [1.0e-3, 1.0e-4], epochs: [40, 80]} side by side
    runs: [{fusion: clip}, {name: mild, fusion: geometric, fusion_weight: 0.1}]
    seeds: 3                                      seeds 0, 1, 2

Several of them are combined with each other, each with each. A run of a list may have a name, which then stands for it.
What was chosen by looking at results says where, under `chosen_on` (see `choices`): there it is not held out.
A base is another such file, whose common values hold where the question's own file says nothing: the same question on
another data set, or of another size.
"""

import difflib
import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tadlib.files import digest, text_of, yaml_in
from tadlib.project import beside
from tadlib.workbook.choices import CHOSEN_ON, Choice, declared
from tadlib.workbook.params import Params
from tadlib.workbook.vocabulary import meant

NAME = "name"  # of a run in `runs`: it stands for the parameters wherever the run is spoken of
PLAIN = re.compile(r"\w[\w -]{,39}")  # a name, which stands in folders, tables and figures
QUICK = {"epochs": 2, "head_epochs": 2, "width": 128}  # at most; with one seed and one class split of each question
SAME_QUESTION = {"split_id", "seed", "world_seed", "device", "data_dir"}  # changes that leave the file's question
LONGEST = 100  # bytes of a label, which names a folder
LISTED = 8  # labels of runs at most, where they are not simply every combination

Change = Mapping[str, Any]  # of the common parameters


@dataclass(frozen=True)
class Experiment:
    """A question and its runs: label -> parameters."""

    name: str
    asks: str  # the question, by the names of its file and base; at another size or changed it is one of its own
    question: str
    runs: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str] = field(default_factory=dict)  # label -> the name that the file gives to such runs
    chosen: tuple[Choice, ...] = ()  # what the file and its base say was chosen by looking at results

    @property
    def common(self) -> dict[str, Any]:
        """The parameters that every run was given with the same value."""
        first, *others = self.runs.values()
        return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}


def plan(
    path: Path | str, changes: Mapping[str, Any] | None = None, quick: bool = False, base: Path | str = ""
) -> Experiment:
    """The runs of an experiment file, all parameters checked, no two alike.

    `changes` beat whatever the file says of a parameter; several values, as a list, become runs.
    What all runs have in common is left out of those in which it can have no effect, but must have one in some.
    `base` is another experiment file, whose common values (not its blocks) yield to the file's own. With `quick` every
    run is cut to the size of `QUICK`, and runs that differ only in seed or class split become one. Raises ValueError
    naming the file and the parameter, before anything runs.
    """
    path = Path(path)
    content, given, choices = _read(path)
    below, below_choices = _common(base) if base else ({}, [])
    if base and "dataset" in given and below.get("dataset", given["dataset"]) != given["dataset"]:
        raise ValueError(f"{path} asks about dataset {given['dataset']}, --base {base} is about {below['dataset']}")
    wanted = {name: _values(name, value) for name, value in (changes or {}).items()}
    fixed = {name: values[0] for name, values in wanted.items() if len(values) == 1}
    try:
        own = blocks_in(given)
        shared = below | common(given) | fixed
        runs, names = _combine(shared, _replace_values(own, wanted), quick, given.keys() | fixed.keys())
    except ValueError as error:
        raise ValueError(f"{path}{f' with --base {base}' if base else ''}: {error}") from error
    name = path.stem + (f"-{Path(base).stem}" if base else "")
    varied = {name for block in own.values() for change in block for name in change}
    size = ("-changed" if set(wanted) - varied - SAME_QUESTION else "") + ("-quick" if quick else "")
    choices = (*choices, *below_choices)
    return Experiment(name + ("-quick" if quick else ""), name + size, question(content), runs, names, choices)


def _combine(
    shared: Mapping[str, Any], blocks: Mapping[str, list[Change]], quick: bool, asked: Collection[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Every combination of the blocks as a run, and the names of those that have one, both by label."""
    runs: dict[str, Mapping[str, Any]] = {}
    names: dict[str, str] = {}
    never: dict[str, str] = {}  # why what is common has no effect in any run so far
    seen: set[str] = set()
    for chosen in itertools.product(*blocks.values()):
        change = {name: value for part in chosen for name, value in _unnamed(part).items()}
        parameters = {**shared, **change}
        if quick:
            params = Params.read(parameters)
            parameters |= {name: size for name, size in QUICK.items() if getattr(params, name) > size}
        idle = {name: why for name, why in Params.idle(parameters).items() if name not in change}
        never = {name: why for name, why in (never if runs else idle).items() if name in idle}
        parameters = {name: value for name, value in parameters.items() if name not in idle}
        params = Params.check(parameters)
        one = digest(params.model_dump(exclude={"seed", "split_id"} if quick else set()))
        if one in seen and quick:
            continue
        if one in seen:
            raise ValueError(f"two runs are the same: {_text(change)}")
        seen.add(one)
        said = {name: value for part in chosen for name, value in part.items() if name == NAME or NAME not in part}
        label = _label(said, change, runs)
        runs[label] = parameters
        names |= {label: said[NAME]} if NAME in said else {}
    if refused := [why for name, why in never.items() if name in asked]:
        raise ValueError("; ".join(refused))
    return runs, names


def common(given: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a file have in common."""
    return {name: value for name, value in given.items() if name not in BLOCKS}


def blocks_in(given: Mapping[str, Any]) -> dict[str, list[Change]]:
    """Each block of a file as a list of changes of the common parameters; a parameter may be in one block alone."""
    for name in given:
        if name not in BLOCKS and name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(str(name), Params, (*BLOCKS, CHOSEN_ON))}")
    blocks = {block: make(given[block]) for block, make in BLOCKS.items() if given.get(block) is not None}
    owner: dict[str, str] = {}
    for block, changes in blocks.items():
        for name in set().union(*changes) - ({NAME} if block == "runs" else set()):
            if name not in Params.model_fields:
                raise ValueError(f"{block}: unknown parameter {name!r}{meant(str(name), Params)}")
            if name in owner:
                raise ValueError(f"{name} is varied by {owner[name]} and by {block}: keep one of them")
            owner[name] = block
    return blocks


def _grid(value: Any) -> list[Change]:
    """`sweep`: every combination of the values."""
    _check_lists("sweep", value)
    return [dict(zip(value, values, strict=True)) for values in itertools.product(*value.values())]


def _side_by_side(value: Any) -> list[Change]:
    """`zip`: the first values, the second values, and so on."""
    _check_lists("zip", value)
    if len({len(values) for values in value.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(values)}" for name, values in value.items())
        raise ValueError(f"zip puts lists side by side, so all must be as long as each other: {lengths}")
    return [dict(zip(value, values, strict=True)) for values in zip(*value.values(), strict=True)]


def _check_lists(block: str, value: Any) -> None:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{block} must hold parameters and their lists of values, got {value!r}")
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{block} of {name} must be a list of values, got {values!r}")


def _list_of_runs(value: Any) -> list[Change]:
    """`runs`: a list of runs, which may have names."""
    if not isinstance(value, list) or not value or not all(isinstance(run, dict) for run in value):
        raise ValueError(f"runs must be a list of runs, each of names and values, got {value!r}")
    names = [run[NAME] for run in value if NAME in run]
    for name in names:
        if not isinstance(name, str) or not PLAIN.fullmatch(name) or names.count(name) > 1:
            raise ValueError(f"runs: name must be 1 to 40 letters, digits, spaces or -, each its own; got {name!r}")
    return value


def _seeds(value: Any) -> list[Change]:
    """`seeds`: so many seeds from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"seeds must be a whole number >= 1, how many seeds from 0 on; got {value!r}")
    return [{"seed": seed} for seed in range(value)]


BLOCKS = {"sweep": _grid, "zip": _side_by_side, "runs": _list_of_runs, "seeds": _seeds}


def _replace_values(blocks: Mapping[str, list[Change]], wanted: Mapping[str, list[Any]]) -> dict[str, list[Change]]:
    """The blocks with the wanted values instead of their own; changes that become alike are one.

    A name that stood for another value is gone. Several values of a parameter that no block varies are a block more.
    """
    made = dict(blocks)
    for name, values in wanted.items():
        if name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(name, Params)}")
        owner = next((block for block, changes in blocks.items() if any(name in each for each in changes)), "")
        if not owner and len(values) == 1:  # what all runs have in common
            continue
        kept: list[Change] = []
        for change, value in itertools.product(made.get(owner, [{}]), values):
            new = {word: each for word, each in change.items() if word != NAME or change.get(name, value) == value}
            new |= {name: value}
            if _unnamed(new) not in map(_unnamed, kept):
                kept.append(new)
        made[owner or name] = kept
    return made


def _unnamed(change: Change) -> Change:
    return {name: value for name, value in change.items() if name != NAME}


def choices_of(path: Path) -> list[Choice]:
    """What an experiment file says was chosen, and where; raises ValueError naming the file and the field."""
    return _read(path)[2] if CHOSEN_ON in text_of(path) else []


def question(content: str) -> str:
    """The comment on top of an experiment file, whose text need not be a plan that can run."""
    top = itertools.takewhile(lambda line: line.startswith("#"), content.splitlines())
    return " ".join(line.lstrip("# ") for line in top)


def _read(path: Path) -> tuple[str, dict[str, Any], list[Choice]]:
    """The text of a file, the parameters and blocks in it, and what it says was chosen."""
    if not path.is_file():
        there = sorted(other.stem for other in path.parent.glob("*.yaml"))
        close = difflib.get_close_matches(path.stem, there, n=1)
        files = [str(path.parent / f"{stem}.yaml") for stem in close or there]
        hint = f"did you mean {files[0]}?" if close else f"there are: {', '.join(files) or 'none'}"
        raise ValueError(f"no experiment file {path}; {hint}")
    if "," in path.name:
        raise ValueError(f"{path} must have a name without a comma, which parts the folders of a report")
    content = text_of(path)
    given = beside(yaml_in(content, path), path.parent)
    if CHOSEN_ON not in given:
        return content, given, []
    try:
        block = given.pop(CHOSEN_ON)
        return content, given, declared(block, common(given))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _common(base: Path | str) -> tuple[dict[str, Any], list[Choice]]:
    """What all runs of another experiment file have in common, and what it says was chosen."""
    _, given, choices = _read(Path(base))
    try:
        blocks_in(given)
    except ValueError as error:
        raise ValueError(f"{base}: {error}") from error
    return common(given), choices


def _values(name: str, value: Any) -> list[Any]:
    """The values that a change asks for, each once."""
    if isinstance(value, list) and (not value or None in value):
        raise ValueError(f"--set {name} must have a value, and one after each comma; got {value}")
    values = value if isinstance(value, list) else [value]
    return [each for place, each in enumerate(values) if each not in values[:place]]


def _text(said: Change) -> str:
    return "_".join(value if name == NAME else f"{name}-{value}" for name, value in said.items()) or "run"


def _label(said: Change, change: Change, taken: Iterable[str]) -> str:
    """A name for the folder of a run: what is special about it, in letters that every disk takes."""
    label = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in _text(said))
    if len(label.encode()) > LONGEST or label in taken:
        label = f"{label.encode()[: LONGEST - 13].decode(errors='ignore')}_{digest(dict(change))}"
    return label


def shown(value: Any) -> str:
    """The value of a parameter as a label says it."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def listing(experiment: Experiment) -> str:
    """A plan's question and its runs: all combinations of what varies, or else the first labels."""
    labels, given = list(experiment.runs), experiment.runs.values()
    names = dict.fromkeys(name for run in given for name in run if name not in experiment.common)
    values = {name: dict.fromkeys(shown(run[name]) for run in given if name in run) for name in names}
    said = f"{experiment.name}: {experiment.question}\n{len(labels)} run{'s' * (len(labels) > 1)}:"
    if len(labels) == 1:
        return f"{said} {labels[0]}"
    everywhere = all(name in run for run in given for name in names)
    if everywhere and math.prod(map(len, values.values())) == len(labels):
        return f"{said} " + " × ".join(f"{name} {', '.join(each)}" for name, each in values.items())
    more = [f"and {len(labels) - LISTED} more"] if len(labels) > LISTED else []
    return "\n  ".join([said, *labels[:LISTED], *more])
