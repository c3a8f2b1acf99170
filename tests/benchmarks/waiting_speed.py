"""What short waiting of idle threads gains: `python tests/benchmarks/waiting_speed.py`.

Forward and backward passes of the demo's network with all cores, alone and beside a process that keeps one core busy,
with the waiting that `tadlib` asks for and with that of the OpenMP library that Linux wheels of torch bring. Wants a
quiet machine.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import tadlib  # noqa: F401  before torch: it says how long threads wait

LIBRARY = "300000"  # turns of a thread that waits, if nothing is said
STEPS, BATCH, REPEATS = 30, 16, 3


def train() -> None:
    """Print how many windows a second pass."""
    import torch

    from tadlib.detector.network import ConditionalDETR

    model = ConditionalDETR(128, queries=24, width=128)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    windows, padding = torch.randn(BATCH, 64, 128), torch.zeros(BATCH, 64, dtype=torch.bool)
    for step in range(STEPS + 5):
        if step == 5:
            started = time.perf_counter()
        optimiser.zero_grad()
        outputs = model(windows, padding)
        (outputs.actionness_logits.mean() + outputs.segments_cw.mean()).backward()
        optimiser.step()
    print(STEPS * BATCH / (time.perf_counter() - started))


def speed(spins: str) -> float:
    """Windows a second in a process of its own, the best of three."""
    env = os.environ | {"GOMP_SPINCOUNT": spins}
    command = [sys.executable, __file__, "train"]
    found = [subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(REPEATS)]
    return max(float(each.stdout.split()[-1]) for each in found)


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


@contextmanager
def busy(wanted: bool):
    """One core busy inside, if wanted."""
    process = multiprocessing.Process(target=spin, daemon=True)
    if wanted:
        process.start()
    try:
        yield
    finally:
        if wanted:
            process.kill()


def main() -> None:
    """Print both speeds alone and beside a busy process."""
    ours = os.environ["GOMP_SPINCOUNT"]
    for beside in (False, True):
        with busy(beside):
            short, long = speed(ours), speed(LIBRARY)
        where = "beside a busy process" if beside else "alone"
        print(f"{where}: {short:.0f} windows a second, {short / long:.2f} times the library's own waiting", flush=True)


if __name__ == "__main__":
    train() if sys.argv[1:] == ["train"] else main()
