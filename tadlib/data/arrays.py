"""External arrays in .npy, .npz, .pt and .h5 files."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tadlib.data.fingerprints import mapped
from tadlib.data.lengths import variants
from tadlib.foreign import PICKLE, PICKLES, FileError, reading

NAMES = ("features", "feats", "feat", "feature")  # names of the array in a file with several


class UnusableFeatures(FileError):
    """A feature file that is missing or unusable; the message names the file and the problem."""


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Convert errors raised while reading into UnusableFeatures that name the file."""
    try:
        with reading(path, "cannot be opened ({})", UnusableFeatures), open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
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
    with errors_naming(path), np.load(path) as content:
        return dict(content)


def _read_npz(path: Path, video_id: str) -> np.ndarray:
    with np.load(path) as content:
        return np.asarray(_one_of(content, video_id))


def _read_pt(path: Path, video_id: str) -> np.ndarray:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    content = torch.as_tensor(_one_of(content, video_id) if isinstance(content, Mapping) else content)
    return (content.float() if content.dtype == torch.bfloat16 else content).numpy()


def _read_h5(path: Path, video_id: str) -> np.ndarray:
    with opened(path) as content:
        found = _one_of(content, video_id)
        return np.asarray(_one_of(found, video_id) if isinstance(found, Mapping) else found)


def opened(path: Path) -> Any:
    """Open an .h5 file."""
    try:
        import h5py  # an optional extra: only those who have such files need it
    except ImportError as error:
        raise UnusableFeatures(f"{path} needs h5py: pip install 'tadlib[h5]'") from error
    return h5py.File(path)


def _one_of(content: Mapping[str, Any], video_id: str) -> Any:
    """Find the entry with the features: the video's, one with a common name, or the only one."""
    for name in (*variants(video_id), *NAMES, *(content if len(content) == 1 else ())):
        if name in content:
            return content[name]
    raise KeyError(f"no entry {video_id!r} or {NAMES[0]!r}, only {', '.join(list(content)[:5])}")


def names_in(path: Path) -> list[str]:
    """Return the names of the entries of an .h5 file; raises UnusableFeatures naming a damaged file."""
    with errors_naming(path), opened(path) as content:
        return list(content)


READERS = {".npy": lambda path, _: mapped(path), ".pt": _read_pt, ".npz": _read_npz, ".h5": _read_h5}
