"""Stand-ins that tests share: a small encoder, data set, network and its windows, and what they are asked."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import stubs
import torch
import yaml
from conftest import ROOT

from tadlib.data.annotations import Action, Video
from tadlib.data.batches import Cut, Extras, Target, WindowSet
from tadlib.detector.losses import Criterion
from tadlib.detector.network import ConditionalDetr, Outputs, Switches
from tadlib.detector.training import Recipe, fit
from tadlib.workbook.params import Params


class Grey(torch.nn.Module):
    """Stands for CLIP's image tower: the mean of a picture, and its square."""

    def encode_image(self, prepared):
        mean = prepared.mean(dim=(1, 2, 3))
        return torch.stack([mean, mean**2], dim=1)


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def video(name="v", seconds=2.0, fps=25.0):
    return Video(name, seconds, fps, "val", ())


CLASSES = ("clap", "jump", "run", "wave")


def dataset(folder, videos=8, seconds=16.0):
    """A data set folder without features: videos of 25 frames per second, one action each."""
    database = {
        f"v{number}": {
            "subset": "training" if number < videos / 2 else "validation",
            "duration": seconds,
            "fps": 25,
            "annotations": [{"segment": [min(2, seconds / 2), 6], "label": CLASSES[number % 4]}],
        }
        for number in range(videos)
    }
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


def params(folder, **given):
    return Params.read({"dataset": str(folder), "data_dir": str(folder.parent), "stride": 8} | given)


CHANNELS = 6


SNIPPETS = 16  # of one second each


QUICK = Recipe(epochs=5, batch_size=2, lr=1e-2)


class Stopped(Exception):
    """What stands in for a power cut."""


class Shining:
    """Features that are large where something happens."""

    def __init__(self, videos: list[Video]) -> None:
        self.actions = {video.id: video.actions for video in videos}

    def read(self, video_id: str) -> np.ndarray:
        features = np.random.default_rng(int(video_id)).normal(size=(SNIPPETS, CHANNELS)).astype(np.float32)
        for action in self.actions[video_id]:
            features[int(action.start) : int(action.end)] += 4 * np.arange(CHANNELS) - 8
        return features


def windows(*actions: tuple[tuple[int, int], ...], classes: list[str] | None = None, names: str = "") -> WindowSet:
    """One window per video, of which the actions' starts and ends are given; `names` has a letter per video."""
    videos = [
        Video(
            str(number),
            SNIPPETS,
            8,
            "val",
            tuple(Action(*segment, (names or "a" * len(actions))[number]) for segment in times),
        )
        for number, times in enumerate(actions)
    ]
    return WindowSet(videos, Shining(videos), 8, Cut(length=SNIPPETS), classes)


def some(number: int) -> WindowSet:
    """Windows with one action each."""
    return windows(*(((1 + place % 6, 8 + place % 7),) for place in range(number)))


def network(**words) -> ConditionalDetr:
    torch.manual_seed(0)
    small = {"queries": 5, "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "conv_layers": 0}
    small |= {"feature_noise": 0.0, "feature_shift": 0.0}
    return ConditionalDetr(CHANNELS, **(small | words))


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in model.state_dict().values()])


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in ("seconds", "memory")} for row in history]


def stop_after(epochs: int):
    """A Progress that lets so many epochs be saved."""

    def progress(done: int, total: int, text: str) -> None:
        if done > epochs:
            raise Stopped

    return progress


def trained(recipe: Recipe = QUICK, number: int = 5, seed: int = 0, **words):
    """A network, trained, and its history."""
    model = network()
    history = fit(model, some(number), recipe, seed=seed, **words)
    return model, history


def step_of(recipe: Recipe, found_in: WindowSet, texts: torch.Tensor | None = None, **words) -> torch.Tensor:
    """What training adds to the parameters; in 64 bits, as Adam makes much of rounding errors."""
    model = network(dropout=0.0, **words).double()
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(), *inputs[1:]))
    before = parameters(model)
    fit(model, found_in, recipe, texts=texts)
    return parameters(model) - before


ON = {
    "salience": Switches(salience="bce"),
    "softmax salience": Switches(salience="ce"),
    "mask": Switches(salience="mask"),
    "rectifying": Switches(refine="attention"),
    "two rectifying layers": Switches(refine="attention", refine_layers=2, refine_residual=False),
    "mean rectifying": Switches(refine="mean"),
    "max rectifying": Switches(refine="max"),
    "joining rectifying": Switches(refine="mean", refine_residual=False, refine_join="first_half"),
    "projecting rectifying": Switches(refine="mean", refine_residual=False, refine_join="projected"),
    "rectifying alone": Switches(refine="mean", refine_residual=False, refine_join="alone"),
    "iterative": Switches(iterative=True),
    "drawn centres": Switches(centres="drawn"),
    "published": Switches(system="published"),
    "published, rectified": Switches(system="published", refine="attention", refine_residual=False, salience="bce"),
    "published, drawn centres": Switches(system="published", centres="drawn"),
    "learned positions": Switches(positions="learned"),
    "quality": Switches(quality=True),
    "text fused in": Switches(fuse_text=True),
    "segmentation of the memory": Switches(segmentation="memory"),
    "everything": Switches("ce", "attention", 2, False, True, "drawn", "learned", True, True, "memory"),
}


