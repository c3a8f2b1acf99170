"""Every pooling against a loop over proposals written out by hand, and what each must do at the edges."""

from functools import partial

import numpy as np
import pytest
import torch
from naming_speed import classifier

from tadlib.ideas.poolings import FEATURES as HOW
from tadlib.ideas.poolings import aligned
from tadlib.naming.similarity import cosine
from tadlib.segments import roi_mean

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(20, 6)).astype(np.float32)
TEXTS = torch.from_numpy(RNG.normal(size=(3, 6)).astype(np.float32))
SEGMENTS = torch.tensor([[2.0, 10.0], [0.3, 1.1], [5.0, 5.0], [-4.0, 3.0], [12.5, 40.0], [3.2, 17.9]])
ALIKE = partial(cosine, texts=TEXTS, scale=10.0)


def logits(segments=SEGMENTS, features=FEATURES, **words):
    """What such a classifier says of segments."""
    return classifier(TEXTS, 10.0, **words)(torch.from_numpy(features), segments)


def pool(how, segments=SEGMENTS, features=FEATURES, bins=16):
    """The features under segments that are compared."""
    return logits(segments, features, pooling=how, roi_bins=bins, similarity=lambda seen, texts, scale: seen)


def bins_of(segment):
    """Features in the middle of eight equal parts of a segment, linearly between the middles of snippets."""
    start, end = segment
    places = [min(max(start + (part + 0.5) / 8 * (end - start) - 0.5, 0), 19) for part in range(8)]
    below = [min(int(place), 18) for place in places]
    return torch.stack(
        [
            torch.from_numpy(FEATURES[left] + (place - left) * (FEATURES[left + 1] - FEATURES[left]))
            for place, left in zip(places, below, strict=True)
        ]
    )


def rate_of(bins, rate):
    groups = [bins[first : first + rate].mean(dim=0) for first in range(0, len(bins), rate)]
    return torch.stack(groups).amax(dim=0)


def attended(bins):
    weights = torch.stack([torch.stack([(a * b).sum() for b in bins]).softmax(dim=0) for a in bins])
    return torch.stack([sum(w * b for w, b in zip(row, bins, strict=True)) for row in weights]).mean(dim=0)


BY_HAND = {
    "mean": lambda bins: sum(bins) / len(bins),
    "max": lambda bins: torch.stack([column.max() for column in bins.T]),
    "centre_bin": lambda bins: bins[4],
    "multi_rate": lambda bins: (rate_of(bins, 1) + rate_of(bins, 2) + rate_of(bins, 4)) / 3,
    "slow_fast": lambda bins: (sum(bins) / 8 + (bins[0] + bins[2] + bins[4] + bins[6]) / 4) / 2,
    "sparse": lambda bins: (bins[0] + bins[2] + bins[4] + bins[6]) / 4,
    "self_attention": attended,
}


@pytest.mark.parametrize("how", BY_HAND)
def test_a_pooling_equals_a_loop_over_proposals(how):
    expected = torch.stack([BY_HAND[how](bins_of(segment)) for segment in SEGMENTS.tolist()])
    torch.testing.assert_close(pool(how, bins=8), expected)


@pytest.mark.parametrize("how", [how for how in BY_HAND if how != "self_attention"])
def test_similarity_of_every_bin_is_pooled_like_features(how):
    expected = torch.stack([BY_HAND[how](ALIKE(bins_of(segment))) for segment in SEGMENTS.tolist()])
    torch.testing.assert_close(logits(pooling=how, roi_bins=8, similarity_at="bins"), expected)


def test_the_centre_snippet_lies_under_the_middle_whatever_the_number_of_proposals():
    middles = [6, 0, 5, 0, 19, 10]  # of [2, 10), [0.3, 1.1), [5, 5), [-4, 3), [12.5, 40) and [3.2, 17.9)
    found = pool("centre_snippet")
    assert torch.equal(found, torch.from_numpy(FEATURES[middles]))
    for number in (1, 2, 5):  # GAP took the number of proposals for the length of the video
        assert torch.equal(pool("centre_snippet", SEGMENTS[:number]), found[:number])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("bins", [1, 2, 3, 16])
