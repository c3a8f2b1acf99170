"""Files as every part of the workbook reads and writes them.

Text comes as people save it: UTF-8 with or without a byte order mark, or UTF-16 with its mark, plain or gzip. Files
are written whole or not at all, made once, and known again by what is in them.
"""

import codecs
import contextlib
import errno
import gzip
import hashlib
import json
import os
import platform
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

LOG = "TAD_LOG"  # the environment variable with the log of the run that a notebook is executed for
Progress = Callable[[int, int, str], None]  # (done, total, what is being done)
Value = TypeVar("Value")


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
    mark = f".{shortened(path.stem)}-{_machine()}-"
    for name in os.listdir(path.parent):
        if name.startswith(mark) and not _lives(name.removeprefix(mark).split("-")[0]):
            with contextlib.suppress(OSError):  # another writer may remove it too
                os.unlink(path.parent / name)
    return path.with_name(f"{mark}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


def shortened(name: str, most: int = 200) -> str:
    """A name that leaves room for an ending: file systems take 255 bytes, of which a letter may need four."""
    whole = name.encode()
    return name if len(whole) <= most else whole[: most - 13].decode(errors="ignore") + "_" + digest(name)


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


def dangling(folder: Path) -> list[str]:
    """The names in a folder of links whose files are gone."""
    return sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused because JSON has neither."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def text_of(path: Path | str) -> str:
    """The text of a file; raises ValueError naming a file that is damaged or in another encoding."""
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
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise ValueError(f"{path} is not UTF-8 text (it holds zero bytes): save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


BROKEN_JSON = "is not readable JSON ({}): delete it or restore it"


def json_in(text: str, where: Path | str, told: str = BROKEN_JSON) -> Any:
    """The value of JSON text; raises ValueError naming `where` it stands and a key that stands twice in one object.

    `told` is what is said of text that is no JSON, with {} for the reason.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object, if each of its keys stands once."""
        content = dict(pairs)
        if len(content) < len(pairs):
            _each_once((name for name, _ in pairs), where)
        return content

    try:
        return json.loads(text, object_pairs_hook=once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} {told.format(error)}") from error


def read_json(path: Path | str) -> Any:
    """The value in a JSON file, plain or gzip; raises ValueError naming a file that is no JSON or has a key twice."""
    return json_in(text_of(path), path)


def yaml_in(text: str, where: Path | str) -> dict[str, Any]:
    """Names and values of YAML text; raises ValueError naming `where` it stands for anything else, or a name twice."""
    try:
        content = yaml.load(text, _EachNameOnce) or {}
    except _Twice as error:
        raise ValueError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{where} must hold names and values, one a line, like 'split: 50'; got {content!r}")
    return content


class _Twice(ValueError):
    """A name that stands twice."""


class _EachNameOnce(yaml.SafeLoader):
    """YAML in which a name that stands twice in one mapping is an error: PyYAML would take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping, if each of its names stands once."""
        seen = set()
        for name in (key.value for key, _ in node.value if isinstance(key.value, str) and key.value != "<<"):
            if name in seen:
                raise _Twice(f"{name!r} stands twice{node.start_mark}")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _each_once(names: Iterable[str], where: Path | str) -> None:
    """Raise ValueError naming the first name that comes twice."""
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where}: key {name!r} stands twice: keep one of them")
        seen.add(name)


def by_tidy_name(content: Mapping[str, Value], where: Path | str) -> dict[str, Value]:
    """A mapping by tidy names; raises ValueError where two of them are one."""
    _each_once(map(tidy, content), where)
    return {tidy(name): value for name, value in content.items()}


def tidy(name: object) -> str:
    """A name as it is compared: composed letters (NFC), so that "é" is one thing, and no white space around it."""
    return unicodedata.normalize("NFC", str(name)).strip()


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
    """An inter-process lock: flock of a file or, on a disk that has none, the existence of another one.

    The file of a flock stays when it is released; under the same name it would read as held for ever.
    """
    return FileLock(path) if _has_flock(path.parent) else SoftFileLock(path.with_name(f"{path.name}.held"))


def _has_flock(folder: Path) -> bool:
    """Whether the disk of a folder has flock, as far as one can tell."""
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
    """Twelve hexadecimal digits that stand for a JSON-able value; equal values give equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path | str) -> str:
    """Twelve hexadecimal digits that stand for the bytes of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]
