"""What running two at a time gains: `python tests/benchmarks/batch_speed.py [NAME=VALUE ...]`.

The same small runs are executed one after the other and then two at a time, with all notebooks and the cores
divided among them. Each batch has a process of its own, as `tad run` has: libraries settle how many threads
they take when they are loaded. Wants a quiet machine; the exit status says whether the gain is what we want.
"""

import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tadlib.workbook import batch as batches
from tadlib.workbook import execution
from tadlib.workbook.papermill_arguments import typed
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment

RUNS, JOBS = 4, 2
SMALL = {"split": 50, "epochs": 5}  # of the demo: a minute or so on two cores
WANTED = 1.6  # times as fast, two at a time


def batch(runs: int, jobs: int, given: Mapping[str, Any]) -> float:
    """The seconds that so many runs take, so many at once; raises RuntimeError for one that fails."""
    first = secrets.randbelow(10**6)  # seeds that no run had, whose trainings would be shared
    planned = {f"seed-{seed}": {**given, "seed": seed} for seed in range(first, first + runs)}
    for parameters in planned.values():
        Params.check(parameters)
    experiment = Experiment("benchmark", "benchmark", "What does running several at a time gain?", planned, {}, ())
    folder = batches.version_dir(experiment, new=True)
    started = time.perf_counter()
    status = batches.execute(experiment, folder, jobs, say=lambda text: None)
    seconds = time.perf_counter() - started
    for label, text in status.items():
        if text != "finished":
            raise RuntimeError(f"{label} {text}: see {folder / label}")
    return seconds


def told(jobs: int, seconds: float, alone: float) -> str:
    """One line of the result, beside the time that one after the other takes."""
    threads = execution.environment(jobs)["OMP_NUM_THREADS"]
    return (
        f"{RUNS} runs, {jobs} at a time, threads each: {threads}: {seconds:.1f} s, {alone / seconds:.2f} times as fast"
    )


def main(words: Sequence[str]) -> int:
    """Print both times; 0 if the gain is what we want, else 1."""
    given = SMALL | {name: typed(value) for name, _, value in (word.partition("=") for word in words)}

    def measured(runs: int, jobs: int) -> float:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            return fresh.submit(batch, runs, jobs, given).result()

    print(f"{os.cpu_count()} cores, {', '.join(f'{name}={value}' for name, value in given.items())}", flush=True)
    measured(1, 1)  # makes what is made once: the data, its features
    alone = measured(RUNS, 1)
    print(told(1, alone, alone), flush=True)
    together = measured(RUNS, JOBS)
    print(told(JOBS, together, alone), f"(wanted: {WANTED})")
    return 0 if alone / together >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
