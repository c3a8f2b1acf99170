"""Common style of figures: sizes, colours (Okabe and Ito, safe for colour blindness), and figures for notebooks."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from tadlib.files import atomic

WIDTH = 9.0  # inches; every figure fills the column of a report
DPI = 120
BLACK, ORANGE, SKY, GREEN = "#222222", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW, BLACK)
TRUTH, OURS, FLOOR, CEILING = BLACK, BLUE, GREY, GREEN  # roles have the same colour in every figure
SEQUENTIAL = "viridis"
LABEL = 34  # characters of a class name or a word that fit beside a figure
SETTINGS = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.facecolor": "white",
    "text.parse_math": False,  # class names may contain $
}
styled = rc_context(SETTINGS)  # decorator that applies the settings only while a figure is drawn


class Picture(Figure):
    """A figure that notebooks embed once, as a PNG with alternative text, without pyplot or a magic command."""

    alt = ""

    def _repr_mimebundle_(self, include=None, exclude=None):
        drawn, png = io.BytesIO(), io.BytesIO()
        with rc_context(SETTINGS):
            self.savefig(drawn, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
        Image.open(drawn).convert("RGB").save(png, "PNG", optimize=True)  # without transparency a tenth smaller
        width, height = (round(inches * 96) for inches in self.get_size_inches())
        data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": width, "height": height}}

    def keep(self, path: Path) -> None:
        """Write the picture to a path with .png, .svg and .pdf appended, for pages and papers."""
        for kind in ("png", "svg", "pdf"):
            with atomic(path.with_name(f"{path.name}.{kind}")) as file, rc_context(SETTINGS):
                self.savefig(file, format=kind, dpi=2 * DPI)


def picture(height: float, alt: str, **grid) -> tuple[Picture, np.ndarray]:
    """Return a full-width picture `height` inches tall and its axes, always as an array (rows, columns)."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    figure.alt = alt
    return figure, figure.subplots(squeeze=False, **grid)


def nothing(why: str) -> Picture:
    """Return a picture with the reason why there is nothing to draw."""
    figure, ((place,),) = picture(0.6, why)
    place.axis("off")
    place.text(0, 0.5, why, va="center")
    return figure


def bars(axes: Axes, segments: ArrayLike, row: float, color: str, height: float = 0.7, alpha: ArrayLike = 1.0) -> None:
    """Draw segments (n, 2) in seconds as bars on one row of a timeline; `alpha` is one value or one per segment."""
    segments = np.asarray(segments, dtype=float).reshape(-1, 2)
    for (start, end), opacity in zip(segments, np.broadcast_to(alpha, len(segments)), strict=True):
        axes.barh(
            row, end - start, left=start, height=height, color=color, alpha=float(opacity), edgecolor="white", lw=0.4
        )


def rows(axes: Axes, labels: Sequence[str], duration: float) -> None:
    """Label the rows of a timeline, first on top, over a time axis in seconds."""
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, duration)
    axes.set_xlabel("time (s)")
    axes.tick_params(axis="y", length=0)


def list_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a horizontal bar chart, first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()


def heatmap(axes: Axes, values: ArrayLike, **options: object) -> None:
    """Draw a matrix as a heat map; `options` are seaborn's."""
    import seaborn  # takes half a second, and few figures need it

    seaborn.heatmap(values, ax=axes, **{"cmap": SEQUENTIAL, "fmt": ".0f"} | options)


def matrix_height(side: float, labels: Sequence[str]) -> float:
    """Return the height in inches of a figure whose matrix is `side` inches tall, above its slanted labels."""
    return 1.0 + max(1.2, side) + 0.052 * max(map(len, labels))


def apart(heights: Sequence[float], least: float) -> np.ndarray:
    """Move heights (per cent) of labels as little as possible until they are `least` apart, in order and within 100."""
    from scipy.optimize import isotonic_regression

    order, steps = np.argsort(heights, kind="stable"), least * np.arange(len(heights))
    moved = isotonic_regression(np.asarray(heights)[order] - steps).x.clip(0, 100 - steps[-1]) + steps
    return moved[np.argsort(order)]


def slant(axes: Axes) -> None:
    """Rotate the labels of the horizontal axis, so that long ones fit, and hide its ticks."""
    axes.tick_params(axis="x", rotation=60, length=0)
    for label in axes.get_xticklabels():
        label.set(horizontalalignment="right", rotation_mode="anchor")


class LogNumbers(LogFormatter):
    """Formatter of logarithmic axes that writes plain numbers in place of powers of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def logarithmic(axis: Axis) -> None:
    """Format the tick labels of a logarithmic axis as plain numbers."""
    axis.set_major_formatter(LogNumbers())
    axis.set_minor_formatter(LogNumbers())


def by_epoch(axes: Axes) -> None:
    """Label the horizontal axis as epochs, with ticks at whole numbers."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def short(text: object, most: int = LABEL) -> str:
    """Shorten a text to `most` characters with an ellipsis; a leading _ gets a zero-width space before it."""
    whole = f"\u200b{text}" if str(text).startswith("_") else str(text)  # legends skip labels that begin with _
    return whole if len(whole) <= most else whole[: most - 1] + "…"
