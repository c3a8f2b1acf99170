"""Names are text: what stands in the name of a class, video, word or folder is never HTML, a script or a path."""

import base64
import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import papermill  # noqa: F401  loads the engine, which cannot come first
import pytest
import yaml
from nbconvert.filters import markdown2html
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from standins import dataset, video
from videos import steady, write_video

from tadlib.data import datasets
from tadlib.data.features import extract, find_video
from tadlib.data.fingerprints import FeatureStore
from tadlib.data.lengths import measure
from tadlib.data.stores import FolderStore
from tadlib.data.video import probe
from tadlib.evaluation.result_file import read_task
from tadlib.project import project_root, resolve
from tadlib.workbook import display, engine, lab_log, papermill_arguments
from tadlib.workbook.display import Result, Row, Viewer
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import Params
from tadlib.workbook.report import ReportExporter

NASTY = """</script><img src=x onerror=alert(1)>"'&`|<!-- $\\frac$ ](javascript:alert(1)) {} {{7*7}}\n\n**b**"""
LONG = "\u6f22" * 78  # 234 bytes
RECORD = {"parameters": {"seed": 0, "split": 75, "protocol": "strict"}, "seconds": 1.0}


class Tags(HTMLParser):
    """The tags of a page, each with the names of its attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ("code", "em", "strong"):  # Markdown in a name does no harm
            self.seen.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data


def banner(name: str) -> str:
    """What is written on top of a notebook that was stopped."""
    notebook = new_notebook(cells=[], metadata={"papermill": {}})
    engine._tell(notebook, RuntimeError(name))
    return markdown2html(notebook.cells[0].source)


def lab_log_page(name: str, folder: Path) -> str:
    """The lab log of a project with one question, and a name in all that was measured of it."""
    (folder / "params").mkdir()
    (folder / "params" / f"{name.replace('/', '')}.yaml").write_text("# Why?\n# Log: so.\n", encoding="utf-8")
    record = {"metric": "mAP", "protocol": name, "variant": name, "where": "x", "commits": [name], "baseline": name}
    record |= {"splits": ["75/0"], "seeds": [0], "chosen on": None, "as the file asks": True, "difference": None}
    record |= {"values": {"mean": 0.5, "deviation": None, "number": 1}, "held out": True}
    lab_log.write_table(folder, {name.replace("/", ""): {"demo": [record]}})
    return markdown2html((folder / "outputs" / "README.md").read_text(encoding="utf-8"))


def report_page(name: str) -> str:
    """The page of a notebook that failed, with a name everywhere."""
    picture = new_output("display_data", {"image/png": "", "text/plain": name}, metadata={"image/png": {"alt": name}})
    told = [picture, new_output("stream", text=name), new_output("error", ename=name, evalue=name, traceback=[name])]
    told.append(new_output("execute_result", {"text/plain": name}))
    given = new_code_cell(f"# Parameters\ndataset = {name!r}", metadata={"tags": ["injected-parameters"]})
    notebook = new_notebook(cells=[new_markdown_cell("# T"), given, new_code_cell("1", outputs=told)])
    notebook.metadata |= {"papermill": {"start_time": name, "parameters": {}}, "title": name}
    return ReportExporter().from_notebook_node(notebook)[0]


def viewer(name: str) -> str:
    """A page of everything, and what its script is given."""
    page = Viewer(9.0, [Row(name, "detection", [(1, 2)], [0.5])], {name: np.zeros(5)}, b"mp4", name)._repr_html_()
    image = base64.b64decode(re.search(r'svg\+xml;base64,([^"]+)"', page)[1]).decode()
    return page + image + json.loads(re.search(r"data = (\{.*\});", page)[1])["controls"]


PAGES = {
    "table": lambda name, _: display.table([{name: name, "mAP": 0.5, "b": [name], "c": Path(name)}]).to_html(),
    "listing": lambda name, _: display.Listing([{name: name, "b": (name,), "c": {name: name}}])._repr_html_(),
    "nothing to list": lambda name, _: display.Listing([], name)._repr_html_(),
    "result": lambda name, _: Result(
        name, Path(name), RECORD | {"device": name, "commit": name, "data": name, "edited": {"digest": name}}, {}
    )._repr_mimebundle_()["text/html"],
    "parameters": lambda name, _: Params.check({"dataset": name})._repr_html_(),
    "words": lambda name, _: DetectParams.check({"classes": [name, "b"], "video": name})._repr_html_(),
    "viewer": lambda name, _: viewer(name),
    "banner": lambda name, _: banner(name),
    "report": lambda name, _: report_page(name),
    "lab log": lab_log_page,
}


@pytest.mark.parametrize("page", PAGES)
def test_no_name_becomes_html(page, tmp_path):
    for folder in ("nasty", "plain"):
        (tmp_path / folder).mkdir()
    nasty, plain = PAGES[page](NASTY, tmp_path / "nasty"), PAGES[page]("plain", tmp_path / "plain")
    assert Tags(nasty).seen == Tags(plain).seen and 'href="javascript:' not in nasty
    assert "plain" in Tags(plain).text and "onerror=alert(1)" in Tags(nasty).text, "it is shown all the same"


def test_the_address_of_a_folder_is_no_script():
    page = display.Listing([{"notebooks": {"train": "javascript:alert(1)#?/train.html"}}])._repr_html_()
    assert 'href="javascript%3Aalert%281%29%23%3F/train.html"' in page


def folder_of(tmp_path, name="v0", label="wave"):
    """A data set whose first video has another id, and whose first action another label."""
    folder = dataset(tmp_path / "own", seconds=2.0)
    content = json.loads((folder / "annotations.json").read_text())["database"]
    content = {name: content.pop("v0"), **content}
    content[name]["annotations"][0]["label"] = label
    (folder / "annotations.json").write_text(json.dumps({"database": content}), encoding="utf-8")
    return folder


OUTSIDE = ["../../x", "/tmp/x", "a/b", "a\\b", "..\\x", "C:x", "C:\\x", "", ".", "..", ".hidden", "x" * 300]
NO_TEXT = ["a\0b", "a\nb", "a\tb", "a\x07", "a\ud800", "\udc80"]


@pytest.mark.parametrize("name", [*OUTSIDE, *NO_TEXT])
def test_an_id_that_is_no_name_of_a_file_is_refused_where_annotations_are_read(name, tmp_path):
    folder = folder_of(tmp_path, name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as error:
        datasets.load(str(folder), tmp_path / "data")
    told = str(error.value)
    assert str(folder / "annotations.json") in told and repr(name) in told and told.isprintable()
    assert sorted(tmp_path.rglob("*")) == before
    if name in OUTSIDE:  # for a scorer they are names like any other
        assert name in read_task(folder / "annotations.json").known


@pytest.mark.parametrize("label", [*NO_TEXT, " ", "\u3000"])
def test_a_class_that_is_no_text_is_refused_in_a_sentence_that_names_the_file(label, tmp_path):
    path = folder_of(tmp_path, label=label) / "annotations.json"
    for read in (lambda: datasets.load(str(path.parent), tmp_path / "data"), lambda: read_task(path)):
        with pytest.raises(ValueError, match=re.escape(str(path))) as error:
            read()
        assert str(error.value).isprintable()


@pytest.mark.parametrize("given", [{"classes": ["a\ud800"]}, {"classes": "a\0b"}, {"video": "\udcff.mp4"}])
def test_a_parameter_that_is_no_text_is_refused(given):
    with pytest.raises(ValueError, match=f"^{next(iter(given))}"):
        DetectParams.check(given)


GOOD = [LONG, "-a", "a b", "a'b\"c", "a*b[c]?", "a.b", "%20#?", "$x$", "<b>", "~a", "\u202ea", "file:a", "concat:a|b"]


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "NFC") for name in GOOD), ("caf\u00e9 \ud55c\uae00", "NFD")], ids=range(14)
)
def test_a_video_is_found_and_encoded_whatever_its_name(name, form, encoder, tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / f"{name.partition('.')[0]}.other.mp4", steady(5, 25.0))
    path = write_video(tmp_path / "videos" / f"{unicodedata.normalize(form, name)}.mp4", steady(50, 25.0))
    assert find_video(tmp_path / "videos", name) == path and measure(tmp_path / "videos", name).duration == 2.0
    store = FeatureStore(tmp_path / "features")
    extract([video(name)], tmp_path / "videos", store, encoder, 5)
    assert store.read(name).shape == (10, 2) and store.changed(name, {}, path) == ""
    assert FolderStore(tmp_path / "features", 5).check([video(name)]) == {}
    clip = probe(path)
    assert len(clip.key.encode()) < 200 and not {"/", "\0"} & set(clip.key)


def test_a_path_may_begin_with_a_dash_or_with_the_tilde_of_nobody():
    assert resolve("~nobody-here.mp4") == project_root() / "~nobody-here.mp4" and resolve("~/a") == Path.home() / "a"


@pytest.mark.parametrize("given", [("video", "-x.mp4"), ("video", "\U00020000" * 200)])
def test_what_papermill_is_told_to_write_is_no_option_and_no_longer_than_disks_allow(given, home):
    notebook = home / "notebooks" / "detect.ipynb"
    notebook.write_text(json.dumps({"metadata": {"tadlib": {"stage": "detect"}}}), encoding="utf-8")
    source, output, *_, told = papermill_arguments.complete([str(notebook), "-p", *given], lambda text: None)
    assert source == str(notebook) and not output.startswith("-") and Path(output).parent.is_dir()
    assert yaml.safe_load(told)[given[0]] == given[1]
