"""What notebooks show besides figures: progress bars, tables, the result of a stage, and a video's timeline.

The timeline works in JupyterLab and in an exported page, without a network. Before its script runs it is an image,
which an untrusted notebook shows too; then it becomes part of the page. The preview is a small mp4 embedded there.
"""

import math
import os
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from pandas.io.formats.style import Styler
from tqdm import tqdm

from tadlib.files import LOG, note
from tadlib.workbook.figures.style import short
from tadlib.workbook.stages import RESULT

Item = TypeVar("Item")
SHORT = 17  # characters; shorter cells are not wrapped
WRAPPED = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 3px 10px; max-width: 26em"},
    {"selector": "td.short", "props": "white-space: nowrap"},
]
SCREEN_INTERVAL, LOG_INTERVAL = 0.5, 20.0  # seconds between updates on a screen, and between lines in a log
MEMORY = {"peak_memory_mb": "memory", "peak_gpu_memory_mb": "GPU memory"}
WIDTH, LEFT, RIGHT, ROW, CURVES = 640, 10, 14, 36, 110  # of a timeline, in units of its SVG, legible on a phone
NAME = 60  # most letters of a name in a timeline
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#B8A800")  # one per word
KINDS = {"truth": ("currentColor", 0.85), "proposal": ("#999999", 0.45), "detection": ("#0072B2", 0.9)}  # and opacity
TEMPLATES = Environment(  # names are escaped: they may hold HTML
    loader=FileSystemLoader(Path(__file__).parent / "templates" / "viewer"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals |= {"WIDTH": WIDTH, "LEFT": LEFT, "RIGHT": RIGHT, "ROW": ROW, "KINDS": KINDS, "zip": zip}
TEMPLATES.globals["short"] = partial(short, most=NAME)


class Progress:
    """Progress callback `progress(done, total, text)` that draws tqdm bars, one per kind of work (text before a comma).

    An executed notebook keeps only the last line of a bar; a log gets a line every twenty seconds.
    """

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}
        self._last_note = float("-inf")

    def __call__(self, done: int, total: int, text: str) -> None:
        kind = text.split(",")[0]
        bar = self._bars.get(kind)
        if bar is None or done < bar.n:
            bar = self._bars[kind] = _bar(done, total, text)
        bar.total = total
        bar.set_description_str(text, refresh=False)
        bar.update(done - bar.n)
        if LOG in os.environ and time.monotonic() - self._last_note >= LOG_INTERVAL:
            self._last_note = time.monotonic()
            note(os.environ[LOG], str(bar))
        if done >= total:
            bar.close()


def counted(items: Sequence[Item], text: str) -> Iterator[Item]:
    """Iterate over the items under a progress bar."""
    progress = Progress()
    for done, item in enumerate(items, start=1):
        yield item
        progress(done, len(items), text)


def _bar(done: int, total: int, text: str) -> tqdm:
    in_notebook = "ipykernel" in sys.modules
    return tqdm(
        desc=text,
        file=sys.stdout if in_notebook else sys.stderr,
        initial=done,
        total=total,
        mininterval=SCREEN_INTERVAL if in_notebook or sys.stderr.isatty() else LOG_INTERVAL,
        miniters=1,
        smoothing=0,  # estimates the remaining time from the mean speed
        bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
        position=0,
    )


def some(texts: Sequence[str], most: int = 3) -> str:
    """Join the first `most` texts and the number of the others."""
    return "; ".join([*texts[:most], *([f"and {len(texts) - most} more"] if len(texts) > most else [])])


def table(rows: Sequence[Mapping[str, object]]) -> Styler:
    """Format rows as a table: metrics (`mAP`, `AR@...`) in per cent with one decimal, fractions with four digits."""
    frame = pd.DataFrame(rows)
    metrics = [name for name in frame.columns if name.startswith(("mAP", "AR@"))]
    frame = frame.rename(columns={name: f"{name} (%)" for name in metrics})
    style = _styled(frame).format(lambda value: f"{100 * value:.1f}", subset=[f"{name} (%)" for name in metrics])
    return style.set_table_styles([{"selector": "th, td", "props": "text-align: left; padding: 2px 10px"}])


def _styled(frame: pd.DataFrame, **options) -> Styler:
    """Format a table without an index; HTML and mathematics in its values are shown as plain text."""
    style = Styler(frame, **options).hide(axis="index").format(_shown).format_index(escape, axis="columns")
    return style.set_table_attributes('class="mathjax_ignore"')


def _shown(value: object) -> str:
    """Format a cell: fractions with four digits; a mapping (text -> relative address) as links."""
    if isinstance(value, Mapping):
        link = Markup('<a href="{}">{}</a>')
        return Markup(" ").join(link.format(quote(address), word) for word, address in value.items())
    return f"{value:.4g}" if isinstance(value, float | np.floating) else escape(value)


@dataclass(frozen=True)
class Listing:
    """Table of text, wrapped; a mapping in a cell (text -> relative address) is shown as links."""

    rows: Sequence[Mapping[str, object]]
    empty: str = "nothing to show"

    def __repr__(self) -> str:
        return pd.DataFrame(self.rows).to_string(index=False) if self.rows else self.empty

    def _repr_html_(self) -> str:
        if not self.rows:
            return Markup("<p>{}</p>").format(self.empty)
        frame = pd.DataFrame(self.rows)
        style = _styled(frame, cell_ids=False).set_table_styles(WRAPPED)
        return style.set_td_classes(frame.map(lambda value: "short" if len(str(value)) < SHORT else "")).to_html()


@dataclass(frozen=True)
class Result:
    """Result of a finished stage."""

    stage: str
    dir: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, Any]
    found: str = ""  # a short addition to the headline

    @property
    def headline(self) -> str:
        """One line for a terminal: metric, classes, protocol and run folder."""
        given, folder = self.record["parameters"], self.dir
        classes = ("seen" if given.get("evaluate_on") == "training" else "unseen") if given.get("split") else "all"
        parts = [f"{self.stage} finished", *([self.found] if self.found else [])]
        if "mAP" in self.metrics:
            parts[0] += f": mAP of {classes} classes {100 * self.metrics['mAP']:.1f} % (protocol {given['protocol']})"
        if edited := self.record.get("edited"):
            parts.append(f"edited notebook {edited['digest']}")
        shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        return f"{', '.join(parts)}; run folder {shown}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        numbers = {name: value for name, value in self.metrics.items() if isinstance(value, int | float)}
        shown = {"run": self.dir.name}
        shown |= {name: f"{100 * numbers[name]:.1f} %" for name in ("mAP", "mAP@0.5", "AR@100") if name in numbers}
        shown["wall time"] = f"{self.record['seconds']:.0f} s"
        if spent := self.record.get("encoding_seconds"):
            shown["encoding, summed over videos"] = f"{spent:.0f} s"
        shown |= {f"peak {name}": f"{self.record[key]:.0f} MB" for key, name in MEMORY.items() if key in self.record}
        shown |= {name: self.record[name] for name in ("device", "commit", "data")}
        shown["seed"] = self.record["parameters"]["seed"]
        if edited := self.record.get("edited"):
            shown["edited notebook"] = edited["digest"]
        row = Markup("<tr><th style='text-align:left'>{}</th><td>{}</td></tr>")
        rows = Markup().join(row.format(*each) for each in shown.items())
        return {
            "text/plain": f"{self.stage} finished: " + ", ".join(f"{name} {value}" for name, value in shown.items()),
            "text/html": Markup("<b>{} finished</b><table class=mathjax_ignore>{}</table>").format(self.stage, rows),
            RESULT: {"stage": self.stage, "run": self.dir.name, "metrics": numbers, "headline": self.headline},
        }


