"""Batches: every run of a plan executed stage by stage, here or by jobs of SLURM.

What is finished is not run again, a run that fails is reported and the others go on, and whatever ends a batch, the
same command goes on where it stopped. Runs tell what they do in a log of their own, from which progress is read.

Jobs first make the features that are missing, each those of some videos: one that is lost loses the videos it had in
hand. What none could encode is left to the prepare notebook, which makes it or says what is wrong with it.
"""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tadlib.files import note, read_json, write_json
from tadlib.locks import locked
from tadlib.workbook import execution, executors, runs, stages
from tadlib.workbook.execution import INTERRUPTED
from tadlib.workbook.executors import LOST, Pool
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment
from tadlib.workbook.stage_store import FAILED, finished, obtain, relative, stored_at
from tadlib.workbook.stages import STAGES

SHARE = 32  # videos: so many that loading an encoder does not count, so few that jobs end at about the same time
MADE_FROM = set("dataset data_dir encoder pretrained stride frames_per_snippet snippets device precision".split())
READ = {"dataset", "data_dir", "features"} | stages.FILES  # parameters that name files
Say = Callable[[str], None]


def version_dir(experiment: Experiment, new: bool = False) -> Path:
    """The directory of this execution: the latest one if it can be continued, else a new one."""
    latest = None if new else continued(experiment)
    if latest is not None:
        return latest
    folder = runs.project_root() / "outputs" / experiment.name / runs.new_name()
    folder.mkdir(parents=True)
    facts = {"commit": runs.commit(), "asks": experiment.asks, "question": experiment.question, "status": {}}
    facts |= {"names": dict(experiment.names), "chosen": [choice._asdict() for choice in experiment.chosen]}
    write_json(folder / "experiment.json", _identity(experiment) | facts)
    return folder


def continued(experiment: Experiment) -> Path | None:
    """The latest version of an experiment if it has the same plan, code and data: it goes on where it stopped."""
    versions = (runs.project_root() / "outputs" / experiment.name).glob("*/experiment.json")
    latest = max(versions, default=None)
    same = latest is not None and _identity(experiment).items() <= read_json(latest).items()
    return latest.parent if same else None


def _identity(experiment: Experiment) -> dict[str, Any]:
    every = map(Params.read, experiment.runs.values())
    different = {str(params.model_dump(include=READ)): params for params in every}
    return {
        "runs": {label: dict(parameters) for label, parameters in experiment.runs.items()},
        "code": [stages.code_version(stage) for stage in STAGES],
        "data": sorted(set(map(stages.data_version, different.values()))),
    }


def preview(experiment: Experiment, folder: Path | None, pages: str = "all") -> Iterator[str]:
    """What executing a plan, going on in `folder`, would find there and have to make, in lines."""
    yield "in common: " + (", ".join(f"{name}={value}" for name, value in experiment.common.items()) or "nothing given")
    if folder:
        done = sum(_is_finished(folder / label, given, pages) for label, given in experiment.runs.items())
        yield f"goes on in {relative(folder)}: {done} of {len(experiment.runs)} runs finished already"
    for stage in STAGES:
        places = {stored_at(stage, given, pages) for given in experiment.runs.values()}
        made = sum(each.is_dir() for each in places)
        yield f"{stage}: {len(places)} for {len(experiment.runs)} runs" + f", {made} of them made already" * bool(made)


def execute(  # noqa: PLR0913  one word for each choice of a batch
    experiment: Experiment, folder: Path, jobs: int = 1, say: Say = print, slurm: Pool | None = None, pages: str = "all"
) -> dict[str, str]:
    """Run all stages of all runs, here or as jobs; the status of each: "finished", or "failed in STAGE: why".

    `pages` says which runs have executed notebooks of all stages: all, best (that with the highest mAP), or none.

    Jobs must see this disk. What ends this ends its runs. Raises OSError where another batch is at work in the folder.
    """
    with _one_at_a_time(folder):
        shutil.rmtree(folder / FAILED, ignore_errors=True)  # what failed before is tried again
        batch = _Batch(folder, experiment.runs, say, pages)
        with suppress(OSError):
            (folder / FAILED).mkdir()
        calls = {label: (folder, label, experiment.runs[label], jobs, pages) for label in _in_order(experiment)}
        try:
            with nullcontext(slurm) if slurm else ThreadPoolExecutor(jobs) as pool:
                try:
                    if slurm:
                        extract_missing(experiment, batch.say, slurm)
                    work = run_as_job if slurm else run_all_stages
                    executors.outcomes(pool, work, calls, batch.ended, batch.tell)
                    if pages == "best" and (best := _best(folder, batch.status)):
                        batch.say(f"pages of {best}, the run with the highest mAP")
                        again = {best: (folder, best, experiment.runs[best], jobs)}
                        executors.outcomes(pool, work, again, batch.ended, batch.tell)
                except BaseException:
                    execution.stop()
                    raise
        finally:
            execution.stopping.clear()  # no sooner than the threads have ended
            batch.tell()
        return batch.status


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise OSError(f"another `tad run` is at work in {folder}: wait for it, or start a version with --new")

    with locked(folder / "version", refuse):
        yield


