"""What a page and `tad list` say of a notebook is what happened to it."""

import nbformat
import pytest
import stubs
from bs4 import BeautifulSoup
from nbformat.v4 import new_output

from tadlib.workbook import execution
from tadlib.workbook.report import ReportExporter


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def made(ran: int, at_work: str = "", **papermill) -> nbformat.NotebookNode:
    """A notebook of the parameters cell and three more, of which the first ones have run."""
    notebook = stubs.notebook("1", "2", "3")
    notebook.cells.insert(3, nbformat.v4.new_markdown_cell("## Learning"))
    for number, cell in enumerate(code(notebook)[:ran], start=1):
        cell.execution_count = number
        cell.metadata["papermill"] = {"status": "completed"}
    if at_work:
        cell.metadata["papermill"]["status"] = at_work
    notebook.metadata["papermill"] = {"start_time": "2026-01-01T00:00:00"} | papermill
    return notebook


def banner(notebook: nbformat.NotebookNode) -> str:
    """What the page of a notebook says on top."""
    text, _ = ReportExporter().from_notebook_node(notebook)
    return text[text.index('<div class="tad-banner') :].split("</div>")[0]


def test_a_page_says_whether_a_notebook_ran_to_its_end_or_never():
    done = banner(made(4, duration=12.0))
    assert "<b>Executed</b>" in done and "12 s" in done and "failed" not in done
    for record in ({}, {"exception": None, "duration": 3.0}, {"start_time": None}):
        shown = banner(made(0, **record))
        assert "Never executed" in shown and "failed" in shown and "<b>Executed" not in shown
    assert "Never executed" in banner(stubs.notebook("1")), "a source, which papermill has never touched"


@pytest.mark.parametrize(
    "ran, at_work, missing", [(2, "", ["3 (Learning)", "4 (Learning)"]), (4, "running", ["4 (Le"])]
)
def test_a_page_names_the_cells_that_a_killed_notebook_lacks(ran, at_work, missing):
    shown = banner(made(ran, at_work))
    assert "Did not finish" in shown and "<b>Executed" not in shown and all(name in shown for name in missing)


def test_a_page_says_why_a_notebook_failed_or_was_stopped():
    notebook = made(2, exception=True)
    code(notebook)[1].outputs = [new_output("error", ename="KeyError", evalue="<lr>", traceback=[])]
    shown = banner(notebook)
    assert "<b>Failed</b>" in shown and "KeyError: &lt;lr&gt;" in shown and "3 (Learning)" in shown
    assert "time-out" in banner(made(2, exception=True, stopped_by="time-out"))


def test_a_notebook_that_was_run_again_by_hand_to_its_end_is_executed():
    notebook = made(4)
    notebook.cells[2].metadata["papermill"] = {"status": "running"}  # where papermill was killed once
    assert execution.status(notebook).word == execution.EXECUTED


def test_a_page_shows_the_parameters_of_the_cell_as_it_stands():
    notebook = made(4)
    cell = nbformat.v4.new_code_cell("# Parameters\nsplit = 75\nlr = -1e-3\n", execution_count=2)
    cell.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(2, cell)
    shown = banner(notebook)
    assert "split = 75" in shown and "split = 50" not in shown and "lr = -1e-3" in shown


@pytest.mark.parametrize("kept", ["metadata", "text"])
def test_in_a_page_a_figure_has_its_description_as_alternative_text(kept, caplog):
    said = 'mAP of "this run" > <floor>'
    data = {"image/png": "iVBORw0KGgo=", "text/plain": said if kept == "text" else "<Figure>"}
    notebook = made(4)
    metadata = {"image/png": {"alt": said}} if kept == "metadata" else {}
    notebook.cells[-1].outputs = [new_output("display_data", data, metadata=metadata)]
    text, _ = ReportExporter().from_notebook_node(notebook)
    (image,) = BeautifulSoup(text, "html.parser").select("img")
    assert image["alt"] == said and image["src"].startswith("data:image/png")
    assert "Alternative text" not in caplog.text
