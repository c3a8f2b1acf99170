"""`python tests/benchmarks/detector_speed.py` times the detector: training and inference beside its limits.

On a CPU, seconds of processor time of one thread; with `--device cuda` (or mps) seconds until the device is done, of
the compiled network as well and of a batch that fills the device. Each is the least of a few repetitions, each row in
a process of its own so that its peak memory is its own. The limit is what one product of matrices reaches in the same
process; the share of it is that of all products of a step, as torch counts them, done at that speed.
Rectifying and salience are on.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tadlib import segments
from tadlib.data.annotations import Action, Video
from tadlib.data.batches import Batch, Target, WindowSet, WindowSettings, collate
from tadlib.data.features import FeatureStore
from tadlib.data.windows import Window
from tadlib.detector.additions import Outputs
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.matching import focal_cost, match
from tadlib.detector.network import ConditionalDETR
from tadlib.devices import CPU, peak_memory, pick
from tadlib.ideas.rectifying import Rectifying
from tadlib.ideas.salience import Salience

CHANNELS = 512
WARM_UP, REPETITIONS = 1, 3  # on a CPU
WARM_UP_ELSEWHERE, REPETITIONS_ELSEWHERE = 3, 30  # where each takes milliseconds


class Size(NamedTuple):
    """What is timed."""

    snippets: int = 128
    batch: int = 16
    queries: int = 40
    precision: str = "fp32"
    actions: int = 3  # in each window
    compiled: bool = False
    device: str = "cpu"


REFERENCE = (Size(), Size(precision="bf16"))
ELSEWHERE = tuple(
    Size(batch=batch, precision=precision, compiled=compiled)
    for batch, compiled in ((16, False), (256, False), (16, True))  # the reference, what fills a GPU, and compiled
    for precision in ("fp32", "bf16")
)


def seconds(work: Callable[[], object], device: torch.device = CPU, repetitions: int = 0) -> float:
    """The least of the times of some repetitions: of the processor, or until another device has done the work."""
    at_rest = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)
    clock = time.process_time if device == CPU else time.perf_counter
    warm_up, usual = (WARM_UP, REPETITIONS) if device == CPU else (WARM_UP_ELSEWHERE, REPETITIONS_ELSEWHERE)
    times = []
    for _ in range(warm_up + (repetitions or usual)):
        at_rest()
        began = clock()
        work()
        at_rest()
        times.append(clock() - began)
    return min(times[warm_up:])


def limit(dtype: torch.dtype, device: torch.device = CPU) -> float:
    """Floating-point operations a second of one product: of the feed-forward nets' size, or of one that fills a GPU."""
    rows, inner, columns = (2048, 512, 2048) if device == CPU else (8192, 8192, 8192)
    a, b = (torch.randn(*size, device=device).to(dtype) for size in ((rows, inner), (inner, columns)))
    return 2 * rows * inner * columns / seconds(lambda: a @ b, device, 20)


def targets(size: Size) -> list[Target]:
    """Short actions all over each window."""
    rows = torch.rand(size.batch, size.actions, 2) * torch.tensor([1.0, 0.2]) + torch.tensor([0.0, 0.02])
    return [Target(each, torch.zeros(size.actions, dtype=torch.int64)) for each in rows]


