"""Features as others publish them: a folder of `.npy`, `.pt`, `.npz` or `.h5` files, one per video, or one for all.

Features are (snippets, channels) of any width, float32 or float16, read as float32. What is missing, transposed, of
another width or length, or not a number is an error that names the file.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from tadlib.data import fingerprints
from tadlib.data.annotations import Video
from tadlib.data.features import video_of
from tadlib.data.fingerprints import FeatureStore
from tadlib.data.lengths import variants
from tadlib.files import digest, read_json

FIT = 1.5  # features may last this many times as long as their video, or the video as they; more is another stride
ROWS = 16  # snippets at the start and at the end of an array in an .h5 file that stand for the rest
NAMES = ("features", "feats", "feat", "feature")  # what an array may be called in a file that holds several
DAMAGE = (OSError, ValueError, LookupError, EOFError, RuntimeError, TypeError, UnpicklingError, BadZipFile)


class UnusableFeatures(ValueError):
    """A feature file that is missing or cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class FolderStore:
    """The features of a folder; `stride` is the number of frames from one snippet to the next."""

    folder: Path
    stride: int
    width: int | None = None  # channels the features must have; None = any, but all the same
    videos: Path | None = None  # where the videos are, for features whose record says of which file they were made

    @cached_property
    def files(self) -> dict[str, Path]:
        """The feature files by video; where one file holds all, that file for each; two of one video are refused."""
        single: dict[str, Path] = {}
        for path in (path for suffix in READERS for path in _whole_files(self.folder, suffix)):
            if (other := single.setdefault(path.stem, path)) != path:
                raise UnusableFeatures(f"{other} and {path} are both features of {path.stem}: keep one of them")
        return {name: path for path in _whole_files(self.folder, ".h5") for name in _names_in(path)} | single

    @cached_property
    def key(self) -> str:
        """Twelve digits that stand for what is in the files: of each array its size, head and tail."""
        return digest(sorted(self.ends.items()))

    @cached_property
    def ends(self) -> dict[str, str]:
        """What stands for the content of each video's features."""
        return {name: _ends(path, name) for name, path in self.files.items()}

    def version(self, video_ids: Iterable[str]) -> str:
        """Twelve digits that stand for the features of some videos; others in the folder may change."""
        names = [next((name for name in variants(each) if name in self.files), each) for each in video_ids]
        return digest([[name, self.ends.get(name)] for name in names])

    def file(self, video_id: str) -> Path:
        """The file with the features of a video; raises UnusableFeatures naming what was looked for."""
        for name in variants(video_id):
            if name in self.files:
                return self.files[name]
        raise UnusableFeatures(
            f"no features of {video_id} in {self.folder}: expected {video_id} with one of {', '.join(READERS)}, "
            f"or one .h5 file that holds it"
        )

    def read(self, video_id: str) -> np.ndarray:
        """The features (t, c) float32 of a video; raises UnusableFeatures naming the file and what is wrong."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """The same as they lie on disk, memory-mapped where the format allows it."""
        path = self.file(video_id)
        with named(path):
            array = READERS[path.suffix](path, video_id)
        if array.ndim != 2 or not array.size or array.dtype.kind != "f":
            raise UnusableFeatures(
                f"{path} must hold snippets x channels of floats, at least one snippet; got {array.dtype} {array.shape}"
            )
        if not np.isfinite(array).all():
            first = int(np.argwhere(~np.isfinite(array).all(axis=1))[0, 0])
            raise UnusableFeatures(f"{path} has NaN or infinite values, first in snippet {first}: extract it again")
        return array

    def check(self, videos: Iterable[Video]) -> dict[str, str]:
        """What is wrong with the features of which videos, by video; empty where all is well."""
        problems, width = {}, self.width
        for video in videos:
            try:
                shape = self.read(video.id).shape
                if problem := misfit(shape, video, self.stride, width):
                    raise UnusableFeatures(f"{self.file(video.id)}: {problem}")
                width = width or shape[1]
            except UnusableFeatures as error:
                problems[video.id] = str(error)
        return problems

    def outdated(self, videos: Iterable[Video]) -> dict[str, str]:
        """Which features that this project made, as a record beside them tells, are not those of their videos now."""
        found = {}
        for video in videos:
            path = next((self.files[name] for name in variants(video.id) if name in self.files), None)
            record = path and path.with_suffix(".json")
            if not record or not record.is_file() or "decoder" not in read_json(record):  # made by others
                continue
            now = {"fps": float(video.fps), "duration": float(video.duration), "stride": self.stride}
            file = self.videos and video_of(self.videos, video.id)
            if told := FeatureStore(path.parent).changed(path.stem, now, file):
                found[video.id] = f"{path}: {told}: extract it again, or pass what it was made with"
        return found


def _whole_files(folder: Path, suffix: str) -> list[Path]:
    """The files with an ending, but for hidden ones: those were being written when the writer died."""
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))


def misfit(shape: tuple[int, ...], video: Video, stride: int, width: int | None) -> str:
    """Why features of this shape are not those of a video at this stride and width; empty where they may be."""
    snippets, channels = shape
    expected = video.duration * video.fps / stride
    if width and channels != width:
        if snippets == width and 1 / FIT <= channels / expected <= FIT:
            return f"shape {shape} is transposed: expected snippets x channels, ({channels}, {width})"
        return f"has {channels} channels, expected {width}: made by another encoder?"
    if 1 / FIT <= snippets / expected <= FIT or abs(snippets - expected) <= 2:
        return ""
    if not width and 1 / FIT <= channels / expected <= FIT:
        return f"shape {shape} is transposed: expected snippets x channels, ({channels}, {snippets})"
    lasts = snippets * stride / video.fps
    return (
        f"{snippets} snippets of {stride} frames at {video.fps:g} frames/s last {lasts:.1f} s, the video "
        f"{video.duration:.1f} s: was the stride {max(1, round(stride * expected / snippets))} frames?"
    )


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever a reader finds wrong with a file, said of that file."""
    try:
        yield
    except ImportError as error:
        raise UnusableFeatures(f"{path} needs h5py: pip install 'tadlib[h5]'") from error
    except DAMAGE as error:
        size = path.stat().st_size if path.exists() else 0
        raise UnusableFeatures(f"{path} ({size} bytes) is damaged or of another layout ({error})") from error


