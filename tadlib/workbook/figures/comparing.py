"""Figures that compare runs: effects with confidence intervals, learning curves, differences by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tadlib.workbook.figures import style
from tadlib.workbook.figures.style import CYCLE, FLOOR, GREY, Picture, by_epoch, nothing, picture, short, slant, styled

COLORS = {"better": style.OURS, "worse": style.VERMILION}
LABEL = 30  # characters of a variant's name that fit beside a figure
MAX_STUDIES, MAX_CLASSES, MAX_VARIANTS = 12, 20, 60  # what fits on a page


@styled
def effects(questions: Sequence[Mapping[str, object]], metric: str = "mAP") -> Picture:
    """Draw the differences (points) of each question's variants with intervals.

    A question has `title`, `baseline` and `variants`: records of report.json with a `verdict`.
    """
    if not questions:
        return nothing("no two variants to compare")
    heights = [max(1.1 + len(question["variants"]), 3.2) for question in questions]
    alt = f"Difference in {metric} of every variant to the baseline of its question, with its interval"
    grid = {"nrows": len(questions), "ncols": 1, "height_ratios": heights, "sharex": "col"}
    figure, axes = picture(0.27 * sum(heights) + 0.8, alt, **grid)
    reach = max([1, *(abs(end) for question in questions for each in question["variants"] for end in _points(each))])
    for (place,), question in zip(axes, questions, strict=True):
        for row, entry in enumerate(question["variants"]):
            _effect(place, row, entry)
        place.axvline(0, color=GREY, lw=0.9)
        names = [short(each["variant"], LABEL) for each in question["variants"]]
        place.set_yticks(range(len(names)), names)
        place.set_ylim(len(question["variants"]) - 0.4, -0.6)
        place.set_xlim(-1.1 * reach, 1.1 * reach)
        place.set_title(f"{question['title']}, against {short(question['baseline'], LABEL)}", fontsize=9.5)
    axes[-1, 0].set_xlabel(f"difference in {metric} (points), with its 95 % interval")
    return figure


def _points(entry: Mapping[str, Any]) -> list[float]:
    found = (entry["difference"][name] for name in ("difference", "low", "high"))
    return [100 * each for each in found if each is not None]


def _effect(place, row: int, entry: Mapping[str, object]) -> None:
    color = COLORS.get(str(entry["verdict"]), FLOOR)
    difference, *ends = _points(entry)
    if ends:
        place.hlines(row, *ends, color=color, lw=3, alpha=0.7)
    place.scatter(difference, row, color=color, s=38, zorder=3, marker="o")
    label = f"{round(difference, 1) or 0:+.1f}, {entry['verdict']}"
    place.text(1.01, row, label, transform=place.get_yaxis_transform(), va="center", fontsize=8, color=color)


@styled
def learning_curves(studies: Mapping[str, Mapping[str, Sequence[Sequence[Mapping[str, float]]]]]) -> Picture:
    """Draw loss and tIoU of matched queries by epoch (study -> variant -> histories): mean and range over runs."""
    if not studies:
        return nothing("no run has a history")
    shown = dict(list(studies.items())[:MAX_STUDIES])
    figure, axes = picture(2.6 * len(shown) + 0.3, f"Learning curves of {', '.join(shown)}", nrows=len(shown), ncols=2)
    if len(shown) < len(studies):
        figure.suptitle(f"The first {len(shown)} of {len(studies)} questions", x=0.01, ha="left", fontsize=9)
    for (left, right), (title, variants) in zip(axes, shown.items(), strict=True):
        for place, name, unit in ((left, "loss", "training loss"), (right, "matched_tiou", "tIoU of matched queries")):
            for number, (variant, histories) in enumerate(variants.items()):
                color, line = CYCLE[number % len(CYCLE)], ("-", "--", ":")[number // len(CYCLE) % 3]
                curves = [[row[name] for row in history] for history in histories if history]
                _curve(place, curves, variant, color, line)
            by_epoch(place)
            place.set_ylabel(unit)
            place.set_ylim(bottom=0)
        left.set_title(title)
        right.legend(fontsize=7.5, ncols=1 + (len(variants) > 6), loc="lower right")
    return figure


def _curve(place, curves: Sequence[Sequence[float]], label: str, color: str, line: str) -> None:
    if not curves:
        return
    length = min(map(len, curves))
    table = np.array([curve[:length] for curve in curves])
    epochs = np.arange(1, length + 1)
    place.plot(epochs, table.mean(axis=0), line, color=color, lw=1.6, label=short(label, LABEL))
    place.fill_between(epochs, table.min(axis=0), table.max(axis=0), color=color, alpha=0.12, lw=0)


@styled
def class_differences(differences: Mapping[str, Mapping[str, float]]) -> Picture:
    """Draw mean paired differences in average precision (fractions): variant -> class -> difference.

    Of many classes only those with the largest differences are shown.
    """
    if not differences:
        return nothing("no pair of runs with classes in common")
    frame = 100 * pd.DataFrame.from_dict(dict(list(differences.items())[:MAX_VARIANTS]), orient="index")
    largest = frame.abs().max()
    frame = frame[sorted(largest.sort_values(ascending=False, kind="stable").index[:MAX_CLASSES])]
    names = [*map(short, frame.columns)]
    text = "Difference in average precision of each class, by variant"
    figure, ((place,),) = picture(style.matrix_height(0.3 * len(frame), names), text)
    reach = max(largest.max(), 5.0)  # points below which colours stay pale
    texts = frame.map(lambda points: f"{np.round(points, 1) or 0:+.1f}")  # no "-0.0"
    numbers = {"annot": texts if len(frame) <= 24 else False, "fmt": "", "annot_kws": {"fontsize": 7}}
    colours = {"cmap": "RdBu", "vmin": -reach, "vmax": reach, "cbar_kws": {"label": "points of AP"}, "linewidths": 0.5}
    labels = {"yticklabels": [short(label, 44) for label in frame.index], "xticklabels": names}
    style.heatmap(place, frame, **labels, **numbers, **colours)
    slant(place)
    place.tick_params(axis="y", rotation=0, length=0)
    most = f"the {MAX_CLASSES} of {len(largest)} classes that differ most" * (len(largest) > MAX_CLASSES)
    most += f", in {len(frame)} of {len(differences)} variants" * (len(differences) > len(frame))
    place.set(title="Which classes gain (blue), which lose (red)?", xlabel=most)
    return figure
