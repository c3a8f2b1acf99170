"""Which variant is better, and is the difference real? Runs become variants, variants become paired differences.

Runs of one question that differ in their class split and seed alone are one variant. Two variants are compared on the
(split, seed) they share: the seeds of a class split are averaged first, because what a split makes easy is easy for
all of them, and the interval is Student's over class splits; with one class split it is over seeds. With a single pair
the test videos can be drawn again instead, if the caller knows how. What was scored under different protocols is never
compared: each protocol is a study of its own.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tadlib.evaluation.statistics import Spread, Verdict, compare_splits, spread
from tadlib.workbook.evidence import Entry, data_of, differing

SAMPLE = {"split", "split_id", "seed"}  # what samples are drawn by
PLACE = {"run_dir", "data_dir", "device"}  # where a run happened, not what it did
MOST_NAMES = 4  # parameters that a label of a variant spells out

Videos = Callable[[Entry, Entry], Verdict | None]  # two runs -> their difference with an interval over videos


class Story(NamedTuple):
    """What stands on top of an experiment's file."""

    question: str
    claim: str  # the log's verdict
    rows: tuple[int, ...]  # of the method survey


@dataclass(frozen=True)
class Study:
    """A question, the variants that answer it, and the one that the others are compared with."""

    name: str
    data: str  # demo, rehearsal, or the data set
    story: Story
    variants: Mapping[str, tuple[Entry, ...]]
    baseline: str
    protocol: str = "strict"

    @property
    def on(self) -> str:
        """The data, and the protocol where it is not the usual one."""
        return self.data + ("" if self.protocol == "strict" else f", protocol {self.protocol}")

    @property
    def title(self) -> str:
        """Name and data."""
        return f"{self.name} ({self.on})"


class Row(NamedTuple):
    """One variant beside the baseline."""

    study: Study
    variant: str
    values: Spread  # of the metric, over all runs of the variant
    difference: Verdict | None  # variant minus baseline; None for the baseline itself, or without a pair
    basis: str  # what the interval is over
    unlike: tuple[str, ...]  # what differs between the runs compared, besides their parameters


def story(comment: str) -> Story:
    """The question, the log's claim and its rows, from the comment on top of an experiment's file."""
    asked, _, rest = comment.partition(" Log: ")
    claim, _, tail = rest.partition(" Rows: ")
    listed = re.match(r"[\d, ]+", tail)
    return Story(asked.strip(), claim.strip(), tuple(int(n) for n in re.findall(r"\d+", listed[0] if listed else "")))


