"""Any video file, annotated or not: what it is, its features, frames, a small copy to look at, and pieces of it.

Times are seconds from the first frame; pictures come upright, as a player shows them. No video is ever whole in memory.
"""

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from tadlib.data.checks import nearest
from tadlib.data.encoder import Encoder
from tadlib.data.features import SUFFIXES, BrokenVideo, FeatureStore, batch_size, snippets
from tadlib.data.lengths import stated
from tadlib.files import Progress, atomic, read_json, silent, write_json, write_npy

ENDS = 2**20  # bytes at the start and at the end of a file that stand for the whole
PREVIEW_FPS, PREVIEW_WIDTH, PREVIEW_FRAMES = 10, 160, 240
SEEK_FROM = 300.0  # seconds from which a preview looks its frames up instead of decoding everything


@dataclass(frozen=True)
class Clip:
    """A video file; `duration` and `fps` are what its header states, 0 where it does not."""

    path: Path
    duration: float
    fps: float
    width: int
    height: int
    turn: int  # quarter turns, counter-clockwise, that put a frame upright
    sound: bool

    @property
    def key(self) -> str:
        """The file's name and twelve digits that stand for its content: a copy elsewhere has the same."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as handle:
            state = hashlib.sha256(f"{size}".encode() + handle.read(ENDS))
            handle.seek(max(0, size - ENDS))
            state.update(handle.read(ENDS))
        return f"{self.path.stem}_{state.hexdigest()[:12]}"

    def upright(self, frame: np.ndarray) -> np.ndarray:
        """A decoded frame (h, w, 3) as a player shows it."""
        return np.ascontiguousarray(np.rot90(frame, self.turn)) if self.turn else frame


def look(path: Path | str) -> Clip:
    """What a video file is; raises BrokenVideo naming the file for what is missing, is no video or has no picture."""
    path = Path(path)
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*.*") if each.suffix.lower() in SUFFIXES)
        raise BrokenVideo(f"no video file {path}" + (nearest(path.name, there) if there else ""))
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BrokenVideo(f"{path} has no picture, only sound or subtitles: pass a video")
            length, stream = stated(container), container.streams.video[0]
            first = next(container.decode(stream), None)
            if first is None:
                raise BrokenVideo(f"{path} has no frame that can be decoded: copy or download it again")
            turn = round(getattr(first, "rotation", 0) / 90) % 4
            size, sound = (first.width, first.height), bool(container.streams.audio)
    except (av.error.FFmpegError, OSError) as error:
        size = path.stat().st_size
        raise BrokenVideo(f"{path} ({size} bytes) cannot be decoded ({error}): copy or download it again") from error
    return Clip(path, length.duration or 0.0, length.fps or 0.0, *size, turn, sound)


def encode(
    clip: Clip, store: FeatureStore, encoder: Encoder, lasts: float, progress: Progress = silent, each: int = 1
) -> float:
    """Features of a clip in a store, one snippet every `lasts` seconds; returns how long the clip is, in seconds.

    What was encoded before is taken from the store. A file that breaks off is used as far as it goes.
    """
    note = store.folder / f"{clip.key}.json"
    if note.is_file():
        return float(read_json(note)["duration"])
    size = batch_size(encoder)
    total, parts = max(1, round(clip.duration / lasts)), []
    frames = _until_broken(snippets(clip.path, 1, 1 / lasts, each))
    while batch := [encoder.prepare(clip.upright(frame)) for frame in itertools.islice(frames, size)]:
        parts.append(encoder.encode(torch.stack(batch)).numpy())
        done = len(parts) * size // each
        progress(min(done, max(total, done)), max(total, done), "encoding the video with CLIP")
    features = np.concatenate(parts)
    features = features[: len(features) // each * each].reshape(-1, each, features.shape[1]).mean(axis=1)
    seconds = len(features) * lasts
    # the header is right where it agrees with the frames; else they are
    duration = clip.duration if 0 <= seconds - clip.duration < lasts else seconds
    write_npy(store.folder / f"{clip.key}.npy", features)
    write_json(note, {"duration": duration, "stated": clip.duration, "snippet_seconds": lasts})
    return duration


def _until_broken(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames up to where the file cannot be decoded any more; an error before the first is one."""
    some = False
    try:
        for frame in frames:
            some = True
            yield frame
    except BrokenVideo:
        if not some:
            raise


