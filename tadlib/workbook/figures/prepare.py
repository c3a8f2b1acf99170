"""Figures of the data: frames, durations, checks of features, leakage of the class split, similarity to class texts."""

from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.data.annotations import Benchmark, Video
from tadlib.data.windows import spans
from tadlib.workbook.figures import style
from tadlib.workbook.figures.style import Picture, bars, heatmap, list_rows, picture, rows, slant, styled

MAX_CLASSES = 25  # class names that are legible in one figure
PANELS = (  # field of a row, title, label of the axis with its unit
    ("norm", "Norm of a feature", "norm (OpenAI's CLIP: about 10)"),
    ("neighbours", "Similarity of neighbours", "cosine of neighbouring snippets"),
    ("constant", "Frozen stretches", "share of snippets equal to the one before"),
    ("seconds too long", "Duration of the features", "duration minus that of the video (s)"),
)


@styled
def film_strip(video: Video, frames: Sequence[tuple[float, np.ndarray]]) -> Picture:
    """Draw frames (seconds, image) of a video above its timeline; an orange bar marks frames inside an action."""
    labels = sorted({action.label for action in video.actions})
    text = f"{len(frames)} frames of video {video.id} above the timeline of its actions: {', '.join(labels)}"
    figure, ((strip,), (line,)) = picture(
        1.95 + 0.22 * len(labels), text, nrows=2, height_ratios=[1.35, 0.35 + 0.22 * len(labels)]
    )
    width = video.duration / len(frames)
    height = width * frames[0][1].shape[0] / frames[0][1].shape[1]
    for place, (seconds, image) in enumerate(frames):
        left, right = (place + 0.03) * width, (place + 0.97) * width
        inside = any(action.start <= seconds < action.end for action in video.actions)
        strip.imshow(image, extent=(left, right, 0, height), aspect="auto")
        strip.text((place + 0.5) * width, -0.05 * height, f"{seconds:.1f} s", ha="center", va="top", fontsize=8)
        if inside:
            strip.plot([left, right], [height * 1.04] * 2, color=style.ORANGE, lw=3, clip_on=False)
        line.axvline(seconds, color=style.ORANGE if inside else style.GREY, lw=0.8, ls=":")
    strip.axis("off")
    strip.set(xlim=(0, video.duration), ylim=(-0.15 * height, 1.08 * height))
    strip.set_title(f"{video.id}: frames inside an action carry an orange bar")
    for row, label in enumerate(labels):
        bars(line, spans(video.only([label]).actions), row, style.TRUTH)
    rows(line, labels, video.duration)
    return figure


