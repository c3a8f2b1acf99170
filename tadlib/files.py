"""Files as every part of the workbook writes them: whole or not at all, made once, named by what is in them."""

import contextlib
import hashlib
import json
import os
import platform
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

LOG = "TAD_LOG"  # the environment variable with the log of the run that a notebook is executed for
Progress = Callable[[int, int, str], None]  # (done, total, what is being done)


def silent(done: int, total: int, text: str) -> None:
    """A Progress that shows nothing."""


def note(log: Path | str, text: str) -> None:
    """Append a line with its time to a log; a disk that takes none ends nothing."""
    with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as handle:
        handle.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {text}\n")


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`; renamed onto it when the block succeeds, removed when it does not.

    A reader therefore never meets half a file, whatever kills the writer.
    """
    path = Path(path)
    temporary = beside(path)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A name beside `path` that no other writer has; what writers that were killed left beside it is removed.

    The name keeps the ending of `path`, because libraries choose formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{path.stem}-{_machine()}-"
    for name in os.listdir(path.parent):
        if name.startswith(mark) and not _lives(name.removeprefix(mark).split("-")[0]):
            with contextlib.suppress(OSError):  # another writer may remove it too
                os.unlink(path.parent / name)
    return path.with_name(f"{mark}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


@cache
def _machine() -> str:
    """Six digits that stand for where a process number means something: a machine, or a container on it."""
    space = Path("/proc/self/ns/pid")
    return digest([platform.node(), os.readlink(space) if space.exists() else ""])[:6]


def _lives(process: str) -> bool:
    """Whether a process of this machine is there, by its number; where asking is not harmless it counts as alive."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused because JSON has neither."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file; a file that is no JSON raises ValueError naming it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON ({error}): delete it or restore it") from error


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write `array` as .npy, atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, array)


@contextlib.contextmanager
def locked(path: Path | str, progress: Progress = silent) -> Iterator[None]:
    """Hold an inter-process lock beside `path`, so that what several runs need at once is made by one of them.

    `progress` is told once a second that it waits, and may end that by raising.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    patience = 0
    while not lock.is_locked:
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            progress(0, 1, f"waiting for another run that is making {path.name}")
            patience = 1
    try:
        yield
    finally:
        lock.release()


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON-able value; equal values give equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path | str) -> str:
    """Twelve hexadecimal digits that stand for the bytes of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]
