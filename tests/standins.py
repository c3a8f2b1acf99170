"""Stand-ins that tests share: a small encoder, data set, network and its windows, and what they are asked."""

import json
import subprocess
from pathlib import Path

import numpy as np
import stubs
import torch
import yaml
from conftest import ROOT
from notebook import run_cells
from videos import steady, write_video

from tadlib.data.annotations import Video
from tadlib.data.demo import timelines
from tadlib.data.demo import videos as demo_videos
from tadlib.data.encoder import load_encoder
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan


class Grey(torch.nn.Module):
    """Stands for CLIP's image tower: the mean of a picture, and its square."""

    def encode_image(self, prepared):
        mean = prepared.mean(dim=(1, 2, 3))
        return torch.stack([mean, mean**2], dim=1)


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def video(name="v", seconds=2.0, fps=25.0):
    return Video(name, seconds, fps, "val", ())


def write(folder, **files):
    """Files of a folder, named like `info__json`; what is no text is written as JSON."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        content = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(content)
    return folder


CLASSES = ("clap", "jump", "run", "wave")


def dataset(folder, videos=8, seconds=16.0):
    """A data set folder without features: videos of 25 frames per second, one action each."""
    database = {}
    for number in range(videos):
        action = {"segment": [min(2, seconds / 2), 6], "label": CLASSES[number % 4]}
        subset = "training" if number < videos / 2 else "validation"
        database[f"v{number}"] = {"subset": subset, "duration": seconds, "fps": 25, "annotations": [action]}
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    (folder / "splits.json").write_text(json.dumps({"75": [{"unseen": ["wave"]}]}))
    np.savez(folder / "text_features.npz", **{name: np.eye(16)[place] for place, name in enumerate(CLASSES)})
    return folder


def with_features(folder, **changes):
    for number in range(8):
        features = np.random.default_rng(number).normal(size=(50, 16)).astype(np.float16)
        (folder / "features").mkdir(exist_ok=True)
        np.save(folder / "features" / f"v{number}.npy", changes.get(f"v{number}", features))
    return folder


def small_clip(folder):
    """The parameters of a small CLIP whose weights are a file in a folder."""
    torch.save(load_encoder("tad-demo", "", torch.device("cpu")).model.state_dict(), folder / "clip.pt")
    return {"encoder": "tad-demo", "pretrained": str(folder / "clip.pt")}


def with_videos(folder, videos=8, seconds=2.0):
    (folder / "videos").mkdir()
    for number in range(videos):
        write_video(folder / "videos" / f"v{number}.mp4", steady(round(25 * seconds), 25.0))
    return folder


def extraction_plan(home):
    """A data set of five videos without features, and an experiment that reads it with a small CLIP."""
    folder = with_videos(dataset(home / "own", videos=5, seconds=8.0), 5, 8.0)
    given = {"dataset": str(folder), "stride": 5, "data_dir": str(home / "data"), "window": 8, "device": "cpu"}
    given |= small_clip(home)
    (home / "own.yaml").write_text(yaml.safe_dump(given))
    return folder, plan(home / "own.yaml")


def params(folder, **given):
    return Params.read({"dataset": str(folder), "data_dir": str(folder.parent), "stride": 8} | given)


def execute(stage: str, folder: Path, parameters: dict, project: Path = ROOT) -> subprocess.CompletedProcess:
    """One notebook of the project by papermill, into a run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    given = yaml.safe_dump(parameters | {"run_dir": str(folder)})
    return stubs.papermill(
        str(ROOT / "notebooks" / f"{stage}.ipynb"), str(folder / f"{stage}.ipynb"), "-y", given, "--no-progress-bar",
        cwd=project, timeout=600,
    )  # fmt: skip


SIMULATED_CLASSES = ("Diving", "HighJump", "Shotput", "LongJump")
SMALL = {"features": "simulate", "width": 16, "heads": 2, "queries": 6, "encoder_layers": 1, "decoder_layers": 2}
SMALL |= {"window": 32, "overlap": 0.5, "epochs": 2, "lr": 1e-3, "stride": 8, "split": 50}


def simulated(made: Path) -> Path:
    """Annotations of twelve videos of forty seconds with two actions each, of all classes in turn."""
    database = {
        f"v{number}": {
            "subset": "training" if number < 8 else "validation",
            "duration": 40.0,
            "fps": 8.0,
            "annotations": [
                {"segment": [3.0 + number, 9.0 + number], "label": SIMULATED_CLASSES[number % 4]},
                {"segment": [25.0, 31.0], "label": SIMULATED_CLASSES[(number + 1) % 4]},
            ],
        }
        for number in range(12)
    }
    (made / "annotations.json").write_text(json.dumps({"database": database}), encoding="utf-8")
    (made / "benchmark.yaml").write_text("benchmark: thumos14\n", encoding="utf-8")  # its tIoUs and its class splits
    return made


def trained(folder, run_dir, until="trainer.epochs()", **words):
    """What the cells of train.ipynb define up to one with a text, on simulated features; its run is finished."""
    made = run_cells("train", until, **(SMALL | {"dataset": str(folder), "run_dir": str(run_dir)} | words))
    made.run.finish()  # else the next training alike would take this one up
    return made


TINY = {"encoder": "tad-demo", "stride": 4, "width": 32, "heads": 4, "queries": 8, "encoder_layers": 1, "lr": 1e-3}
TINY |= {"decoder_layers": 2, "window": 32, "overlap": 0.5, "epochs": 2, "split": 50, "pretrained": ""}


def rendered(folder: Path) -> dict[str, object]:
    """Forty short rendered videos of the twenty actions in a folder; the parameters of a run on them, of seconds."""
    demo_videos.make(folder, seed=3, timelines=timelines.benchmark(seed=3, per_class=(1, 1), longest=8.0))
    return TINY | {"dataset": str(folder)}
