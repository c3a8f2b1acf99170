"""Real CLIP vectors behave as their description says, and so do similarity, scale and pooling on them."""

import math

import numpy as np
import pytest
import torch
from naming_speed import classifier
from torch.nn import functional

from tadlib.ideas.dot_product import dot
from tadlib.ideas.poolings import FEATURES as HOW
from tadlib.naming.similarity import cosine, scale_of

TAU = math.log(100)  # OpenAI's
WHOLE = torch.tensor([[0.0, 15.0]])  # of the snippet axis; one feature per 2 s


@pytest.fixture(scope="module")
def video(shared_data):
    return np.load(shared_data / "features" / "clip_vitb32_video_15x512.npy")


@pytest.fixture(scope="module", params=["coco80", "objects365"])
def texts(request, shared_data):
    return torch.from_numpy(np.load(shared_data / "features" / f"clip_vitb32_text_{request.param}.npy")).float()


def test_lengths_and_cosines_are_in_the_documented_ranges(video, texts):
    cosines = cosine(torch.from_numpy(video), texts, 1.0)
    assert 9.6 <= np.linalg.norm(video, axis=1).min() and np.linalg.norm(video, axis=1).max() <= 11.5
    assert 8.0 <= float(texts.norm(dim=1).min()) and float(texts.norm(dim=1).max()) <= 12.5
    assert 0.11 <= float(cosines.min()) and float(cosines.max()) <= 0.35
    assert 0.19 <= float(cosines.median()) <= 0.21
    neighbours = functional.cosine_similarity(torch.from_numpy(video[1:]), torch.from_numpy(video[:-1]))
    assert 0.86 <= float(neighbours.min()) and float(neighbours.max()) <= 0.995


def test_only_the_scale_of_training_makes_probabilities_that_say_something(video, texts):
    sharpness = {
        name: float(cosine(torch.from_numpy(video), texts, scale_of(TAU, name)).softmax(dim=1).amax(dim=1).mean())
        * len(texts)
        for name in ("exp", "raw", "none")
    }  # 1: every class is as likely as any other
    assert sharpness["exp"] > 5 > 1.25 > sharpness["raw"] > sharpness["none"] > 1


def test_a_dot_product_names_the_longest_text(video, texts):
    """With cosine, which class is named does not depend on how long its vector happens to be."""
    features = torch.from_numpy(video)
    named = dot(features, texts, 1.0).argmax(dim=1)
    length_rank = texts.norm(dim=1).argsort(descending=True).argsort()[named]
    assert float(length_rank.float().median()) < 0.05 * len(texts)
    longer = texts * torch.linspace(0.5, 2.0, len(texts))[:, None]
    assert torch.equal(cosine(features, longer, 1.0).argmax(dim=1), cosine(features, texts, 1.0).argmax(dim=1))


def test_pooling_before_or_after_similarity_is_almost_the_same(video, texts):
    """GAP's log: 16.61 and 16.68 mAP; the bins of one shot are nearly equally long and point the same way."""
    features = torch.from_numpy(video)
    before, after = (classifier(texts, similarity_at=at)(features, WHOLE) for at in ("pooled", "bins"))
    assert float((before - after).abs().max()) < 0.02 < float(before.max() - before.median())


@pytest.mark.parametrize("how", HOW)
def test_every_pooling_stays_within_what_cosines_of_real_videos_are(video, texts, how):
    features, segments_ix = torch.from_numpy(video), torch.tensor([[0.0, 30], [4, 10], [11, 11.5], [28, 36]]) / 2
    found = classifier(texts, pooling=how)(features, segments_ix)
    assert 0.10 < float(found.min()) and float(found.max()) < 0.36
    mean = classifier(texts)(features, segments_ix)
    assert float(functional.cosine_similarity(found, mean).min()) > 0.99


def test_contrast_takes_off_what_the_whole_video_shares(video, texts):
    features, middle_ix = torch.from_numpy(video), torch.tensor([[4.0, 10.0]])
    plain, less = (classifier(texts, contrast=part)(features, middle_ix) for part in (0.0, 1.0))
    assert float(plain.mean()) > 0.19 and abs(float(less.mean())) < 0.02
