"""Where tensors live and in which precision: one word each, the same everywhere."""

import ctypes
import os
import random
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch

try:
    import resource
except ImportError:  # Windows keeps no such account
    resource = None

CPU = torch.device("cpu")
NOTABLY = 1.5  # times as slow: what a busy machine alone does not make of equal speeds
_MMAP_THRESHOLD = -3  # malloc.h
_STATUS, _STATED = Path("/proc/self/status"), re.compile(r"VmHWM:\s+(\d+) kB")


def pick(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" is CUDA, else Apple MPS, else CPU.

    Raises ValueError for a device this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available.get(name, False):
        usable = ", ".join(device for device, present in available.items() if present)
        raise ValueError(f"device {name!r} is not available here; usable: auto, {usable}")
    # with its number: in another thread "cuda" alone would be the first device, whichever this process was given
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def precision_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The arithmetic of a word: "fp32", "bf16", "fp16", or "auto" (fp32 on every device).

    Half precision pays for large batches only: with 16 windows a GPU waits for launches, and casting adds to them.

    Raises ValueError for "fp16" on anything but CUDA, where it would be slow and its gradients would vanish; warns of
    "bf16" on a CPU without instructions for it.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision 'fp16' needs device 'cuda', got {device.type!r}; use bf16 or fp32 there")
    if precision == "bf16" and device == CPU and (slower := slowdown_of_bfloat16()) > NOTABLY:
        said = f"this CPU multiplies bfloat16 {slower:.0f} times slower than float32: precision 'fp32' is faster here"
        warnings.warn(said, stacklevel=2)
    return {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@cache
def slowdown_of_bfloat16() -> float:
    """How many times as long as in float32 a product takes on this CPU: a third with instructions for it, else ten."""

    def seconds(dtype: torch.dtype) -> float:
        matrix, times = torch.ones(256, 256, dtype=dtype), []
        for _ in range(4):
            began = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - began)
        return min(times)

    return seconds(torch.bfloat16) / seconds(torch.float32)


def peak_memory(device: torch.device) -> float:
    """The most memory this process has held so far, in MB: of a CUDA device on it, else of the whole process.

    Linux is asked for this program alone: what getrusage says may be what started it. Windows does not say: 0.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if stated := _STATED.search(_STATUS.read_text()) if _STATUS.is_file() else None:
        return int(stated[1]) * 1024 / 1e6
    if resource is None:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def peaks(device: torch.device) -> dict[str, int]:
    """`peak_memory` of this process as a record keeps it, and where a CUDA device computes that of the device too."""
    on_device = {"peak_gpu_memory_mb": round(peak_memory(device))} if device.type == "cuda" else {}
    return {"peak_memory_mb": round(peak_memory(CPU))} | on_device


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Within it what is freed goes back to the system, which glibc else puts off for blocks below 32 MB."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is None:
        yield
        return
    set_option(_MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        set_option(_MMAP_THRESHOLD, 2**25)  # where glibc itself ends up


@contextmanager
def only_deterministic(wanted: bool = True) -> Iterator[None]:
    """Within it torch uses deterministic algorithms alone, and stops where there is none; slower on CUDA."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch, so that the same seed on the same machine gives the same figures."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it everything random starts at `seed`; behind it all generators go on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        seed_all(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
