"""Training in episodes: what hides, what stays, and that hidden actions teach nothing."""

import pytest
import torch
from detectors import QUICK, check_resuming, learnable, losses, network, parameters, windows

from tadlib.data.batches import Target, TrainingExtras
from tadlib.detector.additions import Outputs
from tadlib.detector.training import fit
from tadlib.ideas.episodes import each_batch, hide

SEGMENTS = torch.tensor([[0.2, 0.1], [0.5, 0.1], [0.8, 0.1]])
A, B, C = 0, 1, 2
ONLY_A_AND_C = torch.tensor([0, -1, 1])  # places among the shown classes


def target(*classes: int, agnostic: bool = True, found: int = 3) -> Target:
    """The first segments as actions of these classes, of which so many lie well inside the window."""
    segments_cw, labels_ix = SEGMENTS[: len(classes)], torch.tensor(classes)
    return Target(
        segments_cw[:found],
        torch.zeros_like(labels_ix[:found]) if agnostic else labels_ix[:found],
        (segments_cw, labels_ix),
    )


@pytest.mark.parametrize(("classes", "hidden", "shown"), [(10, 0.3, 7), (10, 0.01, 10), (2, 0.9, 1), (1, 0.5, 1)])
def test_a_share_of_the_classes_is_hidden_but_never_all(classes, hidden, shown):
    found_in = windows(((2, 6),), extras=TrainingExtras(names="abcdefghij"[:classes]))
    (batch,) = (each._replace(texts=torch.arange(classes)[:, None].float()) for each in found_in.batches(1))
    found = each_batch(found_in, hidden)(batch, torch.Generator().manual_seed(0)).texts[:, 0].tolist()
    assert len(set(found)) == shown and found == sorted(found)


def test_actions_of_hidden_classes_are_ignored_instead():
    found = hide(target(A, B, C), ONLY_A_AND_C, True)
    assert torch.equal(found.segments_cw, SEGMENTS[[0, 2]]) and found.labels_ix.tolist() == [0, 0]
    assert torch.equal(found.ignored_cw, SEGMENTS[[1]])
    assert torch.equal(found.named[0], SEGMENTS[[0, 2]]) and found.named[1].tolist() == [0, 1]


def test_the_classes_of_a_classifying_detector_are_places_among_the_shown():
    found = hide(target(A, B, C, agnostic=False), ONLY_A_AND_C, False)
    assert found.labels_ix.tolist() == [0, 1] and torch.equal(found.segments_cw, SEGMENTS[[0, 2]])


def test_an_action_with_a_second_name_that_is_shown_stays():
    twice = target(A, B)._replace(segments_cw=SEGMENTS[:1], labels_ix=torch.zeros(1, dtype=torch.int64))
    twice = twice._replace(named=(SEGMENTS[[0, 0]], torch.tensor([A, B])))
    found = hide(twice, ONLY_A_AND_C, True)
    assert len(found.segments_cw) == 1 and len(found.ignored_cw) == 0


def test_what_a_window_cuts_off_and_what_was_ignored_before_is_ignored_too():
    found = hide(target(A, A, B, found=2)._replace(ignored_cw=SEGMENTS[:1]), ONLY_A_AND_C, True)
    assert torch.equal(found.segments_cw, SEGMENTS[:2]) and torch.equal(found.ignored_cw, SEGMENTS[[0, 2]])


def test_nothing_is_learned_from_a_hidden_action():
    outputs = Outputs(SEGMENTS[None, :2].clone().requires_grad_(), torch.zeros(1, 2, requires_grad=True))
    hidden, none = hide(target(A, B), ONLY_A_AND_C, True), target(A)
    terms = losses(outputs, hidden)
    terms["loss"].backward()
    assert outputs.segments_cw.grad[0, 1].abs().sum() == 0 and outputs.actionness_logits.grad[0, 1] == 0
    assert outputs.actionness_logits.grad[0, 0] != 0
    assert terms["loss_class"] < losses(outputs, none)["loss_class"]  # there the second is background


def test_episodes_change_the_training_and_resume_to_the_same_numbers(tmp_path):
    def trained(episodes=0.5, **words):
        model, map_of = network(), each_batch(learnable(), episodes)
        return model, fit(model, learnable(), **QUICK | {"batch_size": 1}, each_batch=map_of, **words)

    assert not torch.equal(*(parameters(trained(share)[0]) for share in (0.5, 0.0)))
    check_resuming(trained, tmp_path / "state.pt", 2)
