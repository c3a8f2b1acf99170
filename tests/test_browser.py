"""In a real browser, in JupyterLab and in an exported page: the sliders of the viewer move what they say they move."""

import nbformat
import numpy as np
import pytest
import stubs
from browser import Page, browser, lab
from nbformat.v4 import new_output

from tadlib.workbook.report import page as exported
from tadlib.workbook.viewer import Row, Viewer

SHOWN = 'Viewer(10.0, [Row("dive", "detection", [(1, 2), (3, 4), (5, 6)], [0.9, 0.5, 0.1])], {"dive": np.arange(50)})'
CELL = f"import numpy as np\nfrom tadlib.workbook.viewer import Row, Viewer\n{SHOWN}"
SEEN = "[...document.querySelectorAll('rect.detection')].filter((bar) => bar.getClientRects().length).length"
STILL = "document.querySelector('img[src^=\"data:image/svg\"]')?.naturalWidth > 0"
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
    assert page.run("document.querySelector('.tad-view .now').textContent").startswith("1.5 s | dive 0.900")
    assert page.run("Number(document.querySelector('.cursor').getAttribute('x1'))") == pytest.approx(294.4, abs=0.5)


def answered(folder):
    """A notebook whose cell has the viewer as its output, and who ran it nobody knows."""
    notebook = stubs.notebook(CELL)
    content = {
        "text/html": eval(SHOWN, {"Viewer": Viewer, "Row": Row, "np": np})._repr_html_(),
        "text/plain": "a viewer",
    }
    notebook.cells[-1].outputs = [new_output("display_data", content)]
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
        assert [address for address in page.asked if not address.startswith(("file:", "data:", "about:"))] == []


@pytest.mark.slow
def test_an_exported_page_is_legible_in_the_dark_and_still_without_scripts(tmp_path):
    report = exported(answered(tmp_path))
    with browser(tmp_path) as page:
        ink = "getComputedStyle(document.querySelector('.tad-view text')).fill"
        paper = "getComputedStyle(document.body).backgroundColor"
        found = {}
        for scheme in ("light", "dark"):
            page.look(scheme=scheme)
            page.open(report.as_uri())
            page.wait("!!document.querySelector('.tad-view.live')")
            found[scheme] = [sum(page.run(f"{each}.match(/\\d+/g).slice(0, 3).map(Number)")) for each in (ink, paper)]
        assert found["light"][1] - found["light"][0] > 400 and found["dark"][0] - found["dark"][1] > 400
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open(report.as_uri())
        page.wait(STILL)
        assert page.run(SEEN) == 0


@pytest.mark.slow
def test_in_jupyterlab_the_viewer_moves_and_is_a_picture_where_it_is_not_trusted(tmp_path):
    answered(tmp_path)
    nbformat.write(stubs.notebook(CELL), tmp_path / "asked.ipynb")
    with browser(tmp_path) as page, lab(tmp_path, page) as show:
        show("answered.ipynb")
        page.wait(STILL)
        assert page.run("document.querySelectorAll('.tad-view.live, .jp-OutputArea-output input').length") == 0
        show("asked.ipynb")
        page.run("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        check_sliders(page)
        assert {address for address in page.asked if not address.startswith(HERE)} == set()
