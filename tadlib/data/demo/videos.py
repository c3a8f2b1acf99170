"""Video files of the benchmark: every timeline drawn and encoded as H.264; annotations in ActivityNet's layout."""

import multiprocessing
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import av
import numpy as np

from tadlib.data.demo.looks import CAMERAS, choose_camera, sample_look
from tadlib.data.demo.performances import ACTIVITIES, CLASSES, PERFORMANCES, render
from tadlib.data.demo.stage import HEIGHT, WIDTH
from tadlib.data.demo.timelines import Timeline, benchmark
from tadlib.files import Progress, atomic, read_json, silent, write_json
from tadlib.project import cores

FPS, HELD = 10, 2  # frames per second, and frames for which a picture is held
PER_LOOK = 4  # pictures of each look to train the small CLIP
VERSION = 4  # raise it when pictures, timelines or captions change, so that older files are created again


def make(
    folder: Path | str, seed: int = 0, progress: Progress = silent, timelines: Sequence[Timeline] | None = None
) -> None:
    """Write `videos/<id>.mp4` for every timeline, then `annotations.json`; existing videos of this version are kept."""
    folder = Path(folder)
    _forget_older_versions(folder, seed)
    timelines = benchmark(seed) if timelines is None else timelines
    missing = [line for line in timelines if not _path(folder, line.id).is_file()]
    done = len(timelines) - len(missing)
    with pool() as workers:
        missing.sort(key=lambda line: -line.duration)  # so that no worker starts a long video at the end
        with without_script():
            jobs = [workers.submit(write, _path(folder, line.id), line, seed) for line in missing]
        for job in as_completed(jobs):
            job.result()
            done += 1
            progress(done, len(timelines), "rendering the demo's videos")
    database = {
        line.id: {
            "subset": line.subset,
            "duration": line.duration,
            "fps": float(FPS),
            "annotations": [{"segment": [a.start, a.end], "label": a.label} for a in line.actions()],
        }
        for line in timelines
    }
    write_json(folder / "annotations.json", {"version": f"demo {VERSION}", "database": database})


def is_made(folder: Path, seed: int) -> bool:
    """Whether a folder has all videos of this version and their annotations, which are written last."""
    if not (_is_current(folder, seed) and (folder / "annotations.json").is_file()):
        return False
    return all(_path(folder, name).is_file() for name in read_json(folder / "annotations.json")["database"])


def _is_current(folder: Path, seed: int) -> bool:
    stamp = folder / "demo.json"
    return stamp.is_file() and read_json(stamp) == {"version": VERSION, "seed": seed}


def _forget_older_versions(folder: Path, seed: int) -> None:
    """Remove all files of another version or seed, including features."""
    if _is_current(folder, seed):
        return
    for name in ("annotations.json", "clip.pt", "clip.json"):  # older versions wrote the latter two
        (folder / name).unlink(missing_ok=True)
    for name in ("videos", "features", "embeddings", "heads"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_json(folder / "demo.json", {"version": VERSION, "seed": seed})


def _path(folder: Path, video_id: str) -> Path:
    return folder / "videos" / f"{video_id}.mp4"


def write(path: Path, timeline: Timeline, seed: int) -> None:
    """Draw one timeline and encode it; its appearance depends on the seed and the video's id alone."""
    rng = np.random.default_rng([seed, *timeline.id.encode()])
    look = sample_look(rng, timeline.scenes[0].label)
    with atomic(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "24"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count = 1
        for scene in timeline.scenes:
            shown = replace(look, label=scene.label)
            first = round(scene.start * FPS)
            for frame in range(first, round(scene.end * FPS)):
                if frame % HELD == 0 or frame == first:
                    seconds = (frame + 0.5) / FPS
                    image = render(shown, scene.activity, scene.phase(seconds), timeline.camera(seconds))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def pool() -> ProcessPoolExecutor:
    """Return a pool of up to eight new processes; a fork would copy the threads of the caller."""
    return ProcessPoolExecutor(min(8, cores()), mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def without_script() -> Iterator[None]:
    """Start processes inside the block without importing the caller's script.

    A script without `if __name__ == "__main__":` would run again in each of them, and wait for a lock of its parent.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def sample_frames(seed: int, looks: int) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Draw pictures to train the small CLIP: uint8 (n, 120, 160, 3), and (label, activity, camera, pose) of each.

    All but one picture of a look show its action at a random phase, the last shows a pause. No look is one of the
    benchmark's videos.
    """
    rng = np.random.default_rng([seed, 2**20])
    frames, shown = [], []
    for place in range(looks):
        label = CLASSES[(place + seed) % len(CLASSES)]
        look = sample_look(rng, label)
        for index in range(PER_LOOK):
            activity = "action" if index < PER_LOOK - 1 else ACTIVITIES[rng.integers(2, len(ACTIVITIES))]
            camera, phase = choose_camera(rng), float(rng.random())
            frames.append(render(look, activity, phase, camera))
            pose = PERFORMANCES[label].move.pose(phase) if activity == "action" else ""
            shown.append((label, activity, CAMERAS[camera], pose))
    return np.stack(frames), shown
