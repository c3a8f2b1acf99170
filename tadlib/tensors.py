"""Tensor files: atomic writes, and reads that report what is wrong with a file."""

import os
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tadlib.files import atomic
from tadlib.foreign import is_exhausted
from tadlib.locks import kept_if_possible


def write_tensors(path: Path | str, content: Any) -> None:
    """Write tensors and plain values, atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:  # with a path, torch hides a full disk
        torch.save(content, handle)


def keep_tensors(path: Path | str, content: Any) -> None:
    """Write tensors that can be recomputed; nothing is written on a read-only disk."""
    with kept_if_possible():
        write_tensors(path, content)


def usable(path: Path, names: Collection[str] = (), device: torch.device | str = "cpu") -> Any:
    """Read tensors that can be recomputed; None if the file is missing or unusable.

    A file that is damaged or lacks one of `names` is renamed, with a warning.
    """
    if not path.exists():
        return None
    try:
        content = read_tensors(path, device)
        if lacking := [name for name in names if name not in content]:
            raise ValueError(f"{path} is of another program, it has no {lacking[0]!r}")
        return content
    except ValueError as error:
        kept = path.with_suffix(f".damaged{path.suffix}")
        with kept_if_possible():
            os.replace(path, kept)
        warnings.warn(f"{error}: it is set aside as {kept.name}, and made anew", stacklevel=3)
    return None


def is_whole_zip(path: Path | str) -> bool:
    """Whether a file of tensors is a zip file; raises ValueError for a wrong checksum, because torch reads none."""
    if zipped := zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as content:
            if part := content.testzip():
                raise ValueError(f"the checksum of {part} is wrong")
    return zipped


def read_tensors(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """Read tensors and plain values, executing nothing; ValueError names a file damaged or from another program."""
    try:
        is_whole_zip(path)
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds, some advise to load unsafely
        if is_exhausted(error):
            raise
        raise ValueError(f"{path} {what_is_wrong(path, error)}") from None


def what_is_wrong(path: Path | str, error: Exception) -> str:
    """Describe why a file cannot be read as tensors; torch's own message advises to load it unsafely."""
    if "loading state_dict" in str(error):
        return "holds other weights than this network has"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be opened ({error.strerror})"
    with open(path, "rb") as handle:
        head = handle.read(2)
    if not head or head == b"PK" and not zipfile.is_zipfile(path):
        return f"is cut off after {Path(path).stat().st_size} bytes"
    if head == b"PK":
        foreign = isinstance(error, UnpicklingError | AttributeError | TypeError)
        return "holds objects of another program, not only tensors and plain values" if foreign else "is damaged"
    return "is a pickle of another program" if head[:1] == b"\x80" else "is no file of tensors"
