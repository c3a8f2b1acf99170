"""Snippet features: videos decoded frame by frame, encoded by CLIP, stored as one (T, C) array per video.

Snippet t covers the half-open stretch [t, t + 1) strides and is represented by the frame shown at its middle, or by
the mean of several; timestamps come from the stream, whatever its frame rate does. No video is ever whole in memory.
"""

import glob
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import torch

from tadlib.data.annotations import Video
from tadlib.data.encoder import Encoder
from tadlib.data.lengths import stated, variants
from tadlib.data.readers import SUFFIXES
from tadlib.files import Progress, silent, write_json, write_npy

BATCH_ON_CPU, BATCH_ELSEWHERE = 8, 64  # frames encoded at once
LARGE, BATCH_OF_LARGE = 50_000_000, 2  # parameters from which a CPU encodes few frames at once
SLACK = 1.5  # seconds by which a decoded video may be shorter than it should be
LEAST = 0.67  # share of the annotated duration below which a shorter copy is not the same video


class BrokenVideo(ValueError):
    """A video file that cannot be used; the message names the file and what is wrong with it."""


def find_video(folder: Path | str, video_id: str) -> Path:
    """The file of a video; raises BrokenVideo naming what was looked for and what is there instead."""
    others = []
    for name in variants(video_id):
        for path in sorted(Path(folder).glob(f"{glob.escape(name)}.*")):
            if path.suffix.lower() in SUFFIXES:
                return path
            others.append(path.name)
    found = f"; found only {', '.join(others)}" if others else ""
    raise BrokenVideo(
        f"no video file for {video_id} in {folder}: expected {video_id} with one of {', '.join(SUFFIXES)}{found}"
    )


