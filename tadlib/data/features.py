"""Extraction of snippet features: decode a video, encode frames with CLIP, store one (T, C) array per video.

Snippet t covers the half-open interval [t, t + 1) strides and is represented by its middle frame, or by the mean of
several frames.
"""

import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tadlib.data import fingerprints
from tadlib.data.annotations import SUFFIXES, Video
from tadlib.data.encoder import Encoder
from tadlib.data.fingerprints import FeatureStore
from tadlib.data.lengths import files_of
from tadlib.data.streams import SLACK, BrokenVideo, DecodingLog
from tadlib.data.video import Clip, probe, snippets
from tadlib.files import Progress, nearest_folder, silent

BATCH_ON_CPU, BATCH_ELSEWHERE = 8, 64  # frames per batch: on a CPU more are no faster, and fewer half as fast with AMX
MAX_EQUAL_FRAMES = 32  # equal frames for which a still picture is encoded again; a held frame never is
NAMED = 5  # videos named in a warning
STORES = ("*_stride*", "*_count*")  # what `store_folder` names match
MIN_DURATION_SHARE = 0.67  # a file shorter than this share of the annotated duration is taken to be another video


def find_video(folder: Path | str, video_id: str) -> Path:
    """Find the file of a video; raises BrokenVideo for none or two, naming what was expected and what was found."""
    files = video_files(folder, video_id)
    if len(files) > 1:
        raise BrokenVideo(f"{files[0]} and {files[1]} are both videos of {video_id}: keep one of them")
    if files:
        return files[0]
    others = ", ".join(path.name for path in files_of(folder, video_id))
    expected = f"expected {video_id} with one of {', '.join(SUFFIXES)}" + (f"; found only {others}" if others else "")
    raise BrokenVideo(f"no video file for {video_id} in {folder}: {expected}")


def video_files(folder: Path | str, video_id: str) -> list[Path]:
    """Return the files of a video, of which there should be one."""
    return [path for path in files_of(folder, video_id) if path.suffix.lower() in SUFFIXES]


def store_folder(root: Path | str, encoder_key: str, stride: int, *, each: int = 1, count: int = 0) -> Path:
    """Return the folder of an encoder's features: one stride or `count` snippets per video, mean of `each` frames."""
    sampling = f"count{count}" if count else f"stride{stride}"
    return Path(root) / "features" / f"{encoder_key}_{sampling}{f'_mean{each}' if each > 1 else ''}"


def to_encode(
    videos: Sequence[Video], video_folder: Path | str, store: FeatureStore, encoder: Encoder, stride: int, each: int = 1
) -> dict[str, str]:
    """Return the videos to encode, with the reason why their features are outdated (empty if they have none)."""
    reasons = {}
    for video in videos:
        files = video_files(video_folder, video.id)
        if not store.has(video.id) or len(files) > 1:  # of which file features are, nobody knows
            reasons[video.id] = ""
        elif reason := store.changed(video.id, _made(video, encoder, stride, each), next(iter(files), None)):
            reasons[video.id] = reason
    return reasons


