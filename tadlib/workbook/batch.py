"""Batches: every run of a plan executed stage by stage, here or by workers elsewhere.

What is finished is not run again, a run that fails is reported and the others go on, and whatever ends a batch, the
same command goes on where it stopped. Runs tell what they do in a log of their own, from which progress is read.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import Timeout
from tqdm import tqdm

from tadlib.files import file_lock, note, read_json, write_json
from tadlib.workbook import execution, executors, extraction, runs, stages
from tadlib.workbook.execution import INTERRUPTED, finished
from tadlib.workbook.executors import LOST, Machines
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment
from tadlib.workbook.stage_store import FAILED, STOP, Limits, obtain, relative, stored_at
from tadlib.workbook.stages import STAGES

Say = Callable[[str], None]


def version_dir(experiment: Experiment, new: bool = False) -> Path:
    """The directory of this execution: the latest one if it can be continued, else a new one."""
    latest = None if new else continued(experiment)
    if latest is not None:
        return latest
    folder = _home(experiment) / runs.new_name()
    folder.mkdir(parents=True)
    facts = {"commit": runs.commit(), "asks": experiment.asks, "question": experiment.question, "status": {}}
    facts |= {"names": dict(experiment.names), "chosen": [choice._asdict() for choice in experiment.chosen]}
    write_json(folder / "experiment.json", _wanted(experiment) | facts)
    return folder


def continued(experiment: Experiment) -> Path | None:
    """The latest version of an experiment if it has the same plan, code and data: it goes on where it stopped."""
    latest = max((path.parent for path in _home(experiment).glob("*/experiment.json")), default=None)
    wanted = _wanted(experiment)
    if latest is not None:
        record = read_json(latest / "experiment.json")
        if {name: record.get(name) for name in wanted} == wanted:
            return latest
    return None


def _home(experiment: Experiment) -> Path:
    return runs.project_root() / "outputs" / experiment.name


def _wanted(experiment: Experiment) -> dict[str, Any]:
    return {
        "runs": {label: dict(parameters) for label, parameters in experiment.runs.items()},
        "code": [stages.code_version(stage) for stage in STAGES],
        "data": sorted({stages.data_version(Params.read(parameters)) for parameters in experiment.runs.values()}),
    }


def preview(experiment: Experiment, folder: Path | None) -> Iterator[str]:
    """What executing a plan, going on in `folder`, would find there and have to make, in lines."""
    yield "in common: " + (", ".join(f"{name}={value}" for name, value in experiment.common.items()) or "nothing given")
    if folder:
        done = sum(_is_finished(folder / label) for label in experiment.runs)
        yield f"goes on in {relative(folder)}: {done} of {len(experiment.runs)} runs finished already"
    for stage in STAGES:
        places = {stored_at(stage, given) for given in experiment.runs.values()}
        made = sum(each.is_dir() for each in places)
        yield f"{stage}: {len(places)} for {len(experiment.runs)} runs" + f", {made} of them made already" * bool(made)


def execute(
    experiment: Experiment, folder: Path, limits: Limits, say: Say = print, machines: Machines | None = None
) -> dict[str, str]:
    """Run all stages of all runs; the status of each run: "finished", or "failed in STAGE: why".

    `machines` elsewhere must see this disk; they first make the features that are missing. What ends this ends its
    runs: here at once, elsewhere before their next stage. Raises OSError where another batch is at work in the folder.
    """
    if machines is None:
        try:
            with executors.local(limits.jobs) as machines:
                return execute(experiment, folder, limits, say, machines)
        finally:
            execution.stopping.clear()  # no sooner than the threads have ended
    limits = replace(limits, jobs=machines.jobs)
    with _one_at_a_time(folder):
        (folder / STOP).unlink(missing_ok=True)
        shutil.rmtree(folder / FAILED, ignore_errors=True)  # what failed before is tried again
        batch = _Batch(folder, list(experiment.runs), say)
        with suppress(OSError):
            (folder / FAILED).mkdir()
        try:
            if machines.remote:
                extraction.extract_missing(experiment, folder, limits, batch.say, machines.executor)
            root = str(runs.project_root())
            calls = {
                label: (root, str(folder / label), experiment.runs[label], limits) for label in in_order(experiment)
            }
            with closing(executors.results(machines.executor, run_all_stages, calls)) as results:
                for label, status in results:
                    batch.tell()
                    if label:
                        batch.ended(label, status)
        except BaseException:
            with suppress(OSError):
                (folder / STOP).touch()
            if not machines.remote:
                execution.stop()
            raise
        finally:
            batch.tell()
        return batch.status


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock a version's folder; where no lock can be written, its runs will say what is wrong."""
    lock = file_lock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(f"another `tad run` is at work in {folder}: wait for it, or start a version with --new") from None
    except OSError:
        pass
    try:
        yield
    finally:
        lock.release()


