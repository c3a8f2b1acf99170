"""Execution by threads or by SLURM jobs, which need this checkout and its data under the same paths.

Work is polled, since jobs of submitit are no `concurrent.futures.Future`.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tadlib.project import project_root

POLL = 0.2  # seconds between two looks at jobs
LOST = "interrupted"  # how the outcome of work begins whose job was lost
A_WEEK = 7 * 24 * 60  # minutes; submitit gives processes here two
TRIES = 3  # times that such work is begun
Pool = Any  # an Executor of concurrent.futures or of submitit: they have `submit` in common


def slurm(options: Sequence[str], gpus: int = 0) -> Pool:
    """Jobs of SLURM with `options` of sbatch, such as partition=long and time=600; ["local"]: processes here.

    Raises ValueError where submitit is not installed, there is no SLURM, or an option is unknown.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError("--slurm needs submitit, got none: pip install 'tadlib[slurm]'") from None
    given = dict(option.partition("=")[::2] for option in options if option != "local")
    if "" in given.values():
        raise ValueError(
            f"--slurm must be NAME=VALUE, for example --slurm time=600, or local; got {', '.join(options)}"
        )
    local, folder = "local" in options, project_root() / "outputs" / ".slurm" / "%j"
    asked = ({"gpus_per_node": gpus} if gpus else {}) | ({"timeout_min": A_WEEK} if local else {}) | given
    try:
        executor = submitit.LocalExecutor(folder) if local else submitit.SlurmExecutor(folder)
        executor.update_parameters(**asked)
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
    """Outcome of each call, which `ended` is told as soon as it is there; `meanwhile` is called at every look.

    What a lost job did is begun again. What has not ended when an exception ends this is cancelled.
    """
    jobs: dict[Any, str] = {}
    tried, found = dict.fromkeys(calls, 1), {}
    try:
        for label, words in calls.items():
            jobs[pool.submit(work, *words)] = label
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
            with suppress(subprocess.CalledProcessError):  # scancel: it has ended since
                job.cancel()
    return found


def _outcome(job: Any) -> Any:
    try:
        return job.result()
    except Exception as error:  # one that died, or could not read its task: one run's failure, not the batch's
        # submitit raises this for a job that SLURM has ended
        how = LOST if type(error).__name__ == "UncompletedJobError" else "failed"
        return f"{how}: {type(error).__name__}: {error}"
