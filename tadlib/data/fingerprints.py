"""Stored features with a record of what they were made from, so that changed sources are noticed.

A file is identified by its size, modification time, and the hash of its first and last bytes, which is fast. Its
whole content is only hashed if nothing but the time differs, as for a copy.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tadlib.files import digest, file_digest, read_json, shortened, write_json, write_npy

END_BYTES = 2**16  # bytes hashed at the start and at the end of a file
DECODER = 2  # raise this version when decoding yields other frames, so that features are extracted again
MADE_BY = ("encoder", "decoder", "frames_per_snippet")  # settings in the record of features, besides the video


def mapped(path: Path) -> np.memmap:
    """Map a .npy file copy-on-write without keeping a file handle, of which many systems allow a process only 1,024."""
    import torch  # here, because processes that only read records do not need it

    checked = np.load(path, mmap_mode="c")  # raises an error for a damaged file
    shape, dtype, first, size = checked.shape, checked.dtype, checked.offset, checked.nbytes
    order = "F" if checked.flags.fnc else "C"
    del checked
    content = torch.from_file(str(path), size=first + size, dtype=torch.uint8).numpy()
    return np.ndarray.__new__(np.memmap, shape, dtype, content, first, order=order)


def ends_hash(path: Path | str) -> str:
    """Return a hash (12 digits) of a file's size, first and last bytes."""
    size = Path(path).stat().st_size
    with open(path, "rb") as handle:
        state = hashlib.sha256(f"{size}".encode() + handle.read(END_BYTES))
        handle.seek(max(0, size - END_BYTES))
        state.update(handle.read(END_BYTES))
    return state.hexdigest()[:12]


def source(path: Path) -> dict[str, Any]:
    """Return the identity of a file: name, size, time and hashes."""
    stat = path.stat()
    hashes = {"ends": ends_hash(path), "content": file_digest(path)}
    return {"name": path.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns} | hashes


def is_same(path: Path, known: Mapping[str, Any]) -> bool:
    """Whether a file matches its recorded identity; the whole file is only read if nothing but its time differs."""
    stat = path.stat()
    if (stat.st_size, ends_hash(path)) != (known.get("size"), known.get("ends")):
        return False
    return stat.st_mtime_ns == known.get("mtime_ns") or file_digest(path) == known.get("content")


@dataclass(frozen=True)
class FeatureStore:
    """Features on disk. Every video has `<id>.npy` (T, C), float32 or float16, and the record `<id>.json`:
    the video's file, its fps and duration, stride, frames per snippet, encoder and decoder.
    """

    folder: Path

    @property
    def key(self) -> str:
        """Identifier of the features: the encoder's key and the sampling."""
        return self.folder.name

    def _path(self, video_id: str, suffix: str) -> Path:
        return self.folder / f"{shortened(video_id)}{suffix}"

    def has(self, video_id: str) -> bool:
        """Whether complete features of a video exist."""
        return self._path(video_id, ".json").is_file()

    def record(self, video_id: str) -> dict[str, object]:
        """Return the record of a video's features."""
        return read_json(self._path(video_id, ".json"))

    def remarks(self, video_id: str) -> list[str]:
        """Return remarks about the video file: unusual properties and repairs."""
        return self.record(video_id).get("remarks", []) if self.has(video_id) else []

    def version(self, video_ids: Iterable[str]) -> str:
        """Return a hash (12 digits) of the records of some videos' features, the same for every copy."""
        known = [(video_id, self.record(video_id)) for video_id in video_ids]
        for _, record in known:
            record.pop("seconds", None)
            if "source" in record:
                record["source"] = record["source"]["content"]
        return digest([self.key, known])

    def facts(self, video_ids: Iterable[str]) -> dict[str, str]:
        """Return hashes of the videos and settings that some features were made from, the same on every machine."""
        known = [(video_id, self.record(video_id)) for video_id in video_ids]
        files = [(video_id, record.get("source", {}).get("content")) for video_id, record in known]
        made = {name: digest([(video_id, record.get(name)) for video_id, record in known]) for name in MADE_BY}
        return {"features": digest(files)} | {f"{name} of the features": value for name, value in made.items()}

    def seconds(self, video_ids: Iterable[str]) -> float | None:
        """Return the seconds that extracting the features of some videos took; None if a record does not say."""
        each = [self.record(video_id).get("seconds") for video_id in video_ids]
        return None if None in each else round(sum(each), 1)

    def delete_leftovers(self) -> None:
        """Delete temporary files unchanged for an hour, of killed processes; SLURM jobs write without the lock."""
        for path in self.folder.glob(f".*-{16 * '[0-9a-f]'}.*"):
            with suppress(OSError):  # another process deletes it too
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()

    def write(self, video_id: str, features: np.ndarray, made: Mapping[str, object]) -> None:
        """Store the features (T, C) of a video and their record."""
        path = self._path(video_id, ".npy")
        path.with_suffix(".json").unlink(missing_ok=True)  # the record of the old features
        write_npy(path, features)
        write_json(path.with_suffix(".json"), {**made, "snippets": len(features), "features": ends_hash(path)})

    def changed(self, video_id: str, made: Mapping[str, object], file: Path | None = None) -> str:
        """Return the reason why a video's features are outdated; empty if they are current.

        `made` are the current settings. Without `file`, which may be deleted after encoding, the video is not compared.
        """
        record, path = self.record(video_id), self._path(video_id, ".npy")
        if missing := [name for name in made if name not in record]:
            return f"its record does not say with which {missing[0]} it was made"
        if other := [name for name, value in made.items() if record[name] != value]:
            return ", ".join(f"{name} was {record[name]}, now {made[name]}" for name in other)
        if file is not None and not is_same(file, record.get("source", {})):
            return f"{file} is another file than it was made from"
        if not path.is_file() or ends_hash(path) != record.get("features"):
            return f"{path} is not the file that was written"
        return ""

    def read(self, video_id: str) -> np.ndarray:
        """Return the features (T, C) float32 of a video; an error names a missing or damaged file."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """Return the features (T, C) of a video as they are on disk, memory-mapped."""
        path = self._path(video_id, ".npy")
        if not path.is_file():
            raise FileNotFoundError(f"no features of {video_id}: expected {path}; run notebooks/prepare.ipynb")
        try:
            array = mapped(path)
        except ValueError as error:
            raise ValueError(f"{path} is not a whole .npy file ({error}): delete it and run prepare again") from error
        return array