def studies(entries: Sequence[Entry], baseline: str = "", together: bool = False) -> list[Study]:
    """One study for each experiment, data set and protocol, or a single one of all runs under a protocol.

    Raises ValueError for a baseline that no study has, naming the nearest.
    """
    groups: dict[tuple[Path | None, str, str], list[Entry]] = {}
    for entry in entries:
        key = (None, "") if together else (entry.home, data_of(entry))
        groups.setdefault((*key, entry.parameters.get("protocol", "strict")), []).append(entry)
    called = _called({home for home, *_ in groups if home})
    known: list[str] = []
    made = []
    for (home, data, protocol), group in groups.items():
        variants = _together(group) if together else _variants(group)
        known += variants
        first = baseline if baseline in variants else next(iter(variants))
        said = story(group[0].question) if not together else Story("", "", ())
        on = data or ", ".join(sorted({data_of(each) for each in group}))
        made.append(Study(called[home] if home else "all runs", on, said, variants, first, protocol))
    if baseline and baseline not in known:
        close = difflib.get_close_matches(baseline, known, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        raise ValueError(f"baseline must be the label of a variant; got {baseline!r}; {hint}")
    return made


def _called(homes: Iterable[Path]) -> dict[Path, str]:
    """What experiments are called: by their folder, and where two folders have one name by what is above them too."""
    homes = list(homes)
    names = Counter(home.name for home in homes)
    return {home: home.name if names[home.name] == 1 else f"{home.name} in {home.parent}" for home in homes}


def _variants(entries: Sequence[Entry]) -> dict[str, tuple[Entry, ...]]:
    """Label -> runs, in the order of the runs, of runs made twice the last; a label is a name, or holds what differs.

    Versions of one experiment are variants of their own.
    """
    varied = _varied(entries)
    versions = len({entry.dir.parent for entry in entries if entry.dir.parent != entry.home})
    found: dict[tuple[str, ...], dict[tuple, Entry]] = {}
    for entry in entries:
        version = entry.dir.parent.name if versions > 1 else ""
        found.setdefault((version, entry.name, *_values(entry, varied)), {})[entry.key] = entry
    named = Counter(kind[:2] for kind in found)
    made: dict[str, tuple[Entry, ...]] = {}
    for number, (kind, runs) in enumerate(found.items(), start=1):
        version, name, *values = kind
        unnamed = not name or named[kind[:2]] > 1
        parts = [name] * bool(name) + [_label(values, number)] * unnamed + [f"version {version}"] * bool(version)
        label = ", ".join(parts)
        made[f"{label} (variant {number})" if label in made else label] = tuple(runs.values())
    return made


def _varied(entries: Iterable[Entry]) -> list[str]:
    """The parameters that differ in these runs or in their plan, but for those that draw samples or say where."""
    entries = list(entries)
    planned = frozenset().union(*(entry.varied for entry in entries))
    differ = {*differing(entry.parameters for entry in entries), *planned} - SAMPLE - PLACE - {"protocol"}
    return [name for name in dict.fromkeys(name for entry in entries for name in entry.parameters) if name in differ]


def _values(entry: Entry, names: Iterable[str]) -> list[str]:
    return [f"{name}={shown(entry.parameters.get(name))}" for name in names]


def meanings(study: Study) -> dict[str, str]:
    """Variant -> everything that tells it from the others, where its label does not say that."""
    varied = _varied(run for runs in study.variants.values() for run in runs)
    told = {variant: ", ".join(_values(runs[0], varied)) for variant, runs in study.variants.items()}
    return {variant: said for variant, said in told.items() if said and said not in variant}


def _label(values: Sequence[str], number: int) -> str:
    """What tells a variant from the others, in so many words that it can be read; the rest is left to its number."""
    more = [f"and {len(values) - MOST_NAMES} more (variant {number})"] if len(values) > MOST_NAMES else []
    return ", ".join([*values[:MOST_NAMES], *more]) or "as it is"


def _together(entries: Sequence[Entry]) -> dict[str, tuple[Entry, ...]]:
    """The variants of each experiment, side by side, named after it."""
    groups: dict[Path, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.home, []).append(entry)
    called = _called(groups)
    return {
        called[home] if label == "as it is" else f"{called[home]}: {label}": runs
        for home, group in groups.items()
        for label, runs in _variants(group).items()
    }


def shown(value: Any) -> str:
    """The value of a parameter as a label says it."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def value(entry: Entry, metric: str) -> float:
    """A number of a run, a fraction; raises ValueError for one that it does not have, naming the nearest."""
    numbers = [name for name, each in entry.metrics.items() if isinstance(each, int | float)]
    if metric not in numbers:
        close = difflib.get_close_matches(metric, numbers, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(numbers)}"
        raise ValueError(f"metric must be a number of {entry.dir / 'metrics.json'}; got {metric!r}; {hint}")
    return float(entry.metrics[metric])


def compare(study: Study, metric: str, by_videos: Videos = lambda first, second: None) -> list[Row]:
    """A row for each variant: the metric's mean and spread, and its paired difference to the baseline."""
    base = study.variants[study.baseline]
    rows = []
    for variant, runs in study.variants.items():
        pairs = [] if variant == study.baseline else pairs_of(runs, base)
        difference, basis = _difference(pairs, metric, by_videos)
        spreads = spread([value(run, metric) for run in runs])
        rows.append(Row(study, variant, spreads, difference, basis, unlike(runs, base, pairs)))
    return rows


def pairs_of(first: Sequence[Entry], second: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Runs of two variants on the same class split and seed; of runs made twice the last counts."""
    ours, theirs = ({run.key: run for run in runs} for runs in (first, second))
    return [(ours[key], theirs[key]) for key in ours if key in theirs]


def _difference(pairs: Sequence[tuple[Entry, Entry]], metric: str, by_videos: Videos) -> tuple[Verdict | None, str]:
    if not pairs:
        return None, ""
    by_split: dict[tuple, list[float]] = {}
    for first, second in pairs:
        by_split.setdefault(first.key[:2], []).append(value(first, metric) - value(second, metric))
    seeds = {first.key[2] for first, _ in pairs}
    basis = samples(len(by_split), len(seeds))
    if len(pairs) < len(by_split) * len(seeds):
        basis += f" ({len(pairs)} pairs)"
    units = [float(np.mean(each)) for each in by_split.values()] if len(by_split) > 1 else next(iter(by_split.values()))
    if len(units) == 1 and metric == "mAP":
        found = by_videos(*pairs[0])
        if found is not None:
            return found, f"{basis}, over videos"
    return compare_splits(units, [0.0] * len(units)), basis


def samples(splits: int, seeds: int) -> str:
    """Over how many class splits and seeds something was measured, in words."""
    return f"{splits} split{'s' * (splits != 1)} × {seeds} seed{'s' * (seeds != 1)}"


def unlike(first: Sequence[Entry], second: Sequence[Entry], pairs: Sequence[tuple[Entry, Entry]]) -> tuple[str, ...]:
    """What the runs compared do not have in common, and whether their code was committed."""
    runs = (*first, *second)
    facts = dict.fromkeys(name for run in runs for name in run.facts if name != "data")
    found = [name for name in facts if len({run.facts.get(name) for run in runs}) > 1]
    found += ["data"] if any(a.facts.get("data") != b.facts.get("data") for a, b in pairs) else []
    changed = any("+changes" in run.facts.get("commit", "") for run in runs)
    return tuple(found + (["uncommitted changes"] if changed else []))


def per_class(study: Study) -> dict[str, dict[str, float]]:
    """Variant -> class -> mean paired difference of its average precision to the baseline, where both have it."""
    base, found = study.variants[study.baseline], {}
    for variant, runs in study.variants.items():
        if variant == study.baseline:
            continue
        gained: dict[str, list[float]] = {}
        for ours, theirs in pairs_of(runs, base):
            own, other = ours.metrics.get("per_class", {}), theirs.metrics.get("per_class", {})
            for label in own.keys() & other.keys():
                gained.setdefault(label, []).append(own[label] - other[label])
        found[variant] = {label: float(np.mean(each)) for label, each in sorted(gained.items())}
    return found
