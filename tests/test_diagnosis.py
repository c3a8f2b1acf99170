"""Error types, gains, sensitivity and calibration on results small enough to judge by eye."""

import numpy as np
import pytest
import torch
from answers import found, video
from evaluation_speed import simulated

from tadlib.evaluation import diagnosis, errors, metrics
from tadlib.evaluation.rows import compare
from tadlib.naming.fusion import Detections

CLASSES = ("Diving", "Shotput")


VIDEOS = [video("a", (0, 10, "Diving"), (50, 60, "Shotput")), video("empty")]
ROWS = compare(
    VIDEOS,
    {
        "a": found(
            (0, 10, 0.9, "Diving"),
            (0, 9, 0.8, "Diving"),
            (0, 10, 0.7, "Shotput"),
            (0, 4, 0.6, "Diving"),
            (0, 4, 0.5, "Shotput"),
            (80, 90, 0.4, "Diving"),
        ),
        "empty": found((0, 10, 0.95, "Diving"), (0, 10, 0.3, "Shotput")),
    },
    CLASSES,
)


def test_each_prediction_has_the_type_that_its_best_overlap_gives():
    kinds = [errors.TYPES[kind] for kind in errors.judge(ROWS, 0.5).kind]
    assert kinds == [
        "true positive",
        "double detection",
        "wrong label",
        "localisation",
        "confusion",
        "background",
        "background",  # in a video without actions, whatever the video before has
        "background",
    ]


def test_shares_look_at_the_best_predictions_per_action():
    first, second, *_ = errors.shares(ROWS, errors.judge(ROWS, 0.5))
    # Diving: 0.95 in the empty video; Shotput: the wrong label at 0.7
    assert first == pytest.approx([0, 0, 0.5, 0, 0, 0.5])
    # and the two next: a true positive, a confusion
    assert second == pytest.approx([0.25, 0, 0.25, 0, 0.25, 0.25])
    assert errors.shares(ROWS, errors.judge(ROWS, 0.5)).sum(axis=1) == pytest.approx(np.ones(10))


def test_gains_are_what_the_result_without_these_predictions_scores():
    gained = errors.gains(ROWS, (0.5,))
    # Diving has AP 1/2 behind the false positive in the empty video; Shotput is missed
    assert gained["in empty videos"] == pytest.approx(0.25) and gained["background"] == pytest.approx(0.25)
    assert gained["wrong label"] == gained["double detection"] == 0.0


def test_true_labels_keep_our_segments_and_our_order():
    videos = [
        video("a", (0, 10, "Diving"), (0, 10, "CliffDiving"), (50, 60, "Shotput")),
        video("none"),
        video("silent", (0, 1, "Diving")),
    ]
    detections = {
        # one segment under two names counts once, with its best score; (20, 24) overlaps nothing: nearest is Diving
        "a": found((1, 9, 0.9, "Shotput"), (50, 58, 0.8, "Shotput"), (20, 24, 0.5, "Shotput"), (1, 9, 0.2, "Diving")),
        "none": found((0, 4, 0.9, "Diving")),
    }
    tensors = {name: Detections(*map(torch.from_numpy, each[:2]), each.labels) for name, each in detections.items()}
    relabelled = diagnosis.oracle_label(videos, tensors)
    assert set(relabelled) == {"a"}
    rows = zip(relabelled["a"].segments.tolist(), relabelled["a"].scores.tolist(), relabelled["a"].labels, strict=True)
    assert sorted((*segment, round(score, 6), label) for segment, score, label in rows) == [
        (1, 9, 0.9, "CliffDiving"),
        (1, 9, 0.9, "Diving"),
        (20, 24, 0.5, "CliffDiving"),
        (20, 24, 0.5, "Diving"),
        (50, 58, 0.8, "Shotput"),
    ]


