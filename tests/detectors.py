"""Small stand-ins for the detector tests: windows, networks with and without ideas, trainings, targets."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from tadlib.data.annotations import Action, Video
from tadlib.data.batches import Batch, Target, TrainingExtras, WindowSet, WindowSettings
from tadlib.detector.additions import Outputs
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.training import fit
from tadlib.ideas.positions import DrawnQueries, LearnedPositions
from tadlib.ideas.published import PublishedDETR
from tadlib.ideas.quality import Quality
from tadlib.ideas.rectifying import Rectifying
from tadlib.ideas.salience import Salience
from tadlib.ideas.segmentation import Segmentation
from tadlib.ideas.text_fusion import TextFusion

CHANNELS = 6
SNIPPETS = 16  # of one second each
TEXTS = torch.eye(CHANNELS)[:2]
QUICK = {"epochs": 5, "batch_size": 2, "lr": 1e-2}  # words of a training
SMALL = {"queries": 5, "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "conv_layers": 0}
SMALL |= {"feature_noise": 0.0, "feature_shift": 0.0}
FOUR_AND_TWO = torch.tensor([[False] * 4, [False, False, True, True]])  # padding of two windows
OF_SNIPPETS = ("salience", "segmentation")  # additions that answer for snippets, not for queries
ON = {  # words of a network for each idea
    "salience": {"additions": [Salience()]},
    "softmax salience": {"additions": [Salience(salience="ce")]},
    "mask": {"additions": [Salience(salience="mask")]},
    "rectifying": {"additions": [Rectifying()]},
    "two rectifying layers": {"additions": [Rectifying(refine_layers=2, refine_residual=False)]},
    "mean rectifying": {"additions": [Rectifying(refine="mean")]},
    "max rectifying": {"additions": [Rectifying(refine="max")]},
    **{
        f"rectifying, {join}": {"additions": [Rectifying(refine="mean", refine_residual=False, refine_join=join)]}
        for join in ("first_half", "projected", "alone")
    },
    "iterative": {"iterative": True},
    "drawn centres": {"queries_from": DrawnQueries},
    "published": {"of": PublishedDETR},
    "published, rectified": {
        "of": PublishedDETR,
        "additions": [Salience(published=True), Rectifying(refine_residual=False, published=True)],
    },
    "published, drawn centres": {"of": PublishedDETR, "queries_from": DrawnQueries},
    "learned positions": {"positions_from": LearnedPositions},
    "quality": {"additions": [Quality()]},
    "text fused in": {"additions": [TextFusion()]},
    "segmentation": {"additions": [Segmentation()]},
    "everything": {
        "iterative": True,
        "queries_from": DrawnQueries,
        "positions_from": LearnedPositions,
        "additions": [
            Salience(salience="ce"),
            Rectifying(refine_layers=2, refine_residual=False),
            Quality(),
            TextFusion(),
            Segmentation(),
        ],
    },
}
EACH = pytest.mark.parametrize("words", ON.values(), ids=ON)
EACH_OF_LONG = pytest.mark.parametrize(  # the others in the long tests
    "words", [pytest.param(ON[name], marks=[pytest.mark.long] * (name != "everything")) for name in ON], ids=ON
)


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


def windows(
    *actions: tuple[tuple[int, int], ...],
    classes: list[str] | None = None,
    names: str = "",
    extras: TrainingExtras | None = None,
) -> WindowSet:
    """One window per video, of which the actions' starts and ends are given; `names` has a letter per video."""
    names = names or "a" * len(actions)
    videos = [
        Video(str(number), SNIPPETS, 8, "val", tuple(Action(*segment, names[number]) for segment in times))
        for number, times in enumerate(actions)
    ]
    return WindowSet(
        videos, Shining(videos), 8, WindowSettings(length=SNIPPETS), classes, extras=extras or TrainingExtras()
    )


def some(number: int) -> WindowSet:
    """Windows with one action each."""
    return windows(*(((1 + place % 6, 8 + place % 7),) for place in range(number)))


def learnable(classes: list[str] | None = None, **extras) -> WindowSet:
    """Two windows with an action each, of two classes."""
    return windows(
        ((2, 6),), ((5, 13),), classes=classes, names="xy", extras=TrainingExtras(names=("x", "y"), **extras)
    )


