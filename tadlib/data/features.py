"""Snippet features: videos decoded frame by frame, encoded by CLIP, stored as one (T, C) array per video.

Snippet t covers the half-open stretch [t, t + 1) strides and is represented by the frame shown at its middle, or by
the mean of several.
"""

import glob
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tadlib.data import fingerprints
from tadlib.data.annotations import Video
from tadlib.data.encoder import Encoder
from tadlib.data.fingerprints import FeatureStore
from tadlib.data.lengths import variants
from tadlib.data.readers import SUFFIXES
from tadlib.data.streams import SLACK, BrokenVideo, Found
from tadlib.data.video import Clip, look, snippets
from tadlib.files import Progress, silent

BATCH_ON_CPU, BATCH_ELSEWHERE = 8, 64  # frames encoded at once
LARGE, BATCH_OF_LARGE = 50_000_000, 2  # parameters from which a CPU encodes few frames at once
STILL = 32  # frames alike after which a picture stands still and is encoded no more; a held frame at once
TOLD = 5  # videos named in a warning
LEAST = 0.67  # share of the annotated duration below which a shorter copy is not the same video


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


def video_of(folder: Path | str, video_id: str) -> Path | None:
    """The file of a video; None where it is gone."""
    try:
        return find_video(folder, video_id)
    except BrokenVideo:
        return None


def store_folder(root: Path | str, encoder_key: str, stride: int, *, each: int = 1, count: int = 0) -> Path:
    """Where the features of one encoder are kept: at one stride, or `count` per video; mean of `each` frames."""
    sampling = f"count{count}" if count else f"stride{stride}"
    return Path(root) / "features" / f"{encoder_key}_{sampling}{f'_mean{each}' if each > 1 else ''}"


def with_count(video: Video, stride: int, count: int) -> Video:
    """The video on a frame rate at which `count` snippets of `stride` frames last exactly as long as it does."""
    return replace(video, fps=count * stride / video.duration)


def to_encode(
    videos: Sequence[Video], video_folder: Path | str, store: FeatureStore, encoder: Encoder, stride: int, each: int = 1
) -> dict[str, str]:
    """The videos whose features have to be made, with why those that are there no longer hold (else empty)."""
    found = {}
    for video in videos:
        if not store.has(video.id):
            found[video.id] = ""
            continue
        if told := store.changed(video.id, _made(video, encoder, stride, each), video_of(video_folder, video.id)):
            found[video.id] = told
    return found


def _made(video: Video, encoder: Encoder, stride: int, each: int) -> dict[str, object]:
    """What makes features, beside the file."""
    return {
        "fps": float(video.fps),
        "duration": float(video.duration),
        "stride": stride,
        "frames_per_snippet": each,
        "encoder": encoder.key,
        "decoder": fingerprints.DECODER,
    }


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

    Features that were made from another file, at another rate or by other means count as missing, and a warning says
    which.

    With `missing` "fail" BrokenVideo names the first file that cannot be decoded or ends more than 1.5 s before it
    should; with "skip" the others are encoded, and what is wrong comes back by video. What was finished
    before stays: the next call goes on from there.
    """
    reasons = to_encode(videos, video_folder, store, encoder, stride, each)
    left = [video for video in videos if video.id in reasons]
    if anew := [f"{name} ({why})" for name, why in reasons.items() if why]:
        more = f", and {len(anew) - TOLD} more" if len(anew) > TOLD else ""
        warnings.warn(f"features made anew of {len(anew)} videos: {', '.join(anew[:TOLD])}{more}", stacklevel=2)
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
    clip = look(find_video(video_folder, video.id))
    source = fingerprints.source(clip.path)  # before it is read: one that changes meanwhile is another at the next use
    features, found = embedded(clip, stride, video.fps, encoder, each)
    seconds, expected = len(features) * stride / video.fps, _expected(clip, video)
    if expected - seconds > SLACK:
        why = f" ({found.cut})" if found.cut else ""
        raise BrokenVideo(f"{clip.path} ends after {seconds:.1f} s, it should last {expected:.1f} s{why}: truncated?")
    if found.holes:
        raise BrokenVideo(f"{clip.path}: {found.holes[0]}: copy or download it again")
    remarks = [*clip.remarks, *found.remarks]
    made = _made(video, encoder, stride, each) | {"source": source} | ({"remarks": remarks} if remarks else {})
    store.write(video.id, features, made)


def embedded(
    clip: Clip,
    stride: int,
    fps: float,
    encoder: Encoder,
    each: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, "t c"], Found]:
    """Features of the snippets of a video, and what decoding met; a picture that stands still is encoded once.

    `tell` hears how many snippets are done. Raises ValueError where the encoder gives no numbers.
    """
    found, size = Found(), batch_size(encoder)
    parts, batch, times, last, still = [], [], [], None, 0
    for frame in snippets(clip.path, stride, fps, each, found):
        alike = frame is last or (last is not None and np.array_equal(frame, last))
        still = still + 1 if alike else 0
        if frame is last or still > STILL:
            times[-1] += 1
            continue
        if len(batch) == size:
            parts.append(encoder.encode(torch.stack(batch)).numpy())
            batch = []
            tell(sum(times) // each)
        batch.append(encoder.prepare(frame))
        times.append(1)
        last = frame
    parts.append(encoder.encode(torch.stack(batch)).numpy())
    features = np.concatenate(parts).repeat(times, axis=0)
    features = features.reshape(-1, each, features.shape[1]).mean(axis=1)
    if not np.isfinite(features).all():
        raise ValueError(f"{clip.path}: encoder {encoder.name} gave NaN or infinite features")
    return features, found


def _expected(clip: Clip, video: Video) -> float:
    """Seconds that a whole file lasts: as annotated, or, for a copy that was cut a little, as its header states."""
    copy = clip.duration or video.duration
    return min(copy, video.duration) if copy > LEAST * video.duration else video.duration
