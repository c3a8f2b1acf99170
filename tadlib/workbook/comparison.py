"""What finished runs say beside each other, as rows and as text."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tadlib.files import read_json
from tadlib.workbook import runs


def comparison(folder: Path) -> list[dict[str, Any]]:
    """One row per finished run below a folder: its numbers beside its floor, baseline and ceiling."""
    rows = []
    for run in runs.load(folder):
        metrics = run["metrics"]
        if not metrics:
            continue
        by_role: dict[str, float] = {}
        for row in metrics["rows"]:  # the first row of a role counts: of the ceilings, our segments with true labels
            by_role.setdefault(row["role"], row["mAP"])
        rows.append(
            {"run": run["run"], "mAP": metrics["mAP"], "mAP@0.5": metrics["mAP@0.5"], "AR@100": metrics["AR@100"]}
            | {name: by_role[name] for name in ("floor", "baseline", "ceiling")}
            | {"seconds": round(run["seconds"])}
        )
    return rows


def versions(outputs: Path) -> Iterator[str]:
    """One line per version of an experiment below a folder: how its runs ended, and the best of them."""
    for path in sorted(outputs.rglob("experiment.json")):
        record = read_json(path)
        rows = comparison(path.parent)
        finished = [label for label, status in record["status"].items() if status == "finished"]
        failed = [label for label, status in record["status"].items() if status != "finished"]
        best = max(rows, key=lambda row: row["mAP"], default=None)
        headline = f"best mAP {100 * best['mAP']:.1f} % ({best['run']})" if best else "no numbers yet"
        name = "/".join(path.parent.parts[-2:])
        told = f"{len(finished)} of {len(record['runs'])} runs finished, {len(failed)} failed"
        yield f"{name}: {told}, {headline}"


def as_text(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """The comparison as lines of a plain table, metrics in per cent."""
    if not rows:
        yield "no finished run"
        return
    names = list(rows[0])
    width = max(len(str(row["run"])) for row in rows) + 2
    yield "run".ljust(width) + "".join(name.rjust(10) for name in names[1:])
    for row in rows:
        cells = [f"{row[name]}" if name == "seconds" else f"{100 * row[name]:.1f}" for name in names[1:]]
        yield str(row["run"]).ljust(width) + "".join(cell.rjust(10) for cell in cells)
