"""mAP and AR@AN against values worked out by hand, against plain loops, and in every case that decides something."""

import numpy as np
import pytest
from answers import found, video

from tadlib.evaluation import metrics
from tadlib.evaluation.matching import greedy
from tadlib.evaluation.recall import area, recall_table
from tadlib.evaluation.rows import compare
from tadlib.evaluation.scoring import class_table

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)


TEN, TWENTY, MISS = (0, 10), (20, 30), (50, 60)
BY_HAND = {  # actions, segments best first, AP at a tIoU of 0.5
    "hits at ranks 1 and 3: precision 1 and 2/3, each half of the recall": (
        [TEN, TWENTY], [TEN, MISS, TWENTY], (1 + 2 / 3) / 2
    ),
    "a miss before two hits: the better later precision counts for both": ([TEN, TWENTY], [MISS, TEN, TWENTY], 2 / 3),
    "what its best action refuses takes the next free one": ([TEN, (2, 12)], [TEN, (0.5, 10.5)], 1.0),
    "a tIoU equal to the threshold is a hit": ([TEN], [(0, 5)], 1.0),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND)
def test_average_precision_by_hand(case):
    actions, answer, expected = BY_HAND[case]
    rows = [(*segment, 0.9 - place / 10, "Diving") for place, segment in enumerate(answer)]
    videos = [video("a", *((*action, "Diving") for action in actions))]
    assert class_table(videos, {"a": found(*rows)}, ["Diving"], [0.5]) == pytest.approx(expected)


def test_no_class_with_actions_is_an_error():
    with pytest.raises(ValueError, match="none of the classes has an action"):
        metrics.means(class_table([video("a")], {}, ["Diving"], TIOUS), TIOUS)


def test_two_segments_of_no_length_at_one_place_hit_each_other_but_are_not_recalled():
    videos = [video("a", (5, 5, "Diving"))]
    answer = {"a": found((5, 5, 0.9, "Diving"))}
    assert class_table(videos, answer, ["Diving"], [0.95]) == 1.0
    assert metrics.average_recall(videos, answer, [1]) == {"AR@1": 0.0}


@pytest.mark.parametrize("row", [(1, 5, np.nan, "Diving"), (1, np.inf, 0.5, "Diving"), (5, 1, 0.5, "Diving")])
def test_what_is_no_segment_or_score_is_refused_by_name(row):
    with pytest.raises(ValueError, match="video a has a segment that is not finite or ends .*, or a score that is no"):
        compare([video("a", (1, 5, "Diving"))], {"a": found(row)}, ["Diving"])


def test_average_recall_keeps_a_share_of_each_videos_proposals():
    videos = [video("a", (0, 10, "Diving")), video("b", (0, 10, "Diving"))]
    # 3 and 1 proposals, 2 on average: at AN = 1 video a keeps floor(3 / 2) = 1, video b floor(1 / 2) = 0
    answer = {"a": found((0, 10, 0.9, "x"), (20, 30, 0.8, "x"), (40, 50, 0.7, "x")), "b": found((0, 10, 0.9, "x"))}
    assert metrics.average_recall(videos, answer, [1, 2]) == {"AR@1": 0.5, "AR@2": 1.0}
    assert area(recall_table(compare(videos, answer))) == pytest.approx((0.75 + 98) / 100)


@pytest.mark.parametrize("seed", range(5))
def test_matching_in_rounds_is_matching_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.integers(0, 40, 150))
    wanted = rng.integers(0, 30, 150)
    free, served, expected = set(range(30)), set(), []
    for place, (taker, thing) in enumerate(zip(turn, wanted, strict=True)):
        if taker not in served and thing in free:
            served.add(taker)
            free.remove(thing)
            expected.append(place)
    assert sorted(greedy(turn, wanted, 30)) == expected
