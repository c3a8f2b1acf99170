"""Published features of videos, a folder of .npy, .pt, .npz or .h5 files, one per video or one for all; and of classes.

Features are (snippets, channels) or (1, snippets, channels) of any width, read as float32. Missing or non-finite
features, and those of another width or length, are errors that name the file.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from tadlib.data import fingerprints
from tadlib.data.annotations import Video
from tadlib.data.checks import nearest
from tadlib.data.features import video_files
from tadlib.data.fingerprints import FeatureStore, mapped
from tadlib.data.lengths import spelt, variants
from tadlib.files import by_tidy_name, digest, read_json
from tadlib.foreign import PICKLE, PICKLES, FileError, reading
from tadlib.tensors import is_whole_zip

MAX_DURATION_RATIO = 1.5  # allowed ratio of the durations of features and video; beyond it the stride is wrong
USUAL_RATIO, SAMPLE = 1.1, 20  # ratio of these durations beyond which a warning is given, and videos measured for it
SUFFIXES = (".npy", ".pt", ".npz", ".h5")
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
        if path.suffix == ".npy":
            return mapped(path)
        if path.suffix == ".pt":
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_whole_zip(path))
            found = torch.as_tensor(_one_of(found, video_id) if isinstance(found, Mapping) else found)
            return (found.float() if found.dtype == torch.bfloat16 else found).numpy()
        with np.load(path) if path.suffix == ".npz" else opened(path) as content:
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


@dataclass(frozen=True)
class FolderStore:
    """Features in a folder; `stride` is the number of frames per snippet."""

    folder: Path
    stride: int
    width: int | None = None  # required number of channels; None = any, but the same for all
    videos: Path | None = None  # folder of the videos, to check features with a record
    snippets: int = 0  # fixed number of snippets of every video; 0 = by stride

    @cached_property
    def files(self) -> dict[str, Path]:
        """Feature files by video; one file may hold all videos. `file` refuses a video with several."""
        return {name: paths[-1] for name, paths in self.candidates.items()}

    @cached_property
    def candidates(self) -> dict[str, list[Path]]:
        """All feature files of each video; pickles, which cannot be read, only where there is no other."""
        found: dict[str, list[Path]] = {}
        for path in (path for suffix in SUFFIXES for path in _visible_files(self.folder, suffix)):
            held: list[str] = []
            if path.suffix == ".h5":
                with suppress(UnusableFeatures):  # `file` raises it
                    held = names_in(path)
            for name in dict.fromkeys((*held, path.stem)):
                found.setdefault(name, []).append(path)
        pickles = (path for suffix in PICKLES for path in _visible_files(self.folder, suffix))
        return {path.stem: [path] for path in pickles} | found

    @cached_property
    def key(self) -> str:
        """Hash (12 digits) of the files, from size, first and last bytes of each."""
        return digest(sorted(self.ends.items()))

    @cached_property
    def ends(self) -> dict[str, str]:
        """Hash of each video's file, which may hold others too; empty for those that cannot be read."""
        found = dict.fromkeys(self.files, "")
        for name, path in self.files.items():
            with suppress(UnusableFeatures), errors_naming(path):
                found[name] = fingerprints.ends_hash(path)
        return found

    def version(self, video_ids: Iterable[str]) -> str:
        """Return a hash (12 digits) of the features of some videos, independent of others in the folder."""
        return digest([[name, self.ends.get(name)] for name in (spelt(each, self.files) for each in video_ids)])

    def file(self, video_id: str) -> Path:
        """Find the feature file of a video; raises UnusableFeatures naming what was expected."""
        name = spelt(video_id, self.files)
        if paths := self.candidates.get(name):
            if len(paths) > 1:
                raise UnusableFeatures(f"{paths[0]} and {paths[1]} are both features of {name}: keep one of them")
            return paths[0]
        for path in _visible_files(self.folder, ".h5"):
            names_in(path)  # raises an error if the file is damaged
        expected = f"expected {video_id} with one of {', '.join(SUFFIXES)}, or one .h5 file that holds it"
        raise UnusableFeatures(f"no features of {video_id} in {self.folder}: {expected}")

    def read(self, video_id: str) -> np.ndarray:
        """Return the features (t, c) float32 of a video; raises UnusableFeatures naming file and problem."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """Return the features (t, c), float16 if they are so on disk, memory-mapped where possible."""
        path = self.file(video_id)
        array = read_array(path, video_id)
        if array.ndim == 3 and len(array) == 1:  # a batch of one
            array = array[0]
        if array.ndim != 2 or not array.size or array.dtype.kind != "f":
            raise UnusableFeatures(f"{path} must hold snippets x channels of floats; got {array.dtype} {array.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32, copy=False) if array.dtype.itemsize > 4 else array
            norms = np.einsum("tc,tc->t", array, array, dtype=np.float32, casting="same_kind")
        if not np.isfinite(norms).all():
            first = int(np.argmin(np.isfinite(norms)))
            raise UnusableFeatures(f"{path} has NaN or infinite values, or too large ones, first in snippet {first}")
        return array

    def check(self, videos: Iterable[Video]) -> dict[str, str]:
        """Check the features of videos; returns problems by video."""
        problems, width = {}, self.width
        for video in videos:
            try:
                shape, path = self.read(video.id).shape, self.file(video.id)
                made_here = path.with_suffix(".json").is_file()  # then the spacing is fixed, not the number
                if problem := misfit(shape, video, self.stride, width, 0 if made_here else self.snippets):
                    raise UnusableFeatures(f"{path}: {problem}")
                width = width or shape[1]
            except UnusableFeatures as error:
                problems[video.id] = str(error)
        return problems

    def wrong_scale(self, videos: Sequence[Video]) -> str:
        """Return a warning if the features of the first videos last over 10 % more or less than these; else empty."""
        counts = [(len(self.stored(v.id)), v.duration * v.fps / self.stride) for v in videos[:SAMPLE]]
        # the median, because features of short videos may lack a receptive field
        ratio = median([found / wanted if abs(found - wanted) > 2 else 1.0 for found, wanted in counts] or [1.0])
        if 1 / USUAL_RATIO <= ratio <= USUAL_RATIO:
            return ""
        fitting = self.stride / ratio
        return (
            f"features in {self.folder} last {ratio:.2f} times as long as their videos (median of {len(counts)}): "
            f"stride={self.stride} or the fps may be wrong; stride {fitting:.3g} would fit {videos[0].subset!r}"
        )

    def outdated(self, videos: Iterable[Video]) -> dict[str, str]:
        """Return problems by video of outdated features of this project; other features have no record to check."""
        problems = {}
        for video in videos:
            path = self.files.get(spelt(video.id, self.files))
            record = path and path.with_suffix(".json")
            try:
                if not record or not record.is_file() or "decoder" not in dict(read_json(record)):  # made by others
                    continue
            except (TypeError, ValueError) as error:
                problems[video.id] = f"{record} is no record of features ({error})"
                continue
            now = {"fps": float(video.fps), "duration": float(video.duration), "stride": self.stride}
            file = next(iter(video_files(self.videos, video.id)), None) if self.videos else None
            if reason := FeatureStore(path.parent).changed(path.stem, now, file):
                problems[video.id] = f"{path}: {reason}: extract it again, or pass what it was made with"
        return problems


def _visible_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files with an extension, except hidden ones, which are incomplete."""
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))


