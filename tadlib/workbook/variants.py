"""Runs grouped into variants of a question.

Runs of one question that differ in their class split and seed alone are one variant; `differences` compares them. What
was scored under different protocols, or on training and on test videos, is never compared: each is a study of its own.
"""

import difflib
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tadlib.workbook import edits
from tadlib.workbook.evaluations import evaluated_on
from tadlib.workbook.evidence import Entry, data_of, differing
from tadlib.workbook.plans import shown

SAMPLE = {"split", "split_id", "seed", "world_seed"}  # what samples are drawn by
PLACE = {"run_dir", "data_dir", "device"}  # where a run happened, not what it did
MOST_NAMES = 4  # parameters that a label of a variant spells out


class Story(NamedTuple):
    """What stands on top of an experiment's file."""

    question: str
    claim: str  # the research log's verdict
    rows: tuple[int, ...]  # numbers of its entries


@dataclass(frozen=True)
class Study:
    """A question, the variants that answer it, and the one that the others are compared with."""

    name: str
    data: str  # demo, rehearsal, or the data set
    story: Story
    variants: Mapping[str, tuple[Entry, ...]]
    baseline: str
    protocol: str = "strict"
    evaluate_on: str = "test"

    @property
    def on(self) -> str:
        """The data, and the protocol and the videos scored where they are not the usual ones."""
        protocol = "" if self.protocol == "strict" else f", protocol {self.protocol}"
        return self.data + protocol + (", training videos" if self.evaluate_on == "training" else "")

    @property
    def title(self) -> str:
        """Name and data."""
        return f"{self.name} ({self.on})"


def story(comment: str) -> Story:
    """The question, the log's claim and its rows, from the comment on top of an experiment's file."""
    asked, _, rest = comment.partition(" Log: ")
    claim, _, tail = rest.partition(" Rows: ")
    listed = re.match(r"[\d, ]+", tail)
    return Story(asked.strip(), claim.strip(), tuple(int(n) for n in re.findall(r"\d+", listed[0] if listed else "")))


def studies(entries: Sequence[Entry], baseline: str = "", together: bool = False) -> list[Study]:
    """One study for each experiment, data set, protocol and `evaluate_on`, or one of all runs that agree in the latter.

    Raises ValueError for a baseline that no study has, naming the nearest.
    """
    groups: dict[tuple[Path | None, str, str, str], list[Entry]] = {}
    for entry in entries:
        key = (None, "") if together else (entry.home, data_of(entry))
        scored = entry.parameters.get("protocol", "strict"), evaluated_on(entry.parameters)
        groups.setdefault((*key, *scored), []).append(entry)
    called = _called({home for home, *_ in groups if home})
    known: list[str] = []
    made = []
    for (home, data, *scored), group in groups.items():
        variants = _together(group) if together else _variants(group)
        known += variants
        plain = (label for label, each in variants.items() if not each[0].edited)
        first = baseline if baseline in variants else next(plain, next(iter(variants)))
        said = story(group[0].question) if not together else Story("", "", ())
        on = data or ", ".join(sorted({data_of(each) for each in group}))
        made.append(Study(called[home] if home else "all runs", on, said, variants, first, *scored))
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

    Versions of one experiment are variants of their own, and so are runs of edited notebooks, which come last.
    """
    varied = _varied(entries)
    versions = len({entry.dir.parent for entry in entries if entry.dir.parent != entry.home})
    found: dict[tuple[str, ...], dict[tuple, Entry]] = {}
    for entry in sorted(entries, key=lambda entry: bool(entry.edited)):
        version = entry.dir.parent.name if versions > 1 else ""
        found.setdefault((version, entry.name, edits.mark(entry.edited), *_values(entry, varied)), {})[entry.key] = (
            entry
        )
    named = Counter(kind[:3] for kind in found)
    made: dict[str, tuple[Entry, ...]] = {}
    for number, (kind, runs) in enumerate(found.items(), start=1):
        version, name, edited, *values = kind
        unnamed = not name or named[kind[:3]] > 1
        parts = [name] * bool(name) + [_label(values, number)] * unnamed
        parts += [f"edited notebook {edited}"] * bool(edited) + [f"version {version}"] * bool(version)
        label = ", ".join(parts)
        made[f"{label} (variant {number})" if label in made else label] = tuple(runs.values())
    return made


def identity(entry: Entry) -> tuple[Hashable, ...]:
    """What two runs have in common of which the later was made in place of the other."""
    return (
        entry.home,
        entry.name,
        edits.mark(entry.edited),
        *_values(entry, (name for name in entry.parameters if name not in PLACE)),
    )


def _varied(entries: Iterable[Entry]) -> list[str]:
    """The parameters that differ in these runs or in their plan, but for those that draw samples or say where."""
    entries = list(entries)
    planned = frozenset().union(*(entry.varied for entry in entries))
    differ = {*differing(entry.parameters for entry in entries), *planned} - SAMPLE - PLACE
    differ -= {"protocol", "evaluate_on"}
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


def value(entry: Entry, metric: str) -> float:
    """A number of a run, a fraction; raises ValueError for one that it does not have, naming the nearest."""
    numbers = [name for name, each in entry.metrics.items() if isinstance(each, int | float)]
    if metric not in numbers:
        close = difflib.get_close_matches(metric, numbers, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(numbers)}"
        raise ValueError(f"metric must be a number of {entry.dir / 'metrics.json'}; got {metric!r}; {hint}")
    return float(entry.metrics[metric])
