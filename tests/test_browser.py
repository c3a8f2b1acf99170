"""In a real browser, in JupyterLab and in an exported page: the sliders of the viewer move what they say they move."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import stubs
from browser import NOTEBOOK, Page, browser, lab
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tadlib.workbook.display import Row, Viewer
from tadlib.workbook.report import page as exported

SHOWN = 'Viewer(10.0, [Row("dive", "detection", [(1, 2), (3, 4), (5, 6)], [0.9, 0.5, 0.1])], {"dive": np.arange(50)})'
CELL = f"import numpy as np\nfrom tadlib.workbook.display import Row, Viewer\n{SHOWN}"
SEEN = "[...document.querySelectorAll('rect.detection')].filter((bar) => bar.getClientRects().length).length"
HIGHEST = "Math.max(...[...document.querySelectorAll('rect.detection')].map((bar) => bar.dataset.score))"
BANNER = "document.querySelector('.tad-banner')"
HERE = ("http://127.0.0.1", "file:", "data:", "blob:", "about:")


def moved(page: Page, slider: str, value: float) -> None:
    """Move a slider as a hand does."""
    page.run(
        f"{{ const slider = document.querySelector('.tad-view .{slider}'); slider.value = {value}; "
        "slider.dispatchEvent(new Event('input', {bubbles: true})); }"
    )


def check_sliders(page: Page) -> None:
    """The least score hides detections and shows them again, the time moves cursor and words."""
    page.wait("!!document.querySelector('.tad-view.live')")
    counts = [page.run(SEEN)]
    for least in (0.3, 0.7, 0.0):
        moved(page, "least", least)
        counts.append(page.run(SEEN))
    assert counts == [3, 2, 1, 3]
    moved(page, "time", 150)
    assert page.run("document.querySelector('.tad-view .now').textContent").startswith(
        "1.5 s | dive 0.90 | similarity: dive 7"
    )
    assert page.run("Number(document.querySelector('.cursor').getAttribute('x1'))") == pytest.approx(102.4, abs=0.5)


def answered(folder):
    """A notebook whose cell has the viewer as its output, and who ran it nobody knows."""
    notebook = stubs.notebook(CELL)
    content = {
        "text/html": eval(SHOWN, {"Viewer": Viewer, "Row": Row, "np": np})._repr_html_(),
        "text/plain": "a viewer",
    }
    notebook.cells[-1].outputs = [new_output("display_data", content)]
    notebook.cells.append(new_markdown_cell("What a run writes is in `metrics.json`."))
    notebook.metadata["papermill"] = {"parameters": {"video": "/a/long/name/" * 9}}
    path = folder / "answered.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1440])
def test_an_exported_page_moves_without_a_network_and_fits(width, tmp_path):
    report = exported(answered(tmp_path))
    with browser(tmp_path) as page:
        page.look(width)
        page.open(report.as_uri())
        check_sliders(page)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(f"{BANNER}.scrollWidth <= {BANNER}.clientWidth"), "no parameter is cut off"
        assert [address for address in page.asked if not address.startswith(("file:", "data:", "about:"))] == []


STAGES = ("prepare", "train", "classify", "evaluate", "report", "detect")  # each reads what those before it wrote
PICTURES = {"prepare": 5, "train": 5, "classify": 2, "evaluate": 5, "report": 2, "detect": 3}  # at least so many
CODE = f"[...({NOTEBOOK}).content.model.cells].filter((cell) => cell.type === 'code')"
ERRORS = f"{CODE}.flatMap((cell) => cell.outputs.toJSON()).filter((output) => output.output_type === 'error')"
IDLE = f"({NOTEBOOK}).sessionContext.session.kernel.status === 'idle'"
DONE = f"{ERRORS}.length > 0 || ({IDLE} && {CODE}.every((cell) => cell.executionCount))"
TALL = 9000  # pixels: a window in which a whole notebook is drawn, not the part that is looked at
TOP = f"({NOTEBOOK}).content.node.querySelector('.jp-WindowedPanel-outer').scrollTop = 0"
DRAWN = "[...document.querySelectorAll('.jp-OutputArea-output img')].map((one) => one.naturalWidth)"


def small_project(folder: Path, parameters: dict) -> None:
    """The project's notebooks in a project of their own, each with a cell that says on what to run."""
    (folder / "notebooks").mkdir()
    (folder / "pyproject.toml").touch()
    run = {"run_dir": "outputs/tiny"}
    given = {stage: parameters | run for stage in STAGES}
    given |= {"report": {"experiments": "outputs/tiny"}, "detect": run | {"classes": ["a golf swing", "diving"]}}
    for stage in STAGES:
        notebook = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
        changed = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in given[stage].items())
        notebook.cells.insert(2, new_code_cell(changed))
        nbformat.write(notebook, folder / "notebooks" / f"{stage}.ipynb")


@pytest.mark.slow
def test_every_notebook_runs_in_jupyterlab_from_top_to_bottom(tiny, tmp_path):
    """The screenshots stay in the folder of the test, to be looked at."""
    small_project(tmp_path, tiny)
    with browser(tmp_path) as page, lab(tmp_path, page) as show:
        for stage in STAGES:
            page.look()
            show(f"notebooks/{stage}.ipynb")
            page.run("window.jupyterapp.commands.execute('notebook:run-all-cells') && null")
            page.wait(DONE)
            assert page.run(ERRORS) == [], stage
            page.look(height=TALL)
            page.wait(f"{DRAWN}.length >= {PICTURES[stage]} && Math.min(...{DRAWN}) > 0", 30)
            page.wait(f"({TOP}, true)")
            page.picture(tmp_path / f"{stage}.png")
        page.wait("!!document.querySelector('.tad-view.live')")
        moved(page, "least", 0)
        shown, top = page.run(SEEN), page.run(HIGHEST)
        moved(page, "least", top)
        moved(page, "time", 500)
        page.picture(tmp_path / "moved.png")
        assert 0 < page.run(SEEN) < shown
        assert (tmp_path / "moved.png").read_bytes() != (tmp_path / "detect.png").read_bytes()
        assert {address for address in page.asked if not address.startswith(HERE)} == set()
