"""What may be said of a difference, and that the bootstrap scores what it says it scores."""

import numpy as np
import pytest
from evaluation_speed import simulated

from tadlib.evaluation import metrics, statistics
from tadlib.evaluation.rows import Actions, Comparison, Predictions
from tadlib.evaluation.scoring import table_of

THRESHOLDS = (0.3, 0.5)


def repeated(rows, counts):
    """The comparison in which every video is there as often as it was drawn, as videos of their own."""
    copies = np.repeat(np.arange(rows.videos), counts)
    parts = []
    for each in (rows.actions, rows.predictions):
        chosen = [np.flatnonzero(each.video == video) for video in copies]
        index = np.concatenate(chosen)
        video = np.repeat(np.arange(len(copies)), [len(one) for one in chosen])
        # copies of a video stand side by side in the ranking: rank by (score, original row)
        order = np.argsort(index, kind="stable")
        parts.append(type(each)(video[order], *(column[index][order] for column in each[1:])))
    return Comparison(len(copies), rows.classes, *parts)


@pytest.mark.parametrize("protocol", ["plain", "thumos-toolkit"])
@pytest.mark.parametrize("seed", range(2))
def test_a_draw_scores_what_its_videos_would_score(seed, protocol):
    rows = simulated(videos=12, per_video=30, classes=4, actions=3, seed=seed)
    counts = statistics.draws(rows.videos, resamples=8, seed=seed)
    values = statistics.resampled(rows, THRESHOLDS, counts, protocol)
    tables = [table_of(repeated(rows, each), THRESHOLDS, protocol) for each in counts]
    expected = [np.nanmean(table, axis=0).mean() for table in tables]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


def test_one_video_with_actions_says_nothing_of_others():
    rows = simulated(videos=8, per_video=40, classes=2, actions=3)
    kept = rows.actions.video == 3
    rows = rows._replace(actions=Actions(*(column[kept] for column in rows.actions)))
    assert compared(rows, worse(rows, 0.9))[1:] == (-1.0, 1.0, "cannot tell")


def test_portions_change_nothing(monkeypatch):
    rows = simulated(videos=12, per_video=30, classes=4, actions=3)
    counts = statistics.draws(rows.videos, resamples=50)
    whole = statistics.resampled(rows, THRESHOLDS, counts)
    monkeypatch.setattr(statistics, "MAX_BLOCK", 100)
    np.testing.assert_allclose(statistics.resampled(rows, THRESHOLDS, counts), whole, rtol=0, atol=1e-12)


def compared(first, second):
    rows = {"first": first, "second": second}
    return statistics.compare_videos(rows, "first", THRESHOLDS, resamples=300)["second"]


def worse(rows, share):
    """The same result with a share of the predictions moved far away."""
    rng = np.random.default_rng(1)
    moved = rows.predictions.segments + 1000 * (rng.random(len(rows.predictions.video)) < share)[:, None]
    return rows._replace(predictions=rows.predictions._replace(segments=moved))


def test_a_clear_difference_is_told_from_none():
    rows = simulated(videos=60, per_video=40, classes=4, actions=5)
    result = compared(rows, worse(rows, 0.6))
    assert result.verdict == "better" and 0 < result.low < result.difference < result.high
    assert compared(worse(rows, 0.6), rows).verdict == "worse"
    assert compared(rows, rows) == (0.0, 0.0, 0.0, "cannot tell")


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    population = simulated(videos=2000, per_video=20, classes=2, actions=3, seed=9)
    truth = metrics.precision_table(population, (0.5,)).mean()
    covered = 0
    for seed in range(40):
        videos = np.random.default_rng(seed).choice(2000, 100, replace=False)
        rows = only(population, videos)
        values = statistics.resampled(rows, (0.5,), statistics.draws(100, 200, seed))
        low, high = statistics.interval(values, metrics.precision_table(rows, (0.5,)).mean())
        covered += low <= truth <= high
    assert 35 <= covered <= 40  # 95 % of 40 is 38


def only(rows, videos):
    place = np.full(rows.videos, -1)
    place[videos] = np.arange(len(videos))
    parts = []
    for each, kind in ((rows.actions, Actions), (rows.predictions, Predictions)):
        kept = place[each.video] >= 0
        parts.append(kind(place[each.video][kept], *(column[kept] for column in each[1:])))
    return Comparison(len(videos), rows.classes, *parts)


def test_splits_are_compared_in_pairs():
    ours, theirs = [0.20, 0.30, 0.40, 0.25], [0.18, 0.29, 0.37, 0.24]
    result = statistics.compare_splits(ours, theirs)  # differences 0.02, 0.01, 0.03, 0.01
    assert result.difference == pytest.approx(0.0175) and result.verdict == "better"
    assert result.high - result.difference == pytest.approx(3.182446 * 0.0095743 / 2, rel=1e-4)
    assert statistics.compare_splits(ours, [0.25, 0.25, 0.35, 0.30]).verdict == "cannot tell"
    assert statistics.compare_splits([0.9], [0.1]).verdict == "cannot tell"


def test_a_difference_is_told_where_its_interval_leaves_zero_out_and_holm_asks_more_of_many():
    values = np.random.default_rng(0).normal(0.6, 1, (200, 6)).tolist()
    told = [statistics.compare_splits(each, [0] * 6).verdict != "cannot tell" for each in values]
    assert told == [statistics.p_value(each) < 0.05 for each in values] and 20 < sum(told) < 180
    assert [statistics.p_value(each) for each in ([1.0], [1.0, 1.0], [0.0, 0.0])] == [None, 0.0, 1.0]
    tests = ([0.04, 0.001, 0.02], [0.04, 0.001, 0.03], [])  # 0.05 / 3, then / 2, then / 1
    assert list(map(statistics.holm, tests)) == [[True] * 3, [False, True, False], []]


def test_the_spread_over_splits_is_that_of_the_mean():
    result = statistics.spread([0.1, 0.2, 0.3])
    assert (result.mean, result.number) == (pytest.approx(0.2), 3)
    assert result.deviation == pytest.approx(0.1) and result.error == pytest.approx(0.1 / 3**0.5)
    assert np.isnan(statistics.spread([0.1]).deviation)
    with pytest.raises(ValueError, match="expected one finite number per split or seed"):
        statistics.spread([])