def _ends(path: Path, name: str) -> str:
    """What stands for the content of a video's features, of which one file may hold many."""
    if path.suffix != ".h5":
        return fingerprints.ends(path)
    with named(path), _opened(path) as content:
        try:
            array = _array_in(content, name)
        except KeyError:  # the name is that of the file, which holds those of many
            return fingerprints.ends(path)
        ends = array[:ROWS].tobytes() + array[-ROWS:].tobytes()
        return hashlib.sha256(f"{array.shape}".encode() + ends).hexdigest()[:12]


def _read_npy(path: Path, video_id: str) -> np.ndarray:
    return np.load(path, mmap_mode="c")


def _read_npz(path: Path, video_id: str) -> np.ndarray:
    with np.load(path) as content:
        return np.asarray(_one_of({name: content[name] for name in content.files}, video_id))


def _read_pt(path: Path, video_id: str) -> np.ndarray:
    content = torch.load(path, map_location="cpu", weights_only=True)
    content = torch.as_tensor(_one_of(content, video_id) if isinstance(content, Mapping) else content)
    return (content.float() if content.dtype == torch.bfloat16 else content).numpy()


def _read_h5(path: Path, video_id: str) -> np.ndarray:
    with _opened(path) as content:
        return np.asarray(_array_in(content, video_id))


def _opened(path: Path) -> Any:
    import h5py  # an optional extra: only those who have such files need it

    return h5py.File(path)


def _array_in(content: Mapping[str, Any], video_id: str) -> Any:
    """The array of a video in an open .h5 file, which may lie in a group of its own."""
    found = _one_of(content, video_id)
    return _one_of(found, video_id) if isinstance(found, Mapping) else found


def _one_of(content: Mapping[str, Any], video_id: str) -> Any:
    """The entry that holds the features: the video's, one with a usual name, or the only one."""
    for name in (*variants(video_id), *NAMES):
        if name in content:
            return content[name]
    if len(content) == 1:
        return next(iter(content.values()))
    raise KeyError(f"no entry {video_id!r} or {NAMES[0]!r}, only {', '.join(list(content)[:5])}")


def _names_in(path: Path) -> list[str]:
    with named(path), _opened(path) as content:
        return list(content)


READERS: dict[str, Callable[[Path, str], np.ndarray]] = {
    ".npy": _read_npy,
    ".pt": _read_pt,
    ".npz": _read_npz,
    ".h5": _read_h5,
}


def constant(features: np.ndarray) -> float:
    """The share of snippets that repeat the one before them exactly: a frozen picture, or padding."""
    return float((features[1:] == features[:-1]).all(axis=1).mean()) if len(features) > 1 else 0.0


def health(store: Any, video: Video, stride: int) -> dict[str, object]:
    """What the features of a video look like: snippets, norm, cosine of neighbours, constant share, length error."""
    features = np.asarray(store.read(video.id), dtype=np.float32)
    norms = np.linalg.norm(features, axis=1)
    unit = features / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    neighbours = (unit[1:] * unit[:-1]).sum(axis=1)
    return {
        "video": video.id,
        "snippets": len(features),
        "channels": features.shape[1],
        "norm": float(norms.mean()),
        "neighbours": float(neighbours.mean()) if len(neighbours) else math.nan,
        "constant": constant(features),
        "seconds too long": len(features) * stride / video.fps - video.duration,
    }
