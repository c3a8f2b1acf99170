"""Variants of a question and their paired differences to a baseline variant, as the records of `report.json`.

Runs of one question that differ only in class split and seed are one variant. Two variants are compared on their
common (split, seed) pairs. The differences of a class split are averaged over seeds first, because they are correlated,
and Student's interval is over class splits; with one class split it is over seeds.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from tadlib.data.checks import nearest
from tadlib.evaluation.statistics import compare_splits, p_value, spread
from tadlib.workbook.finished_runs import FinishedRun, differing
from tadlib.workbook.params import Params
from tadlib.workbook.plans import every, shown
from tadlib.workbook.runs import project_root
from tadlib.workbook.stage_store import relative
from tadlib.workbook.stages import evaluated_on

SAMPLE = {"split", "split_id", "seed", "demo_seed", "world_seed"}  # parameters that distinguish samples of a variant
PLACE = {"run_dir", "data_dir", "device"}  # where a run was executed, without effect on the question
Record = dict[str, Any]  # a variant compared with its baseline, as JSON; null for unknown values


class Story(NamedTuple):
    """Contents of the comment on top of an experiment file."""

    question: str
    claim: str  # the research log's verdict
    found: str  # our conclusion from our own measurements; empty without any
    rows: tuple[int, ...]  # numbers of the entries in the research log


@dataclass(frozen=True)
class Study:
    """A question, its variants, and the baseline that the others are compared with."""

    name: str
    data: str  # demo, rehearsal, or the data set
    story: Story
    variants: Mapping[str, tuple[FinishedRun, ...]]
    baseline: str
    protocol: str
    evaluate_on: str

    @property
    def settings(self) -> list[str]:
        """The epochs, and the parameters that all runs share and that are not the data set's defaults."""
        first, *others = (run.parameters for run in self.runs)
        usual = Params.read({"dataset": first.get("dataset", "demo")}).model_dump()
        shared = {name for name, value in first.items() if all(each.get(name) == value for each in others)}
        shared -= SAMPLE | PLACE | {"dataset", "protocol", "evaluate_on"}
        changed = {name for name in shared if name in usual and first[name] != usual[name]} | (shared & {"epochs"})
        return [f"{name}={shown(first[name])}" for name in sorted(changed)]

    @property
    def on(self) -> str:
        """The data, with protocol and evaluated videos unless they are the default."""
        protocol = "" if self.protocol == "strict" else f", protocol {self.protocol}"
        return self.data + protocol + (", training videos" if self.evaluate_on == "training" else "")

    @property
    def title(self) -> str:
        """Name and data, for display."""
        return f"{self.name} ({self.on})"

    @property
    def runs(self) -> list[FinishedRun]:
        """The runs of all variants."""
        return [run for each in self.variants.values() for run in each]


def story(comment: str) -> Story:
    """Parse the comment on top of an experiment file: question, the log's claim, our conclusion, and log rows."""
    asked, _, rest = comment.partition(" Log: ")
    verdicts, _, tail = rest.partition(" Rows: ")
    claim, _, found = verdicts.partition(" Found: ")
    numbers = re.match(r"[\d, ]+", tail)
    rows = tuple(int(number) for number in re.findall(r"\d+", numbers[0] if numbers else ""))
    return Story(asked.strip(), claim.strip(), found.strip(), rows)


def studies(runs: Sequence[FinishedRun], baseline: str = "") -> list[Study]:
    """Group runs into studies by experiment, data set, protocol and `evaluate_on`.

    Raises ValueError, with the nearest label, for a baseline that no study has.
    """
    groups: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        scored = run.parameters.get("protocol", "strict"), evaluated_on(run.parameters)
        groups.setdefault((run.home, run.data, *scored), []).append(run)
    known: list[str] = []
    made = []
    for (home, data, protocol, on), group in groups.items():
        variants = _variants(group)
        known += variants
        unedited = (label for label, members in variants.items() if not members[0].edited)
        first = baseline if baseline in variants else next(unedited, next(iter(variants)))
        name = relative(home).removeprefix("outputs/")
        made.append(Study(name, data, story(group[0].question), variants, first, protocol, on))
    if baseline and baseline not in known:
        raise ValueError(f"baseline must be the label of a variant; got {baseline!r}{nearest(baseline, known)}")
    return made


def _variants(runs: Sequence[FinishedRun]) -> dict[str, tuple[FinishedRun, ...]]:
    """Group runs into variants by label, in their order; of a repeated run the one that started last counts.

    The label is a run's given name, or its differing parameters. Versions of an experiment or of a file of ideas are
    separate variants, and so are runs of edited notebooks, which come last.
    """
    differ = set(differing(run.parameters for run in runs)).union(*(run.varied for run in runs))
    differ -= SAMPLE | PLACE | {"protocol", "evaluate_on"}
    varied = [name for name in dict.fromkeys(name for run in runs for name in run.parameters) if name in differ]
    versions = {run.dir.parent for run in runs if run.dir.parent != run.home}
    files = Counter(name for name, _ in {(run.parameters.get("ideas"), run.ideas) for run in runs})
    found: dict[tuple[str, ...], dict[tuple, FinishedRun]] = {}
    for run in sorted(runs, key=lambda run: bool(run.edited)):
        version = run.dir.parent.name if len(versions) > 1 else ""
        ideas = run.ideas if files[run.parameters.get("ideas")] > 1 else ""
        values = [f"{name}={shown(run.parameters.get(name))}" for name in varied]
        alike = found.setdefault((run.name, version, run.edit, ideas, *values), {})
        alike[run.key] = max(alike.get(run.key, run), run, key=lambda each: (each.started, each is run))
    made: dict[str, tuple[FinishedRun, ...]] = {}
    for number, ((name, version, edit, ideas, *values), each) in enumerate(found.items(), start=1):
        parts = [name] if name else values or ["as it is"]
        versioned = {"file of ideas": ideas, "edited notebook": edit, "version": version}
        parts += [f"{kind} {version}" for kind, version in versioned.items() if version]
        label = ", ".join(parts)
        made[f"{label} (variant {number})" if label in made else label] = tuple(each.values())
    return made


