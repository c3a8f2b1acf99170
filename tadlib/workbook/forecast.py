"""What plans ask for, told before anything is executed: their runs, what is there already, and how long it takes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tadlib.workbook import runs, stages
from tadlib.workbook.experiments import continued, done, duration
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment
from tadlib.workbook.sharing import relative
from tadlib.workbook.stages import STAGES
from tadlib.workbook.variants import shown

LABELS = 8  # at most, of runs that are not simply every combination


def tell(planned: Sequence[Experiment], jobs: int, new: bool, say: Callable[[str], None]) -> None:
    """Say what executing the plans one after the other, with so many runs at once, would do and cost."""
    cost = Forecast(jobs)
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
    """What plans cost that are executed one after the other, with so many runs at once."""

    jobs: int
    seconds: float | None = 0.0  # None where nobody knows

    def __post_init__(self) -> None:
        self.took = _seconds_by_stage(runs.project_root() / "outputs")

    def lines(self, experiment: Experiment, folder: Path | None) -> Iterator[str]:
        """The next plan: what the version in `folder` has of it, distinct stages, time by what earlier runs took."""
        if folder:
            there = sum(done(folder / label) for label in experiment.runs)
            yield f"goes on in {relative(folder)}: {there} of {len(experiment.runs)} runs finished already"
        total: float | None = 0.0
        for stage in STAGES:
            keys: dict[str, Params] = {}
            for given in experiment.runs.values():
                params = Params.check(given)
                keys.setdefault(stages.key(stage, given, runs.device_name(params.device)), params)
            todo = {key: params for key, params in keys.items() if not stages.stored(stage, key)}
            total = _sum(total, *(self.took.get((stage, params.dataset)) for params in todo.values()))
            there = f", {len(keys) - len(todo)} of them made already" if len(todo) < len(keys) else ""
            yield f"{stage}: {len(keys)} for {len(experiment.runs)} runs{there}"
        self.seconds = _sum(self.seconds, total)
        yield self.time(total)

    def time(self, seconds: float | None) -> str:
        """How long it takes, in words."""
        unknown = "unknown: no earlier run of this data set took it"
        about = unknown if seconds is None else f"about {duration(seconds / self.jobs)}"
        return f"time with {self.jobs} at once: {about}"


def _sum(*seconds: float | None) -> float | None:
    return None if None in seconds else sum(seconds)


def _seconds_by_stage(outputs: Path) -> Mapping[tuple[str, str], float]:
    """The median time of each stage on each data set."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs.load(outputs):
        for stage, record in runs.records(run["dir"]).items():
            if "seconds" in record:
                found.setdefault((stage, run["parameters"]["dataset"]), []).append(record["seconds"])
    return {where: sorted(times)[len(times) // 2] for where, times in found.items()}
