"""Interactive timeline of a video: an SVG that stands on its own, and a script that makes it live.

Works in JupyterLab and in an exported page without a network. Until the script has run the SVG is an image, which also
a notebook that is not trusted shows; then it is part of the page. The preview is a small mp4 inside the page.
"""

import base64
import html
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from string import Template

import numpy as np

from tadlib.data.annotations import Video
from tadlib.naming.fusion import Detections

WIDTH, LEFT, RIGHT, ROW, CURVES = 900, 190, 14, 22, 110  # of the picture, in its own units
SHOWN, NAME = 16, 26  # rows of detections, letters of a name
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#B8A800")  # one a word
KINDS = {"truth": "currentColor", "proposal": "#999999", "detection": "#0072B2"}
PREVIEW_LIMIT = 2_000_000  # bytes of mp4 beyond which a page has none
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
    """A video's timeline as HTML: rows of segments, curves (t,) over the whole duration, a preview as mp4."""

    duration: float  # seconds
    rows: Sequence[Row]
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    preview: bytes = b""
    title: str = "timeline"

    def svg(self) -> str:
        """The picture, without script."""
        bottom = 8 + ROW * len(self.rows)
        drawn = [self._row(place, row) for place, row in enumerate(self.rows)]
        if self.curves:
            drawn.append(self._curves(bottom + 6))
            bottom += CURVES + 12
        ticks = "".join(
            f'<line x1="{self._x(at):.1f}" x2="{self._x(at):.1f}" y1="4" y2="{bottom}" stroke="currentColor" '
            f'stroke-opacity=".12"/><text x="{self._x(at):.1f}" y="{bottom + 14}" text-anchor="middle">{at:g}</text>'
            for at in _ticks(self.duration)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 32}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" style="background: white" '
            f'aria-label="{self._said()}">{ticks}{"".join(drawn)}'
            f'<line class="cursor" y1="2" y2="{bottom}" stroke="#D55E00" stroke-width="1.5" style="display:none"/>'
            f'<text x="{WIDTH - RIGHT}" y="{bottom + 28}" text-anchor="end">time (s)</text></svg>'
        )

    def _repr_html_(self) -> str:
        points = max((len(values) for values in self.curves.values()), default=1)
        curves = {name: np.asarray(values, dtype=float).round(4).tolist() for name, values in self.curves.items()}
        data = {"duration": self.duration, "left": LEFT, "width": WIDTH - LEFT - RIGHT, "whole": WIDTH}
        data |= {"points": points, "curves": curves, "controls": self._controls()}
        return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            id=f"tad-{secrets.token_hex(6)}",
            said=self._said(),
            svg=_base64(self.svg().encode()),
            data=json.dumps(data).replace("<", "\\u003c"),  # a name may hold "</script>"
        )

    def _said(self) -> str:
        """The picture in words."""
        return html.escape(f"{self.title}: " + ", ".join(row.name for row in self.rows), quote=True)

    def _controls(self) -> str:
        """The preview, a slider for the time, one for the score, a tick for each word."""
        film = '<video muted playsinline title="click to play" src="data:video/mp4;base64,{}"></video>'
        shown = film.format(_base64(self.preview)) if 0 < len(self.preview) <= PREVIEW_LIMIT else ""
        top = self._surest("detection")
        words = "".join(
            f'<label style="color:{color}"><input type="checkbox" class="word" checked value="{html.escape(name)}"> '
            f"{html.escape(_short(name))}</label>"
            for name, color in zip(self.curves, cycle(COLORS), strict=False)
        )
        return (
            f'<div class="controls">{shown}<label>time <input type="range" class="time" max="1000" value="0"></label>'
            f'<label>score at least <input type="range" class="least" max="{top:.4g}" step="{top / 100:.4g}" value="0">'
            f' <output class="least-said">0</output></label>{words}</div>'
        )

    def _surest(self, kind: str) -> float:
        """The best score of all rows of a kind: the same darkness means the same score in every row."""
        return max((float(score) for row in self.rows if row.kind == kind for score in row.scores), default=0) or 1.0

    def _x(self, seconds: float) -> float:
        return LEFT + min(max(seconds / self.duration, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def _row(self, place: int, row: Row) -> str:
        top, high = 8 + ROW * place, self._surest(row.kind)
        name = html.escape(row.name)
        drawn = [
            f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end"><title>{name}</title>'
            f"{html.escape(_short(row.name))}</text>"
        ]
        for (start, end), score in zip(row.segments, row.scores, strict=True):
            said = "" if row.kind == "truth" else f"{score:.3f}"
            x, opacity = self._x(start), 0.85 if row.kind == "truth" else max(0.15, 0.9 * score / high)
            if row.kind == "proposal":
                opacity *= 0.5
            drawn.append(
                f'<rect class="bar {row.kind}" x="{x:.1f}" y="{top + 2}" width="{max(1.5, self._x(end) - x):.1f}" '
                f'height="{ROW - 7}" rx="2" fill="{KINDS[row.kind]}" fill-opacity="{opacity:.2f}" '
                f'data-start="{start:.3f}" data-end="{end:.3f}" data-score="{score:.4g}" '
                f'data-row="{name}" data-said="{said}">'
                f"<title>{name} {start:.1f} to {end:.1f} s {said}</title></rect>"
            )
        return "".join(drawn)

    def _curves(self, top: float) -> str:
        stack = np.concatenate([np.asarray(values, dtype=float) for values in self.curves.values()])
        low, span = float(stack.min()), float(np.ptp(stack)) or 1.0
        lines = []
        for (name, values), color in zip(self.curves.items(), cycle(COLORS), strict=False):
            middles = (np.arange(len(values)) + 0.5) / len(values) * self.duration
            spots = " ".join(
                f"{self._x(at):.1f},{top + CURVES * (1 - (value - low) / span):.1f}"
                for at, value in zip(middles, values, strict=True)
            )
            lines.append(
                f'<polyline points="{spots}" fill="none" stroke="{color}" stroke-width="1.6">'
                f"<title>{html.escape(name)}</title></polyline>"
            )
        label = f'<text x="{LEFT - 8}" y="{top + CURVES / 2}" text-anchor="end">similarity of words</text>'
        return label + "".join(lines)


def of_answer(  # noqa: PLR0913  each is a part of the page
    video: Video, proposals, detections: Detections, curves: Mapping[str, np.ndarray], preview: bytes = b""
) -> Viewer:
    """Everything known of one video: true actions, proposals, detections, curves over its whole duration, a preview."""
    rows = []
    for label in sorted({action.label for action in video.actions}):
        spans = [(action.start, action.end) for action in video.actions if action.label == label]
        rows.append(Row(f"true: {label}", "truth", spans, [1.0] * len(spans)))
    rows.append(Row("proposals", "proposal", proposals.segments[:40].tolist(), proposals.scores[:40].tolist()))
    segments, scores, labels = detections.segments.tolist(), detections.scores.tolist(), np.array(detections.labels)
    for label in list(dict.fromkeys(detections.labels))[:SHOWN]:  # the best first
        places = np.flatnonzero(labels == label)
        rows.append(Row(label, "detection", [segments[p] for p in places], [scores[p] for p in places]))
    return Viewer(video.duration, rows, curves, preview, f"{video.id}, {video.duration:.1f} s")


def _ticks(duration: float) -> list[float]:
    """Some eight round times from 0 to the end."""
    rough = duration / 8
    step = 10 ** math.floor(math.log10(rough))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= rough)
    return [round(place * step, 6) for place in range(int(duration / step + 1e-9) + 1)]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _short(name: str) -> str:
    return name if len(name) <= NAME else name[: NAME - 1] + "…"