def measure(size: Size) -> dict[str, float]:
    """A row of the table: seconds of a step and of inference, share of the limit of each, peak memory in MB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device, dtype = torch.device(size.device), {"fp32": torch.float32, "bf16": torch.bfloat16}[size.precision]
    sizes = {"width": 512, "queries": size.queries, "encoder_layers": 2, "decoder_layers": 5, "conv_layers": 0}
    noise = {"feature_noise": 0.0, "feature_shift": 0.0}
    model = ConditionalDETR(CHANNELS, **sizes, **noise, additions=[Salience(), Rectifying()]).to(device)
    model.dtype, criterion = dtype, DetectionLoss(additions=model.additions)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    features, wanted = torch.randn(size.batch, size.snippets, CHANNELS), targets(size)
    padding = torch.zeros(size.batch, size.snippets, dtype=torch.bool)

    def answer() -> Outputs:
        return model(features.to(device), padding.to(device))

    def step() -> None:
        criterion(answer(), Batch(features, padding.to(device), wanted, []))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimiser.step()
        optimiser.zero_grad()

    with FlopCounterMode(display=False) as of_step:
        step()
    if size.compiled:  # into which the counter cannot look
        model.compile_training()
    row = {"step": seconds(step, device)}
    row["peak"] = peak_memory(device)
    model.eval().requires_grad_(False)  # nor into inference mode
    with FlopCounterMode(display=False) as of_answer:
        answer()
    with torch.inference_mode():
        row["inference"] = seconds(answer, device)
    speed = limit(dtype, device)
    row["step share"] = of_step.get_total_flops() / speed / row["step"]
    row["inference share"] = of_answer.get_total_flops() / speed / row["inference"]
    return row | {"limit": speed / 1e9}


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
        name = f"matching, batch {batch}, {queries} queries, {actions} actions"
        work[f"{name}, across the batch"] = lambda given=answers: match_across(*given)
        work[name] = lambda given=answers: match(*given)
    return [(name, 1e3 * seconds(each, repetitions=7)) for name, each in work.items()]


def match_across(
    segments_cw: Float[Tensor, "b q 2"], logits: Float[Tensor, "b q 1"], wanted: Sequence[Target]
) -> list[tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]]:
    """As published matchers do it: the cost of every query for every action of the whole batch, then each window's."""
    found, true = segments_cw.flatten(0, 1), torch.cat([target.segments_cw for target in wanted])
    cost = 2 * focal_cost(logits.flatten(0, 1)) + 5 * torch.cdist(found, true, p=1)
    cost -= 2 * segments.giou(segments.to_segments(found)[:, None], segments.to_segments(true))
    parts = cost.unflatten(0, logits.shape[:2]).split([len(target.segments_cw) for target in wanted], dim=-1)
    return [linear_sum_assignment(part[place]) for place, part in enumerate(parts)]


def loading() -> list[tuple[str, float]]:
    """Milliseconds of a batch of 16 windows of as many videos, read from whole files or mapped ones."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found_in = stored(Path(folder))
        windows = [found_in[place].window for place in places(found_in)]
        work = {"loading, whole files": lambda: from_whole_files(windows, Path(folder))}
        work["loading, mapped files"] = lambda: collate([found_in[place] for place in places(found_in)])
        return [(f"{name}, batch 16", 1e3 * seconds(each, repetitions=7)) for name, each in work.items()]


def stored(folder: Path) -> WindowSet:
    """Windows of 16 videos of 200 s, of which a snippet is eight frames: about THUMOS14's mean."""
    videos = [Video(f"v{number}", 200.0, 30.0, "val", (Action(40.0, 50.0, "a"),)) for number in range(16)]
    for number, video in enumerate(videos):
        random = np.random.default_rng(number)
        np.save(folder / f"{video.id}.npy", random.normal(size=(750, CHANNELS)).astype(np.float32))
    return WindowSet(videos, FeatureStore(folder), 8, WindowSettings(overlap=0.75))


def places(found_in: WindowSet) -> range:
    """One window of each video."""
    return range(1, len(found_in), len(found_in) // 16)


def from_whole_files(windows: Sequence[Window], folder: Path) -> Float[Tensor, "b t c"]:
    """The features of windows as published loaders read them: each from its whole video, copied as floats."""
    whole = (np.load(folder / f"{window.video_id}.npy").astype(np.float32) for window in windows)
    rows = [features[window.first : window.stop] for features, window in zip(whole, windows, strict=True)]
    return torch.stack([torch.from_numpy(each) for each in rows])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How fast the detector is.")
    parser.add_argument("--device", default="cpu", help="auto, cpu (the default), cuda, mps")
    given = parser.parse_args()
    device = pick(given.device)
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device))
    print("snippets  batch  queries  precision   step (s)  of limit   inference (s, ms a window)  of limit   peak (MB)")
    for size in REFERENCE if device == CPU else ELSEWHERE:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            row = process.submit(measure, size._replace(device=device.type)).result()
        print(
            f"{size.snippets:8}  {size.batch:5}  {size.queries:7}  {size.precision:>9}   {row['step']:8.4f}  "
            f"{row['step share']:8.1%}   {row['inference']:9.4f}, {1e3 * row['inference'] / size.batch:10.3f}      "
            f"  {row['inference share']:9.1%}   {row['peak']:9.0f}     (limit {row['limit']:.0f} GFLOP/s"
            f"{', compiled' if size.compiled else ''})",
            flush=True,
        )
    if device == CPU:
        for name, milliseconds in [*parts(), *loading()]:
            print(f"{name:60} {milliseconds:9.2f} ms")


if __name__ == "__main__":
    main()
