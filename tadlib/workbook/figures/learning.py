"""Pictures of the detector: one window, its losses, its queries, its proposals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.data.annotations import Video
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
    rows,
    styled,
)

DOTS = 4000  # at most in a picture: more hide each other


@styled
def window(features: np.ndarray, segments_cw: np.ndarray) -> Picture:
    """One window as the detector gets it: cosine of every snippet (t, c) with every other, actions (n, 2) on top."""
    features = np.asarray(features, dtype=np.float32)
    centred = features - features.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-8)
    length = len(features)
    figure, axes = picture(
        5.2, "Snippet-to-snippet similarity in one window, its actions above", nrows=2, ncols=1, height_ratios=[1, 11]
    )
    line, square = axes[:, 0]
    segments = np.asarray(segments_cw, dtype=float).reshape(-1, 2) * length
    bars(line, np.stack([segments[:, 0] - segments[:, 1] / 2, segments[:, 0] + segments[:, 1] / 2], axis=1), 0, TRUTH)
    line.set_xlim(0, length)
    line.set_yticks([0], ["actions"])
    line.tick_params(axis="y", length=0)
    line.set_xticks([])
    line.set_title("One window: its actions, and the cosine between its snippets (mean removed)")
    image = square.imshow(unit @ unit.T, extent=(0, length, length, 0), cmap=SEQUENTIAL, vmin=-1, vmax=1, aspect="auto")
    square.set_xlabel("snippet")
    square.set_ylabel("snippet")
    figure.colorbar(image, ax=square, label="cosine similarity", shrink=0.8)
    return figure


@styled
def losses(history: Sequence[Mapping[str, float]]) -> Picture:
    """Each loss term over the epochs, and beside it the learning rate; `history` has one row per epoch."""
    terms = [name for name in history[0] if name.startswith("loss")]
    epochs = np.array([row["epoch"] for row in history])
    figure, axes = picture(3.2, "Loss terms and learning rate over the epochs of training", nrows=1, ncols=2)
    left, right = axes[0]
    for color, name in zip(CYCLE, terms, strict=False):
        values = np.array([row[name] for row in history])
        left.plot(epochs, values, color=color, lw=2.2 if name == "loss" else 1.4, label=name.replace("_", " "))
    left.set_yscale("log")
    by_epoch(left)
    left.set_ylabel("loss (log scale)")
    left.set_title("Losses")
    bottom, top = left.get_ylim()
    left.set_ylim(bottom, 6 * top)  # room for the legend above the curves
    left.legend(loc="upper right", ncols=2)
    right.plot(epochs, [row["matched_tiou"] for row in history], color=BLUE, lw=2)
    right.set_ylim(0, 1)
    by_epoch(right)
    right.set_ylabel("mean tIoU of matched queries", color=BLUE)
    right.set_title("Fit to the training actions")
    rate = right.twinx()
    rate.plot(epochs, [row["lr"] for row in history], color=ORANGE, lw=1.2, ls="--")
    rate.set_ylim(bottom=0)
    rate.set_ylabel("learning rate (dashed)", color=ORANGE)
    rate.spines["right"].set_visible(True)
    return figure


@styled
def query_positions(segments_cw: np.ndarray, scores: np.ndarray) -> Picture:
    """Where each query (q) answers over many windows (b): its segments (b, q, 2) as centre and width, by score."""
    figure, axes = picture(3.4, "Centres and widths that the queries predict over many windows", nrows=1, ncols=2)
    left, right = axes[0]
    order = np.argsort(segments_cw[..., 0].mean(axis=0))
    centres = segments_cw[:, order, 0]
    spread = np.percentile(centres, [10, 50, 90], axis=0)
    left.vlines(range(centres.shape[1]), spread[0], spread[2], color=GREY, lw=2)
    left.scatter(range(centres.shape[1]), spread[1], s=14, color=BLUE, zorder=3)
    left.set_xlabel("query, by its mean centre")
    left.set_ylabel("centre (fraction of the window, line: 80 %)")
    left.set_ylim(0, 1)
    left.set_title("Each query has its place")
    step = math.ceil(scores.size / DOTS)
    ranked = scores.ravel().argsort()[::-step][::-1]  # the surest lie on top
    flat, sureness = segments_cw.reshape(-1, 2)[ranked], scores.ravel()[ranked]
    dots = right.scatter(flat[:, 0], flat[:, 1], c=sureness, s=4, cmap=SEQUENTIAL, vmin=0, vmax=1, lw=0)
    right.set_xlabel("centre (fraction of the window)")
    right.set_ylabel("width (fraction of the window)")
    right.set_yscale("log")
    right.set_title("Every answer, by score" if step == 1 else f"One answer in {step}, by score")
    figure.colorbar(dots, ax=right, label="score")
    return figure


@styled
def proposals(videos: Sequence[Video], found: Mapping[str, object], best: int = 25) -> Picture:
    """True actions (black) above the `best` proposals of each video (blue, darker = surer), in seconds."""
    names = ", ".join(video.id for video in videos)
    figure, axes = picture(1.15 * len(videos) + 0.3, f"Proposals against true actions of {names}", nrows=len(videos))
    for place, video in zip(axes[:, 0], videos, strict=True):
        proposal = found[video.id]
        scores = np.asarray(proposal.scores)[:best]
        bars(place, sorted({(action.start, action.end) for action in video.actions}), 0, TRUTH)
        bars(place, np.asarray(proposal.segments)[:best], 1, BLUE, alpha=np.clip(scores, 0.06, 1))
        rows(place, ["true", f"best {len(scores)}"], video.duration)
        labels = sorted({action.label for action in video.actions})
        place.set_title(f"{video.id}: {', '.join(labels)}", fontsize=9)
        if place is not axes[-1, 0]:
            place.set_xlabel("")
    return figure
