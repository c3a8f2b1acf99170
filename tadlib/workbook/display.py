"""What a notebook shows besides figures: progress in one place, and tables."""

import html
import os
import sys
import time
from collections.abc import Mapping, Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from tadlib.files import LOG, note
from tadlib.workbook.viewer import show_themselves

EVERY = 0.5  # seconds between updates of a shown progress
LINE_EVERY = 20.0  # seconds between progress lines where there is no notebook
show_themselves()  # who can show tables can show videos, detections and runs


class Progress:
    """`progress(done, total, text)`: one updating output in a notebook, now and then a line on a terminal or in a log.

    Every kind of work (a text up to its comma) gets its own bar; the last state stays in the executed notebook.
    """

    def __init__(self) -> None:
        self._handle = None
        self._bars: dict[str, tuple[int, int, str, float, float]] = {}
        self._shown = self._noted = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        kind = text.split(",")[0]
        begun = self._bars[kind][3] if kind in self._bars else now
        self._bars[kind] = (done, total, text, begun, now)
        in_notebook = "ipykernel" in sys.modules
        if done < total and now - self._shown < (EVERY if in_notebook else LINE_EVERY):
            return
        self._shown = now
        if LOG in os.environ and now - self._noted >= LINE_EVERY:
            self._noted = now
            note(os.environ[LOG], self._lines()[-1])
        if not in_notebook:
            print(self._lines()[-1], file=sys.stderr, flush=True)
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def _lines(self) -> list[str]:
        return [
            f"{text}: {done}/{total}, {_time(now - begun)}"
            + (f", about {_time((now - begun) / done * (total - done))} left" if 0 < done < total else "")
            for done, total, text, begun, now in self._bars.values()
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        bars = zip(self._bars.values(), self._lines(), strict=True)
        return "".join(
            f'<div><progress value="{done}" max="{total}"></progress> {html.escape(line)}</div>'
            for (done, total, *_), line in bars
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
