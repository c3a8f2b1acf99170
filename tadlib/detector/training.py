"""Training loop: shuffled windows, AdamW with a learning-rate schedule, checkpoints that resume to the same numbers."""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tadlib import devices
from tadlib.data.batches import Batch, WindowSet
from tadlib.data.checks import one_of
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.files import Progress, silent
from tadlib.tensors import usable, write_tensors

STEP_INTERVAL, STEP_FACTOR = 0.4, 0.1  # step schedule: after each 0.4 of the epochs the rate falls to a tenth
PROCESS = uuid4().hex  # identifies this process, so that its own training time is not counted twice after a resume
EMA_DECAY = 0.99
INITIAL_LOSS_SCALE = 2.0**10  # of float16 gradients: losses of order ten do not overflow, so no first step is lost


class NonFiniteLoss(RuntimeError):
    """A loss or an output of the network is NaN or infinite; the message names the epoch."""


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of weights by name."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def fit(
    model: ConditionalDETR, windows: WindowSet, criterion: DetectionLoss | None = None, **words: Any
) -> list[dict[str, float]]:
    """Train `model` in place and return its history; `words` are keyword arguments of `Trainer`."""
    criterion, trainer = criterion or DetectionLoss(additions=model.additions), Trainer(model, windows, **words)
    for _ in trainer.epochs():
        for batch in trainer.batches():
            trainer.step(criterion(model(batch.features, batch.padding, batch.texts), batch))
    return trainer.history