def misfit(shape: tuple[int, ...], video: Video, stride: int, width: int | None, snippets: int = 0) -> str:
    """Return why features of this shape do not fit a video, or an empty text; `snippets` is their fixed number or 0."""
    number, channels = shape
    expected = video.duration * video.fps / stride
    if width and channels != width:
        reason = "transposed" if number == width else "made by another encoder"
        return f"has {channels} channels, expected {width} like texts and other videos: {reason}"
    if snippets not in (0, number):
        return f"has {number} snippets, expected snippets={snippets}"
    if 1 / MAX_DURATION_RATIO <= number / expected <= MAX_DURATION_RATIO or abs(number - expected) <= 2:
        return ""
    if not width and 1 / MAX_DURATION_RATIO <= channels / expected <= MAX_DURATION_RATIO:
        return f"shape {shape} is transposed: expected snippets x channels, ({channels}, {number})"
    lasts, frames = number * stride / video.fps, video.duration * video.fps
    usual = next((each for each in (4, 8, 16) if abs(frames / each - number) <= 1), round(frames / number))
    return (
        f"{number} snippets of {stride} frames at {video.fps:g} frames/s last {lasts:.1f} s, the video "
        f"{video.duration:.1f} s: was the stride {max(1, usual)} frames?"
    )


def health(store: Any, video: Video, stride: int) -> dict[str, object]:
    """Return statistics of a video's features: snippets, norm, cosine of neighbours, constant share, length error."""
    features = np.asarray(store.read(video.id), dtype=np.float32)
    norms = np.linalg.norm(features, axis=1)
    unit = features / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    neighbours = (unit[1:] * unit[:-1]).sum(axis=1)
    repeated = (features[1:] == features[:-1]).all(axis=1)  # a frozen picture, or padding
    return {
        "video": video.id,
        "snippets": len(features),
        "channels": features.shape[1],
        "norm": float(norms.mean()),
        "neighbours": float(neighbours.mean()) if len(neighbours) else math.nan,
        "constant": float(repeated.mean()) if len(repeated) else 0.0,
        "seconds too long": len(features) * stride / video.fps - video.duration,
    }


def read_text_features(path: Path | str, classes: Iterable[str]) -> np.ndarray:
    """Read class vectors (k, c) float32 from an `.npz` of class name -> vector; raises ValueError naming the file."""
    path, classes = Path(path), list(classes)
    with errors_naming(path), np.load(path) as content:
        arrays = by_tidy_name(dict(content), path)
    if wrong := [name for name, array in arrays.items() if array.dtype.kind not in "fiu"]:
        raise ValueError(f"{path}: vector of {wrong[0]!r} must be of real numbers, got {arrays[wrong[0]].dtype}")
    with np.errstate(over="ignore"):
        vectors = {name: array.astype(np.float32).reshape(-1) for name, array in arrays.items()}
        usable = all(0 < vectors[name] @ vectors[name] < np.inf for name in classes if name in vectors)
    if missing := [name for name in classes if name not in vectors]:
        lacking = f"{len(missing)} of {len(classes)} classes, first {missing[0]!r}{nearest(missing[0], vectors)}"
        raise ValueError(f"{path} has no vector of {lacking}")
    widths = {len(vectors[name]) for name in classes}
    if len(widths) > 1 or not usable:
        raise ValueError(f"{path}: vectors must be finite, not zero and of one width, got widths {sorted(widths)}")
    return np.stack([vectors[name] for name in classes])
