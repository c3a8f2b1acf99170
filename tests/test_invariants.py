"""What must hold whatever the detections are, and answers to what is extreme."""

import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tadlib.evaluation import metrics
from tadlib.evaluation.recall import RECALL_TIOUS, area, recall_table
from tadlib.evaluation.rows import Actions, Comparison, Predictions

TIOUS = (0.3, 0.5, 0.7)
VIDEOS, CLASSES = 4, 3
slow = [HealthCheck.too_slow]  # of a busy machine
settings.register_profile("project", deadline=None, max_examples=30, derandomize=True, suppress_health_check=slow)
settings.load_profile("project")  # before the tests, which take their settings where they are defined


@st.composite
def segments(draw, most):
    """Up to `most` segments on a grid of quarter seconds: short ones, overlapping ones, and ones of no length."""
    number = draw(st.integers(0, most))
    starts = draw(st.lists(st.integers(0, 60), min_size=number, max_size=number))
    lengths = draw(st.lists(st.integers(0, 24), min_size=number, max_size=number))
    first = np.array(starts, dtype=np.float64) / 4
    return np.stack([first, first + np.array(lengths, dtype=np.float64) / 4], axis=1)


@st.composite
def comparisons(draw):
    """Actions and predictions of a few videos and classes, no two scores equal."""
    true, found = draw(segments(12)), draw(segments(40))
    places = [
        np.array(draw(st.lists(st.integers(0, top - 1), min_size=len(rows), max_size=len(rows))), dtype=np.int64)
        for rows in (true, found)
        for top in (VIDEOS, CLASSES)
    ]
    scores = np.array(draw(st.permutations(range(len(found)))), dtype=np.float64) / 64
    return Comparison(VIDEOS, CLASSES, Actions(*places[:2], true), Predictions(*places[2:], found, scores))


def of(comparison, predictions):
    return comparison._replace(predictions=Predictions(*predictions))


def assert_same(first, second, tolerance=1e-12):
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


@given(comparisons(), st.randoms())
def test_the_order_of_rows_changes_nothing(comparison, random):
    order = np.array(random.sample(range(len(comparison.predictions.scores)), len(comparison.predictions.scores)), int)
    shuffled = of(comparison, (column[order] for column in comparison.predictions))
    assert_same(metrics.precision_table(shuffled, TIOUS), metrics.precision_table(comparison, TIOUS))
    assert_same(recall_table(shuffled), recall_table(comparison))


@given(comparisons())
def test_what_is_found_is_what_the_slow_loops_find(comparison):
    has_length = comparison.predictions.segments[:, 1] > comparison.predictions.segments[:, 0]
    rows = of(comparison, (column[has_length] for column in comparison.predictions))
    assert_same(metrics.precision_table(rows, TIOUS), reference.precision_table(rows, TIOUS))
    *places, scores = rows.predictions
    for tied in (rows, of(rows, (*places, scores.round(1)))):  # the second has equal scores
        assert_same(metrics.precision_table(tied, TIOUS, "peer"), reference.precision_table(tied, TIOUS))
        if len(tied.actions.video):
            assert_same(recall_table(tied, ties="peer"), reference.recall_table(tied, RECALL_TIOUS))


def crowd(predictions, videos, actions, classes=1):
    """Predictions all over videos of an hour with actions all over them."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 3600, (actions, 1)) + [[0.0, 8.0]]
    found = rng.uniform(0, 3600, (predictions, 1)) + np.c_[np.zeros(predictions), rng.uniform(1, 20, predictions)]
    return Comparison(
        videos,
        classes,
        Actions(rng.integers(0, videos, actions), rng.integers(0, classes, actions), true),
        Predictions(
            rng.integers(0, videos, predictions), rng.integers(0, classes, predictions), found, rng.random(predictions)
        ),
    )


@pytest.mark.long
def test_a_million_detections_are_scored_in_bounded_memory():
    rows = crowd(1_000_000, videos=200, actions=3000, classes=20)
    tracemalloc.start()
    table, recall = metrics.precision_table(rows, TIOUS), recall_table(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < table.mean() < 1 and 0 < area(recall) < 1 and peak < 600e6  # bytes; usually 0.3 GB


def test_the_number_of_pairs_at_a_time_changes_nothing(monkeypatch):
    rows = crowd(3000, videos=3, actions=300)
    whole = metrics.precision_table(rows, TIOUS), recall_table(rows), metrics.precision_table(rows, TIOUS, "peer")
    monkeypatch.setattr("tadlib.evaluation.matching.MAX_PAIRS", 100)
    parts = metrics.precision_table(rows, TIOUS), recall_table(rows), metrics.precision_table(rows, TIOUS, "peer")
    for one, other in zip(whole, parts, strict=True):
        assert_same(one, other, 0)
