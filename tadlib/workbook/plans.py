"""Plans: an experiment file becomes runs, every parameter of every run checked before anything starts.

Blocks of a file (see `experiment_files`) are combined with each other, each with each. A base is another such file,
whose common values hold where the question's own file says nothing: the same question on another data set, or of
another size.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tadlib.files import digest, naming
from tadlib.workbook.experiment_files import NAME, Change, Choice, ExperimentFile, find, limited, question, read
from tadlib.workbook.params import Params

QUICK = {"epochs": 2, "head_epochs": 2, "width": 128}  # at most; with one seed and one class split of each question
# changes that leave the file's question
SAME_QUESTION = {"split_id", "seed", "demo_seed", "world_seed", "device", "data_dir"}
LONGEST = 100  # bytes of a label, which names a folder


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

    `path` and `base` are paths, or names of files below `params/`. `changes` beat whatever the file says of a
    parameter; several values, as a list, become runs.
    What all runs have in common is left out of those in which it can have no effect, but must have one in some.
    `base` is another experiment file, whose common values (not its blocks) yield to the file's own. With `quick` every
    run is cut to the size of `QUICK`, and runs that differ only in seed or class split become one. Raises ValueError
    naming the file and the parameter, before anything runs.
    """
    path, base = find(path), find(base) if base else ""
    wanted = {name: _values(name, value) for name, value in (changes or {}).items()}
    own, below = read(path), read(base) if base else ExperimentFile("", {}, {}, [])
    here, there = (file.common.get("dataset") for file in (own, below))
    if here and there and here != there:
        raise ValueError(f"{path} asks about dataset {here}, --base {base} is about {there}")
    fixed = {name: values[0] for name, values in wanted.items() if len(values) == 1}
    with naming(f"{path} with --base {base}" if base else path):
        asked = own.common.keys() | fixed.keys()
        runs, names = _combine(below.common | own.common | fixed, _replaced(own.blocks, wanted), quick, asked)
    name = path.stem + (f"-{base.stem}" if base else "")
    asks = name + "-changed" * bool(set(wanted) - SAME_QUESTION) + "-quick" * quick
    chosen = (*own.chosen, *below.chosen)
    return Experiment(name + "-quick" * quick, asks, question(own.content), runs, names, chosen)


def _values(name: str, value: Any) -> list[Any]:
    if isinstance(value, list) and (not value or None in value):
        raise ValueError(f"--set {name} must have a value, and one after each comma; got {value}")
    values = value if isinstance(value, list) else [value]
    return [each for place, each in enumerate(values) if each not in values[:place]]


def _replaced(blocks: Mapping[str, list[Change]], wanted: Mapping[str, list[Any]]) -> dict[str, list[Change]]:
    """The blocks with the wanted values instead of their own; changes that become alike are one.

    A name that stood for another value is gone. Several values of a parameter that no block varies are a block more.
    """
    made = dict(blocks)
    for name, values in wanted.items():
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


def _combine(
    shared: Mapping[str, Any], blocks: Mapping[str, list[Change]], quick: bool, asked: Collection[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Every combination of the blocks as a run, and the names of those that have one, both by label."""
    runs: dict[str, Mapping[str, Any]] = {}
    names: dict[str, str] = {}
    never: dict[str, str] = {}  # why what is common has no effect in any run so far
    seen: set[str] = set()
    limited("the whole plan", map(len, blocks.values()))
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
        said = {name: value for part in chosen for name, value in part.items() if name == NAME or NAME not in part}
        if one in seen and not quick:
            raise ValueError(f"two runs are the same: {_text(change)}")
        if one not in seen:
            label = _label(said, change, runs)
            runs[label] = parameters
            names |= {label: said[NAME]} if NAME in said else {}
        seen.add(one)
    if refused := [why for name, why in never.items() if name in asked]:
        raise ValueError("; ".join(refused))
    return runs, names


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
    """A plan's question, its number of runs, and the values of what varies."""
    given = experiment.runs.values()
    names = dict.fromkeys(name for run in given for name in run if name not in experiment.common)
    values = [f"{name} {', '.join(dict.fromkeys(shown(run[name]) for run in given if name in run))}" for name in names]
    told = f"{len(given)} run{'s' * (len(given) > 1)}{': ' * bool(values)}{'; '.join(values)}"
    return f"{experiment.name}: {experiment.question}\n{told}"
