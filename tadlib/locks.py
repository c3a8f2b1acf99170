"""Locks between processes, so that only one of several runs creates a shared file."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, SoftFileLock, Timeout

from tadlib.files import Progress, silent

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCKLESS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of a disk without flock
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_claimed: dict[Path, IO[bytes]] = {}  # files that this process has locked, open until `release`


@contextlib.contextmanager
def locked(path: Path | str, progress: Progress = silent) -> Iterator[None]:
    """Hold an inter-process lock next to `path`; without effect in a read-only folder, where nothing is written.

    `progress` is called once a second while waiting, and may stop it by raising an exception.
    """
    path, timeout = Path(path), 0
    with kept_if_possible():
        path.parent.mkdir(parents=True, exist_ok=True)
    lock, hint = FileLock(path.with_name(f".{path.name}.lock")), ""
    if not _has_flock(path.parent):  # the file of a flock remains after release: a lock by existence has another name
        lock = SoftFileLock(f"{lock.lock_file}.held")
        hint = f"; if there is none, delete {lock.lock_file}"  # it may be from a process that died on another machine
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


def try_lock(handle: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False if another process has it. A disk without locks has none."""
    with contextlib.suppress(OSError):
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def claim(path: Path) -> bool:
    """Lock a file until `release` or the end of this process, which may claim it again; False if another has it."""
    handle = _claimed.get(path) or open(path, "ab")
    if not try_lock(handle):
        handle.close()
        return False
    _claimed[path] = handle
    return True


def release(path: Path) -> None:
    """Give back a file that this process claimed, and delete it."""
    if handle := _claimed.pop(path, None):
        handle.close()  # Windows deletes no open file
        path.unlink(missing_ok=True)


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