def network(of: type[ConditionalDETR] = ConditionalDETR, **words) -> ConditionalDETR:
    """A small untrained network, always the same one; additions among the words are copied."""
    torch.manual_seed(0)
    return of(CHANNELS, **(SMALL | deepcopy(words)))


def lively(**words) -> ConditionalDETR:
    """A small network whose predictions depend on all its parts, unlike those of an untrained one."""
    model = network(**words).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():
            torch.nn.init.normal_(layer.weight, std=0.3)
    return model


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in model.state_dict().values()])


def trained(number: int = 5, **words) -> tuple[ConditionalDETR, list[dict[str, float]]]:
    """A network, trained on so many windows, and its history."""
    model = network()
    return model, fit(model, some(number), **(QUICK | words))


def step_of(found_in: WindowSet, training: Mapping[str, object], **words) -> torch.Tensor:
    """What training adds to the parameters; in 64 bits, as Adam makes much of rounding errors."""
    model = network(dropout=0.0, **words).double()
    model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(), *inputs[1:]))
    before = parameters(model)
    fit(model, found_in, **training)
    return parameters(model) - before


def stop_after(epochs: int) -> Callable[[int, int, str], None]:
    """A Progress that lets so many epochs be saved."""

    def progress(done: int, total: int, text: str) -> None:
        if done > epochs:
            raise Stopped

    return progress


def check_resuming(train: Callable, checkpoint: Path, *stops: int) -> None:
    """A training that is stopped after so many epochs, once or more often, ends as one that never was."""
    straight, history = train()
    for done in stops:
        with pytest.raises(Stopped):
            train(checkpoint=checkpoint, progress=stop_after(done))
        torch.rand(7)  # the next session has drawn other numbers
    resumed, again = train(checkpoint=checkpoint)
    assert torch.equal(parameters(resumed), parameters(straight))
    assert without_clock(again) == without_clock(history)


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in ("seconds", "memory")} for row in history]


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, CHANNELS, generator=torch.Generator().manual_seed(1))


def padded(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def of_window(outputs: Outputs, place: int, length: int) -> list[torch.Tensor]:
    """Every tensor that was answered for one window, of snippets only so many."""
    found = [part[place] for layer in (outputs, *outputs.earlier) for part in layer[:3] if part is not None]
    return found + [
        part[place, :length] if name in OF_SNIPPETS else part[place] for name, part in outputs.added.items()
    ]


def valid(outputs: Outputs, lengths: list[int]) -> list[torch.Tensor]:
    """Every tensor among the outputs, of snippets only the real ones."""
    return [part for place, length in enumerate(lengths) for part in of_window(outputs, place, length)]


def target(*rows: tuple[float, float], labels: tuple[int, ...] | None = None, **more) -> Target:
    """Actions given as (centre, width)."""
    labels = (0,) * len(rows) if labels is None else labels
    return Target(
        torch.tensor(rows, dtype=torch.float32).reshape(-1, 2), torch.tensor(labels, dtype=torch.int64), **more
    )


FIRST_HALF = target((0.25, 0.5))


def random_case(queries: int, actions: list[int], classes: int, seed: int):
    """Segments, logits and as many actions as asked for in each window."""
    generator = torch.Generator().manual_seed(seed)
    segments_cw = torch.rand(len(actions), queries, 2, generator=generator)
    logits = 3 * torch.randn(len(actions), queries, classes, generator=generator)
    targets = [
        Target(torch.rand(number, 2, generator=generator), torch.randint(classes, (number,), generator=generator))
        for number in actions
    ]
    return segments_cw, logits, targets


def answered(segments_cw: list, logits: list, **words) -> Outputs:
    """Outputs for one window."""
    return Outputs(torch.tensor([segments_cw]), torch.tensor([logits]), **words)


def batch(targets: Sequence[Target], padding: torch.Tensor | None = None, texts: torch.Tensor | None = None) -> Batch:
    """What a loss reads of a batch."""
    padding = torch.zeros(len(targets), 4, dtype=torch.bool) if padding is None else padding
    return Batch(torch.zeros(*padding.shape, CHANNELS), padding, list(targets), [], texts)


def losses(outputs: Outputs, *targets: Target, texts: torch.Tensor | None = None, **words) -> dict[str, torch.Tensor]:
    """The terms of windows with these targets, and their weighted sum."""
    return DetectionLoss(**words)(outputs, batch(targets, texts=texts))
