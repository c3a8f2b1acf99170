"""Where runs are executed: here, by the workers of a running Dask cluster, or as jobs of SLURM.

Each is an Executor whose jobs are polled, since those of submitit are no `concurrent.futures.Future`.
Machines elsewhere must see this checkout and its data under the same paths.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tadlib.project import project_root

PATIENCE = 60  # seconds to wait for Dask's scheduler, and then for its first worker
POLL = 0.2  # seconds between two looks at jobs
LOST = "interrupted"  # how the outcome of work begins whose worker was lost
TRIES = 3  # times that such work is begun


class Machines(NamedTuple):
    """What executes runs."""

    executor: Executor
    jobs: int = 1  # runs that share the cores of one machine
    remote: bool = True


@contextmanager
def local(jobs: int) -> Iterator[Machines]:
    """Threads of this process, each of which waits for the processes of a run."""
    with ThreadPoolExecutor(jobs) as executor:
        yield Machines(executor, jobs, remote=False)


@contextmanager
def dask(scheduler: str, gpus: int = 0, patience: float = PATIENCE) -> Iterator[Machines]:
    """The workers of a cluster, by its scheduler file or address; each run needs so many of a worker's `gpus`.

    Raises ValueError where `distributed` is not installed or nobody answers, saying what to do.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--scheduler needs Dask, got none: pip install 'tadlib[cluster]'") from None
    is_file = Path(scheduler).is_file()
    if not is_file and ":" not in scheduler:
        raise ValueError(
            f"--scheduler must be a scheduler file or an address such as tcp://host:8786; got {scheduler!r}"
        )
    where = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = Client(**where, timeout=patience, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"no scheduler answers at {scheduler} within {patience:g} s ({error}): is it running?"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise ValueError(f"the scheduler at {scheduler} has no worker: start `dask worker` for it") from None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if gpus and not any(worker["resources"].get("gpu", 0) >= gpus for worker in workers):
            raise ValueError(
                f"--gpus {gpus}: no worker at {scheduler} offers that many; start it with --resources gpu=N"
            )
        at_once = Counter()
        for worker in workers:
            at_once[worker["host"]] += worker["nthreads"]
        needs = {"resources": {"gpu": gpus}} if gpus else {}
        yield Machines(client.get_executor(pure=False, **needs), max(at_once.values()))


@contextmanager
def slurm(options: Sequence[str], gpus: int = 0) -> Iterator[Machines]:
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
    try:
        made = submitit.LocalExecutor if "local" in options else submitit.SlurmExecutor
        executor = made(project_root() / "outputs" / ".slurm" / "%j")
        executor.update_parameters(**given, **({"gpus_per_node": gpus} if gpus else {}))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"--slurm: {error}") from error
    yield Machines(executor)


def results(
    executor: Executor, work: Callable[..., str], calls: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, str]]:
    """Label and outcome of each call, as they end; yields ("", "") when a poll finds none finished.

    What a lost worker did is begun again. Calls that have not begun when this is closed are cancelled.
    """
    jobs: dict[Future[str], str] = {}
    tried = Counter(calls.keys())
    try:
        for label, words in calls.items():
            jobs[executor.submit(work, *words)] = label
        while jobs:
            done = [job for job in jobs if job.done()]
            for job in done:
                label, outcome = jobs.pop(job), _outcome(job)
                if outcome.startswith(LOST) and tried[label] < TRIES:
                    jobs[executor.submit(work, *calls[label])] = label
                    tried[label] += 1
                else:
                    yield label, outcome
            if not done:
                time.sleep(POLL)
                yield "", ""
    finally:
        for job in jobs:
            job.cancel()


def _outcome(job: Future[str]) -> str:
    """What a job answers, or that it has failed and why."""
    try:
        return job.result()
    except Exception as error:  # one that died, or could not read its task: one run's failure, not the batch's
        # Dask itself gives what a lost worker did to others; submitit raises this for a job that SLURM has ended
        how = LOST if type(error).__name__ == "UncompletedJobError" else "failed"
        return f"{how}: {type(error).__name__}: {error}"