def snippets(path: Path | str, stride: int, fps: float, each: int = 1) -> Iterator[np.ndarray]:
    """The frames (height, width, 3) uint8 shown at `each` evenly spread moments of every snippet, in order.

    Raises BrokenVideo for a file that is no video, has no picture, or breaks off.
    """
    path = Path(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BrokenVideo(f"{path} has no video stream: replace the file")
            yield from _shown(container, stride / fps, each)
    except (av.error.FFmpegError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise BrokenVideo(f"{path} ({size} bytes) cannot be decoded ({error}): copy or download it again") from error


def _shown(container: av.container.InputContainer, lasts: float, each: int) -> Iterator[np.ndarray]:
    """The frames shown at (number + 0.5) / each snippets; a frame is shown until the next one's time."""
    stream = container.streams.video[0]
    number, image, frame, first = 0, None, None, None
    for following in container.decode(stream):
        if following.time is None:
            raise BrokenVideo(f"{container.name} has frames without a time: remux it (ffmpeg -i IN -c copy OUT)")
        first = following.time if first is None else first
        period = float(1 / (stream.average_rate or 25))
        # a quarter of a frame of grace: time stamps are rounded
        while frame is not None and (number + 0.5) / each * lasts < following.time - first - period / 4:
            image = frame.to_ndarray(format="rgb24") if image is None else image
            number += 1
            yield image
        frame, image = following, None
    if frame is None:
        raise BrokenVideo(f"{container.name} has no frames: replace the file")
    end = frame.time - first + period
    while number // each * lasts < end - period / 2:  # the last snippet may be cut off before its middle
        number += 1
        yield frame.to_ndarray(format="rgb24")


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
    """Features on disk, per video: `<id>.npy` (T, C), float32 or float16, and `<id>.json` (fps, stride, snippets)."""

    folder: Path

    @property
    def key(self) -> str:
        """What stands for the features: the encoder's key and how frames were sampled."""
        return self.folder.name

    def has(self, video_id: str) -> bool:
        """Whether the features of a video are there, whole."""
        return (self.folder / f"{video_id}.json").is_file()

    def read(self, video_id: str) -> np.ndarray:
        """The features (T, C) float32 of a video; a missing or damaged file is named."""
        return self.stored(video_id).astype(np.float32, copy=False)

    def stored(self, video_id: str) -> np.ndarray:
        """The features (T, C) of a video as they lie on disk, memory-mapped, of which only what is used is read."""
        path = self.folder / f"{video_id}.npy"
        if not path.is_file():
            raise FileNotFoundError(f"no features of {video_id}: expected {path}; run notebooks/prepare.ipynb")
        try:
            array = np.load(path, mmap_mode="c")
        except ValueError as error:
            raise ValueError(f"{path} is not a whole .npy file ({error}): delete it and run prepare again") from error
        if array.ndim != 2 or not len(array):
            raise ValueError(f"{path} must hold snippets x channels, at least one snippet; got shape {array.shape}")
        return array


def store_folder(root: Path | str, encoder_key: str, stride: int, *, each: int = 1, count: int = 0) -> Path:
    """Where the features of one encoder are kept: at one stride, or `count` per video; mean of `each` frames."""
    sampling = f"count{count}" if count else f"stride{stride}"
    return Path(root) / "features" / f"{encoder_key}_{sampling}{f'_mean{each}' if each > 1 else ''}"


def with_count(video: Video, stride: int, count: int) -> Video:
    """The video on a frame rate at which `count` snippets of `stride` frames last exactly as long as it does."""
    return replace(video, fps=count * stride / video.duration)


def extract(
    videos: Sequence[Video],
    video_folder: Path | str,
    store: FeatureStore,
    encoder: Encoder,
    stride: int,
    progress: Progress = silent,
    *,
    each: int = 1,
    missing: str = "fail",
) -> dict[str, str]:
    """Encode the videos whose features are missing, several at a time, each batch by batch; `each` frames a snippet.

    With `missing` "fail" BrokenVideo names the first file that cannot be decoded or ends more than 1.5 s before it
    should; with "skip" the others are encoded, and what is wrong comes back by video. What was finished
    before stays: the next call goes on from there.
    """
    left = [video for video in videos if not store.has(video.id)]
    done, broken = len(videos) - len(left), {}
    with _one_thread_each() as pool:
        jobs = {pool.submit(_extract_one, video, video_folder, store, encoder, stride, each): video for video in left}
        for job, video in jobs.items():
            broken |= _outcome(job, video, missing)
            done += 1
            progress(done, len(videos), "encoding videos with CLIP")
    return broken


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Workers for several videos at once; an error leaves those that have not begun undone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two videos at once use two cores better than two threads on one small batch
    try:
        with ThreadPoolExecutor(max(2, threads)) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)


def batch_size(encoder: Encoder) -> int:
    """Frames that are encoded at once: more are not faster on a CPU, and need more memory."""
    if encoder.device.type != "cpu":
        return BATCH_ELSEWHERE
    large = sum(weight.numel() for weight in encoder.model.parameters()) >= LARGE
    return BATCH_OF_LARGE if large else BATCH_ON_CPU


def _outcome(job: Future[None], video: Video, missing: str) -> dict[str, str]:
    try:
        job.result()
    except BrokenVideo as error:
        if missing == "fail":
            raise
        return {video.id: str(error)}
    return {}


def _extract_one(
    video: Video, video_folder: Path | str, store: FeatureStore, encoder: Encoder, stride: int, each: int
) -> None:
    path = find_video(video_folder, video.id)
    frames, size = snippets(path, stride, video.fps, each), batch_size(encoder)
    parts = []
    while batch := [encoder.prepare(frame) for frame in itertools.islice(frames, size)]:
        parts.append(encoder.encode(torch.stack(batch)).numpy())
    features = np.concatenate(parts)
    features = features.reshape(-1, each, features.shape[1]).mean(axis=1)
    seconds, expected = len(features) * stride / video.fps, _expected(path, video)
    if expected - seconds > SLACK:
        raise BrokenVideo(f"{path} ends after {seconds:.1f} s, it should last {expected:.1f} s: truncated?")
    if not np.isfinite(features).all():
        raise ValueError(f"{path}: encoder {encoder.name} gave NaN or infinite features")
    write_npy(store.folder / f"{video.id}.npy", features)
    write_json(store.folder / f"{video.id}.json", {"fps": video.fps, "stride": stride, "snippets": len(features)})


def _expected(path: Path, video: Video) -> float:
    """Seconds that a whole file lasts: as annotated, or, for a copy that was cut a little, as its header states."""
    with av.open(str(path)) as container:
        copy = stated(container).duration or video.duration
    return min(copy, video.duration) if copy > LEAST * video.duration else video.duration


def frame_at(path: Path | str, seconds: float) -> np.ndarray:
    """The frame (height, width, 3) uint8 shown at a time of a video, or its last one."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= seconds:
                break
        return frame.to_ndarray(format="rgb24")
