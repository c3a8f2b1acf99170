"""Interactive timeline of a video: a static SVG, and a script that makes it interactive.

It works in JupyterLab and in an exported page, without a network. Before the script runs, the SVG is an image, which an
untrusted notebook shows too; then it becomes part of the page. The preview is a small mp4 embedded in the page.
"""

import math
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader

from tadlib.workbook.figures.style import short
from tadlib.workbook.own_video import Answer

WIDTH, LEFT, RIGHT, ROW, CURVES = 640, 10, 14, 36, 110  # of the SVG, in its units, legible on a phone
SHOWN, NAME = 16, 60  # most rows of detections, most letters of a name
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


def of_answer(answer: Answer, curves: Mapping[str, np.ndarray], preview: bytes) -> Viewer:
    """Return the viewer of an answer: true actions, proposals, detections of the found words (or of all if none is)."""
    video, proposals, detections, rows = answer.question.video, answer.proposals, answer.considered, []
    for label in sorted({action.label for action in video.actions}):
        spans = [(action.start, action.end) for action in video.actions if action.label == label]
        rows.append(Row(f"true: {label}", "truth", spans, [1.0] * len(spans)))
    rows.append(Row("proposals", "proposal", proposals.segments[:40].tolist(), proposals.scores[:40].tolist()))
    segments, scores, labels = detections.segments.tolist(), detections.scores.tolist(), np.array(detections.labels)
    words = dict.fromkeys(answer.found.labels or detections.labels)  # best first
    for label in list(words)[:SHOWN]:
        places = np.flatnonzero(labels == label)
        rows.append(Row(label, "detection", [segments[p] for p in places], [scores[p] for p in places]))
    least = answer.least / (2 if answer.found.labels else 1)
    return Viewer(video.duration, rows, curves, preview, f"{video.id}, {video.duration:.1f} s", least)


def _ticks(duration: float) -> list[float]:
    """Return about eight round times from 0 to the end."""
    rough = duration / 8
    step = 10 ** math.floor(math.log10(rough))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= rough)
    return [round(place * step, 6) for place in range(int(duration / step + 1e-9) + 1)]