EACH = pytest.mark.parametrize("switches", ON.values(), ids=ON)


TEXTS = torch.eye(CHANNELS)[:2]


def switched(switches: Switches, **words):
    """A small network whose answers depend on all its parts."""
    model = network(switches=switches, **words).eval()
    for last in (model.segment[-1], model.scale[-1], *([model.fuse.attention.out] if model.fuse else [])):
        torch.nn.init.normal_(last.weight, std=0.3)
    return model


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, CHANNELS, generator=torch.Generator().manual_seed(1))


def padded(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def valid(outputs, lengths: list[int]) -> list[torch.Tensor]:
    """Every tensor among the outputs, of snippets only the real ones."""
    real = ~padded(lengths)
    whole = [part for layer in (outputs, *outputs.earlier) for part in layer[:2]]
    of_snippets = [outputs.salience_logits, outputs.snippet_embeddings]
    whole += [outputs.quality_logits] if outputs.quality_logits is not None else []
    return whole + [part[:, : max(lengths)][real] for part in of_snippets if part is not None]


def recipe(switches: Switches, epochs: int, **words) -> Recipe:
    weights = {"loss_class": 3.0, "loss_l1": 5.0, "loss_giou": 2.0}
    weights |= {"loss_salience": 1.0} if switches.salience != "none" else {}
    weights |= {"loss_quality": 4.0} if switches.quality else {}
    weights |= {"loss_segmentation": 1.0} if switches.segmentation != "none" else {}
    same = {"batch_size": 2, "lr": 2e-3, "weights": weights, "criterion": Criterion(salience=switches.salience)}
    return Recipe(epochs=epochs, **(same | words))


def learnable(**extras) -> WindowSet:
    """Two windows with an action each, of two classes."""
    plain = windows(((2, 6),), ((5, 13),), names="xy")
    videos, store = list(plain._videos.values()), plain._shelf.store
    return WindowSet(videos, store, 8, Cut(length=SNIPPETS), extras=Extras(names=("x", "y"), **extras))


def target(*rows: tuple[float, float], labels: tuple[int, ...] | None = None) -> Target:
    """Actions given as (centre, width)."""
    labels = (0,) * len(rows) if labels is None else labels
    return Target(torch.tensor(rows, dtype=torch.float32).reshape(-1, 2), torch.tensor(labels, dtype=torch.int64))


def answers(segments_cw: list, logits: list, **words) -> Outputs:
    """Outputs for one window."""
    return Outputs(torch.tensor([segments_cw]), torch.tensor([logits]), words.pop("embeddings", None), **words)


def random_case(queries: int, actions: list[int], classes: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    segments_cw = torch.rand(len(actions), queries, 2, generator=generator)
    logits = 3 * torch.randn(len(actions), queries, classes, generator=generator)
    targets = [
        Target(torch.rand(number, 2, generator=generator), torch.randint(classes, (number,), generator=generator))
        for number in actions
    ]
    return segments_cw, logits, targets


def execute(stage: str, folder: Path, parameters: dict) -> subprocess.CompletedProcess:
    """One notebook of the project by papermill, into a run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    given = yaml.safe_dump(parameters | {"run_dir": str(folder)})
    return stubs.papermill(
        str(ROOT / "notebooks" / f"{stage}.ipynb"), str(folder / f"{stage}.ipynb"), "-y", given, "--no-progress-bar",
        cwd=ROOT, timeout=600,
    )  # fmt: skip


WORDS = {
    "salience": {"salience": "bce"},
    "softmax salience": {"salience": "ce", "loss_salience": 2.0},
    "mask loss": {"salience": "mask"},
    "rectifying": {"refine": "attention", "refine_layers": 2, "refine_residual": False},
    "mean rectifying": {"refine": "mean"},
    "max rectifying": {"refine": "max"},
    "joining rectifying": {"refine": "attention", "refine_residual": False, "refine_join": "first_half"},
    "iterative": {"iterative": True},
    "drawn centres": {"centres": "drawn"},
    "published": {"system": "published", "refine": "attention", "refine_residual": False, "salience": "bce"},
    "learned positions": {"positions": "learned"},
    "quality": {"quality": True},
    "text fused in": {"fuse_text": True},
    "segmentation": {"segmentation": "memory"},
    "softer segmentation": {"segmentation": "memory", "segmentation_temperature": 1.0},
    "distance IoU": {"overlap_loss": "diou", "cost_giou": 1.0},
    "plain IoU": {"overlap_loss": "iou"},
    "ignoring unseen actions": {"ignore_unseen": "everywhere"},
    "jitter": {"jitter": True},
    "validation": {"validation": 0.3, "select": "validation"},
    "validation with averages": {"validation": 0.3, "ema": True},
    "curves": {"curves": True},
    "deterministic": {"deterministic": True},
    "classes by name": {"target": "name"},
    "classes by number": {"target": "none", "split": 0},
    "classes by number, rectified": {"target": "none", "split": 0, "refine": "attention", "quality": True},
    "whole videos": {"window": 0},
    "a threshold": {"filter_threshold": 0.001},
    "negatives": {"negatives": 0.3},
    "episodes": {"episodes": 0.3},
    "episodes of a detector with texts": {
        "episodes": 0.3,
        "target": "name",
        "segmentation": "memory",
        "fuse_text": True,
    },
}

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