class Trainer:
    """All parts of a training except model and loss: batches, optimiser, schedule, checkpoint, history.

    An optimiser step takes `accumulate` batches. The learning rate warms up for the share `warm_up` of the steps to
    `lr` (`lr_backbone` for the convolutions), then decays as a cosine or in steps (`schedule`). With `ema` the final
    weights are an exponential moving average; with `select` other than last they are those of the epoch where this
    metric of the history is highest. `texts` are class embeddings, for a detector that reads them. `each_batch` maps
    every batch. `device` is a torch device or auto, cpu, cuda, mps. With a `checkpoint` the state is saved after every
    epoch, and training resumes from the file if it exists, to the same numbers as without interruption; the caller
    ensures that the file belongs to this training. `watch` returns metrics of the model after each epoch; `log` gets
    each finished row.

    Raises ValueError for a word or number that no training can have, for a device that is not available, and for a
    detector with class embeddings and windows without labels.
    """

    def __init__(  # noqa: PLR0913  one word for each choice of a training
        self,
        model: ConditionalDETR,
        windows: WindowSet,
        *,
        epochs: int = 40,
        batch_size: int = 16,
        accumulate: int = 1,
        lr: float = 1e-3,
        lr_backbone: float = 1e-3,
        weight_decay: float = 1e-4,
        clip_norm: float = 0.1,
        schedule: str = "cosine",
        warm_up: float = 0.05,
        ema: bool = False,
        select: str = "last",
        seed: int = 0,
        device: torch.device | str = devices.CPU,
        dtype: torch.dtype = torch.float32,
        compile: bool = False,
        deterministic: bool = False,
        texts: Float[Tensor, "k e"] | None = None,
        each_batch: Callable[[Batch, torch.Generator], Batch] | None = None,
        checkpoint: Path | None = None,
        watch: Callable[[ConditionalDETR], Mapping[str, float]] | None = None,
        log: Callable[[Mapping[str, float]], None] | None = None,
        progress: Progress = silent,
    ) -> None:
        if model.embedding is not None and windows.classes is None:
            raise ValueError("a detector with embedding_dim learns classes: make training_windows(..., labelled=True)")
        one_of("schedule", schedule, ("cosine", "step"))
        if min(epochs, batch_size, accumulate) < 1:
            raise ValueError(f"at least 1 each, got epochs={epochs}, batch_size={batch_size}, accumulate={accumulate}")
        if not (min(lr, lr_backbone) >= 0 and 0 <= warm_up < 1):
            raise ValueError(f"lr must be at least 0 and warm_up in [0, 1), got {lr=}, {lr_backbone=}, {warm_up=}")
        device = devices.pick(device)
        self.model, self.windows, self.device = model.to(device), windows, device
        model.dtype = dtype
        if compile:
            model.compile_training(replayed=accumulate == 1)
        self.number_of_epochs, self.batch_size, self.accumulate = epochs, batch_size, accumulate
        self.lr, self.clip_norm, self.schedule, self.warm_up = lr, clip_norm, schedule, warm_up
        self.select, self.seed, self.deterministic, self.progress = select, seed, deterministic, progress
        self.texts = None if texts is None else texts.to(device)
        self.each_batch, self.checkpoint, self.watch, self.log = each_batch, checkpoint, watch, log
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []
        self.average = copied(model.state_dict()) if ema else {}
        self.best: dict[str, Tensor] = {}  # weights of the selected epoch
        self.scaler = torch.amp.GradScaler(device.type, INITIAL_LOSS_SCALE, enabled=dtype == torch.float16)
        slow = list(model.backbone.parameters())
        fast = [parameter for parameter in model.parameters() if not any(parameter is other for other in slow)]
        # in the model's order, which restoring the optimiser's state needs
        groups = [{"params": fast, "lr": lr}] + ([{"params": slow, "lr": lr_backbone}] if slow else [])
        self.optimiser = torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
        self.steps = epochs * math.ceil(math.ceil(len(windows) / batch_size) / accumulate)
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        self._sums: dict[str, Tensor] = {}
        self._begun = False  # whether `epochs` was called
        self._resumed = 0  # number of epochs in the history that another process trained
        self._steps_done = self._batches_left = 0  # optimiser steps done in this epoch, and batches until the next one

    @property
    def seconds_before(self) -> float:
        """Seconds of training spent by earlier processes whose checkpoint this one resumed from."""
        return sum(row["seconds"] for row in self.history[: self._resumed])

    def epochs(self) -> Iterator[int]:
        """Yield the numbers of the epochs still to be trained, from 1; each epoch adds a row to the history.

        A model that was trained before starts again from its initial weights, with a warning. Raises RuntimeError if
        called a second time, as the optimiser and schedule are used up, or if layers were added to the model meanwhile.
        """
        if self._begun:
            message = f"this Trainer was started before and has a history of {len(self.history)} epoch(s)"
            raise RuntimeError(f"{message}: a Trainer is for one loop, so run the cell that makes it again")
        self._begun = True
        held = {id(parameter) for group in self.optimiser.param_groups for parameter in group["params"]}
        if held != {id(parameter) for parameter in self.model.parameters()}:
            raise RuntimeError("the network got other layers after this Trainer was made: run the Trainer's cell again")
        devices.seed_all(self.seed)
        self._start()
        with devices.only_deterministic(self.deterministic):
            for epoch in range(len(self.history) + 1, self.number_of_epochs + 1):
                started, self._sums, self._steps_done = time.perf_counter(), {}, 0
                self.model.train()
                yield epoch
                self._end_epoch(epoch, started)
        if chosen := self.best or self.average:
            self.model.load_state_dict(chosen)

    def batches(self) -> Iterator[Batch]:
        """Yield the shuffled windows of an epoch in batches on the device."""
        batches = (self._prepared(each) for each in self.windows.batches(self.batch_size, self.generator))
        while group := tuple(islice(batches, self.accumulate)):
            self._batches_left = len(group)
            yield from (batch._replace(step=group) for batch in group)

    def step(self, losses: Mapping[str, Tensor]) -> None:
        """Back-propagate `losses["loss"]` and step the optimiser when due; the other terms go to the history.

        Raises NonFiniteLoss where the loss is NaN or infinite, and RuntimeError where it is of another network.
        """
        if not torch.isfinite(losses["loss"]):
            terms = ", ".join(f"{name}={term.item():.3g}" for name, term in losses.items())
            raise NonFiniteLoss(f"epoch {len(self.history) + 1}: {terms}; lower lr ({self.lr}) or clip_norm")
        self.scaler.scale(losses["loss"]).backward()
        if all(parameter.grad is None for parameter in self.model.parameters()):
            raise RuntimeError("this loss is of another network than the Trainer's: make the Trainer anew, in its cell")
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._batches_left -= 1
        if self._batches_left > 0:
            return
        self._steps_done += 1
        self.scaler.unscale_(self.optimiser)
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.rates.step()
        if self.average:
            step = self.rates.last_epoch
            average = get_ema_multi_avg_fn(min(EMA_DECAY, (1 + step) / (10 + step)))  # initial weights fade
            average(list(self.average.values()), list(self.model.state_dict().values()), None)  # few kernel launches

    def _start(self) -> None:
        """Load the checkpoint if there is one; otherwise reset the model to its initial weights."""
        trained = self.model.first_weights
        state = None if self.checkpoint is None else usable(self.checkpoint, self._state(), self.device)
        # parts added since the first training have only their current weights
        self.model.first_weights = copied(self.model.state_dict()) | trained
        if state is not None:
            self._load(state)
        elif trained:
            self.model.load_state_dict(self.model.first_weights)
            message = "this network was trained already: it starts again from the weights it was made with"
            warnings.warn(f"{message}. To train it further, load it from its checkpoint.", stacklevel=3)
            if self.average:
                self.average = copied(self.model.state_dict())

    def _prepared(self, batch: Batch) -> Batch:
        features, padding = batch.features.to(self.device), batch.padding.to(self.device)
        batch = batch._replace(features=features, padding=padding, texts=self.texts)
        return batch if self.each_batch is None else self.each_batch(batch, self.generator)

    def _rate(self, step: int) -> float:
        """Return the learning rate as a share of its peak."""
        done, rising = step / self.steps, self.warm_up
        if done < rising:
            return (step + 1) / (rising * self.steps + 1)
        if self.schedule == "step":
            return STEP_FACTOR ** int(done / STEP_INTERVAL)
        return 0.5 * (1 + math.cos(math.pi * (done - rising) / (1 - rising)))

    def _end_epoch(self, epoch: int, started: float) -> None:
        row = {name: float(value) / self._steps_done for name, value in self._sums.items()}
        if "matches" in row:  # fewer than 1 an action, if a step has no action or a window more than queries
            row["matched_tiou"] /= row.pop("matches") or 1.0
        row |= {"epoch": epoch, "lr": self.rates.get_last_lr()[0], "windows": len(self.windows)}
        row |= {"seconds": time.perf_counter() - started, "memory": devices.peak_memory(self.device)}
        self.history.append(row)
        if self.watch is not None:
            model = deepcopy(self.model) if self.average else self.model
            if self.average:
                model.load_state_dict(self.average)
            try:
                with devices.random_kept():  # `watch` may train heads, with a seed
                    row |= self.watch(model)
            except FloatingPointError as error:
                raise NonFiniteLoss(f"epoch {epoch}: {error}, lr is {self.lr}") from error
        if self.log is not None:
            self.log(row)
        if self.select != "last":
            self._keep_best(row)
        text = f"training, loss {row['loss']:.3f}, tIoU of matches {row['matched_tiou']:.2f}"
        self.progress(epoch, self.number_of_epochs, text)
        if self.checkpoint is not None:
            write_tensors(self.checkpoint, self._state())

    def _keep_best(self, row: Mapping[str, float]) -> None:
        if self.select not in row:
            raise ValueError(f"select={self.select!r} is no number of an epoch; there are {', '.join(row)}")
        if row[self.select] == max(each[self.select] for each in self.history):
            self.best = copied(self.average or self.model.state_dict())

    def _state(self) -> dict[str, Any]:
        """Return everything that a checkpoint stores."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rates": {name: value for name, value in self.rates.state_dict().items() if name != "lr_lambdas"},
            "history": self.history,
            "resumed": self._resumed,
            "process": PROCESS,
            "shuffling": self.generator.get_state(),
            "random": devices.random_states(),
            "average": self.average,
            "best": self.best,
            "scaler": self.scaler.state_dict(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        if bool(state["average"]) != bool(self.average):
            raise ValueError(f"{self.checkpoint} is of a training with another ema: pass another checkpoint")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rates.load_state_dict(state["rates"] | {"lr_lambdas": [None] * len(self.rates.lr_lambdas)})
        self.history = state["history"]
        self._resumed = state["resumed"] if state["process"] == PROCESS else len(self.history)
        self.generator.set_state(state["shuffling"].cpu())
        devices.restore_random(state["random"])
        self.average, self.best = state["average"], state["best"]
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
