"""Snippet features: videos decoded frame by frame, encoded by CLIP, stored as one (T, C) array per video.

Snippet t covers the half-open stretch [t, t + 1) strides and is represented by the frame shown at its middle;
timestamps come from the stream. Nothing holds a whole video in memory.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from tadlib.data.annotations import Video
from tadlib.data.encoder import Encoder
from tadlib.files import Progress, silent, write_json, write_npy

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
BATCH = 32  # frames encoded at once; on CPUs larger batches fall out of the caches
SLACK = 1.5  # seconds by which a decoded video may be shorter than its annotation says


class BrokenVideo(ValueError):
    """A video file that cannot be used; the message names the file and what is wrong with it."""


def find_video(folder: Path | str, video_id: str) -> Path:
    """The file of a video; raises BrokenVideo naming what was looked for."""
    for suffix in SUFFIXES:
        path = Path(folder) / f"{video_id}{suffix}"
        if path.is_file():
            return path
    raise BrokenVideo(
        f"no video file for {video_id} in {folder}: expected {video_id} with one of {', '.join(SUFFIXES)}"
    )


def snippets(path: Path | str, stride: int, fps: float) -> Iterator[np.ndarray]:
    """The frame (height, width, 3) uint8 in the middle of each snippet, in order.

    Raises BrokenVideo for a file that is no video, has no picture, or breaks off.
    """
    path = Path(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BrokenVideo(f"{path} has no video stream: replace the file")
            yield from _middle_frames(container, stride, fps)
    except (av.error.FFmpegError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise BrokenVideo(f"{path} ({size} bytes) cannot be decoded ({error}): copy or download it again") from error


def _middle_frames(container: av.container.InputContainer, stride: int, fps: float) -> Iterator[np.ndarray]:
    number, shown, last, first = 0, 0.0, None, None
    for last in container.decode(video=0):
        first = last.time if first is None else first
        shown = last.time - first + 1 / fps  # until when this frame stands
        image = None
        while (number + 0.5) * stride / fps < shown - 0.25 / fps:
            image = last.to_ndarray(format="rgb24") if image is None else image
            number += 1
            yield image
    if last is None:
        raise BrokenVideo(f"{container.name} has no frames: replace the file")
    if number * stride / fps < shown - 0.5 / fps:  # the last snippet is cut off before its middle
        yield last.to_ndarray(format="rgb24")


def sample(path: Path | str, count: int) -> list[tuple[float, np.ndarray]]:
    """`count` frames spread evenly over a video, each with its time in seconds."""
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
    frames = enumerate(snippets(path, 1, fps))
    total = sum(1 for _ in snippets(path, max(1, round(fps)), fps)) * max(1, round(fps))
    wanted = {round((place + 0.5) * total / count) for place in range(count)}
    return [(index / fps, image) for index, image in frames if index in wanted]


@dataclass(frozen=True)
class FeatureStore:
    """Features on disk: `<id>.npy` (T, C) float32 and `<id>.json` (frames per second, stride, snippets) per video."""

    folder: Path

    def read(self, video_id: str) -> np.ndarray:
        """The features (T, C) of a video, memory-mapped; a missing or damaged file is named."""
        path = self.folder / f"{video_id}.npy"
        if not path.is_file():
            raise FileNotFoundError(f"no features of {video_id}: expected {path}; run notebooks/prepare.ipynb")
        try:
            array = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise ValueError(f"{path} is not a whole .npy file ({error}): delete it and run prepare again") from error
        if array.ndim != 2 or not len(array):
            raise ValueError(f"{path} must hold snippets x channels, at least one snippet; got shape {array.shape}")
        return array


def store_folder(root: Path | str, encoder_key: str, stride: int) -> Path:
    """Where the features of one encoder at one stride are kept."""
    return Path(root) / "features" / f"{encoder_key}_stride{stride}"


def extract(
    videos: Sequence[Video],
    video_folder: Path | str,
    store: FeatureStore,
    encoder: Encoder,
    stride: int,
    progress: Progress = silent,
) -> FeatureStore:
    """Encode the videos whose features are missing; two at a time, each batch by batch.

    Raises BrokenVideo, naming the file, for what cannot be decoded or ends more than 1.5 s before its annotation
    says. What was finished before stays: the next call goes on from there.
    """
    missing = [video for video in videos if not (store.folder / f"{video.id}.json").is_file()]
    done = len(videos) - len(missing)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two videos at once use two cores better than two threads on one small batch
    try:
        with ThreadPoolExecutor(max(2, threads)) as pool:
            jobs = [pool.submit(_extract_one, video, video_folder, store, encoder, stride) for video in missing]
            try:
                for job in jobs:
                    job.result()
                    done += 1
                    progress(done, len(videos), "encoding videos with CLIP")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
    return store


def _extract_one(video: Video, video_folder: Path | str, store: FeatureStore, encoder: Encoder, stride: int) -> None:
    path = find_video(video_folder, video.id)
    frames = snippets(path, stride, video.fps)
    parts = []
    while batch := list(itertools.islice(frames, BATCH)):
        parts.append(encoder.images(batch).numpy())
    features = np.concatenate(parts)
    expected = math.ceil(video.duration * video.fps / stride)
    if (expected - len(features)) * stride / video.fps > SLACK:
        seconds = len(features) * stride / video.fps
        raise BrokenVideo(f"{path} ends after {seconds:.1f} s, its annotation says {video.duration:.1f} s: truncated?")
    if not np.isfinite(features).all():
        raise ValueError(f"{path}: encoder {encoder.name} gave NaN or infinite features")
    write_npy(store.folder / f"{video.id}.npy", features)
    write_json(store.folder / f"{video.id}.json", {"fps": video.fps, "stride": stride, "snippets": len(features)})


def frame_at(path: Path | str, seconds: float) -> np.ndarray:
    """The frame (height, width, 3) uint8 shown at a time of a video, or its last one."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= seconds:
                break
        return frame.to_ndarray(format="rgb24")
