"""The blocks of an experiment file, each a list of changes of the common parameters; runs are their combinations."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from tadlib.workbook.choices import CHOSEN_ON
from tadlib.workbook.params import Params
from tadlib.workbook.vocabulary import meant

NAME = "name"  # of a run in `runs`: it stands for the parameters wherever the run is spoken of
PLAIN = re.compile(r"\w[\w -]{,39}")  # a name, which stands in folders, tables and figures
Change = Mapping[str, Any]


def _lists(block: str, value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{block} must hold parameters and their lists of values, got {value!r}")
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{block} of {name} must be a list of values, got {values!r}")
    return value


def _sweep(value: Any) -> list[Change]:
    """Every combination of the values."""
    lists = _lists("sweep", value)
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _zip(value: Any) -> list[Change]:
    """Values side by side."""
    lists = _lists("zip", value)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"zip puts lists side by side, so all must be as long as each other: {told}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _runs(value: Any) -> list[Change]:
    """A list of runs, which may have names."""
    if not isinstance(value, list) or not value or not all(isinstance(run, dict) for run in value):
        raise ValueError(f"runs must be a list of runs, each of names and values, got {value!r}")
    names = [run[NAME] for run in value if NAME in run]
    for name in names:
        if not isinstance(name, str) or not PLAIN.fullmatch(name) or names.count(name) > 1:
            raise ValueError(f"runs: name must be 1 to 40 letters, digits, spaces or -, each its own; got {name!r}")
    return value


def _seeds(value: Any) -> list[Change]:
    """So many seeds from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"seeds must be a whole number >= 1, how many seeds from 0 on; got {value!r}")
    return [{"seed": seed} for seed in range(value)]


BLOCKS = {"sweep": _sweep, "zip": _zip, "runs": _runs, "seeds": _seeds}


def blocks_in(given: Mapping[str, Any]) -> dict[str, list[Change]]:
    """The changes of every block of a file; a parameter may be in one block alone."""
    for name in given:
        if name not in BLOCKS and name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(str(name), Params, (*BLOCKS, CHOSEN_ON))}")
    blocks = {name: make(given[name]) for name, make in BLOCKS.items() if given.get(name) is not None}
    owner: dict[str, str] = {}
    for block, changes in blocks.items():
        for name in {name for change in changes for name in (_varied(change) if block == "runs" else change)}:
            if name not in Params.model_fields:
                raise ValueError(f"{block}: unknown parameter {name!r}{meant(str(name), Params)}")
            if name in owner:
                raise ValueError(f"{name} is varied by {owner[name]} and by {block}: keep one of them")
            owner[name] = block
    return blocks


def common(given: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a file have in common."""
    return {name: value for name, value in given.items() if name not in BLOCKS}


def changed(blocks: Mapping[str, list[Change]], wanted: Mapping[str, list[Any]]) -> dict[str, list[Change]]:
    """The blocks with the wanted values instead of their own; changes that become alike are one.

    Several values of a parameter that no block varies are a block more.
    """
    made = dict(blocks)
    for name, values in wanted.items():
        owner = next((block for block, changes in blocks.items() if any(name in _varied(each) for each in changes)), "")
        if owner or len(values) > 1:
            replaced = [_replaced(change, name, value) for change in made.get(owner, [{}]) for value in values]
            unnamed = [{word: each for word, each in change.items() if word != NAME} for change in replaced]
            made[owner or name] = [each for place, each in enumerate(replaced) if unnamed[place] not in unnamed[:place]]
    return made


def _replaced(change: Change, name: str, value: Any) -> Change:
    """A change with another value; a name that stood for the old one is gone."""
    named = change.get(name, value) == value
    return {word: each for word, each in change.items() if named or word != NAME} | {name: value}


def _varied(change: Change) -> set[str]:
    """The parameters that a change changes, whatever its name is."""
    return set(change) - {NAME}
