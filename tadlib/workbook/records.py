"""Records of `report.json`: each variant and its difference to the baseline as data.

Fractions with full precision; what nobody knows, like the interval of a single pair, is null.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from tadlib.workbook import edits
from tadlib.workbook.differences import Row, split_of
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan
from tadlib.workbook.runs import project_root
from tadlib.workbook.stage_store import relative
from tadlib.workbook.variants import PLACE, SAMPLE, Study

Record = dict[str, Any]


def records(rows: Sequence[Row], metric: str) -> list[Record]:
    """The rows of one study, the baseline's among them."""
    study = rows[0].study
    asks = _asks(study)
    asked = {"asks": asks, "as the file asks": bool(asks) and _as_asked(study, asks), "where": _where(study)}
    return [asked | record(row, metric) for row in rows]


def record(row: Row, metric: str) -> Record:
    """A row as JSON."""
    runs = row.study.variants[row.variant]
    chosen = row.chosen and {
        "splits": list(row.chosen.splits),
        "parameters": sorted({name for names in row.chosen.splits.values() for name in names}),
        "rest": _known(row.chosen.rest),
        "basis": row.chosen.basis,
    }
    return {
        "experiment": row.study.name,
        "data": row.study.data,
        "protocol": row.study.protocol,
        "evaluate on": row.study.evaluate_on,
        "variant": row.variant,
        "edited": edits.mark(runs[0].edited),
        "baseline": row.study.baseline,
        "metric": metric,
        "values": _known(row.values),
        "splits": list(dict.fromkeys(split_of(run) for run in runs)),
        "seeds": list(dict.fromkeys(run.key[2] for run in runs)),
        "chosen on": chosen,
        "difference": _known(row.difference),
        "basis": row.basis,
        "pairs": row.pairs,
        "held out": row.held_out,
        "apart": list(row.apart),
        "over all": row.whole and _known(row.whole) | {"basis": row.whole_basis},
        "not alike": list(row.unlike),
        "commits": sorted({run.facts["commit"] for run in runs}),
        "runs": [relative(run.dir) for run in runs],
    }


def _known(found: Any) -> dict[str, Any] | None:
    """A named tuple without what is infinite or no number."""
    if found is None:
        return None
    return {n: None if isinstance(each, float) and not isfinite(each) else each for n, each in found._asdict().items()}


def _asks(study: Study) -> str:
    """The parameters file of the project whose question a study asks, with a claim of the log; empty for no such."""
    first = next(iter(study.variants.values()))[0]
    name = first.asks.removesuffix(f"-{study.data}")  # on that data set by the base's name, or by its own
    return name if study.story.claim and (project_root() / "params" / f"{name}.yaml").is_file() else ""


def _where(study: Study) -> str:
    """The folder that holds the runs of a study, from its experiment's on."""
    folder = next(iter(study.variants.values()))[0].dir.parent
    return f"{folder.parent.name}/{folder.name}" if study.name == folder.parent.name else folder.name


def _as_asked(study: Study, asks: str) -> bool:
    """Whether every variant is one that the file, as it stands, asks about, and none of `--set`."""
    try:
        planned = plan(project_root() / "params" / f"{asks}.yaml")
    except ValueError:
        return False
    wanted: list[Mapping[str, Any]] = []
    for given in planned.runs.values():
        checked = Params.read(given).model_dump()
        wanted.append({name: checked[name] for name in given if name not in SAMPLE | PLACE})
    every = [run.parameters for runs in study.variants.values() for run in runs]
    return all(any(each.items() <= run.items() for each in wanted) for run in every)
