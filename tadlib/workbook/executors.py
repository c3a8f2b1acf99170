"""Execution of calls by threads or SLURM jobs; jobs must see this checkout and its data under the same paths."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tadlib.project import project_root

POLL = 0.2  # seconds between two checks of jobs: submitit's are no `concurrent.futures.Future`
LOST = "interrupted"  # prefix of the outcome of a lost job
A_WEEK = 7 * 24 * 60  # minutes; submitit's limit for local processes is two minutes
TRIES = 3  # attempts per call if its job is lost
Pool = Any  # an Executor of concurrent.futures or of submitit: both have `submit`


def slurm(options: Sequence[str], gpus: int = 0) -> Pool:
    """Return an executor of SLURM jobs with sbatch `options` such as time=600, or of local processes for ["local"].

    Raises ValueError where submitit is not installed, there is no SLURM, or an option is unknown.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError("--slurm needs submitit, got none: pip install 'tadlib[slurm]'") from None
    given = dict(option.partition("=")[::2] for option in options if option != "local")
    if "" in given.values():
        raise ValueError(f"--slurm must be NAME=VALUE, such as time=600, or local; got {', '.join(options)}")
    local, folder = "local" in options, project_root() / "outputs" / ".slurm" / "%j"
    settings = ({"gpus_per_node": gpus} if gpus else {}) | ({"timeout_min": A_WEEK} if local else {}) | given
    try:
        executor = submitit.LocalExecutor(folder) if local else submitit.SlurmExecutor(folder)
        executor.update_parameters(**settings)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"--slurm: {error}") from error
    return executor


def outcomes(
    pool: Pool,
    work: Callable[..., Any],
    calls: Mapping[str, Sequence[Any]],
    ended: Callable[[str, Any], None] = lambda label, outcome: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return the outcome of each call by label; `ended` is called with each outcome, and `meanwhile` at every poll.

    The call of a lost job is submitted again. If an exception is raised here, unfinished jobs are cancelled.
    """
    jobs: dict[Any, str] = {}
    tried, found = dict.fromkeys(calls, 1), {}
    try:
        for label, arguments in calls.items():
            jobs[pool.submit(work, *arguments)] = label
        while jobs:
            done = [job for job in jobs if job.done()]
            meanwhile()
            for job in done:
                label, outcome = jobs.pop(job), _outcome(job)
                if str(outcome).startswith(LOST) and tried[label] < TRIES:
                    jobs[pool.submit(work, *calls[label])] = label
                    tried[label] += 1
                else:
                    found[label] = outcome
                    ended(label, outcome)
            if not done:
                time.sleep(POLL)
    finally:
        for job in jobs:
            with suppress(subprocess.CalledProcessError):  # scancel fails if the job has ended since
                job.cancel()
    return found


def _outcome(job: Any) -> Any:
    try:
        return job.result()
    except Exception as error:  # a crashed job fails one run, not the batch
        # submitit raises UncompletedJobError for a job that SLURM has ended
        how = LOST if type(error).__name__ == "UncompletedJobError" else "failed"
        return f"{how}: {type(error).__name__}: {error}"
