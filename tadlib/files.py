"""Reading and writing of files: atomic writes, listings, hashes, JSON, and normalised names."""

import contextlib
import errno
import fnmatch
import hashlib
import itertools
import json
import os
import re
import reprlib
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tadlib.foreign import check_unique, json_in, text_of

LOG = "TAD_LOG"  # environment variable with the path of the run's log
LONGEST_NAME = 2000  # characters; a name may be a sentence
NO_LETTER = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # control characters and surrogates
INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u202a\u202c\u2060\ufeff"))  # marks that copied text holds
Progress = Callable[[int, int, str], None]  # (done, total, description)
Value = TypeVar("Value")


def silent(done: int, total: int, text: str) -> None:
    """Progress callback that does nothing."""


def note(log: Path | str, text: str) -> None:
    """Append a line with the time to a log; disk errors are ignored."""
    with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as handle:
        handle.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {text}\n")


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it replaces `path` if the block succeeds, and is removed otherwise.

    A reader never sees a partial file, even if the writer is killed.
    """
    path = Path(path)
    with naming_full_disk(path):
        temporary = temporary_path(path)
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_full_disk(path: Path | str) -> Iterator[None]:
    """Add the file and the free space to errors of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(nearest_folder(Path(path).parent)).free
        message = f"{os.strerror(error.errno)}: {free / 1e6:.2f} MB are free and it does not fit"
        raise OSError(error.errno, message, str(path)) from error


def nearest_folder(folder: Path) -> Path:
    """Return the folder if it exists, otherwise its nearest existing parent."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def temporary_path(path: Path) -> Path:
    """Return a unique temporary path next to `path`, with its extension, by which libraries choose formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{shortened(path.stem)}-{secrets.token_hex(8)}{path.suffix}")


def named(folder: Path | str, name: str) -> list[Path]:
    """Return the files of a folder with the stem `name`, sorted; the listing is cached until the folder changes."""
    try:
        changed = os.stat(folder).st_mtime_ns
    except OSError:
        return []
    found = _by_stem(str(folder), changed).get(name, [])
    if not found and time.time_ns() - changed < 2e9:  # a file added since the listing may not have changed the time
        found = _by_stem.__wrapped__(str(folder), changed).get(name, [])
    return [Path(folder, file) for file in found]


@lru_cache(maxsize=8)
def _by_stem(folder: str, _changed: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        found.setdefault(Path(name).stem, []).append(name)
    return found


def kept_as(path: Path, word: str) -> Path:
    """Return an unused path for a file that is set aside: metrics.evaluate.json, then metrics.evaluate-2.json."""
    words = itertools.chain([word], (f"{word}-{number}" for number in itertools.count(2)))
    paths = (path.with_name(f"{path.stem}.{each}{path.suffix}") for each in words)
    return next(candidate for candidate in paths if not candidate.exists())


def shortened(name: str, most: int = 200) -> str:
    """Shorten a name to `most` bytes, which leaves room for an extension: file systems allow 255 bytes."""
    whole = name.encode()
    return name if len(whole) <= most else whole[: most - 13].decode(errors="ignore") + "_" + digest(name)


def listed(folder: Path | str, pattern: str) -> list[Path]:
    """Return the paths in a folder whose names match a pattern, broken links included; empty if there is no folder."""
    folder = Path(folder)
    names = os.listdir(folder) if folder.is_dir() else []
    return [folder / name for name in sorted(names) if fnmatch.fnmatchcase(name, pattern)]


def dangling(folder: Path) -> list[str]:
    """Return the names of broken symbolic links in a folder, except HTML pages, which a report creates again."""
    broken = (path for path in folder.iterdir() if path.is_symlink() and not path.exists())
    return sorted(path.name for path in broken if path.suffix != ".html")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused because JSON has neither."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode())


@contextlib.contextmanager
def naming(where: object) -> Iterator[None]:
    """Prefix ValueErrors raised inside the block with `where`, the origin of the content."""
    try:
        yield
    except ValueError as error:
        message = str(error)  # may quote a value of any length
        message = message if len(message) < 1000 else f"{message[:600]} ... {message[-200:]}"
        raise ValueError(f"{where}: {message}") from error


def read_json(path: Path | str) -> Any:
    """Read a JSON file, plain or gzip; raises FileError naming a file with invalid JSON or a duplicate key."""
    return json_in(text_of(path), path)


def by_tidy_name(content: Mapping[str, Value], where: Path | str) -> dict[str, Value]:
    """Key a mapping by normalised names; raises ValueError if two of them become equal."""
    check_unique((tidy(name, where) for name in content), where)
    return {tidy(name): value for name, value in content.items()}


def tidy(name: object, where: object = "", *, file: bool = False) -> str:
    """Normalise a name: composed letters (NFC), no white space around it, no invisible marks except in a `file`'s name.

    Raises ValueError naming its origin `where` for a name with control characters or line breaks, or a too long one.
    """
    text = unicodedata.normalize("NFC", str(name) if file else str(name).translate(INVISIBLE)).strip()
    if len(text) > LONGEST_NAME:
        raise ValueError(f"{where}: name {reprlib.repr(text)} has more than {LONGEST_NAME} letters")
    if found := NO_LETTER.search(text):
        raise ValueError(f"{where}{': ' if where else ''}name {text!r} holds {found[0]!r}: names are text in one line")
    return text


def is_text(value: str) -> bool:
    """Whether a text has no control characters apart from tabs and line breaks."""
    return set(NO_LETTER.findall(value)) <= set("\t\n\r")


def write_npy(path: Path | str, array: np.ndarray) -> None:
    """Write `array` as .npy, atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, array)


def digest(value: Any) -> str:
    """Return a hash (12 hexadecimal digits) of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def file_digest(path: Path | str) -> str:
    """Return a hash (12 hexadecimal digits) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:12]
