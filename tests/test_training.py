"""Training: it learns, it repeats itself, and it goes on where it stopped."""

import math
from collections.abc import Mapping
from functools import partial

import detectors
import pytest
import torch
from detectors import QUICK, Stopped, learnable, network, parameters, some, step_of, stop_after, trained, windows

from tadlib.data.batches import Batch, WindowSet
from tadlib.detector.additions import Outputs
from tadlib.detector.layers import place_in_window, sine_embedding
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import predict
from tadlib.detector.training import NonFiniteLoss, Trainer, fit
from tadlib.ideas.episodes import each_batch
from tadlib.ideas.quality import Quality
from tadlib.ideas.salience import Salience


def loop(trainer: Trainer, criterion: DetectionLoss, model: ConditionalDETR | None = None) -> list[dict[str, float]]:
    """The loop of a reader who trains by hand."""
    for _ in trainer.epochs():
        for batch in trainer.batches():
            outputs = (model or trainer.model)(batch.features, batch.padding, batch.texts)
            trainer.step(criterion(outputs, batch))
    return trainer.history


REFUSED = {
    r"make training_windows\(..., labelled=True\)": lambda: Trainer(network(embedding_dim=4), learnable()),
    "labelled for a detector of at least 2 classes, got 1": lambda: fit(network(), learnable(["x", "y"])),
    "schedule is unknown: 'steps'; did you mean 'step'?": lambda: fit(network(), learnable(), schedule="steps"),
    "at least 1 each, got epochs=-1": lambda: fit(network(), learnable(), epochs=-1),
    "got lr=-1, lr_backbone=0.001, warm_up=0.05": lambda: fit(network(), learnable(), lr=-1),
    "got .*, warm_up=1.0": lambda: fit(network(), learnable(), warm_up=1.0),
    "device 'xla:1' is not available here": lambda: fit(network(), learnable(), device=torch.device("xla:1")),
    "got queries=0, width=16, heads=2": lambda: network(queries=0),
    "width must be even and a multiple of heads; got queries=5, width=16, heads=3": lambda: network(heads=3),
    "overlap_loss is unknown: 'GIoU'": lambda: DetectionLoss(overlap_loss="GIoU"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_cannot_be_trained_as_asked_is_told(told):
    with pytest.raises(ValueError, match=told):
        REFUSED[told]()


@pytest.mark.parametrize("told", ["got other layers after this Trainer was made", "of another network"])
def test_a_network_that_is_not_the_trainers_is_not_left_untrained(told):
    """As in a notebook where the cell of the network ran again, and that of the Trainer did not."""
    made, found_in = network(), learnable()
    trainer = Trainer(made, found_in, **QUICK)
    made.add(Salience()) if "layers" in told else None
    with pytest.raises(RuntimeError, match=told):
        loop(trainer, DetectionLoss(), network())


def test_a_network_that_was_trained_already_starts_again_from_its_first_weights_and_averages():
    model, found_in = network(), learnable()
    first = fit(model, found_in, **QUICK, ema=True)
    weights = parameters(model)
    with pytest.warns(UserWarning, match="starts again from the weights it was made with"):
        again = fit(model, found_in, **QUICK, ema=True)
    assert detectors.without_clock(first) == detectors.without_clock(again)
    assert torch.equal(weights, parameters(model))


def test_a_trainer_is_for_one_loop():
    model = network()
    trainer = Trainer(model, windows(((2, 6),)), **QUICK, device="cpu")
    loop(trainer, DetectionLoss())
    learned = parameters(model).clone()
    with pytest.raises(RuntimeError, match=rf"history of {len(trainer.history)} epoch\(s\): a Trainer is for one"):
        loop(trainer, DetectionLoss())
    assert torch.equal(parameters(model), learned)


@pytest.mark.notebooks
def test_convolutions_and_a_text_head_learn_too():
    texts = torch.eye(4)[:2]
    found_in = windows(((2, 6),), ((9, 15),), classes=["x", "y"], names="xy")
    model = network(width=32, dropout=0.0, conv_layers=1, embedding_dim=4)
    history = fit(model, found_in, epochs=100, batch_size=2, lr=2e-3, lr_backbone=1e-3, texts=texts)
    assert history[-1]["loss"] < history[0]["loss"] / 5
    predictions = predict(model, found_in, texts=texts)
    best, others = predictions.scores.topk(2, dim=1).values.T
    assert best.min() > 0.5 > others.max()  # what training told apart
    for place in range(2):
        best = predictions.scores[place].argmax()
        assert (texts @ predictions.embeddings[place, best]).argmax() == place


def test_the_seed_alone_says_which_numbers_there_are(tmp_path):
    one, one_history = trained(seed=3)
    torch.rand(1000)
    other, other_history = trained(seed=3, checkpoint=tmp_path / "deep" / "state.pt")
    assert torch.equal(parameters(one), parameters(other))
    assert detectors.without_clock(one_history) == detectors.without_clock(other_history)
    assert not torch.equal(parameters(one), parameters(trained(seed=4)[0]))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.pt"]


LOOPS = {
    "everything else": {"accumulate": 2, "ema": True, "dtype": torch.bfloat16, "schedule": "step", "select": "loss"},
    "episodes": {"each_batch": each_batch(learnable(), 0.5)},
}


@pytest.mark.parametrize("words", LOOPS.values(), ids=LOOPS)
def test_a_loop_of_ones_own_gives_what_fit_gives(words, tmp_path):
    ours, own = (network(additions=[Quality()], dropout=0.1) for _ in range(2))
    history = fit(ours, learnable(jitter=True), **(QUICK | words), checkpoint=tmp_path / "ours.pt")
    trainer = Trainer(own, learnable(jitter=True), **(QUICK | words), checkpoint=tmp_path / "own.pt")
    rows = loop(trainer, DetectionLoss(additions=own.additions))
    assert torch.equal(parameters(own), parameters(ours))
    assert detectors.without_clock(rows) == detectors.without_clock(history)
    assert not torch.equal(parameters(ours), parameters(network(additions=[Quality()], dropout=0.1)))
    assert (tmp_path / "own.pt").is_file()


RESUMED = {
    "ema, accumulate, step schedule": {"batch_size": 1, "accumulate": 3, "ema": True, "schedule": "step"},
    "float16 and its scale": {"dtype": torch.float16},
}


@pytest.mark.parametrize("words", RESUMED.values(), ids=RESUMED)
def test_resuming_equals_not_having_stopped(words, tmp_path, monkeypatch):
    monkeypatch.setattr("tadlib.detector.training.INITIAL_LOSS_SCALE", 2.0**16)  # which float16 lowers thrice
    detectors.check_resuming(partial(trained, **words), tmp_path / "state.pt", 1, 4)


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_finished_is_loaded_and_not_trained_again(ema, tmp_path):
    words, epochs = {"ema": ema, "checkpoint": tmp_path / "state.pt"}, []
    model, history = trained(**words)
    again, same = trained(**words, progress=lambda done, *_: epochs.append(done))
    assert epochs == []
    assert same == history  # clock and all
    assert torch.equal(parameters(again), parameters(model))


def test_a_history_row_says_what_happened():
    epochs = []
    history = trained(progress=lambda done, total, text: epochs.append((done, total, text)))[1]
    names = {"loss_class", "loss_l1", "loss_giou", "matched_tiou", "loss"}
    names |= {"epoch", "lr", "windows", "seconds", "memory"}
    assert all(row.keys() == names for row in history)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert [done[:2] for done in epochs] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert all(row["windows"] == 5 and row["seconds"] > 0 and 50 < row["memory"] < 50_000 for row in history)
    assert epochs[0][2].startswith(f"training, loss {history[0]['loss']:.3f}")
    weighted = 3 * history[0]["loss_class"] + 5 * history[0]["loss_l1"] + 2 * history[0]["loss_giou"]
    assert history[0]["loss"] == pytest.approx(weighted, rel=1e-4)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_non_finite_loss_is_named(value):
    message = r"epoch 1: loss_class=[\d.]+, loss_l1=[\d.]+, .*loss=(inf|nan); lower lr \(0.01\) or clip_norm"
    with pytest.raises(NonFiniteLoss, match=message):
        trained(criterion=DetectionLoss(loss_class=value))


def test_a_non_finite_loss_leaves_the_last_good_checkpoint(tmp_path):
    with pytest.raises(Stopped):
        trained(checkpoint=tmp_path / "state.pt", progress=stop_after(2))
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(NonFiniteLoss, match="epoch 3"):
        trained(criterion=DetectionLoss(loss_class=math.inf), checkpoint=tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_four_batches_of_four_step_like_one_of_sixteen(clip_norm):
    same = {"epochs": 3, "clip_norm": clip_norm, "lr": 1e-3}
    whole, parts = (
        step_of(some(16), same | {"batch_size": size, "accumulate": together}) for size, together in ((16, 1), (4, 4))
    )
    assert whole.abs().max() > 1e-4
    torch.testing.assert_close(parts, whole, atol=1e-8, rtol=0)


def rates(**words) -> list[float]:
    """The learning rate of each of a hundred steps."""
    trainer = Trainer(network(), some(4), epochs=100, batch_size=4, lr=1.0, **words)
    found = []
    for _ in range(trainer.steps):
        found.append(trainer.rates.get_last_lr()[0])
        trainer.optimiser.step()
        trainer.rates.step()
    return found


def test_the_cosine_schedule_rises_then_falls_to_nothing_and_the_other_to_a_tenth_every_two_fifths():
    found, steps, warm = rates(), rates(schedule="step"), 5
    assert len(found) == 100 and found[:warm] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert found[warm] == 1.0 and found[warm:] == sorted(found[warm:], reverse=True)
    assert found[52] == pytest.approx(0.5, abs=0.02) and found[-1] < 0.001
    assert [steps[step] for step in (5, 39, 40, 79, 80, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("size", "accumulate", "steps"), [(1, 1, 10), (2, 1, 6), (2, 2, 4), (1, 3, 4), (9, 9, 2)])
def test_steps_are_counted_with_the_last_short_group(size, accumulate, steps):
    trainer = Trainer(network(), some(5), epochs=2, batch_size=size, accumulate=accumulate)
    assert trainer.steps == steps
    loop(trainer, DetectionLoss())
    assert trainer.rates.last_epoch == steps


def test_a_backbone_rate_of_zero_freezes_the_convolutions_alone():
    model = network(conv_layers=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, some(4), **QUICK | {"epochs": 2, "lr_backbone": 0.0})
    still = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert still == {"backbone.layers.0.weight", "backbone.layers.0.bias"}


def test_with_ema_the_model_ends_as_its_average():
    start = parameters(network())
    last, averaged = (parameters(trained(batch_size=5, epochs=1, ema=ema)[0]) for ema in (False, True))
    torch.testing.assert_close(averaged - start, 9 / 11 * (last - start), atol=1e-6, rtol=1e-4)


def plain_answers(model: ConditionalDETR, batch: Batch, disturbed: bool) -> Outputs:
    """What a detector without any idea answers, written out."""
    position = sine_embedding(place_in_window(batch.padding), model.width)
    static = model.normalise(batch.features)
    memory = model.backbone(model.project(model.disturb(static)), batch.padding) if disturbed else model.project(static)
    for layer in model.encoder:
        memory = layer(memory, position, None)
    queries, places = model.queries.embedding, model.queries.places
    base = places + model.queries.centre(queries)
    sine = sine_embedding(base[:, 0].sigmoid(), model.width)
    x, answers = torch.zeros(len(memory), *queries.shape), []
    for layer in model.decoder:
        reference = sine * model.scale(x) if answers else sine.expand_as(x)
        x = layer(x, queries, reference, memory, position, None)
        offset = model.segment(x)
        segments_cw = torch.cat([offset[..., :1] + base, offset[..., 1:]], dim=-1).sigmoid()
        answers.append(Outputs(segments_cw, model.actionness(x)[..., 0]))
    return answers[-1]._replace(earlier=tuple(answers[:-1]))


def plain_training(model: ConditionalDETR, found_in: WindowSet, words: Mapping, disturbed: bool) -> list[float]:
    """Training without any idea, written out; returns the mean loss of every epoch."""
    torch.manual_seed(0)
    epochs, size, lr, warm_up = words["epochs"], words["batch_size"], words["lr"], 0.05
    shuffling = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, fused=True)
    batches = math.ceil(len(found_in) / size)
    steps, rows = epochs * batches, []
    for epoch in range(epochs):
        losses = []
        for place, batch in enumerate(found_in.batches(size, shuffling)):
            done = (epoch * batches + place) / steps - warm_up
            rate = 0.5 * (1 + math.cos(math.pi * done / (1 - warm_up))) if done >= 0 else 1 / (warm_up * steps + 1)
            optimiser.param_groups[0]["lr"] = lr * rate  # of so few steps the first alone is in the warm-up
            loss = DetectionLoss()(plain_answers(model, batch, disturbed), batch)["loss"]
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimiser.step()
            losses.append(loss.item())
        rows.append(sum(losses) / len(losses))
    return rows


OFF = {"plain": {}, "as for the demo": {"conv_layers": 2, "feature_noise": 0.5, "feature_shift": 0.5}}


@pytest.mark.parametrize("words", OFF.values(), ids=OFF)
def test_with_every_idea_off_training_is_the_plain_one(words):
    """What is off costs nothing and changes nothing: no parameter more, no number drawn, no other step."""
    training = {"epochs": 3, "batch_size": 2, "lr": 1e-3}
    start, ours, plain = parameters(network(**words)), network(**words).train(), network(**words).train()
    history = fit(ours, some(5), **training, lr_backbone=1e-3)
    losses = plain_training(plain, some(5), training, disturbed=bool(words))
    assert all(parameter.grad is not None for parameter in plain.parameters())
    moved = (parameters(plain) - start).norm()
    assert moved > 0.1 and (parameters(ours) - parameters(plain)).norm() < 1e-4 * moved
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-5)


def test_the_optimiser_holds_parameters_in_the_models_order():
    # a resumed training finds the state of each by its place: an order that differs by process mixes them up
    model = network(conv_layers=3)
    trainer = Trainer(model, some(2))
    slow = list(model.backbone.parameters())
    held = [parameter for group in trainer.optimiser.param_groups for parameter in group["params"]]
    rest = [parameter for parameter in model.parameters() if not any(parameter is other for other in slow)]
    assert len(slow) == 6 and all(one is other for one, other in zip(held, [*rest, *slow], strict=True))