@styled
def action_statistics(benchmark: Benchmark) -> Picture:
    """Draw durations of actions by class, durations of videos, and the share of action in videos."""
    figure, ((box, *histograms),) = picture(
        4.6, "Durations of actions by class, durations of videos, share of action", ncols=3
    )
    durations = {
        label: [a.end - a.start for video in benchmark.videos for a in video.actions if a.label == label]
        for label in benchmark.classes
    }
    order = sorted(benchmark.classes, key=lambda label: np.median(durations[label] or [0]), reverse=True)
    order = order[:: -(-len(order) // MAX_CLASSES)]
    box.boxplot(
        [durations[label] for label in order],
        orientation="horizontal",
        tick_labels=[f"{label} ({len(durations[label])})" for label in order],
        widths=0.6,
        flierprops={"markersize": 2, "markeredgecolor": style.GREY},
        medianprops={"color": style.ORANGE, "lw": 2},
    )
    title = "Actions (number)" if len(order) == len(durations) else f"{len(order)} of {len(durations)} classes"
    box.set(xscale="log", xlabel="duration of an action (s, log)", title=title)
    style.logarithmic(box.xaxis)
    lengths = np.array([video.duration for video in benchmark.videos])
    inside = np.array([_covered(video) for video in benchmark.videos]) / lengths
    subsets = np.array([video.subset for video in benchmark.videos])
    sides = {benchmark.train_subset: "training", benchmark.test_subset: "test"}
    sides = sides if len(sides) > 1 else dict.fromkeys(sides, "training and test")
    for place, values, unit, title in (
        (histograms[0], lengths, "duration of a video (s)", "Videos"),
        (histograms[1], inside, "fraction inside an action", f"Action: {np.mean(inside):.0%} of a video"),
    ):
        groups, colors = [values[subsets == side] for side in sides], (style.BLUE, style.SKY)[: len(sides)]
        place.hist(groups, bins=12, stacked=True, color=colors, label=list(sides.values()))
        place.set(xlabel=unit, ylabel="videos", title=title)
        place.legend()
    return figure


def _covered(video: Video) -> float:
    starts, ends = np.array(sorted((a.start, a.end) for a in video.actions)).reshape(-1, 2).T.clip(max=video.duration)
    reached = np.maximum.accumulate(np.append(0.0, ends))[:-1]
    return float((ends - np.maximum(starts, reached)).clip(min=0).sum())


@styled
def feature_health(table: Sequence[Mapping[str, object]]) -> Picture:
    """Draw histograms over videos of four statistics of their features, and name the largest outlier of each."""
    figure, axes = picture(
        4.2, f"Norms, neighbours, frozen stretches, lengths of {len(table)} videos", nrows=2, ncols=2
    )
    for place, (field, title, unit) in zip(axes.flat, PANELS, strict=True):
        values = np.array([row[field] for row in table], dtype=float)
        known = values[np.isfinite(values)]
        place.hist(known, bins=30, color=style.BLUE)
        place.set(title=title, xlabel=unit, ylabel="videos")
        odd = int(np.nanargmax(np.abs(values - np.median(known)))) if len(known) else 0
        if len(known) and values[odd] != np.median(known):
            place.axvline(values[odd], color=style.ORANGE, lw=1.5)
            place.set_title(f"largest outlier: {table[odd]['video']}", loc="right", fontsize=8, fontweight="normal")
    return figure


@styled
def leakage(table: Sequence[Mapping[str, object]]) -> Picture:
    """Draw the leakage of a class split: the number of each finding as a share of its total."""
    text = "; ".join(f"{row['finding']}: {row['number']} of {row['of']}" for row in table)
    figure, ((place,),) = picture(0.9 + 0.38 * len(table), f"Leakage of the class split. {text}")
    for height, row in enumerate(table):
        share = row["number"] / row["of"] if row["of"] else 0.0
        place.barh(height, 100, color="#eeeeee")
        place.barh(height, 100 * share, color=style.VERMILION if " is " in row["finding"] else style.GREY)
        place.text(101, height, f"{row['number']} of {row['of']}", va="center", fontsize=8.5)
    list_rows(place, [row["finding"] for row in table])
    place.set(ylim=(len(table) - 0.5, -0.5), xlim=(0, 118), xlabel="share (%)", title="Leakage of the class split")
    return figure


@styled
def similarity_matrix(similarity: np.ndarray, classes: Sequence[str], frames: Sequence[np.ndarray]) -> Picture:
    """Draw cosines of the images of each class (rows, with a frame) with the text of each class (columns)."""
    few = len(classes) <= MAX_CLASSES
    figure, ((place,),) = picture(6.4, "Similarity of the pictures of each class with the text of each class")
    heatmap(
        place,
        similarity,
        xticklabels=classes if few else False,
        yticklabels=classes if few else False,
        cbar_kws={"label": "cosine similarity", "shrink": 0.6},
    )
    shown = np.flatnonzero(np.isfinite(similarity).all(axis=1))  # classes with images
    best = np.argmax(similarity[shown], axis=1)
    place.scatter(best + 0.5, shown + 0.5, s=14 if few else 2, color="white", edgecolor="black", lw=0.6 if few else 0.2)
    place.set_xlabel("text of class")
    place.set_ylabel("pictures of class", labelpad=34 if few else 4)
    place.tick_params(axis="x", labelsize=8)
    place.tick_params(axis="y", length=0, pad=29)
    slant(place)
    for row, frame in enumerate(frames if few else ()):
        inset = place.inset_axes((-1.22, row + 0.03, 1.16, 0.94), transform=place.transData)
        inset.imshow(frame, aspect="auto")
        inset.axis("off")
    place.set_title("Similarity of pictures and texts (circle: the most similar text)")
    return figure


@styled
def similarity_over_time(video: Video, seconds: np.ndarray, similarity: np.ndarray, classes: Sequence[str]) -> Picture:
    """Draw cosines (t, k) of snippets with class texts over time; true and the most similar other classes in colour."""
    true = [label for label in classes if any(action.label == label for action in video.actions)]
    text = f"Similarity of each snippet of {video.id} with class texts over time; {true} is true"
    figure, ((place,),) = picture(3.0, text)
    for action in video.actions:
        place.axvspan(action.start, action.end, color="#f2e6cc", lw=0)
    order = np.argsort(-similarity.mean(axis=0))
    others = [classes[index] for index in order if classes[index] not in true][: 5 - len(true)]
    place.plot(seconds, similarity, color="#dddddd", lw=0.5, zorder=1)
    for color, label in zip(style.CYCLE, true + others, strict=False):
        values = similarity[:, list(classes).index(label)]
        name, width = (f"{label} (true)", 1.8) if label in true else (label, 0.9)
        place.plot(seconds, values, color=color, lw=width, label=style.short(name, 40))
    place.set(xlim=(0, video.duration), xlabel="time (s)", ylabel="cosine similarity")
    place.set_title(f"{video.id}: true actions are shaded, the most similar classes in colour")
    place.legend(ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
