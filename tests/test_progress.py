"""Progress says how far work is and, as soon as something was done before one's eyes, what is left."""

import pytest

from tadlib.workbook import display


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_time_left_is_told_by_what_was_done_here(clock, capsys):
    progress = display.Progress()
    progress(6, 40, "training, loss 2")  # an interrupted training that goes on
    assert capsys.readouterr().err == "training, loss 2: 6/40, 0 s\n"
    clock[0] += 30
    progress(9, 40, "training, loss 1")
    assert capsys.readouterr().err == "training, loss 1: 9/40, 30 s, about 5.2 min left\n"
    clock[0] += 310
    progress(40, 40, "training, loss 1")
    assert capsys.readouterr().err == "training, loss 1: 40/40, 5.7 min\n"


def test_each_kind_of_work_has_its_bar_and_is_told_when_it_moves(clock, capsys):
    progress = display.Progress()
    for done, kind in enumerate(["videos", "texts", "videos"], 1):
        clock[0] += 30
        progress(done, 9, f"reading {kind}")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "reading videos: 1/9, 0 s",
        "reading texts: 2/9, 0 s",
        "reading videos: 3/9, 60 s, about 3.0 min left",
    ]
    assert repr(progress).splitlines() == [told[2], told[1]]
    assert progress._repr_html_().count("<progress") == 2
