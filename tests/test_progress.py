"""Progress says how far work is and, as soon as something was done before one's eyes, what is left."""

import pytest

from tadlib.workbook import display


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_time_left_is_told_by_what_was_done_here(clock, capsys):
    progress = display.Progress()
    progress(6, 40, "training, loss 2")  # an interrupted training that goes on
    assert capsys.readouterr().err == "\rtraining, loss 2: 6/40 [00:00<?]"
    clock[0] += 30
    progress(9, 40, "training, loss 1")
    assert capsys.readouterr().err == "\rtraining, loss 1: 9/40 [00:30<05:10]"
    clock[0] += 310
    progress(40, 40, "training, loss 1")
    assert capsys.readouterr().err.endswith("\rtraining, loss 1: 40/40 [05:40<00:00]\n")


def test_each_kind_of_work_has_its_bar_and_is_told_when_it_moves(clock, capsys):
    progress = display.Progress()
    for done, kind in enumerate(["videos", "texts", "videos"], 1):
        clock[0] += 30
        progress(done, 9, f"reading {kind}")
    told = capsys.readouterr().err.split("\r")[1:]
    assert [line.rstrip() for line in told] == [
        "reading videos: 1/9 [00:00<?]",
        "reading texts: 2/9 [00:00<?]",
        "reading videos: 3/9 [01:00<03:00]",
    ]
