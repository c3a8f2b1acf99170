"""Figures of results: floors and ceilings, AP by class, recall, errors, calibration, timelines of detections."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tadlib.data.annotations import Video
from tadlib.data.windows import spans
from tadlib.evaluation.diagnosis import Reliability
from tadlib.evaluation.errors import TYPES, Sensitivity
from tadlib.naming.fusion import Detections
from tadlib.workbook.figures import style
from tadlib.workbook.figures.style import (
    CEILING,
    FLOOR,
    GREY,
    OURS,
    Picture,
    bars,
    list_rows,
    picture,
    rows,
    short,
    styled,
)

MAX_DETECTIONS = 40  # of a timeline
LINE = 8.0  # per cent of recall, the height of a label's line
CAPTION = 27  # characters that fit above one of four frames, on each of two lines
MARKERS = "osD^vPXp"  # of all rows but ours
ROLES = {"ours": OURS, "floor": FLOOR, "baseline": style.ORANGE, "ceiling": CEILING}
COLORS = dict(zip(TYPES, (style.GREEN, style.SKY, style.PURPLE, style.BLUE, style.ORANGE, GREY), strict=True))
UNITS = {"length": "length (s)", "coverage": "share of the video (%)", "instances": "actions of the class in the video"}


@styled
def headline(table: Sequence[Mapping[str, object]]) -> Picture:
    """Draw the mAP of each row (`name`, `role`, `mAP`, `mAP@...`): the mean over tIoU as a bar, each tIoU as a line."""
    text = "mAP of floors, baselines, this run and ceilings"
    figure, ((left, right),) = picture(0.42 * len(table) + 1.6, text, ncols=2)
    highest = max(100 * entry["mAP"] for entry in table)
    tious = sorted(float(name.split("@")[1]) for name in table[0] if name.startswith("mAP@"))
    markers = cycle(MARKERS)
    for role in dict.fromkeys(entry["role"] for entry in table):
        left.barh(0, 0, color=ROLES[role], label="this run" if role == "ours" else role)
    for row, entry in enumerate(table):
        marker = "*" if entry["role"] == "ours" else next(markers)
        color, value = ROLES[entry["role"]], 100 * entry["mAP"]
        left.barh(row, value, color=color, height=0.65)
        left.plot(value, row, marker=marker, color=color, ms=9, mec="white", clip_on=False)
        left.text(value + 0.04 * highest, row, f"{value:.1f}", va="center", fontsize=9)
        values, width = [100 * entry[f"mAP@{tiou:g}"] for tiou in tious], 2.6 if entry["role"] == "ours" else 1.4
        right.plot(tious, values, color=color, lw=width, marker=marker, ms=7, mec="white", clip_on=False)
    list_rows(left, [entry["name"].replace(": ", ":\n") for entry in table])
    left.set(xlim=(0, 1.18 * highest + 3), xlabel="mAP, mean over tIoU (%)", title="mAP beside floors and ceilings")
    right.set_xticks(tious)
    right.set(xlabel="tIoU threshold", ylabel="mAP (%)", title="mAP at each tIoU (same markers)")
    right.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def per_class(ours: Mapping[str, float], ceiling: Mapping[str, float], actions: Mapping[str, int]) -> Picture:
    """Draw the average precision of each scored class, and that of the same segments with true labels."""
    order = sorted(ours, key=lambda label: -ours[label])
    text = "Average precision of each class, ours and with true labels"
    figure, ((place,),) = picture(0.3 * len(order) + 1.5, text)
    outline = {"color": "white", "edgecolor": CEILING, "lw": 1.4}
    for row, label in enumerate(order):
        place.barh(row, 100 * ceiling[label], height=0.72, **outline)
        place.barh(row, 100 * ours[label], height=0.42, color=OURS)
    place.barh(0, 0, color=OURS, label="this run")
    place.barh(0, 0, label="the same segments with the true label", **outline)
    list_rows(place, [f"{short(label)} ({actions[label]} actions)" for label in order])
    place.set(xlabel="average precision, mean over tIoU (%)", title="Average precision by class")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def recall_curve(counts: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Picture:
    """Draw AR@AN: recall averaged over tIoU 0.5:0.05:0.95 against proposals per video, one line per method."""
    figure, ((place,),) = picture(3.2, "Average recall against the average number of proposals per video")
    heights = style.apart([100 * values[-1] for values in curves.values()], LINE)
    for color, height, (name, values) in zip((OURS, FLOOR, *style.CYCLE[1:]), heights, curves.items(), strict=False):
        place.plot(counts, 100 * np.asarray(values), color=color, lw=2.2 if color == OURS else 1.4, marker="o", ms=3.5)
        place.text(1.04 * counts[-1], height, name, va="center", color=color)
    place.set_xscale("log")
    place.set_xticks(counts, [str(count) for count in counts])
    place.minorticks_off()
    place.grid(axis="y")
    place.set(xlim=(counts[0] * 0.9, counts[-1] * 1.9), ylim=(0, 100))
    place.set(xlabel="average number of proposals per video", ylabel="average recall (%)")
    place.set_title("Average recall of proposals over tIoU 0.5 to 0.95, labels ignored")
    return figure


@styled
def timelines(videos: Sequence[Video], detections: Mapping[str, Detections], scores: Mapping[str, float]) -> Picture:
    """Draw true actions (black) and the best detections (blue, darker: higher score) of videos, one row per class."""
    shown = [_class_rows(video, detections[video.id]) for video in videos]
    heights = [0.5 + 0.34 * len(labels) for labels, _ in shown]
    text = f"Timelines of {', '.join(video.id for video in videos)}: truth and detections"
    figure, axes = picture(sum(heights) + 0.4, text, nrows=len(videos), height_ratios=heights)
    for place, video, (labels, kept) in zip(axes[:, 0], videos, shown, strict=True):
        for row, label in enumerate(labels):
            bars(place, spans(video.only([label]).actions), row - 0.2, style.TRUTH, height=0.32)
            own = kept[kept["label"] == label]
            bars(place, own[["start", "end"]], row + 0.2, OURS, height=0.32, alpha=own["score"].clip(0.08, 1.0))
            place.axhline(row + 0.5, color="#eeeeee", lw=0.8)
        rows(place, labels, video.duration)
        place.set_title(f"{video.id}: AP {100 * scores[video.id]:.0f} %", fontsize=9)
        if place is not axes[-1, 0]:
            place.set_xlabel("")
    return figure


def _class_rows(video: Video, detections: Detections) -> tuple[list[str], pd.DataFrame]:
    """Return the classes to show (true ones, then those with the highest total score) and the detections to draw."""
    found = pd.DataFrame(np.asarray(detections.segments), columns=["start", "end"])
    found = found.assign(score=np.asarray(detections.scores), label=detections.labels).nlargest(MAX_DETECTIONS, "score")
    found["score"] /= max(found["score"].max(), 1e-8)
    true = sorted({action.label for action in video.actions})
    others = found[~found["label"].isin(true)].groupby("label")["score"].sum()
    return true + list(others.nlargest(3).index), found


@styled
def error_profile(shares: np.ndarray, gains: Mapping[str, float]) -> Picture:
    """Draw shares of error types among the best 1, 2, ... detections per action (rows), and the mAP each type costs."""
    text = "Types of errors among the best detections, and the mAP lost to each"
    figure, ((left, right),) = picture(3.1, text, ncols=2)
    multiples, below = np.arange(1, len(shares) + 1), np.zeros(len(shares))
    for name, share in zip(TYPES, 100 * shares.T, strict=True):
        left.bar(multiples, share, bottom=below, width=0.85, color=COLORS[name], label=name)
        below += share
    left.set_xticks(multiples, [f"{multiple}G" for multiple in multiples])
    left.set(ylim=(0, 100), xlabel="best detections of each class (G: its number of actions)", ylabel="share (%)")
    left.set_title("Types of the best detections (tIoU 0.5)")
    left.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=3)
    for row, (name, gain) in enumerate(gains.items()):
        right.barh(row, 100 * gain, color=COLORS.get(name, style.VERMILION), height=0.65)
        right.text(100 * gain, row, f" {100 * gain:.1f}", va="center", fontsize=9)
    list_rows(right, list(gains))
    right.set(xlim=(0, 1.18 * max(0.01, 100 * max(gains.values()))), title="mAP lost by type, mean over tIoU")
    right.set_xlabel("mAP gained if they were not there (points)")
    return figure


@styled
def sensitivities(found: Mapping[str, Sensitivity]) -> Picture:
    """Draw normalised mAP and the share of missed actions by properties of actions; dashed: all actions."""
    names = [name for name in found if name != "all"]
    text = "Normalised mAP and misses by " + ", ".join(names)
    figure, axes = picture(4.2, text, nrows=2, ncols=len(names), sharey="row", sharex="col")
    for (above, below), name in zip(axes.T, names, strict=True):
        each, places = found[name], np.arange(len(found[name].bins))
        above.bar(places, 100 * np.nan_to_num(each.precision), color=OURS, width=0.7)
        above.axhline(100 * found["all"].precision[0], color=GREY, ls="--", lw=1, label="all actions")
        above.set_title(name.capitalize())
        below.bar(places, 100 * np.nan_to_num(each.missed), color=style.VERMILION, width=0.7)
        below.axhline(100 * found["all"].missed[0], color=GREY, ls="--", lw=1)
        for place, number in zip(places, each.actions, strict=True):
            below.text(place, 1, str(number), ha="center", va="bottom", fontsize=7.5)
        below.set_xticks(places, each.bins)
        below.set_xlabel(UNITS[name])
    axes[0, 0].set_ylabel("normalised mAP (%)")
    axes[1, 0].set(ylabel="missed (%)", ylim=(0, 100))
    heading = "means over tIoU thresholds; in the bars: number of actions"
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", title=heading)
    return figure


@styled
def reliability(found: Mapping[str, Reliability]) -> Picture:
    """Draw reliability diagrams: accuracy by score, in bins of equal number; dashed: perfect calibration."""
    figure, ((place,),) = picture(3.2, "Share of correct answers by score: " + ", ".join(found))
    place.axline((0, 0), slope=100, color=GREY, ls="--", lw=1)
    for color, (name, curve) in zip((OURS, *style.CYCLE[1:]), found.items(), strict=False):
        error = f"expected calibration error {100 * curve.error:.1f} points" if len(curve.score) else "no answers"
        place.plot(curve.score, 100 * curve.right, color=color, marker="o", lw=2, label=f"{name}: {error}")
    place.set(xlim=(0, None), ylim=(0, None), title="Reliability diagram")
    place.set(xlabel="confidence, mean of each decile", ylabel="correct (%)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def verdicts(table: Sequence[Mapping[str, object]]) -> Picture:
    """Draw this run's mAP and its differences from others with intervals; grey: not significant."""
    text = "mAP of this run and its differences from others, with intervals"
    figure, ((place,),) = picture(0.42 * len(table) + 1.1, text)
    for row, entry in enumerate(table):
        color = FLOOR if entry["this run is"] == "cannot tell" else OURS
        place.hlines(row, 100 * entry["mAP from"], 100 * entry["mAP to"], color=color, lw=3)
        place.scatter(100 * entry["mAP"], row, color=color, s=42, zorder=3)
        place.text(100 * entry["mAP to"], row, f"  {entry['this run is']}", va="center", fontsize=9, color=color)
    place.axvline(0, color=GREY, lw=0.8)
    list_rows(place, [str(entry["what"]).replace(": ", ":\n") for entry in table])
    place.margins(x=0.15)
    place.set_xlabel("mAP, or difference in mAP (points), with the 95 % interval over videos")
    place.set_title("mAP of this run, and its differences from others")
    return figure


