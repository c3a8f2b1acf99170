"""Feature extraction by many workers, before the runs of a batch begin.

A worker encodes its share in a process of its own, which leaves every video whole on the disk that all see: a share
that is lost loses the videos it had in hand. What no worker could encode is left to the prepare notebook, which makes
it or says what is wrong with it.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Any

from tadlib.workbook import execution, executors, runs
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Experiment
from tadlib.workbook.stage_store import STOP, Limits

SHARE = 32  # videos: so many that loading an encoder does not count, so few that workers end at about the same time
MADE_FROM = set("dataset data_dir encoder pretrained stride frames_per_snippet snippets device precision".split())
Say = Callable[[str], None]


def extract_missing(experiment: Experiment, folder: Path, limits: Limits, say: Say, executor: Executor) -> None:
    """Let the workers of an executor make what features the runs of an experiment lack, and wait until they have.

    `folder` is that of the version, where the file of the end of a batch is looked for.
    """
    every = [Params.read(given) for given in experiment.runs.values()]
    wanted = [params.model_dump(include=MADE_FROM) for params in every if params.features == "auto"]
    for given in {json.dumps(each, sort_keys=True): each for each in wanted}.values():
        _extract(given, str(folder), limits, say, executor)


def _extract(given: Mapping[str, Any], folder: str, limits: Limits, say: Say, executor: Executor) -> None:
    asked = {"given": dict(given)}
    words = (str(runs.project_root()), folder)
    with closing(executors.results(executor, work, {"lacking": (*words, asked, limits)})) as answers:
        (told,) = [answer for label, answer in answers if label]
    status, _, found = told.partition(": ")
    if status != "lacking":
        say(f"features: nothing is dealt out, {told}")
        return
    lacking = json.loads(found)
    shares = {str(start): lacking[start : start + SHARE] for start in range(0, len(lacking), SHARE)}
    if len(shares) < 2:  # nothing is missing, or what one worker makes as well
        return
    say(f"features: {len(lacking)} videos of {given['dataset']} in {len(shares)} shares ...")
    done, calls = 0, {start: (*words, asked | {"videos": videos}, limits) for start, videos in shares.items()}
    with closing(executors.results(executor, work, calls)) as answers:
        for start, answer in answers:
            if start:
                done += len(shares[start])
                say(f"features: {done} of {len(lacking)} videos, {answer}")


def work(root: str, folder: str, asked: Mapping[str, Any], limits: Limits) -> str:
    """What a worker does: encode the `videos` that are asked for, or tell which of all lack features; how it ended."""
    if (Path(folder) / STOP).exists():
        return "stopped before it began"
    ended = subprocess.run(
        [sys.executable, "-m", "tadlib.workbook.extraction"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env=execution.environment(limits.jobs) | {"TAD_ROOT": root},
        preexec_fn=execution.end_with_parent,
    )
    if ended.returncode in execution.ENDED:
        return f"{executors.LOST} by signal {-ended.returncode}"
    if ended.returncode < 0:  # a video that breaks the decoder, or too little memory: another worker fares no better
        return f"failed: ended by signal {-ended.returncode}"
    said = (ended.stdout if not ended.returncode else ended.stderr).strip().splitlines() or ["no output"]
    return said[-1] if not ended.returncode else f"failed: {said[-1]}"


def main() -> None:
    """The process of a worker: it is told on its input what to do."""
    from tadlib.workbook import gathering

    asked = json.load(sys.stdin)
    params = Params.read(asked["given"])
    if "videos" in asked:
        gathering.encode(params, asked["videos"])
        print("encoded")
    else:
        print("lacking:", json.dumps(gathering.lacking(params)))


if __name__ == "__main__":
    main()
