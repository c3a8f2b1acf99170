"""Pictures of whether the data are sound: features of every video, and what a class split gives away."""

from collections.abc import Mapping, Sequence

import numpy as np

from tadlib.workbook.figures.style import BLUE, GREY, ORANGE, VERMILION, Picture, picture, styled

PANELS = (  # field of a row, title, axis with its unit
    ("norm", "Length of a feature", "norm (CLIP: about 10)"),
    ("neighbours", "Likeness of neighbours", "cosine of neighbouring snippets"),
    ("constant", "Frozen stretches", "share of snippets equal to the one before"),
    ("seconds too long", "Features against video", "features minus video (s)"),
)


@styled
def feature_health(rows: Sequence[Mapping[str, object]]) -> Picture:
    """Four numbers of every video's features; each video is a count in a histogram, the oddest one is named."""
    figure, axes = picture(4.2, f"Norms, neighbours, frozen stretches, lengths of {len(rows)} videos", nrows=2, ncols=2)
    for place, (field, title, unit) in zip(axes.flat, PANELS, strict=True):
        values = np.array([row[field] for row in rows], dtype=float)
        known = values[np.isfinite(values)]
        place.hist(known, bins=30, color=BLUE)
        place.set_title(title)
        place.set_xlabel(unit)
        place.set_ylabel("videos")
        odd = int(np.nanargmax(np.abs(values - np.median(known)))) if len(known) else 0
        if len(known) and values[odd] != np.median(known):
            place.axvline(values[odd], color=ORANGE, lw=1.5)
            place.set_title(f"oddest: {rows[odd]['video']}", loc="right", fontsize=8, fontweight="normal")
    return figure


@styled
def leakage(rows: Sequence[Mapping[str, object]]) -> Picture:
    """What a class split gives away: each finding's number as a share of what it is a part of."""
    text = "; ".join(f"{row['finding']}: {row['number']} of {row['of']}" for row in rows)
    figure, axes = picture(0.9 + 0.38 * len(rows), f"Leakage of the class split. {text}", nrows=1, ncols=1)
    place = axes[0, 0]
    for height, row in enumerate(rows):
        share = row["number"] / row["of"] if row["of"] else 0.0
        place.barh(height, 100, color="#eeeeee")
        place.barh(height, 100 * share, color=VERMILION if " is " in row["finding"] else GREY)
        place.text(101, height, f"{row['number']} of {row['of']}", va="center", fontsize=8.5)
    place.set_yticks(range(len(rows)), [row["finding"] for row in rows])
    place.set_ylim(len(rows) - 0.5, -0.5)
    place.set_xlim(0, 118)
    place.set_xlabel("share (%)")
    place.set_title("What the split gives away, and what it hides")
    return figure
