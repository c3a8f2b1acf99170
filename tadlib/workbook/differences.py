"""Paired differences between variants, with intervals, on class splits that were held out.

Two variants are compared on the (split, seed) they share: the seeds of a class split are averaged first, because what a
split makes easy is easy for all of them, and the interval is Student's over class splits; with one class split it is
over seeds. With a single pair the test videos can be drawn again instead, if the caller knows how. A class split that
had part in choosing what tells two variants apart is not held out: the difference is that of the others, and where
there are none it is said so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tadlib.evaluation.statistics import Spread, Verdict, compare_splits, spread
from tadlib.workbook.choices import Choice, had_part
from tadlib.workbook.evidence import Entry
from tadlib.workbook.variants import Study, value

Videos = Callable[[Entry, Entry], Verdict | None]  # two runs -> their difference with an interval over videos
Pairs = list[tuple[Entry, Entry]]


class Chosen(NamedTuple):
    """The runs of a variant that had part in choosing one of its values, and what it is worth without them."""

    splits: Mapping[str, tuple[str, ...]]  # class split -> the parameters chosen there
    rest: Spread | None  # of the metric, over the other runs; None if there are none
    basis: str  # what those are


class Row(NamedTuple):
    """One variant beside the baseline."""

    study: Study
    variant: str
    values: Spread  # of the metric, over all runs of the variant
    difference: Verdict | None  # variant minus baseline, held out where any pair is; None for the baseline, or unpaired
    basis: str  # what the interval is over
    unlike: tuple[str, ...]  # what differs between the runs compared, besides their parameters
    chosen: Chosen | None = None  # None where no run had part in a choice
    apart: tuple[str, ...] = ()  # parameters in which the two differ and that some of the pairs had part in choosing
    whole: Verdict | None = None  # the difference over all pairs, where some had part and others not
    whole_basis: str = ""
    pairs: int = 0  # of runs, those that had part among them

    @property
    def held_out(self) -> bool:
        """Whether no pair behind `difference` had part in choosing what tells the two apart."""
        return not self.apart or self.whole is not None


def compare(
    study: Study,
    metric: str,
    by_videos: Videos = lambda first, second: None,
    choices: Sequence[Choice] = (),
) -> list[Row]:
    """A row for each variant: the metric's mean and spread, and its paired difference to the baseline.

    `choices` hold beside those that the runs' own experiment declared.
    """
    base = study.variants[study.baseline]
    rows = []
    for variant, runs in study.variants.items():
        pairs = [] if variant == study.baseline else pairs_of(runs, base)
        apart = [_part(first, choices) ^ _part(second, choices) for first, second in pairs]
        others = [pair for pair, names in zip(pairs, apart, strict=True) if not names]
        difference, basis = _difference(others or pairs, metric, by_videos)
        some = 0 < len(others) < len(pairs)
        whole, whole_basis = _difference(pairs, metric, by_videos) if some else (None, "")
        spreads = spread([value(run, metric) for run in runs])
        rows.append(
            Row(
                study,
                variant,
                spreads,
                difference,
                basis,
                unlike(runs, base, pairs),
                _chosen(runs, metric, choices),
                tuple(sorted(frozenset().union(*apart))),
                whole,
                whole_basis,
                len(pairs),
            )
        )
    return rows


def _part(run: Entry, choices: Sequence[Choice]) -> frozenset[str]:
    return had_part((*choices, *run.chosen), run.parameters)


def _chosen(runs: Sequence[Entry], metric: str, choices: Sequence[Choice]) -> Chosen | None:
    parts = [_part(run, choices) for run in runs]
    splits = {split_of(run): tuple(sorted(names)) for run, names in zip(runs, parts, strict=True) if names}
    rest = [run for run, names in zip(runs, parts, strict=True) if not names]
    if not splits:
        return None
    return Chosen(splits, spread([value(run, metric) for run in rest]) if rest else None, sample(rest))


def split_of(run: Entry) -> str:
    """The class split of a run, as it is written: the share of seen classes and the number of the draw."""
    return "/".join(map(str, run.key[:2]))


def sample(runs: Sequence[Entry]) -> str:
    """Over what runs are spread."""
    return samples(len({run.key[:2] for run in runs}), len({run.key[2] for run in runs}))


def pairs_of(first: Sequence[Entry], second: Sequence[Entry]) -> Pairs:
    """Runs of two variants on the same class split and seed; of runs made twice the last counts."""
    ours, theirs = ({run.key: run for run in runs} for runs in (first, second))
    return [(ours[key], theirs[key]) for key in ours if key in theirs]


def _difference(pairs: Pairs, metric: str, by_videos: Videos) -> tuple[Verdict | None, str]:
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


def unlike(first: Sequence[Entry], second: Sequence[Entry], pairs: Pairs) -> tuple[str, ...]:
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
