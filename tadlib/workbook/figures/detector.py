"""Pictures of a detector in training: seen and unseen classes and the training videos, who matches what, attention."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from tadlib.workbook.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    SEQUENTIAL,
    TRUTH,
    Picture,
    bars,
    by_epoch,
    picture,
    styled,
)

SIDES = {"seen classes": BLUE, "unseen classes": ORANGE, "training videos": GREY}
NAMED = "mAP of unseen classes, named"
LEARNED = "training videos looked at"
COUNTS = {10: ":", 100: "-"}  # proposals a video: how their average recall is drawn
MATCHED = "query of action "


@styled
def curves(history: Sequence[Mapping[str, float]]) -> Picture:
    """What the detector is worth after every epoch, here and on training videos; who matches what; speed and memory.

    `history` has one row an epoch. The upper panels, mAP and average recall of seen and unseen classes and of as
    many training videos as the legend says, are there only where something was measured; mAP with names is of unseen
    classes.
    """
    sides = {side: color for side, color in SIDES.items() if f"mAP of {side}" in history[0]}
    alt = "Matched queries, speed and memory over the epochs"
    if sides:
        alt += f", and above them mAP and average recall of {', '.join(_label(side, history) for side in sides)}"
    figure, axes = picture(6.0 if sides else 3.0, alt, nrows=2 if sides else 1, ncols=2)
    if sides:
        _precision(axes[0, 0], history, sides)
        _recall(axes[0, 1], history, sides)
    else:
        figure.suptitle("mAP and recall of every epoch are not shown: `curves` is off", x=0.01, ha="left", fontsize=9)
    _matches(axes[-1, 0], history)
    _speed(axes[-1, 1], history)
    return figure


def _short(side: str) -> str:
    return side.split()[0]


def _label(side: str, history: Sequence[Mapping[str, float]]) -> str:
    """What a legend calls a side: the training videos with their number, which may not be all."""
    return f"{history[0][LEARNED]:.0f} {side}" if LEARNED in history[0] and side == "training videos" else _short(side)


def _measured(history: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    return np.array([row.get(name, np.nan) for row in history])


def _precision(place: Axes, history: Sequence[Mapping[str, float]], sides: Mapping[str, str]) -> None:
    epochs = _measured(history, "epoch")
    for side, color in sides.items():
        place.plot(epochs, 100 * _measured(history, f"mAP of {side}"), color=color, lw=2, label=_label(side, history))
    if NAMED in history[0]:
        named = 100 * _measured(history, NAMED)
        place.plot(epochs, named, color=SIDES["unseen classes"], lw=1.6, ls="--", label="unseen, named")
    _percent(place, "mAP (%)", "mAP, class-agnostic and named")


def _recall(place: Axes, history: Sequence[Mapping[str, float]], sides: Mapping[str, str]) -> None:
    epochs = _measured(history, "epoch")
    for side, color in sides.items():
        for count, line in COUNTS.items():
            recall = 100 * _measured(history, f"AR@{count} of {side}")
            place.plot(epochs, recall, color=color, lw=1.6, ls=line, label=f"{_short(side)}, AR@{count}")
    _percent(place, "average recall (%)", "Recall of 10 and of 100 proposals a video")


def _percent(place: Axes, quantity: str, title: str) -> None:
    place.set_ylim(bottom=0)
    place.set_ylim(top=1.4 * place.get_ylim()[1])  # room for the legend above the curves
    place.legend(loc="upper left", ncols=2)
    by_epoch(place)
    place.set_ylabel(quantity)
    place.set_title(title)


def _speed(place: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = _measured(history, "epoch")
    place.plot(epochs, _measured(history, "windows") / _measured(history, "seconds"), color=BLUE, lw=2)
    place.set_ylim(bottom=0)
    by_epoch(place)
    place.set_ylabel("windows a second", color=BLUE)
    place.set_title("Speed of training, and memory")
    memory = place.twinx()
    memory.plot(epochs, _measured(history, "memory"), color=ORANGE, lw=1.2, ls="--")
    memory.set_ylim(bottom=0)
    memory.set_ylim(top=1.1 * memory.get_ylim()[1])  # what hardly changes would lie on the frame
    memory.set_ylabel("peak memory (MB, dashed)", color=ORANGE)
    memory.spines["right"].set_visible(True)


def _matches(place: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = _measured(history, "epoch")
    actions = {name for row in history for name in row if name.startswith(MATCHED)}
    actions = sorted(actions, key=lambda name: int(name.rsplit(maxsplit=1)[1]))
    for color, name in zip(CYCLE, actions, strict=False):
        place.step(
            epochs, _measured(history, name), where="mid", color=color, lw=1.6, label=name.removeprefix("query of ")
        )
    by_epoch(place)
    place.set_ylabel("query")
    place.set_title("The query of each action of one window")
    if actions:
        place.set_ylim(top=1.5 * max(1, place.get_ylim()[1]))
        place.legend(loc="upper left", ncols=3, columnspacing=1.0)


@styled
def attention(weights: np.ndarray, segments_cw: np.ndarray) -> Picture:
    """Where each query (q) looks among the snippets (t) in the first and in the last layer of (l, q, t) weights.

    Actions (n, 2) of the window, as centre and width, are on top; queries are in the order of where they look last.
    """
    weights, length = np.asarray(weights, dtype=float), weights.shape[-1]
    order = np.argsort((weights[-1] * np.arange(length)).sum(axis=1))
    segments = np.asarray(segments_cw, dtype=float).reshape(-1, 2) * length
    figure, axes = picture(
        3.8, "Attention of queries to snippets of one window", nrows=2, ncols=2, height_ratios=[1, 11]
    )
    for column, (name, layer) in enumerate((("first", weights[0]), ("last", weights[-1]))):
        line, square = axes[:, column]
        bars(line, np.c_[segments[:, 0] - segments[:, 1] / 2, segments[:, 0] + segments[:, 1] / 2], 0, TRUTH)
        line.set_xlim(0, length)
        line.set_yticks([0], ["actions"])
        line.set_xticks([])
        line.set_title(f"The {name} layer")
        extent = (0, length, len(layer), 0)
        image = square.imshow(
            layer[order] / layer.max(axis=1, keepdims=True)[order], extent=extent, cmap=SEQUENTIAL, aspect="auto"
        )
        square.set_xlabel("snippet")
        square.set_ylabel("query, by where it looks")
    figure.colorbar(image, ax=axes[1, 1], label="share of its largest weight")
    return figure
