"""External arrays in .npy, .npz, .pt and .h5 files: the declared size is checked against the file's."""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tadlib import foreign
from tadlib.data.fingerprints import mapped
from tadlib.data.lengths import variants
from tadlib.foreign import PICKLE, PICKLES, FileError, reading, regular

NAMES = ("features", "feats", "feat", "feature")  # names of the array in a file with several


class UnusableFeatures(FileError):
    """A feature file that is missing or unusable; the message names the file and the problem."""


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Convert errors raised while reading into UnusableFeatures that name the file."""
    try:
        size = regular(path, UnusableFeatures)
        with reading(path, f"({size} bytes) is damaged or of another layout ({{}})", UnusableFeatures):
            yield
    except FileNotFoundError as error:
        raise UnusableFeatures(f"{path} is not there, or a link to nothing") from error


def read_array(path: Path, video_id: str) -> np.ndarray:
    """Read the array of a video from a file of any format; raises UnusableFeatures naming the file."""
    if path.suffix in PICKLES:
        line = f"import numpy as n; n.save({str(path.with_suffix('.npy'))!r}, n.load({str(path)!r}, allow_pickle=True))"
        raise UnusableFeatures(f"{path} {PICKLE.format(line)}")
    with errors_naming(path):
        return READERS[path.suffix](path, video_id)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file by name; raises UnusableFeatures naming the file."""
    with errors_naming(path), zipfile.ZipFile(path) as archive:
        return {name: _unpacked(archive, info) for name, info in _members(archive).items()}


def _check_claim(handle: io.BufferedIOBase, size: int) -> None:
    """Read the header of an array of `size` bytes; raises ValueError if it claims more numbers than follow."""
    version = np.lib.format.read_magic(handle)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(handle)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size - handle.tell():
        raise ValueError(f"it claims {dtype} {shape}, but holds {size} bytes")


def _read_npy(path: Path, video_id: str) -> np.ndarray:
    with open(path, "rb") as handle:
        _check_claim(handle, path.stat().st_size)
    return mapped(path)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.file_size > max(foreign.MOST, info.compress_size):
        raise ValueError(f"{info.filename} unpacks to {info.file_size} bytes: save it as .npy")
    with archive.open(info) as handle:
        _check_claim(handle, info.file_size)
        handle.seek(0)
        array = np.lib.format.read_array(handle)
        handle.read()  # zipfile compares the checksum at the end
        return array


def _read_npz(path: Path, video_id: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return _unpacked(archive, _one_of(_members(archive), video_id))


def _read_pt(path: Path, video_id: str) -> np.ndarray:
    sizes = _record_sizes(path)
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=bool(sizes))
    content = torch.as_tensor(_one_of(content, video_id) if isinstance(content, Mapping) else content)
    stored = content.untyped_storage().nbytes()
    if content.nbytes > stored or sizes and stored not in sizes:  # a view may repeat numbers
        raise ValueError(f"it claims {content.dtype} {tuple(content.shape)}, which no part of it has")
    return (content.float() if content.dtype == torch.bfloat16 else content).numpy()


def _record_sizes(path: Path) -> set[int]:
    """Return the sizes of the parts of a .pt file, none before torch 1.6; raises ValueError for a damaged part."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        if any(info.compress_type for info in archive.infolist()) or archive.testzip():
            raise ValueError("a part of it is not as torch wrote it")
        return {info.file_size for info in archive.infolist()}


def _read_h5(path: Path, video_id: str) -> np.ndarray:
    with opened(path) as content:
        found = array_in(content, video_id)
        if found.nbytes > max(foreign.MOST, found.id.get_storage_size()):
            raise ValueError(f"it claims {found.dtype} {found.shape}, but holds {found.id.get_storage_size()} bytes")
        return np.asarray(found)


def opened(path: Path) -> Any:
    """Open an .h5 file."""
    try:
        import h5py  # an optional extra: only those who have such files need it
    except ImportError as error:
        raise UnusableFeatures(f"{path} needs h5py: pip install 'tadlib[h5]'") from error
    return h5py.File(path)


def array_in(content: Mapping[str, Any], video_id: str) -> Any:
    """Find the array of a video in an open .h5 file, possibly inside a group."""
    found = _one_of(content, video_id)
    return _one_of(found, video_id) if isinstance(found, Mapping) else found


def _one_of(content: Mapping[str, Any], video_id: str) -> Any:
    """Find the entry with the features: the video's, one with a common name, or the only one."""
    for name in (*variants(video_id), *NAMES, *(content if len(content) == 1 else ())):
        if (found := _entry(content, name)) is not None:
            return found
    raise KeyError(f"no entry {video_id!r} or {NAMES[0]!r}, only {', '.join(list(content)[:5])}")


def _entry(content: Mapping[str, Any], name: str) -> Any:
    """Return an entry, None if there is none; raises ValueError for a link to another place in an .h5 file."""
    if isinstance(content, dict):
        return content.get(name)
    import h5py

    if (link := content.get(name, getlink=True)) is None:
        return None
    found = content[name] if isinstance(link, h5py.HardLink) else None
    if found is None or getattr(found, "is_virtual", False) or getattr(found, "external", None):
        raise ValueError(f"its entry {name!r} leads to another place, perhaps another file: copy the array into it")
    return found


def names_in(path: Path) -> list[str]:
    """Return the names of the entries of an .h5 file; raises UnusableFeatures naming a damaged file."""
    with errors_naming(path), opened(path) as content:
        return list(content)


READERS = {".npy": _read_npy, ".pt": _read_pt, ".npz": _read_npz, ".h5": _read_h5}
