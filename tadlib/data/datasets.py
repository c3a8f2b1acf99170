"""The data sets by name: the embedded demo is made on first use, the others are found under the data folder."""

from pathlib import Path

from tadlib.data.annotations import Benchmark, check, read_activitynet
from tadlib.data.demo import videos as demo_videos
from tadlib.files import Progress, locked, silent

THUMOS14_CLASSES = tuple(
    "BaseballPitch BasketballDunk Billiards CleanAndJerk CliffDiving CricketBowling CricketShot Diving FrisbeeCatch "
    "GolfSwing HammerThrow HighJump JavelinThrow LongJump PoleVault Shotput SoccerPenalty TennisSwing ThrowDiscus "
    "VolleyballSpiking".split()
)
THUMOS14_TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
ACTIVITYNET_TIOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def load(name: str, data_dir: Path | str, progress: Progress = silent) -> Benchmark:
    """The benchmark called `name`, or the one in a folder of that name.

    A folder holds `annotations.json` (ActivityNet's layout); the demo's is made first where it is missing. Raises
    FileNotFoundError that says where annotations are expected.
    """
    folder = Path(data_dir) / name if name in ("demo", "thumos14", "activitynet13") else Path(name)
    if name == "demo":
        with locked(folder / "videos", progress):
            demo_videos.make(folder, progress=progress)
    path = folder / "annotations.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no annotations of {name!r}: expected {path} in ActivityNet's layout (database: video -> subset, "
            "duration, fps, annotations); dataset must be demo, thumos14, activitynet13 or such a folder"
        )
    videos = read_activitynet(path)
    labels = {action.label for video in videos for action in video.actions} - {"Ambiguous"}
    thumos = labels <= set(THUMOS14_CLASSES)
    classes = THUMOS14_CLASSES if thumos else tuple(sorted(labels))
    videos, repairs = check(videos, classes)
    return Benchmark(
        name=name,
        folder=folder,
        videos=videos,
        classes=classes,
        train_subset="val" if thumos else "training",
        test_subset="test" if thumos else "validation",
        tious=THUMOS14_TIOUS if thumos else ACTIVITYNET_TIOUS,
        repairs=repairs,
    )
