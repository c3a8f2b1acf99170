"""Batches: execute every run of a plan, stage by stage, in local processes or as SLURM jobs.

Finished stages are skipped, a failed run is reported while the others continue, and an interrupted batch is resumed by
the same command. Every run writes its progress to its own log, which the batch repeats.
"""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tadlib.files import note, read_json, write_json
from tadlib.locks import locked
from tadlib.workbook import execution, executors, runs, stages
from tadlib.workbook.execution import INTERRUPTED
from tadlib.workbook.executors import LOST, Pool
from tadlib.workbook.finished_runs import planned
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment
from tadlib.workbook.stage_store import FAILED, Say, finished, obtain, relative, stored_at
from tadlib.workbook.stages import STAGES

SHARE = 32  # videos per job: enough to outweigh loading the encoder, few enough for jobs to end at about the same time
EXTRACTION = set("dataset data_dir encoder pretrained stride frames_per_snippet snippets device precision".split())


def version_dir(experiment: Experiment, new: bool = False) -> Path:
    """Return the folder to write to: the latest version if it can be continued, else a new one."""
    latest = None if new else continued(experiment)
    folder = latest or runs.project_root() / "outputs" / experiment.name / runs.new_name()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "experiment.json"
    began = read_json(path) if latest else _identity(experiment) | {"commit": runs.commit()}
    # what the file says about its runs, which may change while they stay the same
    said = {"asks": experiment.asks, "question": experiment.question, "names": dict(experiment.names)}
    write_json(path, began | said)
    return folder


def continued(experiment: Experiment) -> Path | None:
    """Return the latest version of an experiment if it has the same plan, code and data, and can be continued."""
    versions = (runs.project_root() / "outputs" / experiment.name).glob("*/experiment.json")
    latest = max(versions, default=None)
    same = latest is not None and _identity(experiment).items() <= read_json(latest).items()
    return latest.parent if same else None


def _identity(experiment: Experiment) -> dict[str, Any]:
    all_params = map(Params.read, experiment.runs.values())
    distinct = {str(params.model_dump(include=set(stages.PATHS))): params for params in all_params}
    return {
        "runs": {label: dict(parameters) for label, parameters in experiment.runs.items()},
        "code": _code(),
        "data": sorted(set(map(stages.data_version, distinct.values()))),
    }


def _code() -> list[str]:
    return [stages.code_version(stage) for stage in STAGES]


def _changed(version: Path, given: Mapping[str, Any]) -> str:
    """Return what of a run has changed since its version began, which has one code and one set of data; else empty."""
    began = read_json(version / "experiment.json")
    if began["code"] != _code():
        return "code"
    return "" if stages.data_version(Params.read(given)) in began["data"] else "data"


def preview(experiment: Experiment, folder: Path | None, pages: str = "all") -> Iterator[str]:
    """Describe a dry run of a plan line by line: finished runs in `folder`, and the stages to execute."""
    yield "in common: " + (", ".join(f"{name}={value}" for name, value in experiment.common.items()) or "nothing given")
    if folder:
        done = sum(_is_finished(folder / label, given, pages) for label, given in experiment.runs.items())
        yield f"goes on in {relative(folder)}: {done} of {len(experiment.runs)} runs finished already"
    for stage in STAGES:
        places = {stored_at(stage, given, pages) for given in experiment.runs.values()}
        made = sum(place.is_dir() for place in places)
        yield f"{stage}: {len(places)} for {len(experiment.runs)} runs" + f", {made} of them made already" * bool(made)


def execute(
    experiment: Experiment, folder: Path, jobs: int = 1, say: Say = print, slurm: Pool | None = None, pages: str = "all"
) -> dict[str, str]:
    """Execute all stages of all runs; return the status of each run: "finished", or "failed in STAGE: reason".

    `pages` selects the runs that get executed notebooks of all stages: all, best (the highest mAP), or none. An
    exception here stops all runs. Raises OSError if another batch works in the folder.
    """

    def refuse(*_: Any) -> None:
        raise OSError(f"another `tad run` is at work in {folder}: wait for it, or start a version with --new")

    with locked(folder / "version", refuse):
        shutil.rmtree(folder / FAILED, ignore_errors=True)  # retry stages that failed before
        with suppress(OSError):
            (folder / FAILED).mkdir()
        batch = _Batch(folder, experiment.runs, say, pages)
        left = [label for label in _in_order(experiment) if label not in batch.status]
        calls = {label: (folder, label, experiment.runs[label], jobs, pages) for label in left}
        work = run_as_job if slurm else run_all_stages
        try:
            with nullcontext(slurm) if slurm else ThreadPoolExecutor(jobs) as pool:
                try:
                    if slurm:
                        extract_missing(experiment, batch.say, slurm)
                    executors.outcomes(pool, work, calls, batch.ended, batch.repeat_logs)
                    done = [label for label, status in batch.status.items() if status == "finished"]
                    if pages == "best" and done:
                        best = max(done, key=lambda label: read_json(planned(folder / label)[1])["mAP"])
                        batch.say(f"pages of {best}, the run with the highest mAP")
                        rerun = {best: (folder, best, experiment.runs[best], jobs)}
                        executors.outcomes(pool, work, rerun, batch.ended, batch.repeat_logs)
                except BaseException:
                    execution.stop()
                    raise
        finally:
            execution.stopping.clear()  # only after the threads have ended
            batch.repeat_logs()
        return batch.status


