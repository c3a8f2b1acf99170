"""Pictures of what goes wrong: types of errors and their cost, hard kinds of actions, scores, confusion, intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.evaluation.calibration import Confusability, Reliability
from tadlib.evaluation.errors import TYPES
from tadlib.evaluation.sensitivity import Sensitivity
from tadlib.workbook.figures.style import (
    BLUE,
    FLOOR,
    GREEN,
    GREY,
    ORANGE,
    OURS,
    PURPLE,
    SKY,
    VERMILION,
    Picture,
    picture,
    styled,
)

COLORS = dict(zip(TYPES, (GREEN, SKY, PURPLE, BLUE, ORANGE, GREY), strict=True))

UNITS = {
    "length": "length (s)",
    "coverage": "share of the video (%)",
    "instances": "actions of the class in the video",
}


@styled
def error_profile(shares: np.ndarray, gains: Mapping[str, float]) -> Picture:
    """Share of each type among the best 1, 2, ... detections per action (rows of `shares`), and mAP each type costs."""
    figure, axes = picture(3.1, "Types of errors among the best detections, and the mAP lost to each", nrows=1, ncols=2)
    left, right = axes[0]
    multiples, below = np.arange(1, len(shares) + 1), np.zeros(len(shares))
    for column, name in enumerate(TYPES):
        left.bar(multiples, 100 * shares[:, column], bottom=below, width=0.85, color=COLORS[name], label=name)
        below += 100 * shares[:, column]
    left.set_xticks(multiples, [f"{multiple}G" for multiple in multiples])
    left.set_ylim(0, 100)
    left.set_xlabel("best detections of each class (G: its number of actions)")
    left.set_ylabel("share (%)")
    left.set_title("What detections are")
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=3)
    for row, (name, gain) in enumerate(gains.items()):
        right.barh(row, 100 * gain, color=COLORS.get(name, VERMILION), height=0.65)
        right.text(100 * gain, row, f" {100 * gain:.1f}", va="center", fontsize=9)
    right.set_yticks(range(len(gains)), list(gains))
    right.invert_yaxis()
    right.set_xlim(0, 1.18 * max(0.01, 100 * max(gains.values())))
    right.set_xlabel("mAP gained if they were not there (points)")
    right.set_title("What errors cost")
    return figure


@styled
def sensitivities(found: Mapping[str, Sensitivity]) -> Picture:
    """Normalised AP and share of missed actions by kind of action; dashed: all actions."""
    names = [name for name in found if name != "all"]
    whole = found["all"]
    figure, axes = picture(
        4.2, "Normalised mAP and misses by " + ", ".join(names), nrows=2, ncols=len(names), sharey="row", sharex="col"
    )
    for column, name in enumerate(names):
        each = found[name]
        places = np.arange(len(each.bins))
        for place, values, level, color in zip(
            axes[:, column],
            (each.precision, each.missed),
            (whole.precision, whole.missed),
            (OURS, VERMILION),
            strict=True,
        ):
            place.bar(places, 100 * np.nan_to_num(values), color=color, width=0.7)
            place.axhline(100 * level[0], color=GREY, ls="--", lw=1)
        for place, number in zip(places, each.actions, strict=True):
            axes[1, column].text(place, 1, str(number), ha="center", va="bottom", fontsize=7.5)
        axes[1, column].set_xticks(places, each.bins)
        axes[1, column].set_xlabel(UNITS[name])
        axes[0, column].set_title(name.capitalize())
    axes[0, 0].set_ylabel("normalised mAP (%)")
    axes[1, 0].set_ylabel("missed (%)")
    axes[1, 0].set_ylim(0, 100)
    return figure


@styled
def reliability(found: Reliability) -> Picture:
    """Share of right detections by score, in bins of equal number; on the dashed line scores are probabilities."""
    figure, axes = picture(3.0, "How often detections of a score are right")
    place = axes[0, 0]
    place.plot([0, 1], [0, 100], color=GREY, ls="--", lw=1)
    place.plot(found.score, 100 * found.right, color=OURS, marker="o", lw=2)
    place.set_xlim(0, max(0.05, 1.1 * found.score.max()))
    place.set_ylim(0, max(5.0, 115 * max(found.right.max(), found.score.max())))
    place.set_xlabel("mean score of a tenth of the detections")
    place.set_ylabel("right at tIoU 0.5 (%)")
    place.set_title(f"Scores are off by {100 * found.error:.1f} points on average")
    return figure


@styled
def confusability(found: Confusability, classes: Sequence[str], named: int = 6) -> Picture:
    """How often one class is named as another against the cosine of their texts; the worst pairs by name."""
    figure, axes = picture(3.4, "Confusion of classes against the similarity of their texts")
    place = axes[0, 0]
    place.scatter(found.cosine, 100 * found.share, color=OURS, s=22, alpha=0.7)
    worst = np.argsort(-found.share, kind="stable")[:named]
    worst = worst[found.share[worst] > 0]
    top = 108 * found.share.max(initial=0.01)
    for rank, pair in enumerate(worst):  # names stand in a column of their own, where they cannot cover one another
        place.annotate(
            f"{classes[found.true[pair]]} as {classes[found.named[pair]]}",
            (found.cosine[pair], 100 * found.share[pair]),
            (1.02, 0.94 - 0.15 * rank),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": FLOOR, "lw": 0.7, "relpos": (0, 0.5)},
        )
    place.set_xlabel("cosine of the two classes' texts")
    place.set_ylabel("named as the other (%)")
    place.set_ylim(0, top)
    known = "" if np.isnan(found.correlation) else f" (rank correlation {found.correlation:.2f})"
    place.set_title(f"Does similar text mean confused classes?{known}")
    return figure


@styled
def verdicts(table: Sequence[Mapping[str, object]]) -> Picture:
    """This run's mAP and its differences from others, each with its interval; grey where chance explains it."""
    figure, axes = picture(0.42 * len(table) + 1.1, "mAP of this run and its differences from others, with intervals")
    place = axes[0, 0]
    for row, entry in enumerate(table):
        color = FLOOR if entry["this run is"] == "cannot tell" else OURS
        place.hlines(row, 100 * entry["mAP from"], 100 * entry["mAP to"], color=color, lw=3)
        place.scatter(100 * entry["mAP"], row, color=color, s=42, zorder=3)
        place.text(100 * entry["mAP to"], row, f"  {entry['this run is']}", va="center", fontsize=9, color=color)
    place.axvline(0, color=GREY, lw=0.8)
    place.set_yticks(range(len(table)), [str(entry["what"]) for entry in table])
    place.invert_yaxis()
    place.margins(x=0.15)
    place.set_xlabel("mAP, or difference in mAP (points), with the 95 % interval over videos")
    place.set_title("More than chance?")
    return figure
