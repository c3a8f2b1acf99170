"""Frames of a video file at given times.

Times are seconds on a player's clock: 0 is the earlier start of sound and picture, and a frame is shown until the next
one. If the picture starts later than the sound, its first frame is held from 0 on. Frames are returned as a player
shows them: upright, and with the intended aspect ratio. A video is never held in memory as a whole.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tadlib.data.annotations import SUFFIXES
from tadlib.data.checks import nearest
from tadlib.data.fingerprints import ends_hash
from tadlib.data.streams import BrokenVideo, DecodingLog, first_frame, opened, rate, rises, timed
from tadlib.files import shortened

GRACE = 0.01  # tolerance for rounded time stamps in seconds, at most a quarter of a frame
MIN_LATE_START = 0.1  # smallest late start of the picture that is reported, in seconds
ASPECT_TOLERANCE = 0.02  # tolerance of the pixel aspect ratio
DECODE_AHEAD = 5.0  # seconds decoded to reach a frame; farther frames are reached by seeking to a keyframe


@dataclass(frozen=True)
class Clip:
    """A video file; `start` and `duration` are start and (stated) end of its picture in seconds."""

    path: Path
    start: float
    duration: float  # 0 if unknown
    fps: float  # as stated if it agrees with the frames' times, otherwise measured
    width: int  # as shown
    height: int
    sound: bool
    remarks: tuple[str, ...]  # unusual properties, as messages

    @property
    def key(self) -> str:
        """The file's name (shortened) and a hash of its content (12 digits): the same for a copy elsewhere."""
        return f"{shortened(self.path.stem, 150)}_{ends_hash(self.path)}"


def probe(path: Path | str) -> Clip:
    """Read the properties of a video file; raises BrokenVideo naming a missing file, or one that is no video."""
    path = Path(path)
    if not path.is_file():
        videos = [file for file in sorted(path.parent.glob("*.*")) if file.suffix.lower() in SUFFIXES]
        names = {unicodedata.normalize("NFC", file.name): file for file in videos}  # on a Mac "é" may be two letters
        if (name := unicodedata.normalize("NFC", path.name)) not in names:
            raise BrokenVideo(f"no video file {path}" + (nearest(name, names) if names else ""))
        path = names[name]
    fps, remarks = rate(path)
    with opened(path) as (container, stream):
        frame, start = first_frame(timed(container, stream, 1 / fps, found := DecodingLog()), path, found)
        show = _FrameConverter(stream)
        height, width = show(frame).shape[:2]
        sound = bool(container.streams.audio)
    if start > MIN_LATE_START:
        remarks += (f"its picture begins at {start:.2f} s: the first frame is held until then",)
    return Clip(path, start, found.stated, fps, width, height, sound, remarks + show.remarks)


def snippets(
    path: Path | str, stride: int, fps: float, each: int = 1, found: DecodingLog | None = None
) -> Iterator[np.ndarray]:
    """Yield frames (height, width, 3) uint8 at `each` evenly spaced times of every snippet, in order.

    A snippet lasts `stride` / `fps` seconds; a held frame is yielded as the same array again. Damaged parts are skipped
    and recorded in `found`. Raises BrokenVideo for a file that is no video or has no picture.
    """
    path, number, lasts = Path(path), 0, stride / fps
    found = DecodingLog() if found is None else found
    period = 1 / rate(path)[0]
    grace = min(period / 4, GRACE)
    with opened(path) as (container, stream):
        show, reel = _FrameConverter(stream), timed(container, stream, period, found)
        shown, _ = first_frame(reel, path, found)
        image = None
        for frame, time in reel:
            while (number + 0.5) / each * lasts < time - grace:
                image = show(shown) if image is None else image
                number += 1
                yield image
            shown, image = frame, None
        image = show(shown) if image is None else image
        while number < each or number // each * lasts < found.end - 2 * grace:  # the last may end before its middle
            number += 1
            yield image


def frames_at(path: Path | str, times: Iterable[float]) -> Iterator[np.ndarray]:
    """Yield the frames (height, width, 3) uint8 at the given times, in this order; beyond the end the last one.

    A time far ahead is reached by seeking to a keyframe, if the file's time stamps are reliable; for an earlier time
    the file is opened again.
    """
    path, times = Path(path), (max(0.0, time) for time in times)
    period, moment = 1 / rate(path)[0], next(times, None)
    seeks = None  # whether seeking is reliable; found out when it is needed
    while moment is not None:
        with opened(path) as (container, stream):
            show, found, image = _FrameConverter(stream), DecodingLog(), None
            reel = timed(container, stream, period, found)
            shown, since = first_frame(reel, path, found)[0], 0.0  # the first frame is held from 0 on
            following = next(reel, None)
            while moment is not None and moment >= since:
                far = following is not None and moment > following[1] + DECODE_AHEAD
                seeks = rises(path) if far and seeks is None else seeks
                if far and seeks:
                    container.seek(round((found.origin + moment) / stream.time_base), stream=stream)
                    reel = timed(container, stream, period, found)
                    there = next(reel, None)
                    seeks = there is not None and there[1] <= moment
                    if not seeks:  # keyframes are unreliable: decode from the start
                        break
                    (shown, since), following, image = there, next(reel, None), None
                while following and following[1] <= moment + GRACE / 100:
                    (shown, since), following, image = following, next(reel, None), None
                image = show(shown) if image is None else image
                yield image
                moment = next(times, None)


class _FrameConverter:
    """Converter of a stream's frames to images (height, width, 3) uint8, as a player shows them."""

    def __init__(self, stream: VideoStream) -> None:
        shape = float(stream.sample_aspect_ratio or 1)
        self.shape = shape if ASPECT_TOLERANCE < abs(shape - 1) and 0.25 <= shape <= 4 else 1.0  # pixel width / height
        self.matrix = (1, 0, 0, 1)
        self.reformatter = VideoReformatter()  # kept, because creating one takes longer than converting a small frame

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame, with aspect ratio and rotation applied."""
        for data in frame.side_data:
            if data.type == Type.DISPLAYMATRIX:
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
                self.matrix = (a, b, c, d) if a * d - b * c else self.matrix
        wide = {} if self.shape == 1 else {"width": round(frame.width * self.shape), "height": frame.height}
        image = self.reformatter.reformat(frame, format="rgb24", **wide).to_ndarray()
        a, b, c, d = self.matrix
        if self.matrix == (1, 0, 0, 1):
            return image
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return np.ascontiguousarray(image[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])
        return np.ascontiguousarray(image.transpose(1, 0, 2)[:: 1 if b > 0 else -1, :: 1 if c > 0 else -1])

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on rotation, mirroring and aspect ratio."""
        a, b, c, d = self.matrix
        mirrored = a * d - b * c < 0
        turn = round(np.degrees(np.arctan2(b if mirrored else -b, -a if mirrored else a)) / 90) % 4 * 90
        how = [*(["mirrored"] if mirrored else []), *([f"turned by {turn} degrees"] if turn else [])]
        remarks = (" and ".join(how),) if how else ()
        return remarks + ((f"its pixels are {self.shape:.3g} times as wide as high",) if self.shape != 1 else ())
