"""Robust reading of text, JSON, YAML and tables written by other programs.

Text is UTF-8 with or without a byte order mark, or UTF-16 with one, plain or gzip.
"""

import codecs
import contextlib
import csv
import errno
import gzip
import io
import json
import re
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_REASON = 200  # characters of a parser's message
PICKLES = (".pkl", ".pickle")
PICKLE = 'is a pickle, which can run any program and is never opened: if you trust it, run python -c "{}"'
QUOTING = "put a field that holds a quote or {!r} between quotes"
CORE = {  # types of YAML 1.2: 010 is ten and 1e-3 a number; yes, 1_000, 1:30 and 2024-11-30 are text
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
RESOLVERS = {None: [(f"tag:yaml.org,2002:{kind}", re.compile(rf"({text})\Z")) for kind, text in CORE.items()]}
BASES = {"0o": 8, "0x": 16}


def is_exhausted(error: BaseException) -> bool:
    """Whether memory, file handles or disk space ran out, so that the error is not due to the file."""
    codes = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in codes


class FileError(ValueError):
    """A file of another program that cannot be used; the message names it."""


@contextlib.contextmanager
def reading(path: Path | str, message: str, kind: type[Exception] = FileError) -> Iterator[None]:
    """Convert any exception of a parser into `kind`, with the path and `message`, where {} stands for the reason.

    Every exception is converted, because no parser documents those that a damaged file causes.
    """
    try:
        yield
    except (FileError, FileNotFoundError):
        raise
    except Exception as error:
        if is_exhausted(error):
            if isinstance(error, OSError):
                error.filename = error.filename or str(path)
            raise
        reason = " ".join(str(error).split())[:MAX_REASON] or type(error).__name__
        raise kind(f"{path} {message.format(reason)}") from error


def text_of(path: Path | str) -> str:
    """Read the text of a file; raises FileError naming a file that is damaged or in another encoding."""
    with reading(path, "cannot be read ({}): copy or download it again"):
        content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b") or str(path).endswith(".gz"):
        with reading(path, "cannot be unpacked ({}): copy or download it again"):
            content = gzip.decompress(content)
    if content[:1] == b"\x80" or str(path).endswith(PICKLES):
        line = f"import pandas; pandas.DataFrame(pandas.read_pickle({str(path)!r})).to_csv('found.csv', index=False)"
        raise FileError(f"{path} {PICKLE.format(line)}, and write class names where it has numbers")
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    if "\0" in text:  # UTF-16 without a byte order mark, or not text
        raise FileError(f"{path} is not UTF-8 text (it holds zero bytes): save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def json_in(text: str, where: Path | str, message: str = "is not readable JSON ({}): delete it or restore it") -> Any:
    """Parse JSON text; raises FileError naming its origin `where` for invalid JSON or a duplicate key."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(content := dict(pairs)) < len(pairs):
            check_unique((name for name, _ in pairs), where)
        return content

    with reading(where, message):
        return json.loads(text, object_pairs_hook=unique)


def csv_in(text: str, where: Path | str) -> tuple[list[str], list[list[str]], list[int]]:
    """Parse a table into header, rows and their line numbers; raises FileError naming its origin and the line.

    The separator is that of Excel's first line `sep=;`, which is no row, or the most frequent one in the header: comma,
    semicolon or tab. Empty rows are left out; the others must have as many fields as the header.
    """
    first, _, _ = text.lstrip().partition("\n")
    stated = re.fullmatch(r'"?sep=([,;\t|])"?', first, re.IGNORECASE)
    sep = stated[1] if stated else max(",;\t", key=first.count)  # comma if there is none
    table = csv.reader(io.StringIO(text), delimiter=sep, skipinitialspace=True, strict=True)
    try:
        rows = [(table.line_num, row) for row in table if any(row)][bool(stated) :]
    except csv.Error as error:
        raise FileError(f"{where}: line {table.line_num} cannot be read ({error}): {QUOTING.format(sep)}") from error
    header = rows[0][1] if rows else []
    for line, row in rows:
        if len(row) != len(header):
            fields = f"{len(row)} fields, the header {len(header)}"
            raise FileError(f"{where}: line {line} has {fields}: {QUOTING.format(sep)}")
    return header, [row for _, row in rows[1:]], [line for line, _ in rows[1:]]


def yaml_in(text: str, where: Path | str) -> dict[str, Any]:
    """Parse a YAML mapping; raises FileError naming its origin `where` for any other content."""
    content = yaml_value(text, where) or {}
    if not isinstance(content, dict):
        raise FileError(f"{where} must hold names and values, like 'split: 50'; got {reprlib.repr(content)}")
    return content


def yaml_value(text: str, where: Path | str) -> Any:
    """Parse YAML 1.2; raises FileError naming its origin `where` for invalid YAML or a duplicate name."""
    with reading(where, "is not readable YAML: {}"):
        return yaml.load(text, _Loader)


def yaml_out(values: Mapping[str, Any], **form: Any) -> str:
    """Format names and values as YAML that this module and papermill, which reads YAML 1.1, understand alike."""
    return yaml.dump(dict(values), Dumper=_Dumper, **form)


class _Loader(yaml.SafeLoader):
    """YAML loader that knows the types of `CORE` and refuses duplicate names, of which PyYAML keeps the last."""

    yaml_implicit_resolvers = RESOLVERS

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; raises ValueError for a duplicate name."""
        names = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        if names and (twice := max(names, key=names.get)) and names[twice] > 1:
            raise ValueError(f"{twice!r} stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)

    def _whole(self, node: yaml.ScalarNode) -> int:
        return int(node.value, BASES.get(node.value[:2], 10))

    yaml_constructors = yaml.SafeLoader.yaml_constructors | {"tag:yaml.org,2002:int": _whole}


class _Dumper(yaml.SafeDumper):
    """YAML writer that puts text between quotes if either YAML 1.1 or 1.2 would read it as another type."""

    yaml_implicit_resolvers = yaml.SafeDumper.yaml_implicit_resolvers | RESOLVERS


def check_unique(names: Iterable[str], where: Path | str, what: str = "key") -> None:
    """Raise FileError naming the first duplicate, if there is one."""
    if twice := next((name for name, number in Counter(names).items() if number > 1), None):
        raise FileError(f"{where}: {what} {twice!r} stands twice: keep one of them")
