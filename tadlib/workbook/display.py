"""Tables and progress bars of notebooks."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from pandas.io.formats.style import Styler
from tqdm import tqdm

from tadlib.files import LOG, note

Item = TypeVar("Item")
SHORT = 17  # characters; shorter cells are not wrapped
WRAPPED = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 3px 10px; max-width: 26em"},
    {"selector": "td.short", "props": "white-space: nowrap"},
]
SCREEN_INTERVAL, LOG_INTERVAL = 0.5, 20.0  # seconds between updates on a screen, and between lines in a log


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