@styled
def detected(video: Video, proposals: ArrayLike, found) -> Picture:
    """Draw true actions (black), proposals (n, 2) in seconds (grey), and a row of detections (blue) per word found."""
    truth = list(dict.fromkeys(action.label for action in video.actions))
    words = list(dict.fromkeys(found.labels))[:12]
    labels = [*(f"true: {label}" for label in truth), "proposals", *words]
    text = f"Timeline of {video.duration:.0f} s: found {', '.join(words) or 'nothing'}"
    figure, ((place,),) = picture(0.9 + 0.3 * len(labels), text)
    for row, label in enumerate(truth):
        bars(place, spans(video.only([label]).actions), row, style.TRUTH, height=0.5)
    bars(place, proposals[:30], len(truth), GREY, height=0.5, alpha=0.35)
    for row, word in enumerate(words, start=len(truth) + 1):
        own = np.array(found.labels) == word
        bars(place, found.segments[own], row, OURS, height=0.6, alpha=0.2 + 0.8 * found.scores[own])
    rows(place, labels, video.duration)
    place.set_title("Detections (darker: higher score)" if words else "Nothing found")
    return figure


@styled
def detected_frames(moments: Sequence[float], words: Sequence[str], frames: Iterable[np.ndarray]) -> Picture:
    """Draw a frame (h, w, 3) at each moment in seconds, with the word detected there."""
    if not moments:
        return style.nothing("Frames: nothing found")
    columns = min(4, len(moments))
    lines = -(-len(moments) // columns)
    text = "Frames: " + "; ".join(f"{word} at {seconds:.1f} s" for seconds, word in zip(moments, words, strict=True))
    figure, axes = picture(0.3 + 1.75 * lines, text, nrows=lines, ncols=columns)
    for place in axes.flat:
        place.axis("off")
    for place, seconds, word, frame in zip(axes.flat, moments, words, frames, strict=False):
        place.imshow(frame[:: max(1, len(frame) // 240), :: max(1, len(frame) // 240)])
        place.set_title(f"{seconds:.1f} s\n{textwrap.fill(short(word, 2 * CAPTION), CAPTION)}", fontsize=8.5)
    return figure


@styled
def word_curves(seconds: np.ndarray, curves: Mapping[str, np.ndarray], detections) -> Picture:
    """Draw the similarity (t,) of each word minus that of background texts; detections are shaded in its colour."""
    figure, ((place,),) = picture(3.0, "Similarity over time of " + ", ".join(curves))
    colors, marker = dict(zip(curves, style.CYCLE, strict=False)), "o" if len(seconds) < 3 else ""
    for word, values in curves.items():
        place.plot(seconds, values, color=colors[word], lw=1.5, label=short(word), marker=marker)
    for word, (start, end) in zip(detections.labels[:10], detections.segments[:10].tolist(), strict=True):
        if word in colors:
            place.axvspan(start, end, color=colors[word], alpha=0.12, lw=0)
    place.axhline(0, color=GREY, lw=0.8, ls="--")
    place.set(xlabel="time (s)", ylabel="cosine minus background")
    place.set_title("CLIP's similarity with each word, minus that with background texts")
    place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure
