"""Pictures of naming: poolings side by side, texts class by class, the weight of CLIP, and how sure it may be."""

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn

from tadlib.evaluation.calibration import Reliability
from tadlib.workbook.figures.style import CYCLE, GREY, SEQUENTIAL, Picture, picture, styled

MEASURES = ("true segments", "good proposals", "mAP")


@styled
def pooling_comparison(table: Sequence[Mapping[str, object]]) -> Picture:
    """One row a pooling: share of true segments and of good proposals named right, and mAP, all in per cent."""
    figure, axes = picture(0.34 * len(table) + 1.4, "Naming by every pooling on the same proposals")
    place = axes[0, 0]
    for measure, color, marker in zip(MEASURES, CYCLE, "osD", strict=False):
        values = [100 * float(row[measure]) for row in table]
        place.plot(values, range(len(table)), marker, color=color, ms=7, label=measure)
    names = [f"{row['pooling']} ({row['text']})" for row in table]
    place.set_yticks(range(len(table)), names)
    place.invert_yaxis()
    place.grid(axis="x")
    place.set_xlabel("named right, and mAP over tIoU (%)")
    place.set_title("Poolings, with the text they read")
    place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 - 0.5 / len(table)), ncols=3)
    return figure


@styled
def accuracy_by_text(found: Mapping[str, Mapping[str, float]], actions: Mapping[str, int]) -> Picture:
    """Share of the true segments of each class (rows) that are named right with each style of text (columns)."""
    labels = list(actions)
    shares = np.array([[found[style][label] for style in found] for label in labels])
    figure, axes = picture(0.32 * len(labels) + 1.4, "Accuracy on true segments by class and text")
    place = axes[0, 0]
    overall = {style: np.nanmean(shares[:, column]) if shares.size else 0.0 for column, style in enumerate(found)}
    seaborn.heatmap(
        100 * shares,
        ax=place,
        cmap=SEQUENTIAL,
        vmin=0,
        vmax=100,
        annot=len(labels) <= 40,
        fmt=".0f",
        xticklabels=[f"{style}\n{100 * share:.0f} %" for style, share in overall.items()],
        yticklabels=[f"{label} ({actions[label]})" for label in labels],
        cbar_kws={"label": "named right (%)"},
    )
    place.tick_params(length=0, rotation=0)
    place.set_title("Which text helps which class (below each text: mean over classes)")
    return figure


@styled
def fusion_curves(weights: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Picture:
    """mAP against CLIP's share: 0 is the detector alone, 1 is CLIP alone; dashed where the share does not count."""
    figure, axes = picture(3.0, "mAP against the share of CLIP in the score")
    place = axes[0, 0]
    for color, (name, values) in zip(CYCLE, curves.items(), strict=False):
        flat = name == "after_softmax"
        style = {"ls": "--", "color": GREY, "lw": 1.4} if flat else {"color": color, "marker": "o", "lw": 2}
        place.plot(weights, 100 * np.asarray(values), label=f"{name}, no share" if flat else name, **style)
    place.set_xlabel("share of CLIP in the score")
    place.set_ylabel("mAP over tIoU (%)")
    place.set_ylim(0, max(1.0, 110 * max(max(values) for values in curves.values())))
    place.set_title("How much should CLIP count?")
    place.legend()
    return figure


@styled
def certainty(found: Mapping[str, Reliability]) -> Picture:
    """Share of segments named right by how sure CLIP is, in tenths; on the dashed line certainty is probability."""
    figure, axes = picture(3.2, "How often CLIP is right by how sure it is")
    place = axes[0, 0]
    place.plot([0, 1], [0, 100], color=GREY, ls="--", lw=1)
    for color, (kind, curve) in zip(CYCLE, found.items(), strict=False):
        label = f"{kind}: off by {100 * curve.error:.0f} points"
        place.plot(curve.score, 100 * curve.right, color=color, marker="o", lw=2, label=label)
    place.set_xlim(0, 1.02)
    place.set_ylim(0, 103)
    place.set_xlabel("probability of the named class, mean of a tenth of the segments")
    place.set_ylabel("named right (%)")
    place.set_title("Is CLIP as often right as it is sure?")
    place.legend(loc="lower right")
    return figure
