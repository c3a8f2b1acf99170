"""Pictures of a detector in training: seen and unseen classes side by side, who matches what, where queries look."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from tadlib.workbook.figures.style import BLUE, CYCLE, ORANGE, SEQUENTIAL, TRUTH, Picture, bars, picture, styled

SIDES = {"mAP of seen classes": BLUE, "mAP of unseen classes": ORANGE}
MATCHED = "query of action "


@styled
def curves(history: Sequence[Mapping[str, float]]) -> Picture:
    """Who matches the actions of the example window after every epoch, beside the class-agnostic mAP of both sides.

    `history` has one row an epoch. mAP of held-out seen and of unseen classes is drawn only where it was measured.
    """
    sides = {name: color for name, color in SIDES.items() if name in history[0]}
    alt = "Matched queries over the epochs" + (" and mAP of seen and unseen classes" if sides else "")
    figure, axes = picture(3.2, alt, ncols=2 if sides else 1)
    _matches(axes[0, -1], history)
    if sides:
        _sides(axes[0, 0], history, sides)
    return figure


def _sides(place: Axes, history: Sequence[Mapping[str, float]], sides: Mapping[str, str]) -> None:
    epochs = [row["epoch"] for row in history]
    for name, color in sides.items():
        measured = [row.get(name, np.nan) for row in history]
        place.plot(epochs, 100 * np.array(measured), color=color, lw=2, label=name)
    place.legend()
    place.set_ylim(bottom=0)
    place.set_xlabel("epoch")
    place.set_ylabel("class-agnostic mAP (%)")
    place.set_title("Seen and unseen classes")


def _matches(place: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    actions = sorted({name for row in history for name in row if name.startswith(MATCHED)})
    for color, name in zip(CYCLE, actions, strict=False):
        queries = [row.get(name, np.nan) for row in history]
        place.step(epochs, queries, where="mid", color=color, lw=1.6, label=name.removeprefix("query of "))
    place.set_xlabel("epoch")
    place.set_ylabel("query")
    place.set_title("The query of each action of one window")
    if actions:
        place.legend(loc="center left", bbox_to_anchor=(1, 0.5))


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
