"""Single video files without a data set: features, preview, and clips of segments."""

import glob
import io
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from tadlib.data import fingerprints
from tadlib.data.annotations import SUFFIXES
from tadlib.data.encoder import Encoder
from tadlib.data.features import embedded
from tadlib.data.fingerprints import FeatureStore
from tadlib.data.video import Clip, frames_at, probe
from tadlib.files import NO_LETTER, Progress, atomic, shortened, silent, tidy
from tadlib.foreign import json_in

PREVIEW_FPS, PREVIEW_WIDTH, PREVIEW_FRAMES = 10, 320, 300


def video_files(given: object, folder: Path, alone: bool = True) -> tuple[Path, ...]:
    """Return the video files named by a file, a folder (all videos below it), a pattern or a list of these, without
    duplicates. Paths are relative to `folder`. Raises ValueError if a folder or pattern has no video, or if there is no
    such file; one of several may be missing, which its own row tells.
    """
    text = str(given).strip()
    if isinstance(given, list | tuple) or text.startswith("["):
        several = given if isinstance(given, list | tuple) else json_in(text, "video", "is no JSON list ({})")
        return tuple(dict.fromkeys(path for each in several for path in video_files(each, folder, False)))
    path = folder / Path(text).expanduser()
    if not text or path.is_file():
        return (path,) if text else ()
    if path.is_dir():
        below = {each: each.relative_to(path).parts for each in path.rglob("*.*") if each.suffix.lower() in SUFFIXES}
        found = [each for each, parts in below.items() if not any(part.startswith(".") for part in parts)]
    elif any(sign in text for sign in "*?["):
        found = [Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file()]
    elif "," in text:
        return video_files(text.split(","), folder)
    else:
        if alone:
            probe(path)  # raises the error, which lists the files there
        return (path,)
    if not found:
        raise ValueError(f"video={text} names no video file: expected {', '.join(SUFFIXES)} there")
    return tuple(sorted(found))


def names(files: Sequence[Path]) -> list[str]:
    """Return a unique name for each file, valid as the id of a video in annotation files.

    It is the file's stem if all differ, otherwise made from its path (a_clip_mp4), if needed with a number.
    """
    found = [tidy(NO_LETTER.sub(" ", path.stem), file=True) for path in files]
    if len(set(found)) < len(found):
        common = os.path.commonpath([path.parent for path in files])
        paths = ("_".join(path.relative_to(common).parts).replace(".", "_") for path in files)
        found = [tidy(shortened(NO_LETTER.sub(" ", path)), file=True) for path in paths]
    for place, name in enumerate(found):
        number = 1
        while found[place] in found[:place]:
            number += 1
            found[place] = f"{name}_{number}"
    return found


def encode(
    clip: Clip, store: FeatureStore, encoder: Encoder, lasts: float, progress: Progress = silent, each: int = 1
) -> float:
    """Encode a clip with snippets of `lasts` seconds into a store, and return the duration of the clip in seconds.

    Existing features are reused. A truncated file is used up to its end.
    """
    settings = {"snippet_seconds": lasts, "frames_per_snippet": each, "encoder": encoder.key}
    settings["decoder"] = fingerprints.DECODER
    if store.has(clip.key) and not store.changed(clip.key, settings, clip.path):
        return float(store.record(clip.key)["duration"])
    store.delete_leftovers()
    source, begun = fingerprints.source(clip.path), time.monotonic()
    features, found = embedded(clip, 1, 1 / lasts, encoder, each, progress)
    seconds = len(features) * lasts
    duration = clip.duration if 0 <= seconds - clip.duration < lasts else seconds  # the header's if frames agree
    made = settings | {"duration": duration, "stated": clip.duration, "source": source, "remarks": found.remarks}
    store.write(clip.key, features, made | {"seconds": round(time.monotonic() - begun, 3)})
    return duration


def preview(clip: Clip, duration: float) -> bytes:
    """Return a small silent mp4 of the whole clip: at most 300 frames at evenly spaced times."""
    number = max(1, min(PREVIEW_FRAMES, round(duration * PREVIEW_FPS)))
    frames = frames_at(clip.path, ((place + 0.5) * duration / number for place in range(number)))
    content = io.BytesIO()
    _write(content, frames, PREVIEW_FPS, PREVIEW_WIDTH)
    return content.getvalue()


def cut(clip: Clip, segments: Sequence[Sequence[float]], folder: Path | str) -> list[Path]:
    """Write segments (start, end; seconds) of a clip as silent mp4 files, named by index and start."""
    paths, fps = [], min(max(clip.fps, 1.0), 60.0)
    for place, (start, end) in enumerate(segments, start=1):
        path = Path(folder) / f"{place:03d}_{start:.1f}s.mp4"
        times = np.arange(start, max(end, start + 1 / fps), 1 / fps)
        with atomic(path) as temporary:
            _write(str(temporary), frames_at(clip.path, times.tolist()), round(fps), max(clip.width, clip.height))
        paths.append(path)
    return paths


def _write(target: io.BytesIO | str, frames: Iterable[np.ndarray], fps: int, longest: int) -> None:
    """Write frames as H.264 with even sides, the longer one at most `longest`."""
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