def run_all_stages(version: Path, label: str, given: Mapping[str, Any], jobs: int, pages: str = "all") -> str:
    """Execute what is not finished of one run and tell it in the run's `run.log`; its status."""
    folder, stage = version / label, STAGES[0]
    say = partial(note, folder / "run.log")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            if finished(stage, folder, given, pages):
                say(f"{stage} is finished already")
                continue
            begun = time.monotonic()
            reason = obtain(stage, folder, given, jobs, say, pages)
            if reason is not None:
                return f"{LOST if INTERRUPTED in reason else 'failed'} in {stage}: {reason}"
            say(f"{stage} done in {time.monotonic() - begun:.0f} s")
    except OSError as error:
        return f"failed in {stage}: cannot write {error.filename or folder}, {error.strerror}"
    return "finished"


def run_as_job(*words: Any) -> str:
    """Run all stages in the process of a job: SIGTERM, which submitit ignores, keeps it from beginning another."""
    signal.signal(signal.SIGTERM, lambda *_: execution.stopping.set())
    return run_all_stages(*words)


def _in_order(experiment: Experiment) -> list[str]:
    """The labels so that runs of different detectors come first: those that share one would only wait for it."""
    sharing: Counter[str] = Counter()
    ranks = {}
    for label, given in experiment.runs.items():
        key = stages.key("train", given)
        ranks[label] = sharing[key]
        sharing[key] += 1
    return sorted(experiment.runs, key=ranks.__getitem__)


def _is_finished(run: Path, given: Mapping[str, Any], pages: str) -> bool:
    return all(finished(stage, run, given, pages) for stage in STAGES)


def _best(folder: Path, status: Mapping[str, str]) -> str:
    """The run of a version with the highest mAP, by its label; empty where none has finished."""
    places = {label: folder / label for label, text in status.items() if text == "finished"}
    metrics = {label: stages.planned(runs.records(place), place)[1] for label, place in places.items()}
    return max(metrics, key=lambda label: read_json(metrics[label])["mAP"], default="")


class _Batch:
    """What is known of a batch at work: who ended how, what was told, and how long the rest will take."""

    def __init__(self, folder: Path, planned: Mapping[str, Mapping[str, Any]], say_aloud: Say, pages: str) -> None:
        self.folder, self.say_aloud, self.started = folder, say_aloud, time.monotonic()
        self.status: dict[str, str] = {}
        self.logs = {label: folder / label / "run.log" for label in planned}
        self.read = {label: _size(log) for label, log in self.logs.items()}  # bytes of each that were told before
        self.finished_before = {label for label, given in planned.items() if _is_finished(folder / label, given, pages)}

    def say(self, text: str) -> None:
        note(self.folder / "batch.log", text)
        with suppress(OSError):  # what is said may go to the disk that is full
            self.say_aloud(text)

    def tell(self) -> None:
        """Repeat what runs have written into their logs since the last look."""
        for label, log in self.logs.items():
            if _size(log) > self.read[label]:
                news = log.read_bytes()[self.read[label] :]
                self.read[label] += len(news)
                for line in news.decode(errors="replace").splitlines():
                    self.say(f"{label}: {line[21:]}")

    def ended(self, label: str, status: str) -> None:
        """Keep how a run ended, and say it with the time that is left."""
        self.status[label] = status
        worked, done = len(self.status.keys() - self.finished_before), len(self.status.keys() | self.finished_before)
        left = len(self.logs) - done
        about = tqdm.format_interval((time.monotonic() - self.started) / max(worked, 1) * left)
        rest = f", about {about} left" if worked and left else ""
        self.say(f"{label}: {status} ({len(self.status)} of {len(self.logs)} runs{rest})")
        path = self.folder / "experiment.json"
        try:
            record = read_json(path)
            write_json(path, record | {"status": record.get("status", {}) | {label: status}})
        except OSError as error:
            self.say(f"cannot write {path} ({error.strerror}); going on")


def _size(log: Path) -> int:
    return log.stat().st_size if log.is_file() else 0


def extract_missing(experiment: Experiment, say: Say, slurm: Pool) -> None:
    """Let jobs make what features the runs of an experiment lack, and wait until they have."""
    every = [Params.read(given) for given in experiment.runs.values()]
    different = {str(params.model_dump(include=MADE_FROM)): params for params in every if params.features == "auto"}
    for params in different.values():
        lacking = executors.outcomes(slurm, encode, {"": (params,)})[""]
        if isinstance(lacking, str):
            say(f"features: nothing is dealt out, {lacking}")
            continue
        shares = [lacking[start : start + SHARE] for start in range(0, len(lacking), SHARE)]
        if len(shares) > 1:  # else nothing is missing, or what one job makes as well
            say(f"features: {len(lacking)} videos of {params.dataset} in {len(shares)} shares ...")
            calls = {f"share {number} of {len(shares)}": (params, videos) for number, videos in enumerate(shares, 1)}
            executors.outcomes(slurm, encode, calls, lambda label, answer: say(f"features: {label} {answer}"))


def encode(params: Params, videos: list[str] | None = None) -> str | list[str]:
    """What a job does: encode `videos` and say how it ended, or without any name all that lack features."""
    from tadlib.workbook import gathering

    try:
        if videos is None:
            return gathering.lacking(params)
        gathering.encode(params, videos)
    except Exception as error:  # the prepare notebook meets it too, and says more
        return f"failed: {type(error).__name__}: {error}"
    return "encoded"
