"""Frames at times: with `streams`, the only place that reads a video file, whatever camera or program made it.

Times are seconds on a player's clock: 0 is where the first of sound and picture begins, and a frame is shown until the
next one's time. Where the picture begins after the sound its first frame is held from 0 on. Pictures come as a player
shows them: upright, and as wide as their pixels are meant to be. No video is ever whole in memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream

from tadlib.data.checks import nearest
from tadlib.data.fingerprints import ends
from tadlib.data.readers import SUFFIXES
from tadlib.data.streams import BrokenVideo, Found, first, opened, rate, rises, timed
from tadlib.files import shortened

GRACE = 0.01  # seconds by which a frame may be due too late, a quarter of it at most: time stamps are rounded
NOTED = 0.1  # seconds of a picture's late start that are told
SQUARE = 0.02  # share of their height by which pixels may be wider or narrower and count as squares
REACH = 5.0  # seconds that are decoded on the way to a frame; what lies farther is looked up by keyframes


@dataclass(frozen=True)
class Clip:
    """A video file; `start` and `duration` are where its picture begins and, as the file states, ends, in seconds."""

    path: Path
    start: float
    duration: float  # 0 where the file does not say
    fps: float  # as stated where the frames' times agree, else measured
    width: int  # as shown
    height: int
    sound: bool
    remarks: tuple[str, ...]  # what is unusual about it, for people

    @property
    def key(self) -> str:
        """The file's name, cut where it is long, and twelve digits for its content: a copy elsewhere has the same."""
        return f"{shortened(self.path.stem, 150)}_{ends(self.path)}"


def look(path: Path | str) -> Clip:
    """What a video file is; raises BrokenVideo naming the file for what is missing, is no video or has no picture."""
    path = Path(path)
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*.*") if each.suffix.lower() in SUFFIXES)
        raise BrokenVideo(f"no video file {path}" + (nearest(path.name, there) if there else ""))
    fps, remarks = rate(path)
    with opened(path) as (container, stream):
        frame, start = first(timed(container, stream, 1 / fps, found := Found()), path, found)
        show = _Show(stream)
        height, width = show(frame).shape[:2]
        sound = bool(container.streams.audio)
    if start > NOTED:
        remarks += (f"its picture begins at {start:.2f} s: the first frame is held until then",)
    return Clip(path, start, found.stated, fps, width, height, sound, remarks + show.remarks)


def snippets(
    path: Path | str, stride: int, fps: float, each: int = 1, found: Found | None = None
) -> Iterator[np.ndarray]:
    """The frames (height, width, 3) uint8 shown at `each` evenly spread moments of every snippet, in order.

    A snippet lasts `stride` / `fps` seconds; a frame that is held comes again as the same array. What cannot be
    decoded is passed over and told in `found`. Raises BrokenVideo for a file that is no video or has no picture.
    """
    path, number, lasts = Path(path), 0, stride / fps
    found = Found() if found is None else found
    period = 1 / rate(path)[0]
    grace = min(period / 4, GRACE)
    with opened(path) as (container, stream):
        show, reel = _Show(stream), timed(container, stream, period, found)
        shown, _ = first(reel, path, found)
        image = None
        for frame, time in reel:
            while (number + 0.5) / each * lasts < time - grace:
                image = show(shown) if image is None else image
                number += 1
                yield image
            shown, image = frame, None
        image = show(shown) if image is None else image
        while number // each * lasts < found.end - 2 * grace:  # the last snippet may be cut off before its middle
            number += 1
            yield image


def frame_at(path: Path | str, seconds: float) -> np.ndarray:
    """The frame (height, width, 3) uint8 shown at a time of a video; beyond the end its last one."""
    return next(frames_at(path, [seconds]))


def frames_at(path: Path | str, times: Iterable[float]) -> Iterator[np.ndarray]:
    """The frames (height, width, 3) uint8 shown at times, in their order; beyond the end the last one.

    A time far ahead is looked up by keyframes, where the file's time stamps can be relied on; the file is opened anew
    for one that lies behind.
    """
    path, times = Path(path), (max(0.0, time) for time in times)
    period, moment = 1 / rate(path)[0], next(times, None)
    lookup = True
    while moment is not None:
        with opened(path) as (container, stream):
            show, found, image = _Show(stream), Found(), None
            reel = timed(container, stream, period, found)
            shown, since = first(reel, path, found)[0], 0.0  # the first frame is held from 0 on
            following = next(reel, None)
            while moment is not None and moment >= since:
                if lookup and following and moment > following[1] + REACH and rises(path):
                    container.seek(round((found.origin + moment) / stream.time_base), stream=stream)
                    reel = timed(container, stream, period, found)
                    there = next(reel, None)
                    lookup = there is not None and there[1] <= moment
                    if not lookup:  # a file whose keyframes cannot be relied on: decoded from its start
                        break
                    (shown, since), following, image = there, next(reel, None), None
                while following and following[1] <= moment + GRACE / 100:
                    (shown, since), following, image = following, next(reel, None), None
                image = show(shown) if image is None else image
                yield image
                moment = next(times, None)


class _Show:
    """Frames of a stream as a player shows them, (height, width, 3) uint8."""

    def __init__(self, stream: VideoStream) -> None:
        shape = float(stream.sample_aspect_ratio or 1)
        self.shape = shape if SQUARE < abs(shape - 1) and 0.25 <= shape <= 4 else 1.0  # of a pixel, width / height
        self.matrix = (1, 0, 0, 1)

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame in the shape and the position in which it is meant to be seen."""
        for data in frame.side_data:
            if data.type == Type.DISPLAYMATRIX:
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
                self.matrix = (a, b, c, d) if a * d - b * c else self.matrix
        wide = {} if self.shape == 1 else {"width": round(frame.width * self.shape), "height": frame.height}
        image, (a, b, c, d) = frame.to_ndarray(format="rgb24", **wide), self.matrix
        if self.matrix == (1, 0, 0, 1):
            return image
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return np.ascontiguousarray(image[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])
        return np.ascontiguousarray(image.transpose(1, 0, 2)[:: 1 if b > 0 else -1, :: 1 if c > 0 else -1])

    @property
    def remarks(self) -> tuple[str, ...]:
        """How what was shown differs from what is stored."""
        a, b, c, d = self.matrix
        mirrored = a * d - b * c < 0
        turn = round(np.degrees(np.arctan2(b if mirrored else -b, -a if mirrored else a)) / 90) % 4 * 90
        how = [*(["mirrored"] if mirrored else []), *([f"turned by {turn} degrees"] if turn else [])]
        said = (" and ".join(how),) if how else ()
        return said + ((f"its pixels are {self.shape:.3g} times as wide as high",) if self.shape != 1 else ())
