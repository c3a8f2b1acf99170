"""Interactive timeline of a video: a static SVG, and a script that makes it interactive.

It works in JupyterLab and in an exported page, without a network. Before the script runs, the SVG is an image, which an
untrusted notebook shows too; then it becomes part of the page. The preview is a small mp4 embedded in the page.
"""

import json
import math
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from string import Template

import numpy as np
from markupsafe import Markup, escape

from tadlib.workbook.figures.style import short
from tadlib.workbook.own_video import Answer

WIDTH, LEFT, RIGHT, ROW, CURVES = 640, 10, 14, 36, 110  # of the SVG, in its units, legible on a phone
SHOWN, NAME = 16, 60  # most rows of detections, most letters of a name
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#B8A800")  # one per word
DARKEST = {"truth": 0.85, "proposal": 0.45, "detection": 0.9}
HIDDEN = Markup(' style="display:none"')
KINDS = {"truth": "currentColor", "proposal": "#999999", "detection": "#0072B2"}
PREVIEW_LIMIT = 4_000_000  # bytes; a larger mp4 is not embedded
TEMPLATE = Path(__file__).parent / "templates" / "viewer" / "viewer.html"


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
        bottom = 8 + ROW * len(self.rows)
        drawn = [self._row(place, row) for place, row in enumerate(self.rows)]
        if self.curves:
            drawn.append(self._curves(bottom + 20))
            bottom += CURVES + 26
        tick = Markup(
            '<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}" stroke="currentColor" stroke-opacity=".12"/>'
            '<text x="{x:.1f}" y="{below}" text-anchor="middle">{at:g}</text>'
        )
        ticks = [tick.format(x=self._x(at), bottom=bottom, below=bottom + 14, at=at) for at in _ticks(self.duration)]
        return Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" '
            'font-family="system-ui, sans-serif" font-size="13" fill="currentColor" style="background: white" '
            'aria-label="{}">{}'
            '<line class="cursor" y1="2" y2="{}" stroke="#D55E00" stroke-width="1.5" style="display:none"/>'
            '<text x="{}" y="{}" text-anchor="end">time (s)</text></svg>'
        ).format(WIDTH, bottom + 32, self._label(), Markup().join([*ticks, *drawn]), bottom, WIDTH - RIGHT, bottom + 28)

    def _repr_html_(self) -> str:
        points = max((len(values) for values in self.curves.values()), default=1)
        curves = [(name, np.asarray(values, dtype=float).round(4).tolist()) for name, values in self.curves.items()]
        data = {"duration": self.duration, "left": LEFT, "width": WIDTH - LEFT - RIGHT, "whole": WIDTH}
        data |= {"points": points, "curves": curves, "controls": self._controls()}
        return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            id=f"tad-{secrets.token_hex(6)}",
            said=escape(self._label()),
            svg=b64encode(self.svg().encode()).decode(),
            data=json.dumps(data).replace("<", "\\u003c"),  # a name may hold "</script>"
        )

    def _label(self) -> str:
        return f"{self.title}: " + ", ".join(row.name for row in self.rows)

    def _controls(self) -> str:
        video = Markup('<video muted playsinline title="click to play" src="data:video/mp4;base64,{}"></video>')
        shown = video.format(b64encode(self.preview).decode()) if 0 < len(self.preview) <= PREVIEW_LIMIT else ""
        scores = [score for row in self.rows if row.kind == "detection" for score in row.scores]
        top = max([*scores, self.least]) or 1.0
        word = Markup('<label style="color:{}"><input type="checkbox" class="word" checked value="{}"> {}</label>')
        words = [word.format(color, name, short(name, NAME)) for name, color in zip(self.curves, cycle(COLORS))]
        return Markup(
            '<div class="controls">{}<label>time <input type="range" class="time" max="1000" value="0"></label>'
            '<label>score at least <input type="range" class="least" max="{:.4g}" step="any" value="{:.4g}">'
            ' <output class="least-said">{:.2f}</output></label>{}</div>'
        ).format(shown, top, self.least, self.least, Markup().join(words))

    def _x(self, seconds: float) -> float:
        return LEFT + min(max(seconds / self.duration, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def _row(self, place: int, row: Row) -> str:
        top = 8 + ROW * place
        name = Markup('<text x="{}" y="{}"><title>{}</title>{}</text>')
        drawn = [name.format(LEFT, top + 11, row.name, short(row.name, NAME))]
        bar = Markup(
            '<rect class="bar {kind}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{height}" rx="2" '
            'fill="{fill}" fill-opacity="{opacity:.2f}" data-start="{start:.3f}" data-end="{end:.3f}" '
            'data-score="{score:.4g}" data-row="{name}" data-said="{said}"{hidden}>'
            "<title>{name} {start:.1f} to {end:.1f} s {said}</title></rect>"
        )
        for (start, end), score in zip(row.segments, row.scores, strict=True):
            score_text = "" if row.kind == "truth" else f"{score:.2f}"
            x, opacity = self._x(start), DARKEST[row.kind] * (0.2 + 0.8 * score)  # equal scores, equal opacity
            geometry = {"x": x, "top": top + 16, "width": max(1.5, self._x(end) - x), "height": ROW - 22}
            geometry["hidden"] = HIDDEN if row.kind == "detection" and score < self.least else ""
            data = {"name": row.name, "start": start, "end": end, "score": score, "said": score_text}
            drawn.append(bar.format(kind=row.kind, fill=KINDS[row.kind], opacity=opacity, **geometry, **data))
        return Markup().join(drawn)

    def _curves(self, top: float) -> str:
        stack = np.concatenate([np.asarray(values, dtype=float) for values in self.curves.values()])
        low, span = float(stack.min()), float(np.ptp(stack)) or 1.0
        lines = []
        line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.6"><title>{}</title></polyline>')
        for (name, values), color in zip(self.curves.items(), cycle(COLORS), strict=False):
            middles = (np.arange(len(values)) + 0.5) / len(values) * self.duration
            points = " ".join(
                f"{self._x(at):.1f},{top + CURVES * (1 - (value - low) / span):.1f}"
                for at, value in zip(middles, values, strict=True)
            )
            lines.append(line.format(points, color, name))
        label = Markup('<text x="{}" y="{}">similarity to each word</text>')
        return label.format(LEFT, top - 4) + Markup().join(lines)


def of_answer(answer: Answer, curves: Mapping[str, np.ndarray], preview: bytes) -> Viewer:
    """Return the viewer of an answer: true actions, proposals, and detections of the found words, or of all if none is.

    `curves` (t,) are over the whole video, `preview` is an mp4.
    """
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
