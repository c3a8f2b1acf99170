"""One training on several GPUs: `torchrun --nproc-per-node 4 -m tadlib.workbook.parallel -p split 50`.

The parameters are those of `train.ipynb`. The processes train together and leave the finished training where the
notebook, given the same parameters, takes it up and goes on with figures and results.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import torch
from filelock import FileLock, Timeout
from torch import distributed

from tadlib import devices
from tadlib.detector.parallel import Team
from tadlib.files import Progress, silent
from tadlib.workbook import command_line, runs
from tadlib.workbook.params import Params
from tadlib.workbook.steps.detector import fit, key_of, training_windows
from tadlib.workbook.steps.gathering import gather


def main(argv: Sequence[str] | None = None) -> int:
    """Train as a member of the team that torchrun started; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        params = Params.check(command_line.given_parameters(command_line.parse(words)[1]))
    except (ValueError, OSError) as error:
        print(f"tadlib.workbook.parallel: {error}", file=sys.stderr)
        return 2
    team = Team(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    on_gpu = devices.pick(params.device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if team.size > 1:
        distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        return _train(params, team)
    finally:
        if team.size > 1:
            distributed.destroy_process_group()


def _train(params: Params, team: Team) -> int:
    data = gather(params)  # what is missing is made by one process while the others wait
    path = runs.unfinished(key_of(data, params))
    lock = FileLock(path.with_suffix(".lock"))
    with suppress(Timeout):
        if team.leads:
            lock.acquire(timeout=0)
    if not _all_hear(team, lock.is_locked):
        if team.leads:
            print(f"tadlib.workbook.parallel: another run trains with these parameters, into {path}", file=sys.stderr)
        return 2
    try:
        history = fit(data, training_windows(data, params), params, path, _said(team), team=team)[1]
    finally:
        lock.release()
    if team.leads:
        print(f"trained {len(history)} epochs; train.ipynb with the same parameters goes on from {path}", flush=True)
    return 0


def _all_hear(team: Team, word: bool) -> bool:
    """What the first process says; none goes on before it has spoken."""
    words = [word]
    if team.size > 1:
        distributed.broadcast_object_list(words, src=0)
    return words[0]


def _said(team: Team) -> Progress:
    """A line for each epoch, by the first process."""
    return (lambda done, total, text: print(f"{done}/{total} {text}", flush=True)) if team.leads else silent


if __name__ == "__main__":
    sys.exit(main())
