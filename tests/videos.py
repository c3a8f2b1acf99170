"""Small videos made for tests: every frame is one shade of grey that says which frame it is."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 4  # shades between neighbouring frames; they repeat after 55


def shade(index: int) -> int:
    return 16 + STEP * (index % 55)


def write_video(path: Path, times: Sequence[float], size: tuple[int, int] = (64, 48), rate: int = 25) -> Path:
    """A video whose frame i is shown from `times[i]` (s)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height = size
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), shade(index), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def steady(frames: int, fps: float) -> list[float]:
    return [index / fps for index in range(frames)]


def index_of(image: np.ndarray) -> int:
    """Which frame (modulo 55) an image shows."""
    return round((float(image.mean()) - 16) / STEP)


def write_sound(path: Path) -> Path:
    """A file with a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