def test_empty_windows_are_those_without_an_action_of_any_class():
    videos = [video("a", (12, 15, "Diving")), video("b")]
    # windows of 10 s: 0-10 has nothing, 10-20 has the action, 20-30 nothing; of 5 s the action fills 10-15
    detections = {
        "a": found((8, 9, 0.9, "Shotput"), (11, 12, 0.8, "Diving"), (16, 18, 0.7, "Diving"), (21, 30, 0.6, "Diving")),
        "b": found((0, 4, 0.5, "Diving")),
    }
    rows = compare(videos, detections, CLASSES)
    score_order = np.argsort(-rows.predictions.scores)
    empty = errors.in_empty_windows(rows, np.array([10.0, 10.0]))[score_order]
    assert empty.tolist() == [True, False, False, True, True]
    empty = errors.in_empty_windows(rows, np.array([5.0, 5.0]))[score_order]
    assert empty.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("seed", range(3))
def test_gains_of_a_large_result_agree_with_scoring_it_without_the_predictions(seed):
    rows = simulated(videos=20, per_video=50, classes=4, actions=4, seed=seed)
    judged = errors.judge(rows, 0.5)
    whole = metrics.precision_table(rows, (0.5,)).mean()
    assert errors.mean_precision(rows, judged, judged.kind >= 0) == pytest.approx(whole, abs=1e-12)
    for name in errors.TYPES[1:]:
        kept = judged.kind != errors.TYPES.index(name)
        without = rows._replace(predictions=type(rows.predictions)(*(column[kept] for column in rows.predictions)))
        expected = metrics.precision_table(without, (0.5,)).mean() - whole
        assert errors.gains(rows, (0.5,))[name] == pytest.approx(expected, abs=1e-12)


def test_confusion_counts_what_overlaps():
    """A segment of two names counts as the one of the higher score."""
    assert errors.confusion_counts(ROWS, errors.judge(ROWS, 0.5), 0.5).tolist() == [[2, 0], [0, 0]]
    other = ROWS._replace(predictions=ROWS.predictions._replace(scores=-ROWS.predictions.scores))
    assert errors.confusion_counts(other, errors.judge(other, 0.5), 0.5).tolist() == [[1, 1], [0, 0]]


def test_misses_are_counted_by_bin():
    videos = [video("a", (0, 2, "Diving"), (10, 30, "Diving"), (50, 51, "Shotput"))]
    rows = compare(videos, {"a": found((10, 30, 0.9, "Diving"))}, CLASSES)
    result = errors.sensitivity(rows, videos, (0.5, 0.7), {"length": (5,), "coverage": (0.1,), "instances": (1,)})
    for name, bins in (("length", ("0-5", "5+")), ("coverage", ("0-10", "10+"))):
        assert result[name].bins == bins
        assert result[name].actions.tolist() == [2, 1] and result[name].missed.tolist() == [1.0, 0.0]
        assert result[name].precision.tolist() == [0.0, 1.0]
    assert result["instances"].bins == ("1", "2+") and result["instances"].missed.tolist() == [1.0, 0.5]
    assert result["all"].missed == pytest.approx([2 / 3])


def test_normalised_precision_weighs_a_rare_kind_as_an_average_one():
    # one short action, three long ones, all found, one false positive above the short one
    videos = [video("a", (0, 2, "Diving"), (10, 30, "Diving"), (40, 60, "Diving"), (70, 90, "Diving"))]
    answer = [(95, 99, 0.9), (0, 2, 0.8), (10, 30, 0.7), (40, 60, 0.6), (70, 90, 0.5)]
    rows = compare(videos, {"a": found(*((*row, "Diving") for row in answer))}, CLASSES)
    result = errors.sensitivity(rows, videos, (0.5,), {"length": (5,), "coverage": (1,), "instances": (9,)})
    # recall 1 of an average class with 4 actions against 1 false positive: 4 / 5, for the short and the long alike
    assert result["length"].precision == pytest.approx([0.8, 0.8])
    assert result["all"].precision == pytest.approx([0.8])


def test_scores_that_are_right_as_often_as_they_say_have_no_calibration_error():
    scores = np.repeat([0.25, 0.75], 20)  # four of each bin
    hit = np.concatenate([np.tile([True, False, False, False], 5), np.tile([True, True, True, False], 5)])
    result = diagnosis.reliability(scores, hit)
    assert result.right.tolist() == [0.25] * 5 + [0.75] * 5 and result.error == 0.0
    assert diagnosis.reliability(scores, ~hit).error == pytest.approx(0.5)


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"scores must be probabilities \(0..1\), got -3..35"):
        diagnosis.reliability(np.array([-3.0, 35.0]), np.array([True, False]))
