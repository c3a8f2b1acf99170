"""Reading and writing of files: atomic writes, locks, hashes, and robust text, JSON and YAML readers.

Text is UTF-8 with or without a byte order mark, or UTF-16 with one, plain or gzip.
"""

import codecs
import contextlib
import errno
import gzip
import hashlib
import json
import os
import platform
import re
import secrets
import sys
import unicodedata
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

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


def dangling(folder: Path) -> list[str]:
    """Names of broken symbolic links in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused because JSON has neither."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def text_of(path: Path | str) -> str:
    """Read the text of a file; raises ValueError naming a file that is damaged or in another encoding."""
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b") or str(path).endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}): copy or download it again") from error
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    if "\0" in text:  # UTF-16 without its mark, or not text
        raise ValueError(f"{path} is not UTF-8 text (it holds zero bytes): save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def naming(where: object) -> Iterator[None]:
    """Name the origin of what is read in its errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


BROKEN_JSON = "is not readable JSON ({}): delete it or restore it"


def json_in(text: str, where: Path | str, message: str = BROKEN_JSON) -> Any:
    """Parse JSON text; raises ValueError naming its origin `where`, for a duplicate key too.

    `message` is that for invalid JSON, with {} for the reason.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build an object; raises ValueError for a duplicate key."""
        content = dict(pairs)
        if len(content) < len(pairs):
            _check_unique((name for name, _ in pairs), where)
        return content

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} {message.format(error)}") from error


def read_json(path: Path | str) -> Any:
    """Read a JSON file, plain or gzip; raises ValueError naming a file with invalid JSON or a duplicate key."""
    return json_in(text_of(path), path)


def yaml_in(text: str, where: Path | str) -> dict[str, Any]:
    """Parse names and values from YAML text; raises ValueError naming its origin `where`, for a duplicate name too."""
    try:
        content = yaml.load(text, _UniqueNames) or {}
    except _DuplicateName as error:
        raise ValueError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold names and values, one a line, like 'split: 50'; got {content!r}")
    return content


class _DuplicateName(ValueError):
    """A duplicate name in YAML."""


class _UniqueNames(yaml.SafeLoader):
    """YAML loader that refuses duplicate names, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; raises an error for a duplicate name."""
        seen = set()
        for name in (key.value for key, _ in node.value if isinstance(key.value, str) and key.value != "<<"):
            if name in seen:
                raise _DuplicateName(f"{name!r} stands twice{node.start_mark}")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _check_unique(names: Iterable[str], where: Path | str) -> None:
    """Raise ValueError naming the first duplicate."""
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: key {name!r} stands twice: keep one of them")
        seen.add(name)


def by_tidy_name(content: Mapping[str, Value], where: Path | str) -> dict[str, Value]:
    """Key a mapping by normalised names; raises ValueError if two of them become equal."""
    _check_unique((tidy(name, where) for name in content), where)
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
