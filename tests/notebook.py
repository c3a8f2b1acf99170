"""The cells of a notebook, run in this process: what a reader's kernel holds after them."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from unittest.mock import MagicMock

PLACE = tempfile.TemporaryDirectory()  # goes with this process
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def cells_of(stage: str) -> list[tuple[str, bool]]:
    """The text of every code cell, and whether it is the one of the parameters."""
    content = json.loads((NOTEBOOKS / f"{stage}.ipynb").read_text(encoding="utf-8"))
    found = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), "parameters" in cell["metadata"].get("tags", [])) for cell in found]


def run_cells(
    stage: str,
    until: str = "",
    replaced: Sequence[tuple[str, str]] = (),
    defined: Mapping[str, object] = MappingProxyType({}),
    **given,
) -> SimpleNamespace:
    """What is defined after the cells of a notebook, with parameters as papermill injects them, and no figure drawn.

    The last cell that runs is the first that has the text `until`; `replaced` are texts and what stands there instead,
    `defined` names that are there before the first cell.
    """
    given.setdefault("run_dir", tempfile.mkdtemp(dir=PLACE.name))  # not among the project's own runs
    names: dict[str, object] = {"__name__": "__main__", "In": []} | dict(defined)
    for text, is_parameters in cells_of(stage):
        for old, new in replaced:
            text = text.replace(old, new)
        todo = [text]
        if is_parameters:
            todo.append("\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in given.items())]))
        for each in todo:
            names["In"].append(each)
            exec(compile(each, f"<{stage}.ipynb>", "exec"), names)
        if "figures" in names:
            names["figures"] = MagicMock()
        if until and until in text:
            break
    return SimpleNamespace(**names)
