"""What a notebook shows besides figures: progress in one place, and tables."""

import html
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from pandas.io.formats.style import Styler

from tadlib.files import LOG, note
from tadlib.workbook.viewer import show_themselves

EVERY = 0.5  # seconds between updates of a shown progress
LINE_EVERY = 20.0  # seconds between progress lines where there is no notebook
show_themselves()  # who can show tables can show videos, detections and runs


class _Bar(NamedTuple):
    done: int
    total: int
    text: str
    now: float
    first: int  # what was done when `begun` was noted: work that goes on has not done all of it since
    begun: float

    def line(self) -> str:
        lasted = self.now - self.begun
        line = f"{self.text}: {self.done}/{self.total}, {_time(lasted)}"
        if not self.first < self.done < self.total:
            return line
        return line + f", about {_time(lasted / (self.done - self.first) * (self.total - self.done))} left"


class Progress:
    """`progress(done, total, text)`: one updating output in a notebook, now and then a line on a terminal or in a log.

    Every kind of work (a text up to its comma) gets its own bar; the last state stays in the executed notebook.
    """

    def __init__(self) -> None:
        self._handle = None
        self._bars: dict[str, _Bar] = {}
        self._shown = self._noted = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        kind = text.split(",")[0]
        first, begun = self._bars[kind][-2:] if kind in self._bars else (done, now)
        bar = self._bars[kind] = _Bar(done, total, text, now, first, begun)
        in_notebook = "ipykernel" in sys.modules
        if done < total and now - self._shown < (EVERY if in_notebook else LINE_EVERY):
            return
        self._shown = now
        if LOG in os.environ and now - self._noted >= LINE_EVERY:
            self._noted = now
            note(os.environ[LOG], bar.line())
        if not in_notebook:
            print(bar.line(), file=sys.stderr, flush=True)
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        return "\n".join(bar.line() for bar in self._bars.values())

    def _repr_html_(self) -> str:
        return "".join(
            f'<div><progress value="{bar.done}" max="{bar.total}"></progress> {html.escape(bar.line())}</div>'
            for bar in self._bars.values()
        )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def table(rows: Sequence[Mapping[str, object]]) -> Styler:
    """Rows as a table: metrics (`mAP`, `AR@...`) in per cent with one decimal, other fractions with four digits."""
    frame = pd.DataFrame(rows)
    metrics = [name for name in frame.columns if name.startswith(("mAP", "AR@"))]
    frame = frame.rename(columns={name: f"{name} (%)" for name in metrics})
    fractions = frame.select_dtypes("float").columns
    style = frame.style.hide(axis="index").format(
        dict.fromkeys(fractions, "{:.4g}") | {f"{name} (%)": lambda value: f"{100 * value:.1f}" for name in metrics}
    )
    return style.set_table_styles([{"selector": "th, td", "props": "text-align: left; padding: 2px 10px"}])
