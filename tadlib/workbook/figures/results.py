"""Pictures of the results: the headline between floor and ceiling, classes, recall, confusion, timelines."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import seaborn

from tadlib.data.annotations import Video
from tadlib.workbook.figures.style import (
    CEILING,
    CYCLE,
    FLOOR,
    OURS,
    SEQUENTIAL,
    TRUTH,
    Picture,
    bars,
    picture,
    rows,
    styled,
)

MARKERS = "osD^vPXp"
ROLES = {"ours": OURS, "floor": FLOOR, "baseline": CYCLE[1], "ceiling": CEILING}


@styled
def headline(table: Sequence[Mapping[str, object]]) -> Picture:
    """mAP of each row (`name`, `role`, `mAP`, `mAP@...`): mean over tIoU as bars, each tIoU as a line.

    A row has its own marker at the end of its bar and on its line.
    """
    figure, axes = picture(0.42 * len(table) + 1.6, "mAP of floors, baselines, this run and ceilings", nrows=1, ncols=2)
    left, right = axes[0]
    highest = max(100 * entry["mAP"] for entry in table)
    for row, (entry, marker) in enumerate(zip(table, cycle(MARKERS), strict=False)):
        color, value = ROLES[entry["role"]], 100 * entry["mAP"]
        left.barh(row, value, color=color, height=0.65)
        left.plot(value, row, marker=marker, color=color, ms=9, mec="white", clip_on=False)
        left.text(value + 0.04 * highest, row, f"{value:.1f}", va="center", fontsize=9)
    left.set_yticks(range(len(table)), [entry["name"] for entry in table])
    left.invert_yaxis()
    left.set_xlim(0, 1.18 * highest + 3)
    left.set_xlabel("mAP, mean over tIoU (%)")
    left.set_title("Between floor and ceiling")
    tious = sorted(float(name.split("@")[1]) for name in table[0] if name.startswith("mAP@"))
    for entry, marker in zip(table, cycle(MARKERS), strict=False):
        values = [100 * entry[f"mAP@{tiou:g}"] for tiou in tious]
        width = 2.6 if entry["role"] == "ours" else 1.4
        right.plot(tious, values, color=ROLES[entry["role"]], lw=width, marker=marker, ms=7, mec="white", clip_on=False)
    right.set_xticks(tious)
    right.set_xlabel("tIoU threshold")
    right.set_ylabel("mAP (%)")
    right.set_ylim(bottom=0)
    right.set_title("By tIoU, marked as left")
    return figure


@styled
def per_class(ours: Mapping[str, float], ceiling: Mapping[str, float], actions: Mapping[str, int]) -> Picture:
    """Average precision of each class scored, and what the same segments reach with the true label."""
    order = sorted(ours, key=lambda label: -ours[label])
    figure, axes = picture(0.3 * len(order) + 1.3, "Average precision of each class, ours and with true labels")
    place = axes[0, 0]
    for row, label in enumerate(order):
        place.barh(row, 100 * ceiling[label], height=0.72, color="white", edgecolor=CEILING, lw=1.4)
        place.barh(row, 100 * ours[label], height=0.42, color=OURS)
    place.barh(0, 0, color=OURS, label="this run")
    place.barh(
        0,
        0,
        color="white",
        edgecolor=CEILING,
        lw=1.4,
        label="the same segments with the true label",
    )
    place.set_yticks(range(len(order)), [f"{label} ({actions[label]} actions)" for label in order])
    place.invert_yaxis()
    place.set_xlabel("average precision, mean over tIoU (%)")
    place.set_title("Classes scored")
    place.legend(loc="lower right")
    return figure


@styled
def recall_curve(counts: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Picture:
    """AR@AN: recall averaged over tIoU 0.5:0.05:0.95 against the number of proposals per video, one line a method."""
    figure, axes = picture(3.2, "Average recall against the average number of proposals per video")
    place = axes[0, 0]
    for color, (name, values) in zip((OURS, FLOOR, *CYCLE[1:]), curves.items(), strict=False):
        place.plot(counts, 100 * np.asarray(values), color=color, lw=2.2 if color == OURS else 1.4, marker="o", ms=3.5)
        place.annotate(
            name, (counts[-1], 100 * values[-1]), xytext=(6, 0), textcoords="offset points", va="center", color=color
        )
    place.set_xscale("log")
    place.set_xticks(counts, [str(count) for count in counts])
    place.minorticks_off()
    place.set_xlim(counts[0] * 0.9, counts[-1] * 1.9)
    place.set_ylim(0, 100)
    place.grid(axis="y")
    place.set_xlabel("average number of proposals per video")
    place.set_ylabel("average recall (%)")
    place.set_title("Are the actions among the proposals, whatever they are called?")
    return figure


@styled
def confusion(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Picture:
    """Counts (true, named) as shares of each row, one panel a title, the accuracy in the title."""
    size = 1.6 + 0.22 * len(classes)
    figure, axes = picture(
        size, "Confusion of true and predicted class: " + ", ".join(matrices), nrows=1, ncols=len(matrices), sharey=True
    )
    for place, (title, counts) in zip(axes[0], matrices.items(), strict=True):
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        seaborn.heatmap(
            100 * share,
            ax=place,
            cmap=SEQUENTIAL,
            vmin=0,
            vmax=100,
            annot=len(classes) <= 12,
            fmt=".0f",
            annot_kws={"fontsize": 7.5},
            xticklabels=classes,
            yticklabels=classes,
            cbar=place is axes[0, -1],
            cbar_kws={"label": "share of the row (%)"},
        )
        number = int(counts.sum())
        place.set_title(f"{title}: {np.trace(counts) / max(number, 1):.0%} of {number} right")
        place.set_xlabel("named")
        place.tick_params(axis="x", rotation=60, length=0)
        place.tick_params(axis="y", length=0)
        for label in place.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes[0, 0].set_ylabel("true")
    return figure


@styled
def naming_by_overlap(overlap: np.ndarray, right: np.ndarray) -> Picture:
    """How often the best class of a proposal is right (bool, n), by its tIoU (n) with the action it overlaps most."""
    figure, axes = picture(2.8, "Accuracy of naming by the overlap of a proposal with a true action")
    place = axes[0, 0]
    edges = np.linspace(0, 1, 11)
    bin_ix = np.clip(np.digitize(overlap, edges) - 1, 0, 9)
    number = np.bincount(bin_ix, minlength=10)
    accuracy = np.bincount(bin_ix, weights=right, minlength=10) / np.maximum(number, 1)
    centres = (edges[:-1] + edges[1:]) / 2
    place.bar(centres, number, width=0.09, color="#dddddd")
    place.set_xlabel("tIoU of the proposal with its nearest action")
    place.set_ylabel("proposals (grey)")
    line = place.twinx()
    line.plot(centres[number > 0], 100 * accuracy[number > 0], color=OURS, lw=2.2, marker="o")
    line.set_ylim(0, 100)
    line.set_ylabel("named right (%)", color=OURS)
    line.spines["right"].set_visible(True)
    place.set_title("Does CLIP need a good segment to find the right name?")
    return figure


@styled
def timelines(
    videos: Sequence[Video], detections: Mapping[str, object], scores: Mapping[str, float], best: int = 40
) -> Picture:
    """True actions (black) and the `best` detections (blue, darker = surer) of each video, one row a class."""
    shown = [_class_rows(video, detections.get(video.id), best) for video in videos]
    heights = [0.5 + 0.34 * len(labels) for labels, _ in shown]
    names = ", ".join(video.id for video in videos)
    figure, axes = picture(
        sum(heights) + 0.4, f"Timelines of {names}: truth and detections", nrows=len(videos), height_ratios=heights
    )
    for place, video, (labels, kept) in zip(axes[:, 0], videos, shown, strict=True):
        for row, label in enumerate(labels):
            bars(place, [(a.start, a.end) for a in video.actions if a.label == label], row - 0.2, TRUTH, height=0.32)
            for segment, score, name in kept:
                if name == label:
                    bars(place, [segment], row + 0.2, OURS, height=0.32, alpha=max(0.08, min(1.0, score)))
            place.axhline(row + 0.5, color="#eeeeee", lw=0.8)
        rows(place, labels, video.duration)
        place.set_title(f"{video.id}: AP {100 * scores[video.id]:.0f} %", fontsize=9)
        if place is not axes[-1, 0]:
            place.set_xlabel("")
    return figure


def _class_rows(video: Video, detections, best: int) -> tuple[list[str], list[tuple[np.ndarray, float, str]]]:
    """The classes worth a row (true ones first, then the most often named) and the detections to draw."""
    true = sorted({action.label for action in video.actions})
    if detections is None or not len(detections.scores):
        return true, []
    segments, scores = np.asarray(detections.segments), np.asarray(detections.scores)
    order = np.argsort(-scores, kind="stable")[:best]
    top = max(float(scores[order[0]]), 1e-8)
    kept = [(segments[index], float(scores[index]) / top, detections.labels[index]) for index in order]
    weight: dict[str, float] = {}
    for _, score, label in kept:
        weight[label] = weight.get(label, 0) + score
    others = [label for label in sorted(weight, key=lambda label: -weight[label]) if label not in true]
    return true + others[:3], kept
