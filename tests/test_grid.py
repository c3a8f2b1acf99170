"""Seconds and snippets, there and back."""

import pytest

from tadlib.data.grid import Grid


@pytest.mark.parametrize(("fps", "stride"), [(30, 8), (29.97, 8), (10, 4), (25, 1)])
def test_there_and_back(fps, stride):
    grid = Grid(fps, stride)
    assert [grid.snippets(grid.seconds(t)) for t in range(50)] == pytest.approx(list(range(50)))


def test_n_snippets_last_n_strides():
    assert Grid(30, 8).seconds(128) == pytest.approx(128 * 8 / 30)


def test_the_last_snippet_may_be_short():
    assert [Grid(30, 8).count(frames) for frames in (1, 8, 9, 16, 17)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(("fps", "stride"), [(0, 8), (-1, 8), (float("nan"), 8), (30, 0)])
def test_an_impossible_grid_is_refused(fps, stride):
    with pytest.raises(ValueError, match="fps must be positive and stride at least 1"):
        Grid(fps, stride)