def frames_at(clip: Clip, times: Iterable[float]) -> list[np.ndarray]:
    """The upright frames (h, w, 3) shown at times, in seconds; beyond the end the last one that can be decoded."""
    found = []
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        begin = float((stream.start_time or 0) * stream.time_base)
        for seconds in times:
            container.seek(max(0, int((begin + seconds) / stream.time_base)), stream=stream)
            found.append(clip.upright(_shown(container, stream, begin + seconds)))
    return found


def _shown(container, stream, moment: float) -> np.ndarray:
    """The last frame that is not later than a moment, or the first after a seek."""
    shown = None
    try:
        for frame in container.decode(stream):
            if shown is not None and frame.time is not None and frame.time > moment:
                break
            shown = frame
    except av.error.FFmpegError:
        pass  # the rest cannot be decoded: what was shown last stays
    if shown is None:  # a seek to behind the last frame
        container.seek(0)
        *_, shown = container.decode(stream)
    return shown.to_ndarray(format="rgb24")


def preview(clip: Clip, duration: float) -> bytes:
    """A small silent mp4 of the whole clip in at most 240 frames: frame i of n shows the middle of the i-th n-th."""
    number = max(1, min(PREVIEW_FRAMES, round(duration * PREVIEW_FPS)))
    if duration < SEEK_FROM:
        frames: Iterable[np.ndarray] = map(clip.upright, _until_broken(snippets(clip.path, 1, number / duration)))
    else:
        frames = frames_at(clip, [(place + 0.5) * duration / number for place in range(number)])
    content = io.BytesIO()
    _write(content, itertools.islice(frames, number), PREVIEW_FPS, PREVIEW_WIDTH)
    return content.getvalue()


def cut(clip: Clip, segments: Sequence[Sequence[float]], folder: Path | str) -> list[Path]:
    """Pieces (start, end) of a clip, in seconds, as mp4 files without sound, named by place and start."""
    paths, fps = [], min(max(clip.fps, 1.0), 60.0)
    for place, (start, end) in enumerate(segments, start=1):
        path = Path(folder) / f"{place:03d}_{start:.1f}s.mp4"
        times = np.arange(start, max(end, start + 1 / fps), 1 / fps)
        with atomic(path) as temporary:
            _write(str(temporary), _run(clip, times), round(fps), max(clip.width, clip.height))
        paths.append(path)
    return paths


def _run(clip: Clip, times: np.ndarray) -> Iterator[np.ndarray]:
    """The upright frames shown at rising times: one seek, then decoding."""
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        begin, place, shown = float((stream.start_time or 0) * stream.time_base), 0, None
        container.seek(max(0, int((begin + times[0]) / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            while shown is not None and place < len(times) and frame.time - begin > times[place]:
                yield clip.upright(shown.to_ndarray(format="rgb24"))
                place += 1
            if place == len(times):
                return
            shown = frame
        if shown is not None:
            yield clip.upright(shown.to_ndarray(format="rgb24"))


def _write(target: io.BytesIO | str, frames: Iterable[np.ndarray], fps: int, longest: int) -> None:
    """Frames as H.264, made even, the longer side at most `longest`."""
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "28"})
        stream.pix_fmt = "yuv420p"
        for place, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if not place:
                share = min(1.0, longest / max(frame.width, frame.height))
                stream.width, stream.height = (
                    max(2, round(side * share) // 2 * 2) for side in (frame.width, frame.height)
                )
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
