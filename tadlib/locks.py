"""Locks between processes, so that only one of several runs creates a shared file."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from tadlib.files import Progress, silent

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCKLESS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of a disk without flock
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def locked(path: Path | str, progress: Progress = silent) -> Iterator[None]:
    """Hold an inter-process lock next to `path`; without effect in a read-only folder, where nothing is written.

    `progress` is called once a second while waiting, and may stop it by raising an exception.
    """
    path, timeout = Path(path), 0
    with kept_if_possible():
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(path.with_name(f".{path.name}.lock"))
    # a lock by existence may remain from a process that died on another machine
    hint = f"; if there is none, delete {lock.lock_file}" if isinstance(lock, SoftFileLock) else ""
    with kept_if_possible():
        while not lock.is_locked:
            try:
                lock.acquire(timeout=timeout)
            except Timeout:
                progress(0, 1, f"waiting for another run that is making {path.name}{hint}")
                timeout = 1
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def kept_if_possible() -> Iterator[None]:
    """Ignore the error if a lock or a cache cannot be written because the disk is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def file_lock(path: Path) -> BaseFileLock:
    """Return an inter-process lock: flock of a file or, on a disk without flock, the existence of another file.

    The file of a flock remains after release, so a lock by existence needs another name.
    """
    return FileLock(path) if _has_flock(path.parent) else SoftFileLock(path.with_name(f"{path.name}.held"))


def _has_flock(folder: Path) -> bool:
    """Whether the disk of a folder supports flock; true if this cannot be detected."""
    if fcntl is None:
        return True
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in LOCKLESS
    return True
