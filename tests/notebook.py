"""The cells of a notebook, run in this process: what a reader's kernel holds after them."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from tadlib.workbook import execution

PLACE = tempfile.TemporaryDirectory()  # goes with this process
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def cells_of(stage: str, given: Mapping[str, object] | None = None) -> Iterator[str]:
    """The text of every code cell, of those too that no result needs."""
    return execution.cell_sources(NOTEBOOKS / f"{stage}.ipynb", given, without="")


def run_cells(
    stage: str,
    until: str = "",
    replaced: Sequence[tuple[str, str]] = (),
    defined: Mapping[str, object] | None = None,
    **given,
) -> SimpleNamespace:
    """What is defined after the cells of a notebook, with parameters as papermill injects them, and no figure drawn.

    The last cell that runs is the first that has the text `until`; `replaced` are texts and what stands there instead,
    `defined` names that are there before the first cell.
    """
    given.setdefault("run_dir", tempfile.mkdtemp(dir=PLACE.name))  # not among the project's own runs
    texts = []
    for text in cells_of(stage, given):
        for old, new in replaced:
            text = text.replace(old, new)
        texts.append(text)
        if until and until in text:
            break
    return SimpleNamespace(**execution.run_cells(f"{stage}.ipynb", texts, defined))
