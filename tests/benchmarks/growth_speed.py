"""Does cost grow as the data do? `python tests/benchmarks/growth_speed.py` prints it for ten times the size, as ratios.

CPU seconds and added peak memory of a process of its own for each measurement. Linear work takes about ten times both;
what a process needs in any case makes the ratio smaller.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from evaluation_speed import RECALL_TIOUS, grouped, simulated, thinned

from tadlib import segments as geometry
from tadlib.data import checks, datasets
from tadlib.data.annotations import Action, Video
from tadlib.data.batches import WindowSet, WindowSettings
from tadlib.data.features import find_video
from tadlib.data.fingerprints import FeatureStore
from tadlib.detector.proposals import Predictions, to_proposals
from tadlib.evaluation import metrics
from tadlib.evaluation.matching import match
from tadlib.evaluation.recall import recall_table
from tadlib.evaluation.result_file import read_result, read_task

Work = Callable[[], object]  # what is measured, made ready


def annotations(folder: Path, videos: int) -> Work:
    """Reading of an annotation file, checks included."""
    rows = [{"segment": [float(start), start + 4.0], "label": f"c{start % 20}"} for start in (0, 7, 9)]
    entry = {"duration": 60.0, "fps": 25.0, "annotations": rows}
    subsets = ("training", "validation")
    database = {f"v{number}": entry | {"subset": subsets[number % 2]} for number in range(videos)}
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    return lambda: datasets.load(str(folder), folder)


def results(folder: Path, rows: int) -> Work:
    """Reading of a result file, a hundred rows a video."""
    found = [{"segment": [place * 0.5, place * 0.5 + 3.0], "score": 0.5, "label": "x"} for place in range(100)]
    content = {"results": {f"v{number}": found for number in range(rows // 100)}}
    (folder / "results.json").write_text(json.dumps(content))
    row = {"segment": [0, 1], "label": "x"}
    truth = {"database": {video: {"annotations": [row]} for video in content["results"]}}
    (folder / "truth.json").write_text(json.dumps(truth))
    task = read_task(folder / "truth.json")
    return lambda: read_result(task, folder / "results.json")


def one_video(folder: Path, minutes: int) -> Work:
    """Merging of the proposals of all windows of one video, with soft-NMS."""
    snippets, generator = 60 * minutes * 2, torch.Generator().manual_seed(0)  # half a second each
    np.save(folder / "v.npy", np.zeros((snippets, 1), np.float16))
    FeatureStore(folder).write("v", np.zeros((snippets, 1), np.float16), {})
    windows = WindowSet([Video("v", snippets / 2, 2.0, "test", ())], FeatureStore(folder), 1, WindowSettings(128, 0.25))
    shape = (len(windows), 40)
    places = 0.02 + 0.9 * torch.rand(*shape, 2, generator=generator)
    scores = torch.rand(shape, generator=generator)
    predictions = Predictions(places, scores, None, [window for window, _ in windows._items])
    return lambda: to_proposals(predictions, windows, nms="soft")


def looked_up(folder: Path, videos: int) -> Work:
    """Finding of the file of every video."""
    for number in range(videos):
        (folder / f"v{number}.mp4").touch()
    return lambda: [find_video(folder, f"v{number}") for number in range(videos)]


def written(folder: Path, videos: int) -> Work:
    """Writing of the features of every video, and asking for them."""
    store, rows = FeatureStore(folder), np.zeros((8, 4), np.float32)

    def work() -> None:
        for number in range(videos):
            store.write(f"v{number}", rows, {"fps": 25.0})
        assert all(store.has(f"v{number}") for number in range(videos))

    return work


def actions(_: Path, number: int) -> Work:
    """Checks of a video of many actions."""
    starts = np.random.default_rng(0).uniform(0, number, number)
    rows = tuple(Action(float(start), float(start) + 5, f"c{place % 20}") for place, start in enumerate(starts))
    return lambda: checks.find([Video("v", number + 9.0, 25.0, "test", rows)], [f"c{place}" for place in range(20)])


def scored(measure: Callable[[object], object]) -> Callable[[Path, int], Work]:
    """A measure of a result of so many videos of THUMOS14's kind."""

    def prepare(_: Path, videos: int) -> Work:
        rows = simulated(videos, per_video=200, classes=20, actions=15.7)
        return lambda: measure(rows)

    return prepare


TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
WORKS = {
    "reading annotations (videos)": (annotations, 10_000),
    "checking one video (actions)": (actions, 2_000),
    "reading results (rows)": (results, 200_000),
    "hard NMS (videos of 200 detections)": (scored(lambda rows: geometry.nms(*grouped(rows), 0.5)), 213),
    "soft-NMS (videos)": (scored(thinned), 213),
    "matching (videos)": (scored(lambda rows: match(rows, TIOUS)), 213),
    "mAP (videos)": (scored(lambda rows: metrics.precision_table(rows, TIOUS)), 213),
    "AR@AN (videos)": (scored(lambda rows: recall_table(rows, RECALL_TIOUS)), 213),
    "merging windows' proposals (minutes of video)": (one_video, 18),
    "finding files (videos)": (looked_up, 10_000),
    "writing features (videos)": (written, 1_000),
}


def cost(what: str, size: int) -> tuple[float, float]:
    """CPU seconds, and MB by which the peak memory rises."""
    with tempfile.TemporaryDirectory() as folder:
        work = WORKS[what][0](Path(folder), size)
        time.sleep(2.1)  # a folder that has just changed is listed for every file that is not there
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        here, began = peak(), time.process_time()
        work()
        return time.process_time() - began, peak() - here


def peak() -> float:
    """Peak memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def measure(what: str) -> str:
    """A line on a work at its size and at ten times that."""
    size = WORKS[what][1]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        (few, little), (many, much) = (pool.apply(cost, (what, number)) for number in (size, 10 * size))
    memory = f"{little:.0f} and {much:.0f} MB"
    return f"{what:46}{size:8,} and {10 * size:,}: {few:.3f} and {many:.3f} s, {many / few:.1f} times; {memory}"


def main() -> None:
    """Print every measurement, as soon as it is there."""
    torch.set_num_threads(1)
    for what in WORKS:
        print(measure(what), flush=True)


if __name__ == "__main__":
    main()
