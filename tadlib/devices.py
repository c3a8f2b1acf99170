"""Devices, precision, memory use, and random seeds."""

import ctypes
import os
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None

CPU = torch.device("cpu")
_MMAP_THRESHOLD = -3  # malloc.h
_STATUS, _PEAK = Path("/proc/self/status"), re.compile(r"VmHWM:\s+(\d+) kB")


def pick(name: str | torch.device = "auto") -> torch.device:
    """Return the device called `name`, with its index if it has one; "auto" is CUDA, else Apple MPS, else CPU.

    Raises ValueError for a device this machine does not have.
    """
    kind, _, index = str(name).partition(":")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        kind = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available.get(kind, False):
        usable = ", ".join(device for device, present in available.items() if present)
        raise ValueError(f"device {str(name)!r} is not available here; usable: auto, {usable}")
    if index:
        return torch.device(name)
    # with an index, because plain "cuda" is device 0 in every other thread
    return torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)


def precision_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for "fp32", "bf16", "fp16", or "auto" (fp32 on every device).

    Half precision only speeds up large batches: with 16 windows most time goes to kernel launches, and casts add more.
    Many CPUs have no instructions for bfloat16 and are slower with it.

    Raises ValueError for "fp16" without CUDA, where it is slow and gradients underflow.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision 'fp16' needs device 'cuda', got {device.type!r}; use bf16 or fp32 there")
    return {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process in MB: on the given CUDA device, otherwise resident memory.

    On Linux it is read from /proc, because getrusage may report a parent process. On Windows it is 0.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if peak := _PEAK.search(_STATUS.read_text()) if _STATUS.is_file() else None:
        return int(peak[1]) * 1024 / 1e6
    if resource is None:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def peaks(device: torch.device) -> dict[str, int]:
    """Return the peak memory of this process, and of `device` if that is CUDA, as fields of a record."""
    on_device = {"peak_gpu_memory_mb": round(peak_memory(device))} if device.type == "cuda" else {}
    return {"peak_memory_mb": round(peak_memory(CPU))} | on_device


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Return freed memory to the system at once; glibc otherwise keeps blocks below 32 MB."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is None:
        yield
        return
    set_option(_MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        set_option(_MMAP_THRESHOLD, 2**25)  # glibc's own upper limit


@contextmanager
def only_deterministic(wanted: bool = True) -> Iterator[None]:
    """Allow only deterministic torch algorithms; an operation without one is an error. Slower on CUDA."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def random_states() -> dict[str, list[torch.Tensor]]:
    """Return the states of torch's random generators, of the CPU and of every GPU."""
    of_mps = {"mps": [torch.mps.get_rng_state()]} if torch.backends.mps.is_available() else {}
    return {"cpu": [torch.get_rng_state()], "cuda": torch.cuda.get_rng_state_all()} | of_mps


def restore_random(states: Mapping[str, Sequence[torch.Tensor]]) -> None:
    """Set the generators of this machine to the states of `random_states`."""
    torch.set_rng_state(states["cpu"][0].cpu())
    torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"][: torch.cuda.device_count()]])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"][0].cpu())


@contextmanager
def random_kept(seed: int | None = None) -> Iterator[None]:
    """Restore the states of all random generators after the block; a seed sets them before it."""
    states = random.getstate(), np.random.get_state(), random_states()
    if seed is not None:
        seed_all(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        restore_random(states[2])