def test_any_number_of_bins_and_a_video_of_one_snippet_give_its_feature(how, bins):
    one = RNG.normal(size=(1, 6)).astype(np.float32)
    torch.testing.assert_close(pool(how, features=one, bins=bins), torch.from_numpy(one).expand(6, -1))


@pytest.mark.parametrize("how", HOW)
def test_no_proposals_and_zero_features_are_no_numbers_that_are_missing(how):
    words = {"pooling": how, "roi_bins": 4, "contrast": 0.5, "extend": 2.0}
    assert logits(SEGMENTS[:0], **words).shape == (0, 3)
    silent = logits(features=np.zeros((20, 6), np.float32), **words)
    assert silent.count_nonzero() == 0 and not silent.isnan().any()


def test_a_class_attends_to_the_bins_that_are_most_like_it():
    found = logits(pooling="text_attention", roi_bins=8)
    for segment, row in zip(SEGMENTS.tolist(), found, strict=True):
        for of_bins, logit in zip(ALIKE(bins_of(segment)).T, row, strict=True):
            weights = [float(value.exp() / of_bins.exp().sum()) for value in of_bins]
            by_hand = sum(weight * float(value) for weight, value in zip(weights, of_bins, strict=True))
            assert float(logit) == pytest.approx(by_hand, abs=1e-4)


def test_a_stretched_proposal_is_pooled_like_the_longer_one():
    twice = logits(torch.tensor([[6.0, 10.0]]), extend=2.0)
    half = logits(torch.tensor([[0.0, 16.0]]), extend=0.5)
    whole = logits(torch.tensor([[4.0, 12.0]]))
    torch.testing.assert_close(twice, whole)
    torch.testing.assert_close(half, whole)


def test_contrast_takes_off_what_lies_just_outside():
    inside, found = logits(roi_bins=64), logits(roi_bins=64, contrast=0.5)
    features = torch.from_numpy(FEATURES)
    before, after = (roi_mean(features, torch.tensor([side]), 64) for side in ([0.0, 2.0], [10.0, 12.0]))
    torch.testing.assert_close(found[0], inside[0] - 0.5 * ALIKE((before + after) / 2)[0])  # a quarter of 8 s a side
    assert torch.equal(found[2], inside[2])  # no length, no outside
    before = roi_mean(features, torch.tensor([[10.625, 12.5]]), 64)  # 7.5 s are in the video, nothing after
    torch.testing.assert_close(found[4], inside[4] - 0.5 * ALIKE(before)[0])


def best_by_trying(bins, steps):
    """The best mean over all ways of running through the steps in order."""
    runs, count = [[0]], steps
    for _ in range(len(bins) - 1):
        runs = [[*run, run[-1] + move] for run in runs for move in (0, 1) if run[-1] + move < count]
    ended = [run for run in runs if run[-1] == count - 1]
    return max(sum(float(bins[place, step]) for place, step in enumerate(run)) for run in ended) / len(bins)


def test_order_aware_pooling_is_the_best_of_all_runs_through_the_steps():
    of_bins = torch.from_numpy(RNG.normal(size=(4, 7, 3, 5)).astype(np.float32))
    padding = torch.tensor([[False] * 5, [False, False, False, True, True], [False] + [True] * 4])
    found = aligned(of_bins, padding)
    for n in range(4):
        for k, steps in enumerate((5, 3, 1)):
            assert float(found[n, k]) == pytest.approx(best_by_trying(of_bins[n, :, k], steps), abs=1e-5)


def test_more_steps_than_bins_are_refused():
    with pytest.raises(ValueError, match="roi_bins must be at least the 5 steps of a class, got 4"):
        aligned(torch.zeros(1, 4, 1, 5), torch.zeros(1, 5, dtype=torch.bool))


def test_a_video_is_named_by_its_best_eighth():
    features = torch.eye(6)[[0] * 14 + [1] * 2]
    classify = classifier(torch.eye(6)[:3])
    assert classify.video_logits(features).tolist() == [1.0, 1.0, 0.0]
    assert classify.video_logits(features[:1]).tolist() == [1.0, 0.0, 0.0]