def _made(video: Video, encoder: Encoder, stride: int, each: int) -> dict[str, object]:
    """Return the settings that determine features, apart from the file."""
    settings = {"stride": stride, "frames_per_snippet": each, "encoder": encoder.key, "decoder": fingerprints.DECODER}
    return {"fps": float(video.fps), "duration": float(video.duration)} | settings


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
    """Encode videos whose features are missing or outdated, several at a time; `each` frames per snippet.

    Features of another file, frame rate or other settings are outdated; a warning names them.

    With `missing` "fail" BrokenVideo is raised for the first file that cannot be decoded or ends more than 1.5 s too
    early; with "skip" the other videos are encoded, and the errors are returned by video. Features are stored video by
    video, so an interrupted extraction resumes at the next call.
    """
    reasons = to_encode(videos, video_folder, store, encoder, stride, each)
    left = [video for video in videos if video.id in reasons]
    if left and not os.access(nearest_folder(store.folder), os.W_OK):
        raise PermissionError(
            f"{store.folder} cannot be written, but lacks features of {len(left)} videos, first {left[0].id} "
            f"({reasons[left[0].id] or 'there are none'}): make it writable, or copy the data set to a folder that is"
        )
    if renewed := [f"{name} ({why})" for name, why in reasons.items() if why]:
        more = f", and {len(renewed) - NAMED} more" if len(renewed) > NAMED else ""
        warnings.warn(f"features made anew of {len(renewed)} videos: {', '.join(renewed[:NAMED])}{more}", stacklevel=2)
    store.delete_leftovers()
    done, broken = len(videos) - len(left), {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for small batches, two videos on two cores are faster than two threads on one video
    pool = ThreadPoolExecutor(max(2, threads))
    try:
        jobs = {pool.submit(_extract_one, video, video_folder, store, encoder, stride, each): video for video in left}
        for job, video in jobs.items():
            try:
                job.result()
            except BrokenVideo as error:
                if missing == "fail":
                    raise
                broken[video.id] = str(error)
            done += 1
            progress(done, len(videos), "encoding videos with CLIP")
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, the videos not yet started are left out
        torch.set_num_threads(threads)
    return broken


def _extract_one(
    video: Video, video_folder: Path | str, store: FeatureStore, encoder: Encoder, stride: int, each: int
) -> None:
    clip, begun = probe(find_video(video_folder, video.id)), time.monotonic()
    source = fingerprints.source(clip.path)  # before decoding, so that a later change is noticed
    features, found = embedded(clip, stride, video.fps, encoder, each)
    seconds, copy = len(features) * stride / video.fps, clip.duration or video.duration
    expected = min(copy, video.duration) if copy > MIN_DURATION_SHARE * video.duration else video.duration
    if expected - seconds > SLACK:
        why = f" ({found.cut})" if found.cut else ""
        raise BrokenVideo(f"{clip.path} ends after {seconds:.1f} s, it should last {expected:.1f} s{why}: truncated?")
    if found.holes:
        raise BrokenVideo(f"{clip.path}: {found.holes[0]}: copy or download it again")
    remarks = [*clip.remarks, *found.remarks]
    if seconds - video.duration > max(SLACK, 0.1 * video.duration):
        remarks.append(f"it lasts {seconds:.1f} s, {video.duration:.1f} s are stated: actions and detections end there")
    made = _made(video, encoder, stride, each) | {"source": source, "seconds": round(time.monotonic() - begun, 3)}
    store.write(video.id, features, made | ({"remarks": remarks} if remarks else {}))


def embedded(
    clip: Clip, stride: int, fps: float, encoder: Encoder, each: int = 1, progress: Progress = silent
) -> tuple[Float[np.ndarray, "t c"], DecodingLog]:
    """Encode the snippets of a video; returns features and decoding problems. Still pictures are encoded once.

    Raises ValueError if the features are not finite.
    """
    found, size = DecodingLog(), BATCH_ON_CPU if encoder.device.type == "cpu" else BATCH_ELSEWHERE
    parts, batch, times, last, still = [], [], [], None, 0
    for frame in snippets(clip.path, stride, fps, each, found):
        alike = frame is last or (last is not None and np.array_equal(frame, last))
        still = still + 1 if alike else 0
        if frame is last or still > MAX_EQUAL_FRAMES:
            times[-1] += 1
            continue
        if len(batch) == size:
            parts.append(encoder.encode(torch.stack(batch)).numpy())
            batch = []
            done = sum(times) // each  # a file may last longer than its header states
            progress(done, max(1, round(clip.duration * fps / stride), done), "encoding the video with CLIP")
        batch.append(encoder.prepare(frame))
        times.append(1)
        last = frame
    parts.append(encoder.encode(torch.stack(batch)).numpy())
    features = np.concatenate(parts).repeat(times, axis=0)
    features = features.reshape(-1, each, features.shape[1]).mean(axis=1)
    progress(len(features), len(features), "encoding the video with CLIP")
    if not np.isfinite(features).all():
        raise ValueError(f"{clip.path}: encoder {encoder.name} gave NaN or infinite features")
    return features, found
