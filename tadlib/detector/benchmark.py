"""How fast is it: `python -m tadlib.detector.benchmark` times a training step and inference beside the machine's limit.

CPU seconds of one thread, least of a few repetitions, each row in a process of its own so that its peak memory is its
own. The limit is what one product of matrices of the network's sizes reaches in the same process; the share of it is
that of all products of a step, as torch counts them, done at that speed. With the word `scaling` the number of
snippets, queries and windows is varied too (minutes). Rectifying and salience are on.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from tadlib import segments
from tadlib.data.batches import Target
from tadlib.detector.losses import detection_losses, snippet_losses
from tadlib.detector.matching import match
from tadlib.detector.network import ConditionalDetr, Switches
from tadlib.devices import CPU, peak_memory

CHANNELS = 512
REPETITIONS = 3


class Size(NamedTuple):
    """What is timed."""

    snippets: int = 128
    batch: int = 16
    queries: int = 40
    precision: str = "fp32"
    actions: int = 3  # in each window


REFERENCE = (Size(), Size(precision="bf16"))
SCALING = (
    *(Size(snippets, batch, precision="bf16") for snippets, batch in ((512, 4), (2048, 1), (4096, 1))),
    *(Size(queries=queries, precision="bf16") for queries in (80, 160)),
    *(Size(batch=batch, precision="bf16") for batch in (1, 4, 64)),
)


def cpu_seconds(work: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """The least CPU time of some repetitions, after one that does not count."""
    times = []
    for _ in range(repetitions + 1):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times[1:])


def limit(dtype: torch.dtype) -> float:
    """Floating-point operations a second of one product of the feed-forward nets' size."""
    a, b = torch.randn(2048, 512, dtype=dtype), torch.randn(512, 2048, dtype=dtype)
    return 2 * 2048 * 512 * 2048 / cpu_seconds(lambda: a @ b, 20)


def targets(size: Size) -> list[Target]:
    """Short actions all over each window."""
    rows = torch.rand(size.batch, size.actions, 2) * torch.tensor([1.0, 0.2]) + torch.tensor([0.0, 0.02])
    return [Target(each, torch.zeros(size.actions, dtype=torch.int64)) for each in rows]


def measure(size: Size) -> dict[str, float]:
    """A row of the table: seconds of a step and of inference, share of the limit of each, peak memory in MB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[size.precision]
    model = ConditionalDetr(CHANNELS, queries=size.queries, switches=Switches(salience="bce", refine="attention"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    features, wanted = torch.randn(size.batch, size.snippets, CHANNELS), targets(size)
    padding = torch.zeros(size.batch, size.snippets, dtype=torch.bool)

    def answer():
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return model(features, padding)

    def step() -> None:
        outputs = answer()
        terms = detection_losses(outputs, wanted) | snippet_losses(outputs, wanted, padding)
        sum(value for name, value in terms.items() if name.startswith("loss")).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimiser.step()
        optimiser.zero_grad()

    with FlopCounterMode(display=False) as counted:
        step()
    speed, row = limit(dtype), {"step": cpu_seconds(step)}
    row["step share"] = counted.get_total_flops() / speed / row["step"]
    model.eval().requires_grad_(False)  # the counter cannot look into inference mode
    with FlopCounterMode(display=False) as counted:
        answer()
    with torch.inference_mode():
        row["inference"] = cpu_seconds(answer)
    row["inference share"] = counted.get_total_flops() / speed / row["inference"]
    return row | {"limit": speed / 1e9, "peak": peak_memory(CPU)}


def parts() -> list[tuple[str, float]]:
    """Milliseconds of RoIAlign, beside torchvision's two-dimensional one, and of matching."""
    torch.set_num_threads(1)
    features, lengths = torch.randn(16, 128, CHANNELS), torch.full((16,), 128)
    spans = (torch.rand(16, 40, 2) * 128).sort(-1).values
    image = features.transpose(1, 2)[:, :, None].contiguous()
    flat = spans.flatten(0, 1)
    window = torch.arange(16.0).repeat_interleave(40)
    rois = torch.stack([window, flat[:, 0], torch.zeros(640), flat[:, 1], torch.zeros(640)], dim=1)
    work: dict[str, Callable[[], object]] = {
        "RoIAlign, torchvision": lambda: torchvision.ops.roi_align(image, rois, (1, 16)),
        "RoIAlign, 16 bins": lambda: segments.roi_align_windows(features, spans, lengths, 16),
        "RoIAlign, torchvision, pooled": lambda: torchvision.ops.roi_align(image, rois, (1, 16)).mean(-1),
        "RoIAlign, pooled": lambda: segments.roi_mean_windows(features, spans, lengths, 16),
    }
    for batch, queries, actions in ((16, 40, 3), (64, 200, 30), (128, 200, 30)):
        size = Size(batch=batch, queries=queries, actions=actions)
        answers = torch.rand(batch, queries, 2), torch.randn(batch, queries, 1), targets(size)
        work[f"matching, batch {batch}, {queries} queries, {actions} actions"] = lambda given=answers: match(*given)
    return [(name, 1e3 * cpu_seconds(each, 7)) for name, each in work.items()]


def main(scaling: bool) -> None:
    """Print the tables."""
    print("snippets  batch  queries  precision   step (s)  of limit   inference (s, ms a window)  of limit   peak (MB)")
    for size in REFERENCE + (SCALING if scaling else ()):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row = process.submit(measure, size).result()
        print(
            f"{size.snippets:8}  {size.batch:5}  {size.queries:7}  {size.precision:>9}   {row['step']:8.3f}  "
            f"{row['step share']:8.0%}   {row['inference']:9.3f}, {1e3 * row['inference'] / size.batch:10.1f}      "
            f"  {row['inference share']:9.0%}   {row['peak']:9.0f}     (limit {row['limit']:.0f} GFLOP/s)"
        )
    for name, milliseconds in parts():
        print(f"{name:48} {milliseconds:9.2f} ms")


if __name__ == "__main__":
    main("scaling" in sys.argv)
