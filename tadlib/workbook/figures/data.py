"""Pictures of the data: frames on a timeline, statistics of actions, what CLIP makes of it."""

from collections.abc import Sequence

import numpy as np
import seaborn

from tadlib.data.annotations import Benchmark, Video
from tadlib.workbook.figures.style import (
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    SEQUENTIAL,
    SKY,
    TRUTH,
    Picture,
    bars,
    picture,
    rows,
    styled,
)

MOST = 25  # classes whose names can be read beside each other in one figure


@styled
def film_strip(video: Video, frames: Sequence[tuple[float, np.ndarray]]) -> Picture:
    """Frames (seconds, image) of one video above the timeline of its actions; inside an action the edge is dark."""
    labels = sorted({action.label for action in video.actions})
    text = f"{len(frames)} frames of video {video.id} above the timeline of its actions: {', '.join(labels)}"
    figure, axes = picture(
        1.95 + 0.22 * len(labels), text, nrows=2, ncols=1, height_ratios=[1.35, 0.35 + 0.22 * len(labels)]
    )
    strip, line = axes[:, 0]
    width = video.duration / len(frames)
    height = width * frames[0][1].shape[0] / frames[0][1].shape[1]
    for place, (seconds, image) in enumerate(frames):
        left = place * width
        inside = any(action.start <= seconds < action.end for action in video.actions)
        strip.imshow(image, extent=(left + 0.03 * width, left + 0.97 * width, 0, height), aspect="auto")
        strip.text(left + 0.5 * width, -0.05 * height, f"{seconds:.1f} s", ha="center", va="top", fontsize=8)
        if inside:
            strip.plot(
                [left + 0.03 * width, left + 0.97 * width], [height * 1.04] * 2, color=ORANGE, lw=3, clip_on=False
            )
        line.axvline(seconds, color=ORANGE if inside else GREY, lw=0.8, ls=":")
    strip.set_xlim(0, video.duration)
    strip.set_ylim(-0.15 * height, 1.08 * height)
    strip.axis("off")
    strip.set_title(f"{video.id}: frames inside an action carry an orange bar")
    for row, label in enumerate(labels):
        bars(line, [(action.start, action.end) for action in video.actions if action.label == label], row, TRUTH)
    rows(line, labels, video.duration)
    return figure


@styled
def action_statistics(benchmark: Benchmark) -> Picture:
    """How long actions last in each class, how long videos are, and how much of them is action."""
    figure, axes = picture(4.6, "Durations of actions by class, durations of videos, share of action", nrows=1, ncols=3)
    durations = {
        label: [a.end - a.start for video in benchmark.videos for a in video.actions if a.label == label]
        for label in benchmark.classes
    }
    order = [
        label for label in sorted(benchmark.classes, key=lambda label: np.median(durations[label] or [0]), reverse=True)
    ]
    order = order[:: -(-len(order) // MOST)]
    box = axes[0, 0]
    box.boxplot(
        [durations[label] for label in order],
        orientation="horizontal",
        tick_labels=[f"{label} ({len(durations[label])})" for label in order],
        widths=0.6,
        flierprops={"markersize": 2, "markeredgecolor": GREY},
        medianprops={"color": ORANGE, "lw": 2},
    )
    box.set_xscale("log")
    box.set_xlabel("duration of an action (s, log)")
    box.set_title("Actions (number)" if len(order) == len(durations) else f"{len(order)} of {len(durations)} classes")
    inside = [_covered(video) / video.duration for video in benchmark.videos]
    for place, values, unit in (
        (axes[0, 1], [video.duration for video in benchmark.videos], "duration of a video (s)"),
        (axes[0, 2], inside, "share inside an action"),
    ):
        groups = [
            [value for value, video in zip(values, benchmark.videos, strict=True) if video.subset == subset]
            for subset in (benchmark.train_subset, benchmark.test_subset)
        ]
        place.hist(groups, bins=12, stacked=True, color=[BLUE, SKY], label=["training", "test"])
        place.set_xlabel(unit)
        place.set_ylabel("videos")
        place.legend()
    axes[0, 1].set_title("Videos")
    axes[0, 2].set_title(f"Action: {np.mean(inside):.0%} of a video")
    return figure


def _covered(video: Video) -> float:
    """Seconds of a video inside at least one action."""
    total, reached = 0.0, 0.0  # some annotations go on after the end of their video
    for action in sorted(video.actions, key=lambda action: action.start):
        end = min(action.end, video.duration)
        total += max(0.0, end - max(reached, action.start))
        reached = max(reached, end)
    return total


@styled
def similarity_matrix(
    similarity: np.ndarray, classes: Sequence[str], frames: Sequence[np.ndarray] | None = None
) -> Picture:
    """Cosine of each class's pictures (rows, a frame on the axis where given) with each class's text (columns)."""
    few = len(classes) <= MOST
    figure, axes = picture(6.4, "Similarity of the pictures of each class with the text of each class")
    place = axes[0, 0]
    seaborn.heatmap(
        similarity,
        ax=place,
        cmap=SEQUENTIAL,
        xticklabels=classes if few else False,
        yticklabels=classes if few else False,
        cbar_kws={"label": "cosine similarity", "shrink": 0.6},
    )
    shown = np.flatnonzero(np.isfinite(similarity).all(axis=1))  # classes of which there are pictures
    best = np.argmax(similarity[shown], axis=1)
    place.scatter(best + 0.5, shown + 0.5, s=14 if few else 2, color="white", edgecolor="black", lw=0.6 if few else 0.2)
    place.set_xlabel("text of class")
    place.set_ylabel("pictures of class", labelpad=34 if frames is not None and few else 4)
    place.tick_params(axis="x", rotation=60, labelsize=8, length=0)
    place.tick_params(axis="y", length=0, pad=29 if frames is not None else 2)
    for label in place.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
    for row, frame in enumerate(frames if frames is not None and few else ()):
        inset = place.inset_axes((-1.22, row + 0.03, 1.16, 0.94), transform=place.transData)
        inset.imshow(frame, aspect="auto")
        inset.axis("off")
    place.set_title("The circle marks the text that is nearest to the pictures of a row")
    return figure


@styled
def similarity_over_time(video: Video, seconds: np.ndarray, similarity: np.ndarray, classes: Sequence[str]) -> Picture:
    """Cosine of every snippet (t,) with every class's text (t, k): true classes in colour, the nearest others too."""
    true = [label for label in classes if any(action.label == label for action in video.actions)]
    figure, axes = picture(3.0, f"Similarity of each snippet of {video.id} with class texts over time; {true} is true")
    place = axes[0, 0]
    for action in video.actions:
        place.axvspan(action.start, action.end, color="#f2e6cc", lw=0)
    mean = similarity.mean(axis=0)
    others = [classes[index] for index in np.argsort(-mean) if classes[index] not in true][: 5 - len(true)]
    place.plot(seconds, similarity, color="#dddddd", lw=0.5, zorder=1)
    for color, label in zip(CYCLE, true + others, strict=False):
        place.plot(
            seconds,
            similarity[:, list(classes).index(label)],
            color=color,
            lw=1.8 if label in true else 0.9,
            label=f"{label} (true)" if label in true else label,
        )
    place.set_xlim(0, video.duration)
    place.set_xlabel("time (s)")
    place.set_ylabel("cosine similarity")
    place.set_title(f"{video.id}: true actions are shaded, other classes grey")
    place.legend(ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
