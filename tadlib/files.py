"""Reading and writing of files: atomic writes, locks, hashes, JSON, and names as they are compared."""

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import platform
import re
import secrets
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from tadlib.foreign import check_unique, json_in, text_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOG = "TAD_LOG"  # environment variable with the path of the run's log
NO_LETTER = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # control characters, halves of surrogate pairs
Progress = Callable[[int, int, str], None]  # (done, total, description)
Value = TypeVar("Value")


def silent(done: int, total: int, text: str) -> None:
    """Progress callback that does nothing."""


def note(log: Path | str, text: str) -> None:
    """Append a line with the time to a log; errors of the disk are ignored."""
    with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as handle:
        handle.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {text}\n")


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it replaces `path` if the block succeeds, and is removed otherwise.

    A reader never sees a partial file, even if the writer is killed.
    """
    path = Path(path)
    temporary = temporary_path(path)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Return a unique temporary path next to `path`; temporary files of killed writers are removed.

    The name keeps the extension of `path`, by which libraries choose formats.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{shortened(path.stem)}-{_machine_hash()}-"
    for name in os.listdir(path.parent):
        if name.startswith(mark) and not _is_running(name.removeprefix(mark).split("-")[0]):
            with contextlib.suppress(OSError):  # another writer may remove it too
                os.unlink(path.parent / name)
    return path.with_name(f"{mark}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


def shortened(name: str, most: int = 200) -> str:
    """Shorten a name to `most` bytes, which leaves room for an extension: file systems allow 255 bytes."""
    whole = name.encode()
    return name if len(whole) <= most else whole[: most - 13].decode(errors="ignore") + "_" + digest(name)


@cache
def _machine_hash() -> str:
    """Hash (6 digits) of the machine or container, in which a process id is unique."""
    space = Path("/proc/self/ns/pid")
    return digest([platform.node(), os.readlink(space) if space.exists() else ""])[:6]


def _is_running(process: str) -> bool:
    """Whether a process of this machine is running; assumed on Windows, where asking would end it."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


def listed(folder: Path | str, pattern: str) -> list[Path]:
    """Paths in a folder whose names match a pattern, links that lead nowhere too; empty without the folder."""
    folder = Path(folder)
    names = os.listdir(folder) if folder.is_dir() else []
    return [folder / name for name in sorted(names) if fnmatch.fnmatchcase(name, pattern)]


def dangling(folder: Path) -> list[str]:
    """Names of broken symbolic links in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused because JSON has neither."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def naming(where: object) -> Iterator[None]:
    """Name the origin of what is read in its errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def read_json(path: Path | str) -> Any:
    """Read a JSON file, plain or gzip; raises FileError naming a file with invalid JSON or a duplicate key."""
    return json_in(text_of(path), path)


def by_tidy_name(content: Mapping[str, Value], where: Path | str) -> dict[str, Value]:
    """Key a mapping by normalised names; raises ValueError if two of them become equal."""
    check_unique((tidy(name, where) for name in content), where)
    return {tidy(name): value for name, value in content.items()}


def tidy(name: object, where: object = "") -> str:
    """Normalise a name for comparison: composed letters (NFC), no surrounding white space.

    Raises ValueError, naming its origin `where`, for a name that holds what is no letter.
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    if found := NO_LETTER.search(text):
        raise ValueError(f"{where}{': ' if where else ''}name {text!r} holds {found[0]!r}: names are text in one line")
    return text


def is_text(value: str) -> bool:
    """Whether a text holds nothing but letters, signs and white space."""
    return set(NO_LETTER.findall(value)) <= set("\t\n\r")


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write `array` as .npy, atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, array)


@contextlib.contextmanager
def locked(path: Path | str, progress: Progress = silent) -> Iterator[None]:
    """Hold an inter-process lock next to `path`, so that one of several runs makes what all need.

    `progress` is called once a second while waiting, and may stop it by raising an exception.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(path.with_name(f".{path.name}.lock"))
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


def file_lock(path: Path) -> BaseFileLock:
    """Inter-process lock: flock of a file or, on a disk without flock, existence of another file.

    A flock's file remains after release, so a lock by existence needs another name.
    """
    return FileLock(path) if _has_flock(path.parent) else SoftFileLock(path.with_name(f"{path.name}.held"))


def _has_flock(folder: Path) -> bool:
    """Whether the disk of a folder supports flock, as far as can be detected."""
    if fcntl is None:
        return True
    with contextlib.ExitStack() as stack:
        try:
            opened = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno != errno.ENOSYS
    return True


def digest(value: Any) -> str:
    """Hash (12 hexadecimal digits) of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path | str) -> str:
    """Hash (12 hexadecimal digits) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]
