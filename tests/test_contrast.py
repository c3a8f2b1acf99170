"""Pairs and their hard negatives, grounding and episodes, each against the formula in plain loops."""

import math

import pytest
import torch
from lessons import LABELS, made, segments, taught, texts
from torch.nn import functional

from tadlib.ideas.head_losses import adjacent, contrastive, grounded, repeated_near, shuffled, targets
from tadlib.ideas.head_training import HeadTraining, NamingHead, learn, loss_of
from tadlib.naming.text import TextEmbeddings


def info_nce(right, rivals):
    """Minus the log of the right one's share, one exponential after the other."""
    return math.log(sum(math.exp(each - right) for each in [right, *rivals]))


def test_the_contrastive_loss_in_plain_loops():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 3, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, -1, 1])
    orders, regions = (torch.randn(6, 2, generator=generator) for _ in range(2))
    orders[4] = orders[1, 0] = regions[2, 1] = -torch.inf
    found = contrastive(logits, labels, targets(labels, 3), orders, regions)
    read, seen = [], []
    for n, label in enumerate(labels.tolist()):
        texts_of = [*logits[n].tolist(), *orders[n].tolist()]
        wanted = [1 / 3] * 3 if label < 0 else [float(k == label) for k in range(3)]
        read.append(
            sum(w * info_nce(texts_of[k], texts_of[:k] + texts_of[k + 1 :]) for k, w in enumerate(wanted) if w > 0)
        )
        if label >= 0:
            others = [float(logits[m, label]) for m in range(6) if labels[m] != label]
            seen.append(info_nce(float(logits[n, label]), [*others, *regions[n].tolist()]))
    assert float(found) == pytest.approx((sum(read) / 6 + sum(seen) / 5) / 2, abs=1e-5)


def test_grounding_in_plain_loops():
    bins, steps = segments(number=3).bins, texts(steps=3).steps
    found = grounded(bins, *steps, 5.0)
    for n in range(3):
        for k in range(4):
            words = [word for word, empty in zip(steps.embeddings[k], steps.padding[k], strict=True) if not empty]
            total = 0.0
            for word in words:
                alike = [5.0 * float(functional.cosine_similarity(row, word, dim=0)) for row in bins[n]]
                weights = [math.exp(each) / sum(map(math.exp, alike)) for each in alike]
                total += sum(w * each for w, each in zip(weights, alike, strict=True))
            assert float(found[n, k]) == pytest.approx(total / len(words), abs=1e-4)


def test_another_order_holds_the_same_steps_and_the_name_stays_in_front():
    torch.manual_seed(0)
    steps = texts(steps=4, classes=30).steps
    for name_first in (True, False):
        turned = shuffled(steps, name_first)
        for row in range(30):
            real = int((~steps.padding[row]).sum())
            before, after = steps.embeddings[row, :real], turned.embeddings[row, :real]
            assert not torch.equal(before, after), "never the right order"
            assert torch.equal(before.sum(dim=1).sort().values, after.sum(dim=1).sort().values)
            assert torch.equal(before[0], after[0]) or not name_first
            assert torch.equal(turned.embeddings[row, real:], steps.embeddings[row, real:])
    few = TextEmbeddings(torch.randn(2, 2, 3), torch.tensor([[False, True], [False, False]]))
    assert torch.equal(shuffled(few, name_first=True).embeddings, few.embeddings)


def test_what_lies_beside_a_segment_is_as_long_and_in_the_video():
    spans = torch.tensor([[10.0, 14.0], [1.0, 5.0], [16.0, 22.0], [3.0, 3.0]])
    regions, there = adjacent(spans, 25)
    assert regions[0].tolist() == [[6, 10], [14, 18]] and regions[1].tolist() == [[0, 1], [5, 9]]
    assert regions[2].tolist() == [[10, 16], [22, 25]]
    assert there.tolist() == [[True, True], [False, True], [True, True], [False, False]]


def test_a_stretch_with_an_action_of_the_same_class_is_known():
    spans, labels = torch.tensor([[10.0, 14.0], [15.0, 18.0], [6.0, 9.9], [30.0, 33.0]]), torch.tensor([0, 0, 1, 0])
    assert repeated_near(spans, labels, 40.0).tolist() == [[False, True], [True, False], [False, False], [False, False]]


@pytest.mark.parametrize("loss", ["contrastive", "grounding"])
def test_pairs_and_hard_negatives_are_overfitted(loss):
    semantics = made(head="composition", text_head="composition", lead="name")
    examples, said = segments(), texts(steps=4)
    history = taught(semantics, examples, said, head_loss=loss, hard_negatives="all", head_epochs=60)
    assert history[-1] < 0.2 < history[0]
    with torch.no_grad():
        right = semantics.logits(examples.bins, said.steps)
        assert torch.equal(right.argmax(dim=1), LABELS)
        negatives = semantics.hard_negatives(examples, said.steps)
        assert list(negatives) == ["orders", "regions"]
        assert all((logits < right.gather(1, LABELS[:, None])).all() for logits in negatives.values())


def test_what_has_no_order_or_no_class_or_lies_outside_is_no_hard_negative():
    labels, in_video = LABELS.where(LABELS != 1, -1), torch.rand(8, 2) > 0.5
    given = segments()._replace(labels=labels, in_video=in_video), texts(steps=2).steps
    found = made(text_head="conv", hard_negatives="all").hard_negatives(*given)
    assert torch.equal(found["orders"].isneginf().all(1), (LABELS == 3) | (labels == -1))  # class 3 has a single step
    assert torch.equal(found["regions"].isneginf(), ~in_video)


def gradients(semantics):
    return [weight.grad.clone() for weight in semantics.parameters() if weight.grad is not None]


def test_an_episode_adds_the_gradient_at_where_the_others_would_go():
    """Written out with two networks: one is moved by the others' step, and asked about what was held out."""
    examples, said, rate = segments(), texts(), 0.1
    words = {"head": "mlp", "head_residual": False, "factor": 20.0, "head_lr": rate}
    semantics = made(**words, head_episodes=0.25)
    state = {name: value.clone() for name, value in semantics.state_dict().items()}
    rates = {weight: rate for weight in semantics.parameters() if weight.requires_grad}
    torch.manual_seed(3)
    total = learn(semantics, examples, said, rates)
    found = gradients(semantics)
    assert all(torch.equal(state[name], value) for name, value in semantics.state_dict().items()), "it is where it was"
    torch.manual_seed(3)
    held, *rest = torch.randperm(4).tolist()
    rest.sort()
    first = NamingHead(HeadTraining(**words), 16)
    first.load_state_dict(state)
    kept = examples.only(LABELS != held)
    kept = kept._replace(labels=torch.tensor([rest.index(label) for label in kept.labels.tolist()]))
    near = loss_of(first, kept, said.only(rest))
    near.backward()
    second = NamingHead(HeadTraining(**words), 16)
    second.load_state_dict(state)
    with torch.no_grad():
        for mine, other in zip(second.parameters(), first.parameters(), strict=True):
            if other.grad is not None:
                mine -= rate * other.grad
    far = loss_of(second, examples.only(LABELS == held), said)
    far.backward()
    assert total == pytest.approx(near.item() + far.item(), rel=1e-5)
    for got, a, b in zip(found, gradients(first), gradients(second), strict=True):
        torch.testing.assert_close(got, a + b)
