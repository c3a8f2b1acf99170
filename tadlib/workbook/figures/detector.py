"""Pictures of a detector in training: seen and unseen classes side by side, who matches what, where queries look."""

from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.workbook.figures.style import BLUE, CYCLE, ORANGE, SEQUENTIAL, TRUTH, Picture, bars, picture, styled

SIDES = {"mAP of seen classes": BLUE, "mAP of unseen classes": ORANGE}
MATCHED = "query of action "


@styled
def curves(history: Sequence[Mapping[str, float]]) -> Picture:
    """Class-agnostic mAP of held-out seen and of unseen classes after every epoch, and who matches the example window.

    `history` has one row an epoch; a side that was not measured is left out, and said to be.
    """
    epochs = [row["epoch"] for row in history]
    figure, axes = picture(3.2, "mAP of seen and unseen classes, and matched queries, over the epochs", ncols=2)
    left, right = axes[0]
    for name, color in SIDES.items():
        measured = [row.get(name, np.nan) for row in history]
        left.plot(epochs, 100 * np.array(measured), color=color, lw=2, label=name if name in history[0] else None)
    if any(name in history[0] for name in SIDES):
        left.legend()
    else:
        said = "not measured: set validation,\nor curves, to see them"
        left.text(0.5, 0.5, said, ha="center", transform=left.transAxes)
        left.set_yticks([])
        left.set_xlim(0.5, epochs[-1] + 0.5)
    left.set_ylim(bottom=0)
    left.set_xlabel("epoch")
    left.set_ylabel("class-agnostic mAP (%)")
    left.set_title("Seen and unseen classes")
    actions = sorted({name for row in history for name in row if name.startswith(MATCHED)})
    for color, name in zip(CYCLE, actions, strict=False):
        queries = [row.get(name, np.nan) for row in history]
        right.step(epochs, queries, where="mid", color=color, lw=1.6, label=name.removeprefix("query of "))
    right.set_xlabel("epoch")
    right.set_ylabel("query")
    right.set_title("The query of each action of one window")
    if actions:
        right.legend()
    return figure


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
