"""Figures of classification: confusion matrices, poolings, accuracy by class and text, CLIP's weight in the score."""

from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.workbook.figures import style
from tadlib.workbook.figures.style import CYCLE, GREY, OURS, Picture, heatmap, list_rows, picture, short, slant, styled

MEASURES = ("true segments", "good proposals", "mAP")


@styled
def confusion(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> Picture:
    """Draw a confusion matrix (true, predicted) per title, as shares of each row (blank if empty)."""
    text = "Confusion of true and predicted class: " + ", ".join(matrices)
    names = [short(label) for label in classes]
    figure, axes = picture(style.matrix_height(0.22 * len(names), names), text, ncols=len(matrices), sharey=True)
    for place, (title, counts) in zip(axes[0], matrices.items(), strict=True):
        total = counts.sum(axis=1, keepdims=True)
        share = counts / np.where(total, total, np.nan)
        heatmap(
            place,
            100 * share,
            vmin=0,
            vmax=100,
            annot=len(classes) <= 12,
            annot_kws={"fontsize": 7.5},
            xticklabels=names,
            yticklabels=names,
            cbar=place is axes[0, -1],
            cbar_kws={"label": "share of the row (%)"},
        )
        number = int(counts.sum())
        place.set(
            title=f"{title}: {np.trace(counts) / max(number, 1):.0%} of {number} right",
            xlabel="predicted, among unseen classes",
        )
        place.tick_params(axis="y", length=0, rotation=0)
        slant(place)
    axes[0, 0].set_ylabel("true")
    return figure


@styled
def naming_by_overlap(overlap: np.ndarray, right: np.ndarray) -> Picture:
    """Draw the accuracy of proposals' classes (`right`: bool, n) by tIoU (n) with the action they overlap most."""
    figure, ((place,),) = picture(2.8, "Accuracy of naming by the overlap of a proposal with a true action")
    number, edges = np.histogram(overlap, bins=10, range=(0, 1))
    accuracy = np.histogram(overlap[right], bins=10, range=(0, 1))[0] / np.maximum(number, 1)
    centres = (edges[:-1] + edges[1:]) / 2
    place.bar(centres, number, width=0.09, color="#dddddd")
    place.set(xlabel="tIoU of the proposal with its nearest action", ylabel="proposals (grey)")
    line = place.twinx()
    line.plot(centres[number > 0], 100 * accuracy[number > 0], color=OURS, lw=2.2, marker="o", clip_on=False)
    line.set_ylim(0, 100)
    line.set_ylabel("right among unseen classes (%)", color=OURS)
    line.spines["right"].set_visible(True)
    place.set_title("Accuracy of classification by tIoU")
    return figure


@styled
def pooling_comparison(table: Sequence[Mapping[str, object]]) -> Picture:
    """Draw a row per pooling: accuracy on true segments and on good proposals, and mAP, all in per cent."""
    figure, ((place,),) = picture(0.34 * len(table) + 1.4, "Naming by every pooling on the same proposals")
    for number, (measure, marker) in enumerate(zip(MEASURES, "osD", strict=True)):
        values = [100 * float(row[measure]) for row in table]
        level = np.arange(len(table)) + 0.15 * (number - 1)  # equal values do not hide each other
        place.plot(values, level, marker, color=CYCLE[number], ms=6, label=measure)
    list_rows(place, [f"{row['pooling']} ({row['text']})" for row in table])
    place.grid(axis="x")
    place.set(xlabel="accuracy, and mAP over tIoU (%)", title="Poolings, with the text they read")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def accuracy_by_text(found: Mapping[str, Mapping[str, float]], actions: Mapping[str, int]) -> Picture:
    """Draw the accuracy on true segments of each class (rows) with each style of text (columns)."""
    labels = list(next(iter(found.values())))
    shares = np.array([[found[kind][label] for kind in found] for label in labels])
    figure, ((place,),) = picture(max(2.8, 0.32 * len(labels) + 1.6), "Accuracy on true segments by class and text")
    overall = {kind: np.nanmean(shares[:, column]) if shares.size else 0.0 for column, kind in enumerate(found)}
    heatmap(
        place,
        100 * shares,
        vmin=0,
        vmax=100,
        annot=len(labels) <= 40,
        xticklabels=[f"{kind}\n{100 * share:.0f} %" for kind, share in overall.items()],
        yticklabels=[f"{short(label)} ({actions[label]})" for label in labels],
        cbar_kws={"label": "right among unseen classes (%)"},
    )
    place.tick_params(length=0, rotation=0)
    place.set(
        title="Which text helps which class",
        xlabel="text, with its mean over classes",
        ylabel="class (number of actions)",
    )
    return figure


@styled
def fusion_curves(weights: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Picture:
    """Draw mAP against CLIP's weight (0: detector alone, 1: CLIP alone); dashed if a fusion ignores the weight."""
    figure, ((place,),) = picture(3.0, "mAP against the weight of CLIP in the score")
    for color, (name, values) in zip(CYCLE, curves.items(), strict=False):
        flat = name == "after_softmax"
        line = {"ls": "--", "color": GREY, "lw": 1.4} if flat else {"color": color, "marker": "o", "lw": 2}
        place.plot(weights, 100 * np.asarray(values), label=f"{name}, no weight" if flat else name, **line)
    top = max(1.0, 110 * max(max(values) for values in curves.values()))
    place.set(xlabel="weight of CLIP in the score", ylabel="mAP over tIoU (%)", ylim=(0, top))
    place.set_title("mAP by CLIP's weight in the score")
    place.legend()
    return figure
