"""What short waiting of idle threads gains: `python tests/benchmarks/waiting_speed.py`.

Forward and backward passes of the demo's network with all cores, alone and beside a process that keeps one core busy:
with the waiting that `tadlib` asks for, and with that of the OpenMP library that torch brings on Linux.
"""

import os
import subprocess
import sys
import time

import tadlib  # noqa: F401  before torch: it says how long threads wait

LIBRARY = "300000"  # turns of a thread that waits, if nothing is said
STEPS, BATCH, REPEATS = 30, 16, 3


def train() -> None:
    """Print how many windows a second pass."""
    import torch

    from tadlib.detector.network import ConditionalDETR

    model = ConditionalDETR(128, queries=24, width=128)
    windows, padding = torch.randn(BATCH, 64, 128), torch.zeros(BATCH, 64, dtype=torch.bool)
    for step in range(STEPS + 5):
        if step == 5:
            started = time.perf_counter()
        outputs = model(windows, padding)
        (outputs.actionness_logits.mean() + outputs.segments_cw.mean()).backward()
    print(STEPS * BATCH / (time.perf_counter() - started))


def speed(spins: str) -> float:
    """Windows a second in a process of its own, the best of three."""
    env = os.environ | {"GOMP_SPINCOUNT": spins}
    command = [sys.executable, __file__, "train"]
    found = [subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(REPEATS)]
    return max(float(each.stdout.split()[-1]) for each in found)


def main() -> None:
    """Print both speeds alone and beside a busy process."""
    for where, code in (("alone", "pass"), ("beside a busy process", "while True: pass")):
        with subprocess.Popen([sys.executable, "-c", code]) as other:
            short, long = speed(os.environ["GOMP_SPINCOUNT"]), speed(LIBRARY)
            other.kill()
        print(f"{where}: {short:.0f} windows a second, {short / long:.2f} times the library's own waiting", flush=True)


if __name__ == "__main__":
    train() if sys.argv[1:] == ["train"] else main()
