"""Comparisons in words: rows of a table, and one line for each question."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tadlib.workbook.differences import Row, samples
from tadlib.workbook.evidence import Entry
from tadlib.workbook.records import Record, record
from tadlib.workbook.stages import STAGES


def measured(told: Sequence[Record]) -> str:
    """What was measured of one question, in words, from its records; empty where variants share no split and seed."""
    base = next(each for each in told if each["variant"] == each["baseline"])
    if len(told) == 1:
        return _alone(base)
    compared = [each for each in told if each["difference"]]
    if not compared:
        return ""
    alike = len({each["basis"] for each in compared}) == 1 and not any(each["apart"] for each in compared)
    rows = [
        f"{each['variant']}: {difference(each['difference'])}, {each['difference']['verdict']}"
        + ("" if alike else f" ({each['basis']}{_beside(each)})")
        for each in compared
    ]
    common = f" ({compared[0]['basis']})" if alike else ""
    seen = ", not held out" if base["chosen on"] else ""
    mean = 100 * base["values"]["mean"]
    return f"{base['metric']} {mean:.1f} with {base['variant']}{seen}; {'; '.join(rows)}{common}"


def _alone(told: Record) -> str:
    """What the runs of a question with a single variant came to, those that had part in a choice beside the others."""
    alone = "" if told["variant"] == "as it is" else f" with {told['variant']}"
    whole = f"{told['metric']} {100 * told['values']['mean']:.1f}{alone}{_spread(told['values'])}"
    basis = samples(len(told["splits"]), len(told["seeds"]))
    if not told["chosen on"]:
        return f"{whole} ({basis})"
    names = listed(told["chosen on"]["parameters"])
    rest = told["chosen on"]["rest"]
    if rest is None:
        return f"{whole} ({basis}), not held out: {names} chosen on {listed(told['chosen on']['splits'], 5)}"
    held = f"{told['metric']} {100 * rest['mean']:.1f}{alone}{_spread(rest)} ({told['chosen on']['basis']}"
    over = f"over all {basis} {100 * told['values']['mean']:.1f}{_spread(told['values'])}, not held out"
    return f"{held} that had no part in choosing {names}; {over})"


def _beside(told: Record) -> str:
    """What stands beside the basis of a difference where some pairs had part in choosing what tells the two apart."""
    if not told["apart"]:
        return ""
    names, whole = listed(told["apart"]), told["over all"]
    if whole is None:
        return f", not held out: some had part in choosing {names}"
    return f" that had no part in choosing {names}; over all {whole['basis']} {difference(whole)}, not held out"


def listed(names: Iterable[str], most: int = 3) -> str:
    """Names, each once, the last of many as their number."""
    names = sorted(set(names))
    more = [f"{len(names) - most} more"] if len(names) > most else []
    *first, last = [*names[:most], *more]
    return f"{', '.join(first)} and {last}" if first else last


def _spread(values: Mapping[str, Any]) -> str:
    return "" if values["deviation"] is None else f", s.d. of runs {100 * values['deviation']:.1f}"


def difference(found: Mapping[str, Any]) -> str:
    """A difference of a record in points, with its interval where that is known."""
    interval = f" [{_signed(found['low'])}, {_signed(found['high'])}]" if found["low"] is not None else ""
    return f"{_signed(found['difference'])}{interval}"


def _signed(fraction: float) -> str:
    """Points with their sign; with more digits where one would hide on which side of zero they are."""
    told = (f"{100 * fraction:+.{digits}f}" for digits in (1, 2, 3))
    return next((each for each in told if float(each)), f"{100 * fraction:+.1f}")


def table_row(row: Row, metric: str) -> dict[str, object]:
    """A variant beside the baseline, as a row of a table."""
    spent, told = cost(row), record(row, metric)
    found, rest = told["difference"], row.chosen and row.chosen.rest
    return {
        "experiment": row.study.title,
        "variant": row.variant,
        f"mean {metric} (%)": points(row.values.mean),
        "s.d.": "" if np.isnan(row.values.deviation) else f"{100 * row.values.deviation:.1f}",
        "runs": row.values.number,
        "held out (%)": "none" if row.chosen and not rest else points((rest or row.values).mean),
        "difference (points)": "" if found is None else _signed(found["difference"]),
        "95 % interval": "" if found is None or found["low"] is None else difference(found).split(" ", 1)[1],
        "verdict": verdict(row),
        "over": row.basis + _beside(told),
        "chosen on": "; ".join(
            f"{split}: {listed(names)}" for split, names in (row.chosen.splits if row.chosen else {}).items()
        ),
        "time (s)": f"{spent['seconds']:.0f}",
        "memory (MB)": f"{spent['memory']:.0f}",
        "not alike": ", ".join(row.unlike),
    }


def verdict(row: Row) -> str:
    """What may be said of a variant, and whether on class splits that were held out."""
    if row.difference is None:
        return "baseline" if row.variant == row.study.baseline else "no pair"
    return row.difference.verdict + ("" if row.held_out else ", not held out")


def cost(row: Row) -> dict[str, float]:
    """Mean wall time (s, all stages) and peak memory (MB) of the runs of a variant."""
    runs = row.study.variants[row.variant]
    spent = [sum(run.seconds.values()) for run in runs]
    return {"seconds": float(np.mean(spent)), "memory": float(np.mean([run.memory_mb for run in runs]))}


def points(fraction: float) -> str:
    """A fraction in per cent."""
    return f"{100 * fraction:.1f}"


def notebooks(run: Entry, folder: Path) -> dict[str, str]:
    """Stage -> address of its executed notebook from a folder: the page made of it where there is one."""
    found = {}
    for stage in STAGES:
        for path in (run.dir / f"{stage}.html", run.dir / f"{stage}.ipynb"):
            if path.is_file():
                found[stage] = Path(os.path.relpath(path, folder)).as_posix()
                break
    return found
