"""What is trained to name segments, as a run asks for it: one word each, kept once, on seen classes alone."""

import json

import numpy as np
import pytest
import torch
from standins import dataset, params, with_features
from torch.nn import functional

from tadlib import ideas
from tadlib.detector import proposals as grouping
from tadlib.detector.proposals import Proposals
from tadlib.ideas import head_training, rejection
from tadlib.ideas.trained_naming import examples, snippet_examples, trained
from tadlib.ideas.transfer import transferred
from tadlib.naming.similarity import cosine
from tadlib.segments import roi_align
from tadlib.workbook import inference, naming_study
from tadlib.workbook.gathering import gather

pytestmark = pytest.mark.notebooks
SEGMENTS = torch.tensor([[0.0, 4.0], [5.0, 9.0], [2.0, 3.0]])
ORDERED = {"text": "subactions", "lead": "name", "text_head": "composition"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set whose classes have steps, all of them with the embedding of their class."""
    made = with_features(dataset(tmp_path_factory.mktemp("trained") / "own"))
    said = {
        label: {"Elaboration": {"Description": [f"begin {label}", f"go on {label}", f"end {label}"]}}
        for label in ("clap", "jump", "run", "wave")
    }
    (made / "steps.json").write_text(json.dumps(said))
    return made


def asked(folder, **given):
    """Parameters of a run on the data set, with few epochs."""
    own = {"descriptions": str(folder / "steps.json")} if given.get("text") == "subactions" else {}
    return params(folder, **{"head_epochs": 2} | own | given)


def learned(data, given):
    """What is trained for a run with these parameters."""
    return ideas.call(trained, given, data=data)


def seen(data, given):
    """What it is trained on."""
    background = given.background != "none"
    return snippet_examples(data, background) if given.head_on == "snippets" else examples(data, background)


def proposed(data):
    return {video.id: Proposals(SEGMENTS, torch.tensor([0.9, 0.4, 0.2])) for video in data.scored}


def test_making_or_loading_a_head_moves_no_generator_of_the_run(folder):
    given = asked(folder, head="mlp", head_epochs=1, seed=7)
    data = gather(given)
    drawn = []
    for _ in range(2):  # trained, then loaded; Python's own generator is drawn from by the type checker of the tests
        torch.manual_seed(3)
        np.random.seed(3)
        learned(data, given)
        drawn.append((torch.rand(2).tolist(), np.random.rand()))
    torch.manual_seed(3)
    np.random.seed(3)
    assert drawn == [(torch.rand(2).tolist(), np.random.rand())] * 2


def test_what_is_trained_is_kept_and_features_and_texts_stay_as_they_are(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    files = {path: path.read_bytes() for path in (folder / "features").iterdir()}
    given = params(folder, head="mlp", head_epochs=3, head_lr=0.01, background="learned", pooling="matching_learned")
    data = gather(given)
    before = data.class_embeddings(["clap", "wave"])
    weights = {name: tensor.clone() for name, tensor in data.encoder.model.state_dict().items()}
    first = learned(data, given)
    (kept,) = (data.benchmark.cache / "heads").iterdir()
    written = kept.stat().st_mtime_ns
    states = (each.state_dict().values() for each in (first, learned(data, given)))
    assert all(map(torch.equal, *states)) and kept.stat().st_mtime_ns == written
    assert files == {path: path.read_bytes() for path in (folder / "features").iterdir()}
    assert torch.equal(before, data.class_embeddings(["clap", "wave"]))
    assert all(torch.equal(weights[name], tensor) for name, tensor in data.encoder.model.state_dict().items())
    assert learned(data, params(folder)) is None


def test_examples_are_segments_of_seen_classes_alone_and_background_where_it_is_asked_for(folder):
    data = gather(params(folder))
    found = seen(data, params(folder))
    assert found.bins.shape == (3, 16, 16) and found.labels.tolist() == [0, 1, 2]  # clap, jump, run; never wave
    snippets = torch.from_numpy(np.load(folder / "features" / "v1.npy").astype(np.float32))
    for place, span in enumerate([[-6.25, 6.25], [18.75, 31.25]]):  # [2, 6) s at 25 / 8 snippets a second, beside it
        span = torch.tensor([span]).clamp(0, 50)
        torch.testing.assert_close(found.adjacent[1, place], roi_align(snippets, span, 16)[0])
    assert found.in_video.tolist() == [[True, True]] * 3
    with_nothing = seen(data, params(folder, background="soft"))
    assert with_nothing.labels.tolist() == [0, -1, -1, 1, -1, -1, 2, -1, -1]


def test_snippets_have_the_class_in_which_their_middle_lies(folder):
    given = params(folder, head_on="snippets")
    data = gather(given)
    found = seen(data, given)
    assert found.bins.shape == (39, 1, 16) and found.labels.bincount().tolist() == [13, 13, 13]  # 6.5 .. 18.5 of 50
    every = seen(data, params(folder, head_on="snippets", background="learned"))
    assert len(every.labels) == 150 and int((every.labels == -1).sum()) == 111


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The same data set; in its training videos something unseen happens from 9 to 12 s."""
    made = with_features(dataset(tmp_path_factory.mktemp("mixed") / "own"))
    content = json.loads((made / "annotations.json").read_text())
    for video in content["database"].values():
        video["annotations"].append({"segment": [9, 12], "label": "wave"})
    (made / "annotations.json").write_text(json.dumps(content))
    return made


def test_background_is_where_nothing_happens_whatever_it_is(mixed):
    asked_for = {"head": "mlp", "background": "soft"}
    given = [params(mixed, **asked_for | more) for more in ({}, {"ignore_unseen": "nowhere"})]
    gaps = [int((seen(gather(each), each).labels == -1).sum()) for each in given]
    assert gaps == [9, 6]  # [0, 2], [6, 9] and [12, 16] s of three videos; or [0, 2] and [6, 16]
    of_snippets = {"head_on": "snippets", "head": "mlp", "background": "learned"}
    given = [params(mixed, **of_snippets | more) for more in ({}, {"ignore_unseen": "nowhere"})]
    found = [seen(gather(each), each).labels for each in given]
    assert [int((labels == -1).sum()) for labels in found] == [111 - 3 * 9, 111]  # middles 28.5 .. 36.5 of 50
    assert torch.equal(found[0][found[0] >= 0].bincount(), found[1][found[1] >= 0].bincount())


def test_a_mask_is_not_taught_that_unseen_actions_are_none(mixed, monkeypatch):
    taught = []
    monkeypatch.setattr(head_training, "fit_mask", lambda mask, snippets, inside, *_: taught.append(inside))
    for more in ({}, {"ignore_unseen": "nowhere"}):
        given = params(mixed, pooling="mask", **more)
        learned(gather(given), given)
    assert [(int(inside.sum()), len(inside)) for inside in taught] == [(39, 150 - 27), (39, 150)]


def usual(data, given):
    """How alike background is to the unseen classes."""
    classify = ideas.classifier(data, data.classes.unseen, given)
    return rejection.background(*rejection.examples(data, classify, given.reject))


@pytest.mark.parametrize("more", [{}, {"head": "mlp", "head_residual": False}, {"contrast": 0.5}], ids=str)
def test_what_is_rejected_is_measured_against_snippets_in_which_nothing_happens(mixed, more):
    given = [params(mixed, reject="proposal", **more, ignore_unseen=word) for word in ("negatives", "nowhere")]
    snippets = torch.arange(50.0)[:, None] + torch.arange(2)
    for own, spans in zip(given, ([[2, 6], [9, 12]], [[2, 6]]), strict=True):
        data, outside = gather(own), rejection.outside(50, torch.tensor(spans) * 25 / 8)
        classify = ideas.classifier(data, ("wave",), own)
        logits = torch.cat([classify(data.features(video), snippets)[outside] for video in data.training_videos])
        torch.testing.assert_close(usual(data, own)[0], logits.mean(0))
    nowhere = params(mixed, reject="video")
    with pytest.raises(ValueError, match="nothing unseen in them: pass -p reject none"):
        usual(gather(nowhere), nowhere)


def test_a_region_with_the_same_class_again_is_no_wrong_region(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    content = json.loads((folder / "annotations.json").read_text())
    content["database"]["v0"]["annotations"].append({"segment": [8, 12], "label": "clap"})
    content["database"]["v1"]["annotations"].append({"segment": [8, 12], "label": "run"})
    (folder / "annotations.json").write_text(json.dumps(content))
    given = params(folder, head="mlp", head_loss="contrastive", hard_negatives="region")
    there = seen(gather(given), given).in_video
    assert there.tolist() == [[True, False], [False, True], [True, True], [True, True], [True, True]]


WORDS = [
    {"text_head": "cross", "text": "subactions", "lead": "prompt"},
    {"text_head": "encoder", "text": "subactions", "lead": "name", "head_residual": False},
    *({"background": "learned"}, {"background": "soft", "head": "mlp", "head_loss": "focal"}),
    *({"pooling": "matching_fixed"}, {"pooling": "matching_learned"}, {"pooling": "mask", "head_lr": 0.5}),
    *({"pooling": "mask", "similarity_at": "bins", "head_lr": 0.5}, {"head": "conv", "head_loss": "contrastive"}),
    {"head_loss": "contrastive", "hard_negatives": "all", "rerank": 0.5} | ORDERED,
    {"head": "composition", "head_loss": "grounding", "hard_negatives": "region", "rerank": 1.0},
    *({"head": "mlp", "head_episodes": 0.3}, {"transfer": "map"}, {"transfer": "conse", "head": "mlp"}),
    *({"head": "mlp", "ensemble": "arithmetic", "ensemble_weight": 0.2}, {"proposed_by": "snippets"}),
]


@pytest.mark.parametrize("given", WORDS, ids=str)
def test_every_word_reaches_the_detections(folder, given):
    plain = asked(folder)
    other = asked(folder, **{"head_lr": 0.1, "text_lr": 0.1} | given)
    data, changed = gather(plain), gather(other)
    first, second = (inference.name(d, proposed(d), p) for d, p in ((data, plain), (changed, other)))
    assert set(second) == set(first) and all(found.scores.isfinite().all() for found in second.values())
    assert all(set(found.labels) <= {"wave"} for found in second.values())
    assert any(not torch.equal(first[v].scores, second[v].scores) for v in first)
    verdicts = naming_study.named_segments(changed, ideas.classify(changed, other), other)
    assert verdicts["named"].tolist() == [0], "background is never the answer"


def test_one_training_serves_every_pooling_of_features_and_seeds_and_poolings_that_learn_have_their_own(folder):
    base = {"head": "mlp", "head_epochs": 1, "head_lr": 0.02}
    data = gather(params(folder, **base))
    kept = data.benchmark.cache / "heads"
    learned(data, params(folder, **base))
    before = set(kept.iterdir())
    learned(data, params(folder, pooling="max", **base))
    assert set(kept.iterdir()) == before
    for change in ({"seed": 1}, {"pooling": "mask"}, {"head_episodes": 0.5}, {"head_on": "snippets"}):
        learned(data, params(folder, **base | change))
    assert len(set(kept.iterdir())) == len(before) + 4


def test_mask_weighted_pooling_weighs_bins_by_their_probability(folder):
    """In GAP only the sign of the mask did anything, and turned the similarity round where it was negative."""
    given = asked(folder, pooling="mask", head_epochs=30, head_lr=0.3)
    data = gather(given)
    own, video = learned(data, given).mask, data.test_videos[0]
    found = ideas.classify(data, given)(video, SEGMENTS)
    bins = roi_align(torch.from_numpy(data.store.read(video.id).astype(np.float32)), SEGMENTS * 25 / 8, 16)
    factor = np.exp(data.encoder.logit_scale)
    for row, segment in zip(found, bins, strict=True):
        weights = [float(own(each[None]).sigmoid()) for each in segment]
        mean = sum(w * each for w, each in zip(weights, segment, strict=True)) / sum(weights)
        torch.testing.assert_close(row[None], cosine(mean[None], data.class_embeddings(data.competing), float(factor)))
    assert max(weights) > 1.5 * min(weights)


def test_transfer_is_the_textbook_formula_written_out():
    generator = torch.Generator().manual_seed(0)
    logits, seen, unseen = (torch.randn(shape, generator=generator) for shape in ((2, 12), (12, 5), (3, 5)))
    mapped, mixed = (transferred(logits, seen, unseen, how, 4.0) for how in ("map", "conse"))
    unit = functional.normalize(seen, dim=1)
    for n in range(2):
        likely = logits[n].softmax(dim=0)
        best = likely.argsort(descending=True)[:10].tolist()
        shown = sum(likely[s] * unit[s] for s in best)
        for k in range(3):
            alike = torch.stack([4.0 * functional.cosine_similarity(unseen[k], seen[s], dim=0) for s in range(12)])
            by_hand = sum(w * value for w, value in zip(alike.softmax(dim=0), logits[n], strict=True))
            assert float(mapped[n, k]) == pytest.approx(float(by_hand), abs=1e-5)
            by_hand = 4.0 * functional.cosine_similarity(unseen[k], shown, dim=0)
            assert float(mixed[n, k]) == pytest.approx(float(by_hand), abs=1e-5)


def test_groups_of_snippets_are_runs_above_levels_by_their_contrast(folder):
    data = gather(params(folder))
    grid = data.grid(data.test_videos[0])
    likely = torch.full((50, 2), 0.1)
    likely[10:20, 0] = 0.9
    found = grouping.grouped(likely, grid, 16.0)
    assert found.segments[0].tolist() == pytest.approx([10 * 8 / 25, 20 * 8 / 25]) and len(found.scores) == 1
    assert float(found.scores[0]) == pytest.approx(0.8)
    assert len(grouping.grouped(torch.full((50, 2), 0.5), grid, 16.0).scores) == 0
    likely[14:16, 0] = 0.5
    runs, _ = grouping.snippet_runs(likely[:, 0].numpy())
    assert runs.tolist() == [[10, 14], [10, 20], [16, 20]], "below the valley one group, above it two"


def test_snippets_propose_where_their_class_is(tmp_path):
    wave = np.zeros((50, 16), np.float16)
    wave[:, 0] = 1.0
    wave[6:19] = np.eye(16)[3]
    folder = with_features(dataset(tmp_path / "own"), v7=wave)
    given = params(folder, proposed_by="snippets")
    data = gather(given)
    found = ideas.proposals({"v7": Proposals(SEGMENTS, torch.ones(3))}, data, given)["v7"]
    torch.testing.assert_close(found.segments, torch.tensor([[6 * 8 / 25, 19 * 8 / 25]]))
    given = params(folder, proposed_by="both")
    both = ideas.proposals({"v7": Proposals(SEGMENTS, torch.ones(3))}, data, given)
    assert len(both["v7"].scores) == 4


def test_reranking_lowers_what_is_no_better_than_what_lies_beside(tmp_path):
    wave = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float16)
    wave[:, :4] = 0
    wave[6:19] = 5 * np.eye(16)[3]
    folder = with_features(dataset(tmp_path / "own"), v7=wave)
    given = params(folder, head="mlp", head_loss="contrastive", hard_negatives="region", rerank=1.0, head_epochs=1)
    data = gather(given)
    spans = torch.tensor([[6 * 8 / 25, 19 * 8 / 25], [9.0, 12.0]])
    scores = ideas.proposals({"v7": Proposals(spans, torch.tensor([0.2, 0.9]))}, data, given)["v7"].scores
    assert float(scores[0]) > 0.9 > float(scores[1])
    found = {"v7": Proposals(spans, torch.tensor([0.2, 0.9]))}
    half = ideas.proposals(found, data, given.but(rerank=0.5))
    torch.testing.assert_close(half["v7"].scores, (scores * torch.tensor([0.2, 0.9])).sqrt())


def test_a_context_without_a_text_tower_is_refused(folder):
    given = params(folder, context=4)
    with pytest.raises(
        ValueError, match="context=4 needs CLIP's own tokenizer and text tower, got those of text_features.npz"
    ):
        learned(gather(given), given)
