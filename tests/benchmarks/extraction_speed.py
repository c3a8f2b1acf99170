"""How fast videos become features, and where the time goes: `python tests/benchmarks/extraction_speed.py [VIDEO]`.

Our way (only wanted frames, bfloat16 weights, batches) is measured beside one frame at a time in float32, in the same
run on one thread, with an untrained ViT-B-16: speed does not depend on what the weights are.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from evaluation_speed import timed

from tadlib.data.encoder import Encoder, load_encoder
from tadlib.data.features import BATCH_ON_CPU
from tadlib.data.video import snippets

STRIDE, FPS = 8, 30.0
ALONE = 6  # frames measured one at a time


def clip(path: Path, frames: int, size: tuple[int, int] = (320, 180)) -> Path:
    """A video of coarse moving patches, of THUMOS14's usual size."""
    patches = np.random.default_rng(0).integers(0, 256, (size[1] // 20, size[0] // 10, 3), dtype=np.uint8)
    noise = patches.repeat(20, axis=0).repeat(20, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"preset": "ultrafast"})
        stream.width, stream.height = size
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 2 * index, axis=1)[:, : size[0]].copy(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, int(FPS))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def parts(path: Path, encoder: Encoder) -> dict[str, float]:
    """Seconds of decoding, preprocessing and encoding a video our way, and how many features that gave."""
    decode, frames = timed(lambda: list(snippets(path, STRIDE, FPS)))
    prepare, prepared = timed(lambda: [encoder.prepare(frame) for frame in frames])
    encoder.encode(torch.stack(prepared[:2]))  # the first call of a model sets things up
    encode, _ = timed(lambda: [encoder.encode(torch.stack(batch)) for batch in _batches(prepared)])
    return {"decode": decode, "preprocess": prepare, "encode": encode, "features": len(frames)}


def _batches(prepared: Sequence[torch.Tensor]) -> Iterator[Sequence[torch.Tensor]]:
    return (prepared[first : first + BATCH_ON_CPU] for first in range(0, len(prepared), BATCH_ON_CPU))


def alone(path: Path, encoder: Encoder) -> float:
    """Seconds per feature when every frame is decoded, prepared and encoded by itself."""
    frames = list(snippets(path, 1, FPS))[:ALONE]
    encoder.encode(encoder.prepare(frames[0])[None])
    seconds, _ = timed(lambda: [encoder.encode(encoder.prepare(frame)[None]) for frame in frames])
    return seconds / len(frames)


def report(path: Path, frames: int) -> list[str]:
    """The figures of a video, in lines; times are CPU seconds."""
    cpu = torch.device("cpu")
    half, single = (load_encoder("ViT-B-16", "", cpu, dtype) for dtype in (torch.bfloat16, torch.float32))
    ours, each = parts(path, half), alone(path, single)
    total = ours["decode"] + ours["preprocess"] + ours["encode"]
    feature = total / ours["features"]
    return [
        *(f"{name:<10} {1000 * ours[name]:8.1f} ms {ours[name] / total:7.1%}" for name in list(ours)[:3]),
        f"ours: {1000 * feature:.1f} ms a feature (bfloat16 weights, batches of {BATCH_ON_CPU})",
        f"one frame at a time, float32: {1000 * each:.1f} ms a feature, {each / feature:.2f} times ours",
        f"every frame of the video that way: {each * frames:.1f} s, {each * frames / total:.1f} times ours",
    ]


def main() -> None:
    """Measure a video, or a made one of 400 frames."""
    parser = argparse.ArgumentParser(description="How fast videos become features.")
    parser.add_argument("video", nargs="?", type=Path, help="a video of 30 frames per second; none = one is made")
    chosen = parser.parse_args().video
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = chosen or clip(Path(folder) / "clip.mp4", frames=400)
        frames = sum(1 for _ in snippets(path, 1, FPS))
        print("\n".join(report(path, frames)))


if __name__ == "__main__":
    main()
