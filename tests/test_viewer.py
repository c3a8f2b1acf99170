"""The viewer is one page without a network, whole without its script, and nothing in a name can break out of it."""

import base64
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from tadlib.data.annotations import Action, Video
from tadlib.detector.proposals import Proposals
from tadlib.naming.fusion import Detections
from tadlib.workbook import display
from tadlib.workbook.display import Row, Viewer
from tadlib.workbook.own_video import Answer
from tadlib.workbook.own_video_report import timeline_rows, word_curves

VIDEO = Video("v", 20.0, 10.0, "test", (Action(1.0, 3.0, "Diving"), Action(5.0, 8.0, "Diving")))
ASKED = SimpleNamespace(given=SimpleNamespace(threshold=0.1, top_k=100))
FOUND = Detections(torch.tensor([[1.0, 3.1], [9.0, 12.0]]), torch.tensor([0.8, 0.3]), ("diving", "golf"))
NOTHING = Detections(torch.zeros(0, 2), torch.zeros(0), ())


def shown():
    """A page of everything."""
    rows = [Row("diving", "truth", [(1, 2)], [1.0]), Row("diving", "detection", [(1, 2), (3, 4)], [0.9, 0.1])]
    return Viewer(10.0, rows, {"diving": np.linspace(-0.1, 0.2, 50)}, b"mp4", "diving")._repr_html_()


def picture(page: str) -> str:
    """The SVG of the image in a page."""
    return base64.b64decode(re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', page).group(1)).decode()


def inside(page: str) -> dict:
    """What a page hands to its script."""
    return json.loads(re.search(r"data = (\{.*\});", page).group(1))


def test_a_page_fetches_nothing_and_has_every_control():
    page = shown()
    for part in (page, picture(page), inside(page)["controls"]):
        named = part.replace("http://www.w3.org/2000/svg", "")  # a name, no address
        assert not re.search(r"""(src|href)=["']?(?!data:)\w+:|https?://|@import""", named)
    controls = inside(page)["controls"]
    assert controls.count("<input type=") == 3 and "<video" in controls
    assert picture(page).count('class="bar detection"') == 2 and "<polyline" in picture(page)


def test_the_picture_stands_before_the_script_and_nothing_else_does():
    still = shown().split("<script>")[0]
    tags = {tag.name for tag in BeautifulSoup(still, "html.parser").find_all(True)}
    assert tags == {"style", "div", "img", "small"} and 'alt="diving: diving, diving"' in still


@pytest.mark.parametrize(("scores", "least", "top"), [([0.02], 0.3, 0.3), ([0.9, 0.1], 0.3, 0.9), ([], 0.0, 1.0)])
def test_only_what_reaches_the_least_score_is_shown_until_it_is_lowered(scores, least, top):
    page = Viewer(10.0, [Row("a", "detection", [(1, 2)] * len(scores), scores)], least=least)
    found = re.search(
        r'class="least" max="([\d.]+)" step="any" value="([\d.]+)"', inside(page._repr_html_())["controls"]
    )
    assert [float(each) for each in found.groups()] == [top, least]
    assert page.svg().count('data-said="" style="display:none"') == 0
    assert page.svg().count('" style="display:none"><title>') == sum(score < least for score in scores)


def test_segments_lie_where_their_times_are():
    drawn = Viewer(10.0, [Row("a", "truth", [(0, 10), (5, 10)], [1.0, 1.0])]).svg()
    spans = [(float(x), float(w)) for x, w in re.findall(r'class="bar truth" x="([\d.]+)".*?width="([\d.]+)"', drawn)]
    whole, half = spans
    assert whole == (display.LEFT, display.WIDTH - display.LEFT - display.RIGHT)
    assert half[1] == pytest.approx(whole[1] / 2, abs=0.1) and half[0] == pytest.approx(whole[0] + half[1], abs=0.1)


def test_the_curve_of_a_long_video_lies_evenly_over_it():
    """The viewer draws its points at equal distances."""
    given = {"classes": SimpleNamespace(unseen=("a",), seen=("b",)), "similarity": lambda *_: np.zeros((900, 2))}
    question = SimpleNamespace(video=VIDEO, asked=ASKED, seconds=lambda _: np.arange(900) + 0.5, **given)
    seconds, curves = word_curves(Answer(question, None, NOTHING))
    assert len(curves["a"]) == 600 and abs(seconds - (np.arange(600) + 0.5) * 1.5).max() < 1


@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=["some", "none"])
def test_an_answer_shows_truth_proposals_and_detections(found):
    proposals = Proposals(torch.tensor([[1.0, 9.0]]), torch.tensor([0.5]))
    shown = Viewer(20.0, timeline_rows(Answer(SimpleNamespace(video=VIDEO, asked=ASKED), proposals, found)))
    drawn = re.findall(r'class="bar (\w+)"', shown.svg())
    assert drawn == ["truth"] * 2 + ["proposal"] + ["detection"] * len(found.scores) and "true: Diving" in shown.svg()