def run_all_stages(root: str, folder: str, given: Mapping[str, Any], limits: Limits) -> str:
    """Execute what is not finished of one run and tell it in the run's `run.log`; its status."""
    os.environ["TAD_ROOT"] = root  # a worker elsewhere may have been started anywhere
    target, stage = Path(folder), STAGES[0]
    say = partial(note, target / "run.log")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            if finished(target / f"{stage}.ipynb"):
                say(f"{stage} is finished already")
                continue
            if (target.parent / STOP).exists():
                say(f"stopped before {stage}")
                return f"stopped before {stage}"
            begun = time.monotonic()
            reason = obtain(stage, target, given, limits, say)
            if reason is not None:
                return f"{LOST if INTERRUPTED in reason else 'failed'} in {stage}: {reason}"
            say(f"{stage} done in {time.monotonic() - begun:.0f} s")
    except OSError as error:
        return f"failed in {stage}: cannot write {error.filename or folder} ({error.strerror})"
    return "finished"


def in_order(experiment: Experiment) -> list[str]:
    """The labels so that runs of different detectors come first: those that share one would only wait for it."""
    sharing: Counter[str] = Counter()
    ranks = {}
    for label, given in experiment.runs.items():
        key = stages.key("train", given)
        ranks[label] = sharing[key]
        sharing[key] += 1
    return sorted(experiment.runs, key=ranks.__getitem__)


def _is_finished(run: Path) -> bool:
    return all(finished(run / f"{stage}.ipynb") for stage in STAGES)


@dataclass
class _Batch:
    """What is known of a batch at work: who ended how, what was told, and how long the rest will take."""

    folder: Path
    labels: list[str]
    say_aloud: Say
    status: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.read = {label: self._size(label) for label in self.labels}
        self.skipped = {label for label in self.labels if _is_finished(self.folder / label)}

    def _size(self, label: str) -> int:
        log = self.folder / label / "run.log"
        return log.stat().st_size if log.is_file() else 0

    def say(self, text: str) -> None:
        note(self.folder / "batch.log", text)
        with suppress(OSError):  # what is said may go to the disk that is full
            self.say_aloud(text)

    def tell(self) -> None:
        """Repeat what runs have written into their logs since the last look."""
        for label in self.labels:
            if self._size(label) > self.read[label]:
                with open(self.folder / label / "run.log", encoding="utf-8") as handle:
                    handle.seek(self.read[label])
                    news = handle.read()
                self.read[label] += len(news.encode())
                for line in news.splitlines():
                    self.say(f"{label}: {line[21:]}")

    def ended(self, label: str, status: str) -> None:
        """Keep how a run ended, and say it with the time that is left."""
        self.status[label] = status
        worked, left = len(self.status.keys() - self.skipped), len(set(self.labels) - self.skipped - set(self.status))
        about = (time.monotonic() - self.started) / max(worked, 1) * left
        rest = f", about {tqdm.format_interval(about)} left" if worked and left else ""
        self.say(f"{label}: {status} ({len(self.status)} of {len(self.labels)} runs{rest})")
        try:
            record = read_json(self.folder / "experiment.json")
            write_json(self.folder / "experiment.json", record | {"status": record.get("status", {}) | {label: status}})
        except OSError as error:
            self.say(f"cannot write {self.folder / 'experiment.json'} ({error.strerror}); going on")
