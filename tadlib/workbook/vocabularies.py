"""Which vocabulary each notebook speaks: the stages of a run the common one, others their own."""

from importlib import import_module

from tadlib.workbook.vocabulary import Vocabulary

OWN = {  # notebook -> module and class
    "detect": ("tadlib.workbook.asking", "Asking"),
    "report": ("tadlib.workbook.report_params", "ReportParams"),
}


def of(notebook: str) -> type[Vocabulary]:
    """The vocabulary of a notebook, by its name (`metadata.tadlib.stage`)."""
    module, name = OWN.get(notebook, ("tadlib.workbook.params", "Params"))
    return getattr(import_module(module), name)
