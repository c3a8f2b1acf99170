"""Which vocabulary each notebook speaks: the stages of a run the common one, others their own."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tadlib.workbook.vocabulary import Vocabulary

OWN = {  # notebook -> module and class
    "detect": ("tadlib.workbook.asking", "Asking"),
    "report": ("tadlib.workbook.report_params", "ReportParams"),
}


def of(notebook: str) -> type[Vocabulary]:
    """The vocabulary of a notebook, by its name (`metadata.tadlib.stage`)."""
    module, name = OWN.get(notebook, ("tadlib.workbook.params", "Params"))
    return getattr(import_module(module), name)


def check(notebook: str, given: Mapping[str, Any]) -> Vocabulary:
    """The parameters of a notebook from what was given; a stage takes the rest from the run that it goes on with."""
    from tadlib.workbook.inheritance import complete
    from tadlib.workbook.stages import STAGES

    return complete(notebook, given) if notebook in STAGES else of(notebook).check(given)
