"""Small videos made for tests: every frame is one shade of grey that says which frame it is."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 4  # shades between neighbouring frames; they repeat after 55


def shade(index: int) -> int:
    return 16 + STEP * (index % 55)


def write_video(path: Path, times: Sequence[float], size: tuple[int, int] = (64, 48), lit: str = "") -> Path:
    """A film of pictures alone, without B-frames."""
    return write_streams(path, times, size=size, lit=lit, options={"preset": "ultrafast", "crf": "12"})


def steady(frames: int, fps: float) -> list[float]:
    return [index / fps for index in range(frames)]


def index_of(image: np.ndarray) -> int:
    """Which frame (modulo 55) an image shows."""
    return round((float(image.mean()) - 16) / STEP)


def write_sound(path: Path) -> Path:
    """A file with a second of silence and no picture."""
    return write_streams(path, [], sound=0.0, lasts=1.0)


def turned(path: Path, matrix: tuple[int, int, int, int] = (0, 1, -1, 0)) -> Path:
    """Tell players of an mp4 to show pixel (x, y) at (a x + c y, b x + d y); clockwise by a quarter, if not said
    otherwise, as a phone that was held upright does.
    """
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # behind times, number, duration, layer, group, volume
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def write_streams(  # noqa: PLR0913 - what a file may be
    path: Path,
    times: Sequence[float],
    *,
    sound: float | None = None,
    lasts: float = 4.0,
    cover: str = "",
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    shape: Fraction | None = None,
    options: dict[str, str] | None = None,
    lit: str = "",
) -> Path:
    """A film as cameras and programs make them: frame i from `times[i]` (s), with B-frames, `lasts` seconds of sound
    from `sound` on, a `cover` of one frame that stands "before" it or is "attached", pixels of any format and shape.
    Its "left" or "top" half alone may be lit; the other half is black.
    """
    with av.open(str(path), "w") as container:
        still = container.add_stream("mjpeg", rate=1) if cover else None
        stream = container.add_stream(codec, rate=rate, options=options or {}) if times else None
        noise = container.add_stream("aac", rate=16000) if sound is not None else None
        if still:
            still.width = still.height = 96
            still.pix_fmt = "yuvj420p"
            if cover == "attached":
                still.disposition = av.stream.Disposition.attached_pic
            picture = av.VideoFrame.from_ndarray(np.full((96, 96, 3), 250, np.uint8), format="rgb24")
            picture.pts = 0
            packets = [*still.encode(picture), *still.encode(None)]
        if stream:
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = Fraction(1, 1000)
            if shape:
                stream.codec_context.sample_aspect_ratio = shape
        if still:
            container.mux(packets)
        if noise:
            for start in range(0, int(16000 * lasts), 1024):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16000, int(16000 * sound) + start, Fraction(1, 16000)
                container.mux(noise.encode(frame))
            container.mux(noise.encode(None))
        for index, time in enumerate(times):
            image = np.full((size[1], size[0], 3), shade(index), np.uint8)
            image[size[1] // 2 if lit == "top" else size[1] :] = 0
            image[:, size[0] // 2 if lit == "left" else size[0] :] = 0
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if stream:
            container.mux(stream.encode(None))
    return path