@dataclass(frozen=True)
class Row:
    """One line of the timeline: segments (n, 2) in seconds, and the score of each."""

    name: str
    kind: str  # truth, proposal, detection
    segments: Sequence[Sequence[float]]
    scores: Sequence[float]


@dataclass(frozen=True)
class Viewer:
    """A video's timeline as HTML: rows of segments, curves (t,) over the whole duration, and an mp4 preview."""

    duration: float  # seconds
    rows: Sequence[Row]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    preview: bytes = b""
    title: str = "timeline"
    least: float = 0.0  # minimum score of the detections shown at first

    def svg(self) -> str:
        """Return the timeline as a static image."""
        bottom = 8 + ROW * len(self.rows) + (CURVES + 26 if self.curves else 0)
        given = {"rows": self.rows, "least": self.least, "label": self._label(), "lines": self._lines()}
        return TEMPLATES.get_template("timeline.svg.j2").render(
            given, bottom=bottom, x=self._x, ticks=_ticks(self.duration)
        )

    def _repr_html_(self) -> str:
        scores = [score for row in self.rows if row.kind == "detection" for score in row.scores]
        controls = TEMPLATES.get_template("controls.html.j2").render(
            preview=b64encode(self.preview).decode(),
            top=max([*scores, self.least]) or 1.0,
            least=self.least,
            lines=self._lines(),
        )
        curves = [(name, np.asarray(values, dtype=float).round(4).tolist()) for name, values in self.curves.items()]
        data = {"duration": self.duration, "left": LEFT, "width": WIDTH - LEFT - RIGHT, "whole": WIDTH}
        data |= {"points": len(curves[0][1]) if curves else 1, "curves": curves, "controls": controls}
        svg = b64encode(self.svg().encode()).decode()
        return TEMPLATES.get_template("viewer.html.j2").render(
            id=f"tad-{secrets.token_hex(6)}", label=self._label(), svg=svg, data=data
        )

    def _label(self) -> str:
        return f"{self.title}: " + ", ".join(row.name for row in self.rows)

    def _x(self, seconds: float) -> float:
        return LEFT + min(max(seconds / self.duration, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def _lines(self) -> list[tuple[str, str, str]]:
        """Return name, colour and points of each curve."""
        if not self.curves:
            return []
        stack = np.array(list(self.curves.values()), dtype=float)
        low, span = stack.min(), np.ptp(stack) or 1.0
        x = [self._x(at) for at in (np.arange(stack.shape[1]) + 0.5) / stack.shape[1] * self.duration]
        y = 28 + ROW * len(self.rows) + CURVES * (1 - (stack - low) / span)
        points = [" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, line, strict=True)) for line in y]
        return list(zip(self.curves, cycle(COLORS), points, strict=False))


def _ticks(duration: float) -> list[float]:
    """Return about eight round times from 0 to the end."""
    rough = duration / 8
    step = 10 ** math.floor(math.log10(rough))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= rough)
    return [round(place * step, 6) for place in range(int(duration / step + 1e-9) + 1)]
