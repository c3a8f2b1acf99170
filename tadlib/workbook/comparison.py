"""Finished runs side by side, as rows and as text, and what `tad list` shows."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from tadlib.files import dangling, read_json
from tadlib.workbook import edits, execution, runs
from tadlib.workbook.evaluations import EVALUATIONS, OUTDATED, evaluated_on, planned
from tadlib.workbook.evidence import GONE

DELETED = "with files that were deleted from outputs/.stages (the command that made them makes them again)"
FINISHED, UNFINISHED = "finished", ("failed", "interrupted or at work", OUTDATED, DELETED, "not begun")


ON_TRAINING = " on training videos"  # stands behind the name of a run that was evaluated there
EDITED = ", edited notebook"  # stands behind the name of a run whose notebook was edited


def comparison(folder: Path) -> list[dict[str, Any]]:
    """One row per finished run below a folder: its numbers beside its best floor and baseline and its ceiling."""
    rows, found = [], runs.load(folder)
    several = len({run["dir"].parent for run in found}) > 1
    for run in found:
        metrics = run["metrics"]
        if not metrics:
            continue
        worth: dict[str, list[float]] = {}
        for row in metrics["rows"]:
            worth.setdefault(row["role"], []).append(row["mAP"])
        marks = ON_TRAINING * (evaluated_on(run["parameters"]) == "training")
        marks += f"{EDITED} {edits.mark(run['edited'])}" * bool(run["edited"])
        rows.append(
            {"run": (str(run["dir"].relative_to(folder)) if several else run["run"]) + marks}
            | {name: metrics.get(name, float("nan")) for name in ("mAP", "mAP@0.5", "AR@100")}  # tIoUs may be one's own
            | {role: max(worth[role]) for role in ("floor", "baseline")}
            | {"ceiling": worth["ceiling"][0]}  # our segments with true labels
            | {"seconds": round(run["seconds"])}
        )
    return rows


def listing(folder: Path) -> Iterator[str]:
    """What there is below a folder: a line for each version of an experiment and, of one experiment, for each run.

    Raises RunError where there is no such folder.
    """
    if not folder.is_dir():
        raise runs.RunError(f"no folder {folder}: `tad list` shows what there is under outputs/")
    versions = [path.parent for path in sorted(folder.rglob("experiment.json"))]
    yield from map(_version, versions)
    if not any(version.parent != folder and version != folder for version in versions):
        yield from as_text(comparison(folder))
        yield from _edits(folder)
        yield from _deleted(folder)
        return
    planned = set(versions)
    loose: dict[str, Counter[str]] = {}
    edited: Counter[str] = Counter()
    for run in runs.load(folder):
        if run["dir"].parent not in planned:
            loose.setdefault(run["dir"].parent.name, Counter())[_loose(run["dir"])] += 1
            edited[run["dir"].parent.name] += bool(run["edited"])
    for place, counts in loose.items():
        told = ", ".join(f"{counts[word]} {word}" for word in (FINISHED, *UNFINISHED) if counts[word])
        yield f"{place}: {counts.total()} run{'s' * (counts.total() > 1)} of no experiment, {told}" + (
            f"; {edited[place]} of edited notebooks" if edited[place] else ""
        )


def _edits(folder: Path) -> Iterator[str]:
    """What was changed in the notebooks of the runs below a folder."""
    for run in runs.load(folder):
        for stage, edited in run["edited"].items():
            yield f"{run['run']}, edited {stage}.ipynb ({edited['digest']}):"
            yield from (f"  {line}" for change in edited["changes"] for line in (change["where"], *change["lines"]))


def _deleted(folder: Path) -> Iterator[str]:
    """What the runs below a folder lack since shared stages were deleted."""
    for run in runs.load(folder):
        if lost := dangling(run["dir"]):
            yield f"{run['run']}: {', '.join(lost)} {GONE}"


def _loose(folder: Path) -> str:
    """How a run of no experiment ended, by its records and, where a stage has no end, by its notebook."""
    ends = {stage: record.get("status") for stage, record in runs.records(folder).items()}
    notebooks = [folder / f"{stage}.ipynb" for stage, status in ends.items() if status != "finished"]
    if any(path.is_file() and execution.status_of(path).word == execution.FAILED for path in notebooks):
        return "failed"
    if not notebooks:
        return FINISHED
    return OUTDATED if set(ends.values()) == {"finished", OUTDATED} else UNFINISHED[1]


def _version(folder: Path) -> str:
    """A version of an experiment: its commit, how its runs ended, and the mean of what finished ones are worth."""
    record = read_json(folder / "experiment.json")
    counts = Counter(_ended(folder / label, record["status"].get(label, "")) for label in record["runs"])
    told = ", ".join(f"{counts[word]} {word}" for word in (FINISHED, *UNFINISHED) if counts[word] or word == FINISHED)
    means: dict[str, list[float]] = {}
    for row in comparison(folder):
        name, edited, _ = row["run"].partition(EDITED)
        kind = ON_TRAINING * name.endswith(ON_TRAINING) + " of edited notebooks" * bool(edited)
        means.setdefault(kind, []).append(row["mAP"])
    worth = ", ".join(f"mean mAP{on} {100 * fmean(values):.1f} %" for on, values in means.items()) or "no numbers yet"
    where = f"{folder.parent.name}/{folder.name}, commit {record.get('commit', 'unknown')}"
    return f"{where}: of {len(record['runs'])} runs {told}; {worth}"


def _ended(folder: Path, told: str) -> str:
    """How a run of a version ended, by what its batch told and what is in its folder: interrupted is not failed."""
    records, metrics = planned(runs.records(folder), folder)
    if metrics.is_symlink() and not metrics.exists():
        return DELETED
    evaluated = (records.get(name, {}) for name, _ in EVALUATIONS.values())
    ends = {record.get("status") for record in evaluated}
    for end in (FINISHED, OUTDATED):
        if end in ends:
            return end
    if told.startswith("failed"):
        return "failed"
    return "interrupted or at work" if folder.is_dir() else "not begun"


def as_text(rows: list[Mapping[str, Any]]) -> list[str]:
    """The comparison as lines of a plain table, metrics in per cent."""
    if not rows:
        return ["no finished run"]
    frame = pd.DataFrame(rows).set_index("run")
    frame = (100 * frame.drop(columns="seconds")).assign(seconds=frame["seconds"])
    return frame.to_string(float_format="{:.1f}".format, na_rep="-", index_names=False).splitlines()
