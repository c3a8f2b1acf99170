"""Values that were chosen by looking at results, with the data and class splits where they are not held out.

An experiment file says so in the words of the parameters, once or in a list:

    chosen_on: {values: {agreement: 0.5}, dataset: demo, split: 50, split_id: [0, 1, 2, 3]}

Without `values` everything was chosen that the file gives to all its runs, but data; without `split` or `split_id`
every class split had part. It holds for every run that has such a value there, whichever file asked for it.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

from tadlib.data.checks import nearest
from tadlib.workbook.params import Params
from tadlib.workbook.stages import DATA
from tadlib.workbook.vocabulary import meant

CHOSEN_ON, VALUES = "chosen_on", "values"
WHERE = ("dataset", "features", "split", "split_id")
NEVER = DATA | {"protocol", "evaluate_on", "run_dir"}  # what a run is about, or where it lies: not what is chosen


class Choice(NamedTuple):
    """Values of parameters, and the values of others that say where they were chosen."""

    values: Mapping[str, Any]
    where: Mapping[str, list[Any]]


def declared(block: Any, common: Mapping[str, Any]) -> list[Choice]:
    """The choices that an experiment file declares, whose runs have the values `common` in common.

    Raises ValueError naming the field that cannot be.
    """
    try:
        return [_choice(entry, common) for entry in (block if isinstance(block, list) else [block])]
    except ValueError as error:
        raise ValueError(f"{CHOSEN_ON}: {error}") from error


def _choice(entry: Any, common: Mapping[str, Any]) -> Choice:
    known = (VALUES, *WHERE)
    if not isinstance(entry, dict) or "dataset" not in entry:
        raise ValueError(f"it must say on which dataset, and may say {', '.join(known)}; got {entry!r}")
    for name in entry:
        if name not in known:
            raise ValueError(f"unknown field {name!r}{nearest(str(name), known)}")
    where = {name: each if isinstance(each, list) else [each] for name, each in entry.items() if name != VALUES}
    empty = next((name for name, each in where.items() if not each), None)
    if empty:
        raise ValueError(f"{empty} must be a value or a list of values, got []")
    shared = {name: value for name, value in common.items() if name not in NEVER}
    values = entry.get(VALUES, shared)
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{VALUES} must hold parameters and what was chosen for them, got {values!r}")
    for name in values:
        if name not in Params.model_fields:
            raise ValueError(f"unknown parameter {name!r}{meant(str(name), Params)}")
        if name in NEVER:
            raise ValueError(f"{name} says what a run is about, it is no value that is chosen")
    for place in product(*where.values()):
        checked = Params.read(shared | values | dict(zip(where, place, strict=True))).model_dump()
    return Choice({name: checked[name] for name in values}, where)


def had_part(choices: Iterable[Choice], parameters: Mapping[str, Any]) -> frozenset[str]:
    """The parameters of a run whose values were chosen by looking at its own data and class split."""
    return frozenset(
        name
        for choice in choices
        if _there(choice.where, parameters)
        for name, value in choice.values.items()
        if parameters.get(name) == value
    )


def _there(where: Mapping[str, list[Any]], parameters: Mapping[str, Any]) -> bool:
    simulated = [word == "simulate" for word in where.get("features", ["auto"])]
    if (parameters.get("features") == "simulate") not in simulated:  # simulated features are other data
        return False
    return all(parameters.get(name) in where[name] for name in ("dataset", "split", "split_id") if name in where)
