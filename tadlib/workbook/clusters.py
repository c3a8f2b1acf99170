"""Runs on other machines: the workers of a running Dask cluster as a pool of the `concurrent.futures` protocol.

The workers must see this checkout and its data under the same paths. A run whose worker is lost goes to another one;
what the lost one had begun is in a folder of its own and is swept away. `dask worker --nthreads 1` does one run at a
time; with `--resources gpu=1` and `tad run --gpus 1` each run has a GPU to itself, if each worker sees another one.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tadlib.workbook.sharing import Way

PATIENCE = 60  # seconds to wait for the scheduler, and then for its first worker


@contextmanager
def workers(scheduler: str, gpus: int = 0, patience: float = PATIENCE) -> Iterator[Executor]:
    """The pool of a cluster, by its scheduler file or address.

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
    try:
        where = {"scheduler_file": scheduler} if is_file else {"address": scheduler}
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
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        if gpus and not any(worker["resources"].get("gpu", 0) >= gpus for worker in known):
            raise ValueError(
                f"--gpus {gpus}: no worker at {scheduler} offers that many; start it with --resources gpu=N"
            )
        yield _Pool(client.get_executor(pure=False, **({"resources": {"gpu": gpus}} if gpus else {})))


class _Pool(Executor):
    """Dask's pool, in which what ends because its worker must end, be it a run or a share of the videos that lack
    features, is begun again by another worker."""

    def __init__(self, workers: Executor):
        self.workers = workers

    def submit(self, run: Callable[..., str], /, *words: Any) -> Future:
        return self.workers.submit(_or_elsewhere, run, *words)


def _or_elsewhere(run: Callable[..., str], root: str, folder: str, given: Mapping[str, Any], way: Way) -> str:
    """Do some work; the time limit of a job reaches its notebook too, which may say so before the worker is gone."""
    from distributed import Reschedule

    status = run(root, folder, given, replace(way, jobs=_sharing_this_machine()))
    if status.startswith("interrupted"):
        raise Reschedule
    return status


def _sharing_this_machine() -> int:
    """How many runs share the cores of the worker that asks; workers come and go, so each run asks anew."""
    from distributed import get_client, get_worker

    known = get_client().scheduler_info(n_workers=-1)["workers"]
    here = known[get_worker().address]["host"]
    return sum(worker["nthreads"] for worker in known.values() if worker["host"] == here)
