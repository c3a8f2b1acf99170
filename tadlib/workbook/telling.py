"""How a comparison is told: rows of a table, one line for each question, and what is kept as JSON."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tadlib.evaluation.statistics import Verdict
from tadlib.workbook.evidence import Entry
from tadlib.workbook.runs import project_root
from tadlib.workbook.stages import STAGES
from tadlib.workbook.tables import Number
from tadlib.workbook.variants import Row, samples


def measured(rows: Sequence[Row], metric: str) -> str:
    """What was measured of one question, in words; empty where variants share no split and seed."""
    base = next(row for row in rows if row.variant == row.study.baseline)
    if len(rows) == 1:
        alone = "" if base.variant == "as it is" else f" with {base.variant}"
        return f"{metric} {100 * base.values.mean:.1f}{alone}{_spread(base)} ({sample(base)})"
    compared = [row for row in rows if row.difference is not None]
    if not compared:
        return ""
    alike = len({row.basis for row in compared}) == 1
    told = [
        f"{row.variant}: {difference(row.difference)}, {row.difference.verdict}" + ("" if alike else f" ({row.basis})")
        for row in compared
    ]
    common = f" ({compared[0].basis})" if alike else ""
    return f"{metric} {100 * base.values.mean:.1f} with {base.variant}; {'; '.join(told)}{common}"


def _spread(row: Row) -> str:
    spread = row.values.deviation
    return "" if np.isnan(spread) else f", s.d. of runs {100 * spread:.1f}"


def sample(row: Row) -> str:
    """Over what the runs of a variant are spread."""
    keys = [run.key for run in row.study.variants[row.variant]]
    return samples(len({key[:2] for key in keys}), len({key[2] for key in keys}))


def difference(found: Verdict) -> str:
    """A difference in points, with its interval where that is known."""
    interval = f" [{_signed(found.low)}, {_signed(found.high)}]" if np.isfinite(found.low) else ""
    return f"{_signed(found.difference)}{interval}"


def _signed(fraction: float) -> str:
    """Points with their sign; with more digits where one would hide on which side of zero they are."""
    told = (f"{100 * fraction:+.{digits}f}" for digits in (1, 2, 3))
    return next((each for each in told if float(each)), f"{100 * fraction:+.1f}")


def table_row(row: Row, metric: str) -> dict[str, object]:
    """A variant beside the baseline, as a row of a table."""
    spent, found = cost(row), row.difference
    spread, gained = row.values.deviation, float("nan") if found is None else found.difference
    return {
        "experiment": row.study.title,
        "variant": row.variant,
        f"mean {metric} (%)": points(row.values.mean),
        "s.d.": Number("" if np.isnan(spread) else f"{100 * spread:.1f}", spread),
        "runs": count(row.values.number),
        "difference (points)": Number("" if np.isnan(gained) else _signed(gained), gained),
        "95 % interval": "" if found is None or np.isinf(found.low) else difference(found).split(" ", 1)[1],
        "verdict": "baseline" if row.variant == row.study.baseline else "no pair" if found is None else found.verdict,
        "over": row.basis,
        "time (s)": Number(f"{spent['seconds']:.0f}", spent["seconds"]),
        "memory (MB)": Number(f"{spent['memory']:.0f}", spent["memory"]),
        "not alike": ", ".join(row.unlike),
    }


def cost(row: Row) -> dict[str, float]:
    """Mean wall time (s, all stages) and peak memory (MB) of the runs of a variant."""
    runs = row.study.variants[row.variant]
    spent = [sum(run.seconds.values()) for run in runs]
    return {"seconds": float(np.mean(spent)), "memory": float(np.mean([run.memory_mb for run in runs]))}


def points(fraction: float) -> Number:
    """A fraction in per cent."""
    return Number(f"{100 * fraction:.1f}", fraction)


def count(number: int) -> Number:
    """A whole number."""
    return Number(str(number), number)


def notebooks(run: Entry, folder: Path) -> dict[str, str]:
    """Stage -> address of its executed notebook from a folder: the page made of it where there is one."""
    found = {}
    for stage in STAGES:
        for path in (run.dir / f"{stage}.html", run.dir / f"{stage}.ipynb"):
            if path.is_file():
                found[stage] = Path(os.path.relpath(path, folder)).as_posix()
                break
    return found


def record(row: Row, metric: str) -> dict[str, Any]:
    """A row as JSON, in fractions; an interval that nobody knows is null."""
    found: Mapping[str, Any] = row.difference._asdict() if row.difference else {}
    known = {name: None if isinstance(each, float) and not np.isfinite(each) else each for name, each in found.items()}
    spreads = {name: None if each != each else each for name, each in row.values._asdict().items()}
    runs = [run.dir for run in row.study.variants[row.variant]]
    root = project_root()
    return {
        "experiment": row.study.name,
        "data": row.study.data,
        "protocol": row.study.protocol,
        "variant": row.variant,
        "baseline": row.study.baseline,
        "metric": metric,
        "values": spreads,
        "difference": known or None,
        "basis": row.basis,
        "not alike": list(row.unlike),
        "runs": [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in runs],
    }
