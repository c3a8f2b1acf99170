"""The blocks of an experiment file that make many runs: every combination, side by side, seeds, and random draws.

Draws take values from ranges or lists, the same ones for the same seed.
"""

import itertools
import math
import random
from typing import Any

from tadlib.data.checks import nearest
from tadlib.workbook.params import Params
from tadlib.workbook.vocabulary import meant

LAWS = ("uniform", "log_uniform")


def drawn(value: Any) -> list[dict[str, Any]]:
    """The runs of a `draw:` block, fewer where dice fall alike; raises ValueError naming what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError(f"draw must hold n, optionally seed, and what to draw from, got {value!r}")
    number, seed = value.get("n"), value.get("seed", 0)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"draw: n must be a whole number >= 1, how many runs are drawn; got {number!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"draw: seed must be a whole number, the seed of the draws; got {seed!r}")
    laws = {name: law for name, law in value.items() if name not in ("n", "seed")}
    if not laws:
        raise ValueError("draw has no parameter to draw: give one its list of values or its range")
    dice = random.Random(seed)
    runs = [{name: _draw(dice, name, law) for name, law in laws.items()} for _ in range(number)]
    return [run for place, run in enumerate(runs) if run not in runs[:place]]


def _draw(dice: random.Random, name: str, law: Any) -> Any:
    if name not in Params.model_fields:
        raise ValueError(f"draw: unknown parameter {name!r}{meant(str(name), Params)}")
    if isinstance(law, list) and law:
        return dice.choice(law)
    if not isinstance(law, dict) or len(law) != 1:
        raise ValueError(f"draw: {name} must be a list of values or one of {', '.join(LAWS)}: [low, high]; got {law!r}")
    ((kind, ends),) = law.items()
    if kind not in LAWS:
        raise ValueError(f"draw: {name} has an unknown law {kind!r}{nearest(str(kind), LAWS)}")
    try:
        low, high = map(float, ends if isinstance(ends, list) else ())
    except (TypeError, ValueError):
        raise ValueError(f"draw: {kind} of {name} must be [low, high], two numbers; got {ends!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or (kind == "log_uniform" and low <= 0):
        sign = "0 < low < high" if kind == "log_uniform" else "low < high"
        raise ValueError(f"draw: {kind} of {name} needs {sign}, got [{low:g}, {high:g}]")
    drawn = dice.uniform(low, high) if kind == "uniform" else math.exp(dice.uniform(math.log(low), math.log(high)))
    return round(drawn) if Params.model_fields[name].annotation is int else float(f"{drawn:.4g}")


def _lists(block: str, value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{block} must hold parameters and their lists of values, got {value!r}")
    for name, values in value.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{block} of {name} must be a list of values, got {values!r}")
    return value


def grid(value: Any) -> list[dict[str, Any]]:
    """The runs of a `sweep:` block: every combination of the values."""
    lists = _lists("sweep", value)
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def zipped(value: Any) -> list[dict[str, Any]]:
    """The runs of a `zip:` block: values side by side."""
    lists = _lists("zip", value)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"zip puts lists side by side, so all must be as long as each other: {told}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def seeds(value: Any) -> list[dict[str, Any]]:
    """The runs of a `seeds:` number: so many seeds from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"seeds must be a whole number >= 1, how many seeds from 0 on; got {value!r}")
    return [{"seed": seed} for seed in range(value)]