def run_all_stages(version: Path, label: str, given: Mapping[str, Any], jobs: int, pages: str = "all") -> str:
    """Execute all unfinished stages of one run, log progress to its `run.log`, and return its status."""
    folder, stage = version / label, STAGES[0]
    say = partial(note, folder / "run.log")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            if finished(stage, folder, given, pages):
                say(f"{stage} is finished already")
                continue
            if changed := _changed(version, given):
                return f"failed in {stage}: {changed} changed since {version.name} began, so a new version is needed"
            begun = time.monotonic()
            reason = obtain(stage, folder, given, jobs, say, pages)
            if reason is not None:
                return f"{LOST if INTERRUPTED in reason else 'failed'} in {stage}: {reason}"
            say(f"{stage} done in {time.monotonic() - begun:.0f} s")
    except OSError as error:
        return f"failed in {stage}: cannot write {error.filename or folder}, {error.strerror}"
    return "finished"


def run_as_job(*arguments: Any) -> str:
    """Execute all stages of one run in a job; after SIGTERM, which submitit ignores, no further stage is started."""
    signal.signal(signal.SIGTERM, lambda *_: execution.stopping.set())
    return run_all_stages(*arguments)


def _in_order(experiment: Experiment) -> list[str]:
    """Order run labels so that different detectors are trained first: runs sharing a detector would wait for it."""
    sharing: dict[str, list[str]] = {}
    for label, given in experiment.runs.items():
        sharing.setdefault(stages.key("train", given), []).append(label)
    return [label for labels in zip_longest(*sharing.values()) for label in labels if label is not None]


def _is_finished(run: Path, given: Mapping[str, Any], pages: str) -> bool:
    return all(finished(stage, run, given, pages) for stage in STAGES)


class _Batch:
    """Progress of a running batch: the status of each run, its log lines, and the remaining time."""

    def __init__(self, folder: Path, planned: Mapping[str, Mapping[str, Any]], print_line: Say, pages: str) -> None:
        self.folder, self.print_line, self.started = folder, print_line, time.monotonic()
        self.worked = 0  # runs that ended since
        done = (label for label, given in planned.items() if _is_finished(folder / label, given, pages))
        self.status = dict.fromkeys(done, "finished")
        self.logs = {label: folder / label / "run.log" for label in planned}
        self.read = {label: _size(log) for label, log in self.logs.items()}  # bytes of each log repeated so far

    def say(self, text: str) -> None:
        note(self.folder / "batch.log", text)
        with suppress(OSError):  # output may be redirected to a full disk
            self.print_line(text)

    def repeat_logs(self) -> None:
        """Print and log the lines that runs have added to their logs since the last call."""
        for label, log in self.logs.items():
            if _size(log) > self.read[label]:
                added = log.read_bytes()[self.read[label] :]
                self.read[label] += len(added)
                for line in added.decode(errors="replace").splitlines():
                    self.say(f"{label}: {line[21:]}")

    def ended(self, label: str, status: str) -> None:
        """Record the status of a run that ended, and report it with the remaining time."""
        self.status[label] = status
        self.worked += 1
        left = len(self.logs) - len(self.status)
        remaining = tqdm.format_interval((time.monotonic() - self.started) / self.worked * left)
        rest = f", about {remaining} left" * bool(left)
        self.say(f"{label}: {status} ({len(self.status)} of {len(self.logs)} runs{rest})")


def _size(log: Path) -> int:
    return log.stat().st_size if log.is_file() else 0


def extract_missing(experiment: Experiment, say: Say, slurm: Pool) -> None:
    """Extract the missing features of an experiment's runs in SLURM jobs; the rest is left to `prepare`."""
    extracting = [params for params in map(Params.read, experiment.runs.values()) if params.features == "auto"]
    distinct = {str(params.model_dump(include=EXTRACTION)): params for params in extracting}
    for params in distinct.values():
        lacking = executors.outcomes(slurm, encode, {"": (params,)})[""]
        if isinstance(lacking, str):
            say(f"features: not extracted in advance, {lacking}")
            continue
        shares = [lacking[start : start + SHARE] for start in range(0, len(lacking), SHARE)]
        if len(shares) > 1:  # otherwise nothing is missing, or the run's own job can encode it
            say(f"features: {len(lacking)} videos of {params.dataset} in {len(shares)} shares ...")
            calls = {f"share {number} of {len(shares)}": (params, videos) for number, videos in enumerate(shares, 1)}
            executors.outcomes(slurm, encode, calls, lambda label, answer: say(f"features: {label} {answer}"))


def encode(params: Params, videos: list[str] | None = None) -> str | list[str]:
    """Encode `videos` in a job and return its outcome; without `videos`, return the ids of those lacking features."""
    from tadlib.workbook import gathering

    try:
        if videos is None:
            return gathering.lacking(params)
        gathering.encode(params, videos)
    except Exception as error:  # the prepare notebook raises it again, with details
        return f"failed: {type(error).__name__}: {error}"
    return "encoded"
