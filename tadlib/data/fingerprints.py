"""What stored things were made from, so that a source that changed since is noticed.

A file is known by its size, its time and its ends, which cost little to look at; by its whole content only where its
time alone is another, as a copy's is.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tadlib.files import digest, file_digest, read_json, shortened, write_json, write_npy

ENDS = 2**16  # bytes at the start and at the end of a file that stand for the rest
DECODER = 2  # raise it when the same file would give other frames: what was made before is then made anew

MADE_BY = ("encoder", "decoder", "frames_per_snippet")  # what a record of features names beside the video


def ends(path: Path | str) -> str:
    """Twelve digits that stand for a file's size, head and tail."""
    size = Path(path).stat().st_size
    with open(path, "rb") as handle:
        state = hashlib.sha256(f"{size}".encode() + handle.read(ENDS))
        handle.seek(max(0, size - ENDS))
        state.update(handle.read(ENDS))
    return state.hexdigest()[:12]


def source(path: Path) -> dict[str, Any]:
    """What a file is known by."""
    stat = path.stat()
    return {
        "name": path.name,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ends": ends(path),
        "content": file_digest(path),
    }


def is_same(path: Path, known: Mapping[str, Any]) -> bool:
    """Whether a file is still what it was known by; a copy under another time is read whole."""
    stat = path.stat()
    if (stat.st_size, ends(path)) != (known.get("size"), known.get("ends")):
        return False
    return stat.st_mtime_ns == known.get("mtime_ns") or file_digest(path) == known.get("content")


def difference(record: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """In which of the things that `made` something its record differs; empty where in none."""
    if missing := [name for name in made if name not in record]:
        return f"its record does not say with which {missing[0]} it was made"
    differ = [name for name, value in made.items() if record[name] != value]
    return ", ".join(f"{name} was {record[name]}, now {made[name]}" for name in differ)


@dataclass(frozen=True)
class FeatureStore:
    """Features on disk, per video: `<id>.npy` (T, C), float32 or float16, and `<id>.json`, which says what made them:
    the video's file, its fps and duration, stride, frames a snippet, encoder and decoder.
    """

    folder: Path

    @property
    def key(self) -> str:
        """What stands for the features: the encoder's key and how frames were sampled."""
        return self.folder.name

    def _path(self, video_id: str, suffix: str) -> Path:
        return self.folder / f"{shortened(video_id)}{suffix}"

    def has(self, video_id: str) -> bool:
        """Whether the features of a video are there, whole."""
        return (self._path(video_id, ".json")).is_file()

    def record(self, video_id: str) -> dict[str, object]:
        """What is written down of the features of a video."""
        return read_json(self._path(video_id, ".json"))

    def remarks(self, video_id: str) -> list[str]:
        """What was unusual about the file of a video, or repaired in it."""
        return self.record(video_id).get("remarks", []) if self.has(video_id) else []

    def version(self, video_ids: Iterable[str]) -> str:
        """Twelve digits that stand for the features of some videos by what made them, the same for every copy."""
        known = [(video_id, self.record(video_id)) for video_id in video_ids]
        for _, record in known:
            if "source" in record:
                record["source"] = record["source"]["content"]
        return digest([self.key, known])

    def facts(self, video_ids: Iterable[str]) -> dict[str, str]:
        """Digests of what made the features of some videos, by name: the same whichever machine encoded them."""
        known = [(video_id, self.record(video_id)) for video_id in video_ids]
        files = [(video_id, record.get("source", {}).get("content")) for video_id, record in known]
        made = {name: digest([(video_id, record.get(name)) for video_id, record in known]) for name in MADE_BY}
        return {"features": digest(files)} | {f"{name} of the features": value for name, value in made.items()}

    def write(self, video_id: str, features: np.ndarray, made: Mapping[str, object]) -> None:
        """Keep the features (T, C) of a video and what made them."""
        path = self._path(video_id, ".npy")
        path.with_suffix(".json").unlink(missing_ok=True)  # of features that go now
        write_npy(path, features)
        write_json(path.with_suffix(".json"), {**made, "snippets": len(features), "features": ends(path)})

    def changed(self, video_id: str, made: Mapping[str, object], file: Path | None = None) -> str:
        """Why the features of a video are not what would be `made` of its `file` now; empty where they are.

        Without the file, which may be deleted once it is encoded, the rest is compared.
        """
        record, path = self.record(video_id), self._path(video_id, ".npy")
        if told := difference(record, made):
            return told
        if file is not None and not is_same(file, record.get("source", {})):
            return f"{file} is another file than it was made from"
        if not path.is_file() or ends(path) != record.get("features"):
            return f"{path} is not the file that was written"
        return ""

    def read(self, video_id: str) -> np.ndarray:
        """The features (T, C) float32 of a video; a missing or damaged file is named."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """The features (T, C) of a video as they lie on disk, memory-mapped, of which only what is used is read."""
        path = self._path(video_id, ".npy")
        if not path.is_file():
            raise FileNotFoundError(f"no features of {video_id}: expected {path}; run notebooks/prepare.ipynb")
        try:
            array = np.load(path, mmap_mode="c")
        except ValueError as error:
            raise ValueError(f"{path} is not a whole .npy file ({error}): delete it and run prepare again") from error
        if array.ndim != 2 or not len(array):
            raise ValueError(f"{path} must hold snippets x channels, at least one snippet; got shape {array.shape}")
        return array