def value(run: FinishedRun, metric: str) -> float:
    """Return a metric of a run, a fraction; raise ValueError, with the nearest name, if the run lacks it."""
    numbers = [name for name, number in run.metrics.items() if isinstance(number, int | float)]
    if metric not in numbers:
        where = run.dir / "metrics.json"
        raise ValueError(f"metric must be a number of {where}; got {metric!r}{nearest(metric, numbers)}")
    return float(run.metrics[metric])


def records(study: Study, metric: str) -> list[Record]:
    """Return a record of each variant of a study: mean, spread, and paired difference to the baseline."""
    base = study.variants[study.baseline]
    common = {"asks": _asks(study), "experiment": study.name, "title": study.title}
    common |= {"data": study.data, "protocol": study.protocol, "evaluate on": study.evaluate_on}
    common |= {"baseline": study.baseline, "metric": metric, "settings": study.settings}
    made = []
    for variant, runs in study.variants.items():
        pairs = [] if runs is base else pairs_of(runs, base)
        found, basis, p = _difference(pairs, metric)
        record = {
            "variant": variant,
            "edited": runs[0].edit,
            "values": _spread(runs, metric),
            "splits": list(dict.fromkeys(run.split for run in runs)),
            "seeds": list(dict.fromkeys(run.key[2] for run in runs)),
            "difference": found,
            "p": p,
            "basis": basis,
            "pairs": len(pairs),
            "not alike": _unlike(runs, base, pairs),
            "commits": sorted({run.facts["commit"] for run in runs}),
            "runs": [relative(run.dir) for run in runs],
            "seconds": float(np.mean([run.seconds for run in runs])),
            "memory_mb": float(np.mean([run.memory_mb for run in runs])),
        }
        made.append(common | record)
    return made


def _spread(runs: Sequence[FinishedRun], metric: str) -> Record:
    return _as_json(spread([value(run, metric) for run in runs])._asdict())


def _as_json(numbers: Mapping[str, Any]) -> Record:
    """Replace infinite numbers and NaN by None, which JSON writes as null."""
    return {name: None if isinstance(n, float) and not isfinite(n) else n for name, n in numbers.items()}


def samples(splits: Collection[Any], seeds: Collection[Any]) -> str:
    """Format the number of class splits and seeds of a measurement."""
    return f"{len(splits)} split{'s' * (len(splits) != 1)} × {len(seeds)} seed{'s' * (len(seeds) != 1)}"


def pairs_of(first: Iterable[FinishedRun], second: Iterable[FinishedRun]) -> list[tuple[FinishedRun, FinishedRun]]:
    """Pair the runs of two variants with the same class split and seed."""
    by_key = {run.key: run for run in second}
    return [(run, by_key[run.key]) for run in first if run.key in by_key]


def _difference(pairs: Sequence[tuple], metric: str) -> tuple[Record | None, str, float | None]:
    """Return the mean difference of pairs of runs with its verdict, the samples of the interval, and the p-value."""
    if not pairs:
        return None, "", None
    by_split: dict[str, list[float]] = {}
    for first, second in pairs:
        by_split.setdefault(first.split, []).append(value(first, metric) - value(second, metric))
    seeds = {first.key[2] for first, _ in pairs}
    basis = samples(by_split, seeds)
    if len(pairs) < len(by_split) * len(seeds):
        basis += f" ({len(pairs)} pairs)"
    units = [float(np.mean(each)) for each in by_split.values()] if len(by_split) > 1 else next(iter(by_split.values()))
    return _as_json(compare_splits(units, [0.0] * len(units))._asdict()), basis, p_value(units)


def _unlike(first: Sequence[FinishedRun], second: Sequence[FinishedRun], pairs: Sequence[tuple]) -> list[str]:
    """Return the facts in which the compared runs differ, and whether any code was uncommitted."""
    found = [name for name in differing(run.facts for run in (*first, *second)) if name != "data"]
    found += ["data"] if any(a.facts.get("data") != b.facts.get("data") for a, b in pairs) else []
    changed = any("+changes" in run.facts.get("commit", "") for run in (*first, *second))
    return found + ["uncommitted changes"] * changed


def _asks(study: Study) -> str:
    """Return the name of the parameters file with the study's question; empty if it has no claim of the log."""
    name = study.runs[0].asks.removesuffix(f"-{study.data}")  # a base adds the name of the data set
    return name if study.story.claim and name in {path.stem for path in every(project_root())} else ""


def per_class(study: Study) -> dict[str, dict[str, float]]:
    """Return variant -> class -> mean paired difference of average precision to the baseline, where both have it."""
    base, found = study.variants[study.baseline], {}
    for variant, runs in study.variants.items():
        differences: dict[str, list[float]] = {}
        for pair in [] if runs is base else pairs_of(runs, base):
            own, other = (run.metrics.get("per_class", {}) for run in pair)
            for label in own.keys() & other.keys():
                differences.setdefault(label, []).append(own[label] - other[label])
        found[variant] = {label: float(np.mean(each)) for label, each in sorted(differences.items())}
    return {variant: means for variant, means in found.items() if means}
