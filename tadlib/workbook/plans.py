"""Plans: the runs of an experiment file, with all parameters checked before anything starts.

All combinations of the blocks of a file (see `experiment_files`) become runs. A base is another such file, whose common
values are defaults for the question's own file: it asks the same question on another data set, or at another size.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tadlib.files import digest, naming
from tadlib.workbook.experiment_files import NAME, Change, Choice, ExperimentFile, find, limited, question, read
from tadlib.workbook.params import Params

QUICK = {"epochs": 2, "head_epochs": 2, "width": 128}  # upper limits; and one seed and one class split
# parameters whose changes leave the question the same
SAME_QUESTION = {"split_id", "seed", "demo_seed", "world_seed", "device", "precision", "data_dir"}
LONGEST = 100  # bytes of a label, which is the name of a folder


@dataclass(frozen=True)
class Experiment:
    """A question and its runs: label -> parameters."""

    name: str
    asks: str  # names of its file and base; marked if changed or of another size, which is another question
    question: str
    runs: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str] = field(default_factory=dict)  # label -> name given in the file
    chosen: tuple[Choice, ...] = ()  # values that the file and its base declare as chosen by looking at results

    @property
    def common(self) -> dict[str, Any]:
        """The parameters given to all runs with the same value."""
        first, *others = self.runs.values()
        return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}


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
    wanted = {name: _values(name, value) for name, value in (changes or {}).items()}
    own, defaults = read(path), read(base) if base else ExperimentFile("", {}, {}, [])
    ours, theirs = (file.common.get("dataset") for file in (own, defaults))
    if ours and theirs and ours != theirs:
        raise ValueError(f"{path} asks about dataset {ours}, --base {base} is about {theirs}")
    fixed = {name: values[0] for name, values in wanted.items() if len(values) == 1}
    with naming(f"{path} with --base {base}" if base else path):
        asked = own.common.keys() | fixed.keys()
        runs, names = _combine(defaults.common | own.common | fixed, _replaced(own.blocks, wanted), quick, asked)
    name = path.stem + (f"-{base.stem}" if base else "")
    asks = name + "-changed" * bool(set(wanted) - SAME_QUESTION) + "-quick" * quick
    chosen = (*own.chosen, *defaults.chosen)
    return Experiment(name + "-quick" * quick, asks, question(own.content), runs, names, chosen)


def _values(name: str, value: Any) -> list[Any]:
    if value is None or (isinstance(value, list) and (not value or None in value)):
        raise ValueError(f"--set {name} must have a value, and one after each comma; got {value}")
    values = value if isinstance(value, list) else [value]
    return [each for place, each in enumerate(values) if each not in values[:place]]


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
        if identity not in seen:
            label = _label(labelled, change, runs)
            runs[label] = parameters
            names |= {label: labelled[NAME]} if NAME in labelled else {}
        elif not quick:
            raise ValueError(f"two runs are the same: {_text(change)}")
        seen.add(identity)
    if refused := [why for name, why in never.items() if name in asked]:
        raise ValueError("; ".join(refused))
    return runs, names


def _text(change: Change) -> str:
    return "_".join(value if name == NAME else f"{name}-{value}" for name, value in change.items()) or "run"


def _label(labelled: Change, change: Change, taken: Iterable[str]) -> str:
    """Return a folder name for a run, from what distinguishes it, in characters that every file system allows."""
    label = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in _text(labelled))
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
