"""The benchmark compares things that give the same numbers, and its simulated results have the sizes it says."""

import numpy as np
import pytest

from tadlib.evaluation import benchmark, metrics, reference


def test_the_peers_give_our_numbers():
    rows = benchmark.simulated(videos=8, per_video=30, classes=3, actions=4)
    ours = metrics.precision_table(rows, (0.3, 0.5))
    for peer in (benchmark.frames_precision, reference.precision_table):
        np.testing.assert_allclose(peer(rows, (0.3, 0.5)), ours, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "predictions"), [("THUMOS14 size", 42_600), ("ActivityNet size", 472_800)])
def test_a_simulated_result_has_its_size_and_is_neither_hopeless_nor_perfect(name, predictions):
    rows = benchmark.simulated(**benchmark.SIZES[name])
    assert len(rows.predictions.label) == predictions
    assert 0.02 < metrics.precision_table(rows, (0.5,)).mean() < 0.6


def test_some_classes_keep_all_rows_of_each():
    rows = benchmark.simulated(videos=8, per_video=30, classes=3, actions=4)
    part = benchmark.some_classes(rows, 100)
    assert part.classes == 1
    assert len(part.predictions.label) == (rows.predictions.label == 0).sum()


@pytest.mark.slow
def test_every_measurement_prints_its_lines():
    for measure in (benchmark.measure_precision, benchmark.measure_recall, benchmark.measure_soft_nms):
        assert all(" us each" in line for line in measure("THUMOS14 size"))
    assert "times ours" in benchmark.measure_epoch()[1]
