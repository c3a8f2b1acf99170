"""What plans ask for, told before anything is executed: their runs, what is there already, and how long it takes."""

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tadlib.workbook import runs, stages
from tadlib.workbook.execution import finished
from tadlib.workbook.experiments import continued, duration
from tadlib.workbook.params import Params
from tadlib.workbook.plans import QUICK, Experiment
from tadlib.workbook.sharing import Way, relative
from tadlib.workbook.stages import STAGES
from tadlib.workbook.variants import shown

LABELS = 8  # at most, of runs that are not simply every combination


def tell(planned: Sequence[Experiment], way: Way, new: bool, say: Callable[[str], None]) -> None:
    """Say what executing the plans one after the other would do and cost."""
    cost = Forecast(way)
    for each in planned:
        say(listing(each))
        common = [f"{name}={value}" for name, value in each.common.items()]
        say(f"in common: {', '.join(common) or 'nothing given'}")
        for line in cost.lines(each, None if new else continued(each)):
            say(line)
    if len(planned) > 1:
        say(f"in all: {sum(len(each.runs) for each in planned)} runs, {cost.time(cost.seconds)}")


def listing(experiment: Experiment) -> str:
    """A plan's question and its runs: all combinations of what varies, or else the first labels."""
    labels, given = list(experiment.runs), experiment.runs.values()
    common = experiment.common
    names = dict.fromkeys(name for run in given for name in run if name not in common)
    values = {name: dict.fromkeys(shown(run[name]) for run in given if name in run) for name in names}
    said = f"{experiment.name}: {experiment.question}\n{len(labels)} run{'s' * (len(labels) > 1)}:"
    if len(labels) == 1:
        return f"{said} {labels[0]}"
    everywhere = all(name in run for run in given for name in names)
    if everywhere and math.prod(map(len, values.values())) == len(labels):
        return f"{said} " + " × ".join(f"{name} {', '.join(each)}" for name, each in values.items())
    more = [f"and {len(labels) - LABELS} more"] if len(labels) > LABELS else []
    return "\n  ".join([said, *labels[:LABELS], *more])


@dataclass
class Forecast:
    """What plans cost that are executed one after the other; a stage that several need costs the first of them."""

    way: Way
    seconds: float | None = 0.0  # None where nobody knows
    counted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.took = _took(runs.project_root() / "outputs")

    def lines(self, experiment: Experiment, folder: Path | None) -> Iterator[str]:
        """The next plan: what the version in `folder` has of it, distinct stages, time by what earlier runs took."""
        there: set[tuple[str, str]] = set()
        if folder:
            every = [(run, stage) for run in experiment.runs for stage in STAGES]
            there = {(run, stage) for run, stage in every if finished(folder / run / f"{stage}.ipynb")}
            done = sum(all((run, stage) in there for stage in STAGES) for run in experiment.runs)
            yield f"goes on in {relative(folder)}: {done} of {len(experiment.runs)} runs finished already"
        total: float | None = 0.0
        alone = dict.fromkeys(experiment.runs, 0.0)  # seconds of each run: no number of jobs makes one shorter
        for stage in STAGES:
            wanted, missing = self._stages(stage, experiment, there)
            above = missing.keys() & self.counted
            for label in (label for name, label in missing.items() if name not in above):
                took = self._seconds(stage, Params.read(experiment.runs[label]))
                total, alone[label] = _sum(total, took), alone[label] + (took or 0.0)
            self.counted |= missing.keys()
            made = f", {wanted - len(missing)} of them made already" if len(missing) < wanted else ""
            shared = f", {len(above)} of them by a plan above" if above else ""
            yield f"{stage}: {wanted} for {len(experiment.runs)} runs{made}{shared}"
        lasts = None if total is None else max(total / self.way.jobs, *alone.values())
        self.seconds = _sum(self.seconds, lasts)
        yield self.time(lasts)

    def _stages(
        self, stage: str, experiment: Experiment, there: Container[tuple[str, str]]
    ) -> tuple[int, dict[str, str]]:
        """How many distinct executions of a stage a plan needs; those not there yet, each with a run that needs it."""
        wanted, missing = set(), {}
        for label, given in experiment.runs.items():
            params = Params.read(given)
            key = stages.key(stage, given, runs.device_name(params.device))
            name = f"{stage}-{key}" if self.way.share else f"{experiment.name}/{label}/{stage}"
            wanted.add(name)
            if (label, stage) not in there and not (self.way.share and stages.stored(stages.stored_at(stage, key))):
                missing.setdefault(name, label)
        return len(wanted), missing

    def _seconds(self, stage: str, params: Params) -> float | None:
        where = (stage, params.dataset)
        took = self.took.get((*where, *_size(params.model_dump())), self.took.get(where))
        return None if took is None else took * _passes(stage, params.model_dump())

    def time(self, seconds: float | None) -> str:
        """How long it takes, in words."""
        unknown = "unknown: no earlier run of this data set took it"
        about = unknown if seconds is None else f"about {duration(seconds)}"
        return f"time with {self.way.jobs} at once: {about}"


def _sum(*seconds: float | None) -> float | None:
    return None if None in seconds else sum(seconds)


def _took(outputs: Path) -> dict[tuple[Any, ...], float]:
    """The median time of a stage, of training for each epoch, on each data set, and there by the size of the run too.

    What a run took over from another is the other's record, and counts once.
    """
    found: dict[tuple[Any, ...], list[float]] = {}
    for run in runs.load(outputs):
        for stage, record in runs.records(run["dir"]).items():
            if stage in STAGES and "seconds" in record and "shared" not in record:
                given = record["parameters"]
                where = (stage, given["dataset"])
                for place in (where, (*where, *_size(given))):
                    found.setdefault(place, []).append(record["seconds"] / _passes(stage, given))
    return {place: median(times) for place, times in found.items()}


def _size(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `--quick` cuts: times of runs that agree in it are the best guess, where there are any."""
    return tuple(given.get(name) for name in QUICK)


def _passes(stage: str, given: Mapping[str, Any]) -> int:
    return given["epochs"] if stage == "train" else 1
