"""Figures of a detector and its training: one window, losses, metrics by epoch, attention, queries, proposals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.workbook.epoch_metrics import COUNTS, LEARNED, MATCHED, NAMED
from tadlib.workbook.figures import style
from tadlib.workbook.figures.style import Picture, bars, by_epoch, logarithmic, picture, rows, styled

MAX_DOTS = 3_000  # predictions in a figure: more hide each other
MAX_PROPOSALS = 25  # of a video in a timeline
SIDES = {"seen classes": style.BLUE, "unseen classes": style.ORANGE, "training videos": style.GREY}
LINES = ":", "-"  # of average recall at each of `COUNTS`
History = Sequence[Mapping[str, float]]  # a row for each epoch


@styled
def window(features: np.ndarray, segments_cw: np.ndarray) -> Picture:
    """Draw cosines between all snippets (t, c) of a window, with its actions (n, 2) on top."""
    features = np.asarray(features, dtype=np.float32)
    centred = features - features.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-8)
    length = len(features)
    text = "Snippet-to-snippet similarity in one window, its actions above"
    figure, ((line,), (square,)) = picture(5.2, text, nrows=2, height_ratios=[1, 11])
    _actions(line, segments_cw, length)
    line.set_title("One window: its actions, and the cosine between its snippets (mean removed)")
    image = square.imshow(
        unit @ unit.T, extent=(0, length, length, 0), cmap=style.SEQUENTIAL, vmin=-1, vmax=1, aspect="auto"
    )
    square.set(xlabel="snippet", ylabel="snippet")
    figure.colorbar(image, ax=square, label="cosine similarity", shrink=0.8)
    return figure


def _actions(line: Axes, segments_cw: ArrayLike, length: int) -> None:
    """Draw the actions (n, 2) of a window, given as centre and width, as bars over its snippets."""
    centres, widths = np.asarray(segments_cw, dtype=float).reshape(-1, 2).T * length
    bars(line, np.stack([centres - widths / 2, centres + widths / 2], axis=1), 0, style.TRUTH)
    line.set_xlim(0, length)
    line.set_yticks([0], ["actions"])
    line.tick_params(axis="y", length=0)
    line.set_xticks([])


@styled
def losses(history: History) -> Picture:
    """Draw each loss term, the mean tIoU of matched queries, and the learning rate over the epochs."""
    rows = pd.DataFrame(history).set_index("epoch")
    figure, ((left, right),) = picture(3.2, "Loss terms and learning rate over the epochs of training", ncols=2)
    for color, name in zip(style.CYCLE, [name for name in rows if name.startswith("loss")], strict=False):
        left.plot(rows[name], color=color, lw=2.2 if name == "loss" else 1.4, label=name.replace("_", " "))
    left.set(yscale="log", ylabel="loss (log scale)", title="Losses")
    logarithmic(left.yaxis)
    by_epoch(left)
    left.set_ylim(top=6 * left.get_ylim()[1])  # room for the legend above the curves
    left.legend(loc="upper right", ncols=2)
    right.plot(rows["matched_tiou"], color=style.BLUE, lw=2)
    right.set(ylim=(0, 1), title="Fit to the training actions")
    right.set_ylabel("mean tIoU of matched queries", color=style.BLUE)
    by_epoch(right)
    _dashed(right, rows["lr"], "learning rate (dashed)")
    return figure


def _dashed(place: Axes, values: pd.Series, label: str) -> Axes:
    other = place.twinx()
    other.plot(values, color=style.ORANGE, lw=1.2, ls="--")
    other.set_ylim(bottom=0)
    other.set_ylabel(label, color=style.ORANGE)
    other.spines["right"].set_visible(True)
    return other


@styled
def curves(history: History) -> Picture:
    """Draw matched queries, speed and memory over the epochs; above them mAP and average recall, if measured."""
    rows = pd.DataFrame(history).set_index("epoch")
    sides = {side: color for side, color in SIDES.items() if f"mAP of {side}" in rows}
    alt = "Matched queries, speed and memory over the epochs"
    if sides:
        alt += f", and above them mAP and average recall of {', '.join(_label(side, rows) for side in sides)}"
    figure, axes = picture(6.0 if sides else 3.0, alt, nrows=2 if sides else 1, ncols=2)
    if sides:
        _precision(axes[0, 0], rows, sides)
        _recall(axes[0, 1], rows, sides)
    else:
        figure.suptitle("mAP and recall of every epoch are not shown: `curves` is off", x=0.01, ha="left", fontsize=9)
    _matches(axes[-1, 0], rows)
    _speed(axes[-1, 1], rows)
    return figure


def _label(side: str, rows: pd.DataFrame) -> str:
    """Return the legend label of a side; training videos with their number, because they may be a sample."""
    counted = side == "training videos" and LEARNED in rows
    return f"{rows[LEARNED].iloc[0]:.0f} {side}" if counted else side.split()[0]


def _precision(place: Axes, rows: pd.DataFrame, sides: Mapping[str, str]) -> None:
    for side, color in sides.items():
        place.plot(100 * rows[f"mAP of {side}"], color=color, lw=2, label=_label(side, rows))
    if NAMED in rows:
        place.plot(100 * rows[NAMED], color=SIDES["unseen classes"], lw=1.6, ls="--", label="unseen, named")
    _percent(place, "mAP (%)", "mAP, class-agnostic and named")


def _recall(place: Axes, rows: pd.DataFrame, sides: Mapping[str, str]) -> None:
    for side, color in sides.items():
        for count, line in zip(COUNTS, LINES, strict=True):
            recall = 100 * rows.get(f"AR@{count} of {side}", np.nan * rows.index)
            place.plot(rows.index, recall, color=color, lw=1.6, ls=line, label=f"{side.split()[0]}, AR@{count}")
    _percent(place, "average recall (%)", "Recall of 10 and of 100 proposals a video")


def _percent(place: Axes, quantity: str, title: str) -> None:
    place.set_ylim(bottom=0)
    place.set(ylim=(0, 1.4 * place.get_ylim()[1]), ylabel=quantity, title=title)  # room for the legend above
    place.legend(loc="upper left", ncols=2)
    by_epoch(place)


def _speed(place: Axes, rows: pd.DataFrame) -> None:
    place.plot(rows["windows"] / rows["seconds"], color=style.BLUE, lw=2)
    place.set_ylim(bottom=0)
    by_epoch(place)
    place.set_ylabel("windows a second", color=style.BLUE)
    place.set_title("Speed of training, and memory")
    memory = _dashed(place, rows["memory"], "peak memory (MB, dashed)")
    memory.set_ylim(top=1.1 * memory.get_ylim()[1])  # keeps a constant curve off the frame


def _matches(place: Axes, rows: pd.DataFrame) -> None:
    actions = sorted((name for name in rows if name.startswith(MATCHED)), key=lambda name: int(name.split()[-1]))
    for color, name in zip(style.CYCLE, actions, strict=False):
        label = name.removeprefix("query of ")
        place.step(rows.index, rows[name], where="mid", color=color, lw=1.6, label=label)
    by_epoch(place)
    place.set(ylabel="query", title="Query matched to each action of one window")
    if actions:
        place.set_ylim(top=1.5 * max(1, place.get_ylim()[1]))
        place.legend(loc="upper left", ncols=3, columnspacing=1.0)


@styled
def attention(weights: np.ndarray, segments_cw: np.ndarray) -> Picture:
    """Draw attention weights (l, q, t) in the first and last layer, below the actions (n, 2; centre, width)."""
    weights, length = np.asarray(weights, dtype=float), weights.shape[-1]
    order = np.argsort((weights[-1] * np.arange(length)).sum(axis=1))
    text = "Attention of queries to snippets of one window"
    figure, axes = picture(3.8, text, nrows=2, ncols=2, height_ratios=[1, 11])
    for (line, square), name, layer in zip(axes.T, ("first", "last"), weights[[0, -1]], strict=True):
        _actions(line, segments_cw, length)
        line.set_title(f"The {name} layer")
        shares = layer[order] / layer.max(axis=1, keepdims=True)[order]
        image = square.imshow(shares, extent=(0, length, len(layer), 0), cmap=style.SEQUENTIAL, aspect="auto")
        square.set(xlabel="snippet", ylabel="query, ordered by position")
    figure.colorbar(image, ax=axes[1, 1], label="weight, relative to the query's largest")
    return figure


@styled
def query_positions(segments_cw: np.ndarray, scores: np.ndarray) -> Picture:
    """Draw the segments (b, q, 2) that queries predict over many windows, as centre and width, coloured by score."""
    text = "Centres and widths that the queries predict over many windows"
    figure, ((left, right),) = picture(3.4, text, ncols=2)
    order = np.argsort(segments_cw[..., 0].mean(axis=0))
    low, middle, high = np.percentile(segments_cw[:, order, 0], [10, 50, 90], axis=0)
    left.vlines(range(len(order)), low, high, color=style.GREY, lw=2)
    left.scatter(range(len(order)), middle, s=14, color=style.BLUE, zorder=3)
    left.set(xlabel="query, ordered by mean centre", ylabel="centre (fraction of the window)")
    left.set(ylim=(0, 1), title="Centre: median and 80 % range of each query")
    step = math.ceil(scores.size / MAX_DOTS)
    ranked = scores.ravel().argsort()[::-step][::-1]  # the highest scores are drawn on top
    flat, shown = segments_cw.reshape(-1, 2)[ranked], scores.ravel()[ranked]
    dots = right.scatter(flat[:, 0], flat[:, 1], c=shown, s=4, cmap=style.SEQUENTIAL, vmin=0, vmax=1, lw=0)
    right.set(xlabel="centre (fraction of the window)", ylabel="width (fraction of the window)", yscale="log")
    logarithmic(right.yaxis)
    right.set_title("All predictions" if step == 1 else f"Predictions, one of {step} drawn")
    figure.colorbar(dots, ax=right, label="score")
    return figure


@styled
def proposals(videos: Sequence[Video], found: Mapping[str, Proposals]) -> Picture:
    """Draw true actions (black) above the best proposals of each video (blue, darker: higher score), in seconds."""
    names = ", ".join(video.id for video in videos)
    figure, axes = picture(1.15 * len(videos) + 0.3, f"Proposals against true actions of {names}", nrows=len(videos))
    for place, video in zip(axes[:, 0], videos, strict=True):
        scores = np.asarray(found[video.id].scores)[:MAX_PROPOSALS]
        bars(place, sorted({(action.start, action.end) for action in video.actions}), 0, style.TRUTH)
        segments = np.asarray(found[video.id].segments)[:MAX_PROPOSALS]
        bars(place, segments, 1, style.BLUE, alpha=np.clip(scores, 0.06, 1))
        rows(place, ["true", f"best {len(scores)}"], video.duration)
        labels = sorted({action.label for action in video.actions})
        place.set_title(f"{video.id}: {', '.join(labels)}", fontsize=9)
        if place is not axes[-1, 0]:
            place.set_xlabel("")
    return figure
