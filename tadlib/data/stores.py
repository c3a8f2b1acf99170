"""Published features: a folder of `.npy`, `.pt`, `.npz` or `.h5` files, one per video or one for all.

Features are (snippets, channels) of any width, float32 or float16, read as float32. Missing, transposed or non-finite
features, and those of another width or length, are errors that name the file.
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
from tadlib.data.lengths import spelt, variants
from tadlib.files import digest, read_json
from tadlib.foreign import is_exhausted

MAX_DURATION_RATIO = 1.5  # allowed ratio of the durations of features and video; beyond it the stride is wrong
END_SNIPPETS = 16  # snippets hashed at the start and at the end of an array in an .h5 file
NAMES = ("features", "feats", "feat", "feature")  # names of the array in a file with several
READ_ERRORS = (OSError, ValueError, LookupError, EOFError, RuntimeError, TypeError, UnpicklingError, BadZipFile)


class UnusableFeatures(ValueError):
    """A feature file that is missing or unusable; the message names the file and the problem."""


@dataclass(frozen=True)
class FolderStore:
    """Features in a folder; `stride` is the number of frames per snippet."""

    folder: Path
    stride: int
    width: int | None = None  # required number of channels; None = any, but the same for all
    videos: Path | None = None  # folder of the videos, to check features that have a record

    @cached_property
    def files(self) -> dict[str, Path]:
        """Feature files by video (one file may hold all videos); two files of one video are an error."""
        single: dict[str, Path] = {}
        for path in (path for suffix in READERS for path in _visible_files(self.folder, suffix)):
            if (other := single.setdefault(path.stem, path)) != path:
                raise UnusableFeatures(f"{other} and {path} are both features of {path.stem}: keep one of them")
        return {name: path for path in _visible_files(self.folder, ".h5") for name in _names_in(path)} | single

    @cached_property
    def key(self) -> str:
        """Hash (12 digits) of the files: size, first and last bytes of each array."""
        return digest(sorted(self.ends.items()))

    @cached_property
    def ends(self) -> dict[str, str]:
        """Hash of the content of each video's features."""
        return {name: _content_hash(path, name) for name, path in self.files.items()}

    def version(self, video_ids: Iterable[str]) -> str:
        """Hash (12 digits) of the features of some videos, independent of others in the folder."""
        return digest([[name, self.ends.get(name)] for name in (spelt(each, self.files) for each in video_ids)])

    def file(self, video_id: str) -> Path:
        """Find the feature file of a video; raises UnusableFeatures naming what was expected."""
        if path := self.files.get(spelt(video_id, self.files)):
            return path
        raise UnusableFeatures(
            f"no features of {video_id} in {self.folder}: expected {video_id} with one of {', '.join(READERS)}, "
            f"or one .h5 file that holds it"
        )

    def read(self, video_id: str) -> np.ndarray:
        """Return the features (t, c) float32 of a video; raises UnusableFeatures naming file and problem."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """Return the features as they are on disk, memory-mapped if the format allows it."""
        path = self.file(video_id)
        with errors_naming(path):
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
        """Check the features of videos; returns problems by video."""
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
        """Outdated features that this project made, by video; other features have no record to check."""
        found = {}
        for video in videos:
            path = self.files.get(spelt(video.id, self.files))
            record = path and path.with_suffix(".json")
            if not record or not record.is_file() or "decoder" not in read_json(record):  # made by others
                continue
            now = {"fps": float(video.fps), "duration": float(video.duration), "stride": self.stride}
            file = self.videos and video_of(self.videos, video.id)
            if reason := FeatureStore(path.parent).changed(path.stem, now, file):
                found[video.id] = f"{path}: {reason}: extract it again, or pass what it was made with"
        return found


def _visible_files(folder: Path, suffix: str) -> list[Path]:
    """Files with an extension, without hidden ones, which are incomplete."""
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))


def misfit(shape: tuple[int, ...], video: Video, stride: int, width: int | None) -> str:
    """Reason why features of this shape do not fit a video at this stride and width; empty if they do."""
    snippets, channels = shape
    expected = video.duration * video.fps / stride
    if width and channels != width:
        if snippets == width and 1 / MAX_DURATION_RATIO <= channels / expected <= MAX_DURATION_RATIO:
            return f"shape {shape} is transposed: expected snippets x channels, ({channels}, {width})"
        return f"has {channels} channels, expected {width}: made by another encoder?"
    if 1 / MAX_DURATION_RATIO <= snippets / expected <= MAX_DURATION_RATIO or abs(snippets - expected) <= 2:
        return ""
    if not width and 1 / MAX_DURATION_RATIO <= channels / expected <= MAX_DURATION_RATIO:
        return f"shape {shape} is transposed: expected snippets x channels, ({channels}, {snippets})"
    lasts = snippets * stride / video.fps
    return (
        f"{snippets} snippets of {stride} frames at {video.fps:g} frames/s last {lasts:.1f} s, the video "
        f"{video.duration:.1f} s: was the stride {max(1, round(stride * expected / snippets))} frames?"
    )


@contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Convert errors of reading into UnusableFeatures that name the file."""
    try:
        yield
    except ImportError as error:
        raise UnusableFeatures(f"{path} needs h5py: pip install 'tadlib[h5]'") from error
    except READ_ERRORS as error:
        if is_exhausted(error):
            raise
        size = path.stat().st_size if path.exists() else 0
        raise UnusableFeatures(f"{path} ({size} bytes) is damaged or of another layout ({error})") from error


def _content_hash(path: Path, name: str) -> str:
    """Hash of a video's features, of which one file may hold many."""
    if path.suffix != ".h5":
        return fingerprints.ends_hash(path)
    with errors_naming(path), _opened(path) as content:
        try:
            array = _array_in(content, name)
        except KeyError:  # the name is the file's, which holds several videos
            return fingerprints.ends_hash(path)
        ends = array[:END_SNIPPETS].tobytes() + array[-END_SNIPPETS:].tobytes()
        return hashlib.sha256(f"{array.shape}".encode() + ends).hexdigest()[:12]


def _read_npy(path: Path, video_id: str) -> np.ndarray:
    return fingerprints.mapped(path)


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
    """Return an entry, None if there is none; raises ValueError if an .h5 file has it from elsewhere."""
    if isinstance(content, dict):
        return content.get(name)
    import h5py

    if (link := content.get(name, getlink=True)) is None:
        return None
    found = content[name] if isinstance(link, h5py.HardLink) else None
    if found is None or getattr(found, "is_virtual", False) or getattr(found, "external", None):
        raise ValueError(f"its entry {name!r} leads to another place, perhaps another file: copy the array into it")
    return found


def _names_in(path: Path) -> list[str]:
    with errors_naming(path), _opened(path) as content:
        return list(content)


READERS: dict[str, Callable[[Path, str], np.ndarray]] = {
    ".npy": _read_npy,
    ".pt": _read_pt,
    ".npz": _read_npz,
    ".h5": _read_h5,
}


def constant(features: np.ndarray) -> float:
    """Share of snippets equal to the one before: a frozen picture, or padding."""
    return float((features[1:] == features[:-1]).all(axis=1).mean()) if len(features) > 1 else 0.0


def health(store: Any, video: Video, stride: int) -> dict[str, object]:
    """Statistics of a video's features: snippets, norm, cosine of neighbours, constant share, length error."""
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
