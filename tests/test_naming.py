"""Similarity, fusion, selection and rejection by hand, and the default way of naming to the last bit."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from standins import dataset, params, with_features
from torch.nn import functional

from tadlib import ideas
from tadlib.data.windows import outside
from tadlib.detector.proposals import Proposals
from tadlib.ideas import rejection
from tadlib.ideas.dot_product import dot
from tadlib.ideas.ensemble import ensemble
from tadlib.naming import fusion
from tadlib.naming.fusion import Detections, fuse, nms_within_classes, select, to_detections
from tadlib.naming.similarity import class_probability, cosine, log_class_probability
from tadlib.segments import roi_mean
from tadlib.workbook import inference
from tadlib.workbook.gathering import gather

ACTIONNESS = torch.tensor([0.9, 0.4, 0.0])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [500.0, -500.0, 0.0]])
SEGMENTS = torch.tensor([[0.0, 4.0], [5.0, 9.0], [2.0, 3.0]])
CLASSES = ("a", "b", "c")


def softmax(row):
    return [math.exp(value - max(row)) / sum(math.exp(other - max(row)) for other in row) for value in row]


BY_HAND = {
    "after_softmax": lambda a, row: [a * p for p in softmax(row)],
    "before_softmax": lambda a, row: softmax([a * value for value in row]),
    "arithmetic": lambda a, row: [0.7 * a + 0.3 * p for p in softmax(row)],
    "geometric": lambda a, row: [a**0.7 * p**0.3 for p in softmax(row)],
    "clip": lambda a, row: softmax(row),
    "detector": lambda a, row: [a * (value == max(row)) for value in row],
}


@pytest.mark.parametrize("how", BY_HAND)
def test_a_fusion_equals_the_formula_written_out(how):
    pairs = zip(ACTIONNESS.tolist(), LOGITS.tolist(), strict=True)
    expected = torch.tensor([BY_HAND[how](actionness, row) for actionness, row in pairs])
    torch.testing.assert_close(fuse(ACTIONNESS, LOGITS, how, 0.3), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("how", BY_HAND)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_scores_are_probabilities_and_never_missing(how, weight, kind):
    scores = fuse(ACTIONNESS, LOGITS, how, weight, kind)
    assert scores.isfinite().all() and scores.min() >= 0 and scores.max() <= 1


def test_a_sigmoid_measures_against_the_average_class():
    logits = torch.tensor([[25.0, 25.0, 22.0]])  # 100 times cosines: the plain sigmoid is 1 for all three
    torch.testing.assert_close(class_probability(logits, "sigmoid"), torch.tensor([[1.0, 1.0, -2.0]]).sigmoid())
    assert class_probability(torch.tensor([[25.0]]), "sigmoid").item() == 0.5
    torch.testing.assert_close(log_class_probability(logits, "sigmoid").exp(), class_probability(logits, "sigmoid"))


def test_cosine_ignores_lengths_and_dot_product_does_not():
    pooled, texts = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(cosine(pooled, texts, 10.0), torch.tensor([[6.0, 8.0], [0.0, 0.0]]))
    torch.testing.assert_close(dot(pooled, texts, 0.5), torch.tensor([[3.0, 2.0], [0.0, 0.0]]))


def test_the_factor_is_always_applied(folder):
    data, texts = gather(params(folder)), torch.tensor([[2.0, 0.0]])
    tau = data.encoder.logit_scale
    known = {"exp": math.exp(tau), "raw": tau, "none": 1.0}
    for (word, factor), heat in itertools.product(known.items(), (1.0, 2.0)):
        asked = params(folder, logit_scale=word, temperature=heat)
        classify = replace(ideas.classifier(data, ("wave",), asked), embed=lambda classes: texts)
        assert classify.compare(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(0.6 * factor / heat)


def test_two_opinions_become_one_in_log_space():
    own, clip = LOGITS[:2], torch.tensor([[0.0, 1.0, 0.0], [0.0, -2.0, 5.0]])
    p, q = own.softmax(dim=1), clip.softmax(dim=1)
    torch.testing.assert_close(ensemble(own, clip, "arithmetic", 0.3).softmax(dim=1), 0.7 * p + 0.3 * q)
    product = p**0.7 * q**0.3
    torch.testing.assert_close(
        ensemble(own, clip, "geometric", 0.3).softmax(dim=1), product / product.sum(dim=1, keepdim=True)
    )
    for how in ("arithmetic", "geometric"):
        for weight, alone in ((0.0, p), (1.0, q)):
            torch.testing.assert_close(ensemble(own, clip, how, weight).softmax(dim=1), alone)


def test_one_class_a_video_by_all_proposals_or_by_the_whole_video():
    scores = torch.tensor([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05]])
    by_all = select(SEGMENTS[:2], scores, CLASSES, keep="class_one")
    by_video = select(SEGMENTS[:2], scores, CLASSES, keep="class_video", video=torch.tensor([0.0, 0.0, 7.0]))
    assert (set(by_all.labels), set(by_video.labels)) == ({"a"}, {"c"})
    rival = select(SEGMENTS[:2], scores, CLASSES[:2], keep="class_video", video=torch.tensor([0.0, 1.0, 7.0]))
    assert set(rival.labels) == {"b"}, "a rival names nothing"
    with pytest.raises(ValueError, match="keep=class_video needs the logits of the whole video, got none"):
        select(SEGMENTS[:2], scores, CLASSES, keep="class_video")


def test_rivals_name_nothing_and_each_video_keeps_its_number():
    scores = torch.tensor([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]])
    proposals = {name: Proposals(SEGMENTS[:2], ACTIONNESS[:2]) for name in "vw"}
    found = to_detections(proposals, dict.fromkeys("vw", scores), CLASSES[:2], {"v": 1, "w": 3})
    assert found["v"].labels == ("a",) and found["w"].labels == ("a", "b", "a")
    assert found["w"].scores.tolist() == pytest.approx([0.5, 0.3, 0.2])


def test_class_specific_keeps_the_five_best_classes_of_each_proposal():
    found = fusion.select(
        SEGMENTS,
        torch.tensor(
            [
                [0.01, 0.90, 0.02, 0.70, 0.50, 0.30, 0.10],
                [0.80, 0.03, 0.60, 0.04, 0.05, 0.06, 0.40],
                [0.20, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20],
            ]
        ),
        "abcdefg",
        keep="class_specific",
    )
    kept = list(zip(found.segments[:, 0].tolist(), found.labels, found.scores.tolist(), strict=True))
    first, second, alike = ([row[1:] for row in kept if row[0] == start] for start in SEGMENTS[:, 0].tolist())
    assert "".join(label for label, _ in first) == "bdefg" and "".join(label for label, _ in second) == "acgfe"
    assert [score for _, score in first] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    assert len(set(alike)) == 5, "classes that score alike are not all kept"
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_background_is_what_lacks_the_class_and_a_class_must_stand_out_from_its_own():
    logits = torch.tensor([[1.0, 10.0], [3.0, 14.0], [99.0, 12.0]])
    absent = torch.tensor([[True, True], [True, True], [False, True]])
    mean, spread = rejection.background(logits, absent)
    torch.testing.assert_close(mean, torch.tensor([2.0, 12.0]))
    torch.testing.assert_close(spread, torch.tensor([1.0, math.sqrt(8 / 3)]))
    with pytest.raises(ValueError, match="class 0 is absent from 0 of 3 examples"):
        rejection.background(logits, torch.zeros(3, 2, dtype=torch.bool))


def test_snippets_outside_every_action_are_background():
    spans = torch.tensor([[1.0, 2.6], [4.0, 9.0]])
    assert outside(5, spans).tolist() == [True, False, False, True, False]  # middles 0.5, 1.5, 2.5, 3.5, 4.5
    assert outside(3, spans[:0]).tolist() == [True] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return with_features(dataset(tmp_path_factory.mktemp("naming") / "own"))


def proposed(data):
    return {video.id: Proposals(SEGMENTS, torch.tensor([0.9, 0.4, 0.2])) for video in data.scored}


def test_the_default_way_of_naming_is_bit_for_bit_the_plain_formula(folder):
    given = params(folder)
    data = gather(given)
    found = inference.name(data, proposed(data), given)
    texts = functional.normalize(data.encoder.texts([f"a video of a person doing {c}" for c in data.competing]), dim=1)
    assert data.competing == ("wave", "clap", "jump", "run") and set(found) == {f"v{number}" for number in range(4, 8)}
    for video_id, detections in found.items():
        features = torch.from_numpy(np.load(folder / "features" / f"{video_id}.npy").astype(np.float32))
        pooled = roi_mean(features, SEGMENTS * 25 / 8, 16)
        logits = (
            math.exp(data.encoder.logit_scale)
            * functional.normalize(pooled, dim=-1)
            @ functional.normalize(texts, dim=-1).T
        )
        scores = (torch.tensor([0.9, 0.4, 0.2])[:, None] * logits.softmax(dim=1))[:, 0]
        order = scores.argsort(descending=True, stable=True)
        assert torch.equal(detections.scores, scores[order]) and torch.equal(detections.segments, SEGMENTS[order])
        assert set(detections.labels) == {"wave"}


def test_a_video_that_shows_the_class_is_told_from_those_that_do_not(tmp_path):
    wave = np.zeros((50, 16), np.float16)
    wave[:, 3] = 1.0
    folder = with_features(dataset(tmp_path / "own"), v7=wave)
    given = params(folder, reject="video", reject_below=4.0)
    data = gather(given)
    kept = {video_id: len(found.scores) for video_id, found in inference.name(data, proposed(data), given).items()}
    assert kept == {"v4": 0, "v5": 0, "v6": 0, "v7": 3}


def alike(*rows):
    """Detections at the same place or elsewhere, best first: (start, end, score, label)."""
    segments = torch.tensor([row[:2] for row in rows], dtype=torch.float32)
    return Detections(segments, torch.tensor([row[2] for row in rows]), tuple(row[3] for row in rows))


SAME_PLACE = {
    "v": alike((0, 10, 0.9, "a"), (0, 10, 0.8, "b"), (0, 9, 0.7, "a"), (20, 30, 0.6, "a")),
    "w": alike((0, 10, 0.5, "a")),
    "nothing": alike(),
}


def thinned(nms, nms_tiou, most=100):
    return nms_within_classes(SAME_PLACE, nms=nms, nms_tiou=nms_tiou, most=dict.fromkeys(SAME_PLACE, most))


def test_detections_are_thinned_among_those_of_their_class_and_video():
    found = thinned("hard", 0.4)
    assert found["v"].labels == ("a", "b", "a") and found["v"].segments.tolist() == [[0, 10], [0, 10], [20, 30]]
    assert found["w"].segments.tolist() == [[0, 10]] and found["nothing"].labels == ()
    for video_id, each in thinned("none", 0.5).items():
        assert torch.equal(each.scores, SAME_PLACE[video_id].scores) and each.labels == SAME_PLACE[video_id].labels


def test_soft_thinning_lowers_the_double_of_a_class_alone_and_the_best_are_kept():
    found = thinned("soft", 0.5, most=3)["v"]
    assert found.labels == ("a", "b", "a") and found.segments[2].tolist() == [20, 30]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    last = thinned("soft", 0.5, most=4)["v"]
    assert float(last.scores[3]) == pytest.approx(0.7 * math.exp(-(0.9**2) / 0.5), rel=1e-5)
