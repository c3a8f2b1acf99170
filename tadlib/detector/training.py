"""Training: epochs over shuffled windows, AdamW with a schedule, checkpoints that resume to the same numbers."""

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

from tadlib.data.batches import Batch, WindowSet
from tadlib.detector.averages import Average
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.devices import CPU, only_deterministic, peak_memory, pick, seed_all
from tadlib.files import Progress, atomic, silent

STEP_AT, STEP_BY = 0.4, 0.1  # the step schedule: every 0.4 of the epochs the rate falls to a tenth
PROCESS = uuid4().hex  # this one, whose own time nobody adds twice
FIRST_SCALE = 2.0**10  # of float16 gradients: losses of order ten do not overflow, so no first step is lost


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite, or the network while it was looked at; the message names the epoch."""


def fit(
    model: ConditionalDETR, windows: WindowSet, criterion: DetectionLoss | None = None, **words: Any
) -> list[dict[str, float]]:
    """Train `model` in place and return its history; `words` are the arguments of `Trainer`."""
    criterion, trainer = criterion or DetectionLoss(additions=model.additions), Trainer(model, windows, **words)
    for _ in trainer.epochs():
        for batch in trainer.batches():
            trainer.step(criterion(model(batch.features, batch.padding, batch.texts), batch))
    return trainer.history


class Trainer:
    """All of a training but the model and the loss: batches, optimiser steps, schedule, checkpoint, history.

    `accumulate` batches make an optimiser step. The learning rate rises for the share `warm_up` of the steps to `lr`
    (`lr_backbone` for the convolutions) and falls as a cosine or in steps (`schedule`). With `ema` an exponential
    moving average of the weights is kept, with `select` other than last those of the epoch in which that number of the
    history is largest. `texts` are those of the classes, for a detector that reads them. `each_batch` maps every batch.
    `device` is one of torch's or a word: auto, cpu, cuda, mps. With a
    `checkpoint` the state is saved after every epoch, and training goes on from there if the file exists, to the
    same numbers as without interruption; the caller sees to it that the file belongs to this training. `watch` returns
    numbers of the model after each epoch, and changes nothing; `log` gets each finished row.

    Raises ValueError where there is no window to learn from, and where a detector that classifies gets windows without
    class labels.
    """

    def __init__(  # noqa: PLR0913  one word for each choice of a training
        self,
        model: ConditionalDETR,
        windows: WindowSet,
        *,
        epochs: int = 100,
        batch_size: int = 16,
        accumulate: int = 1,
        lr: float = 1e-4,
        lr_backbone: float = 1e-4,
        weight_decay: float = 1e-4,
        clip_norm: float = 0.1,
        schedule: str = "cosine",
        warm_up: float = 0.05,
        ema: bool = False,
        select: str = "last",
        seed: int = 0,
        device: torch.device | str = CPU,
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
        if not len(windows):
            raise ValueError("no training window holds an action: are there annotated videos of the seen classes?")
        if model.embedding is not None and windows.classes is None:
            raise ValueError("a detector with embedding_dim learns classes: make training_windows(..., labelled=True)")
        device = pick(device) if isinstance(device, str) else device
        self.model, self.windows, self.device = model.to(device), windows, device
        model.dtype = dtype
        if compile:
            model.compile_training(replayed=accumulate == 1)
        self.number_of_epochs, self.batch_size, self.accumulate = epochs, batch_size, accumulate
        self.lr, self.clip_norm, self.schedule, self.warm_up = lr, clip_norm, schedule, warm_up
        self.select, self.seed, self.deterministic = select, seed, deterministic
        self.texts = None if texts is None else texts.to(device)
        self.each_batch, self.checkpoint, self.watch, self.log = each_batch, checkpoint, watch, log
        self.progress = progress
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []
        self.average = Average(model) if ema else None
        self.best: dict[str, Tensor] = {}
        self.scaler = torch.amp.GradScaler(device.type, FIRST_SCALE, enabled=dtype == torch.float16)
        self.optimiser = torch.optim.AdamW(_groups(model, lr, lr_backbone), weight_decay=weight_decay, fused=True)
        self.steps = epochs * math.ceil(math.ceil(len(windows) / batch_size) / accumulate)
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        self._sums: dict[str, Tensor] = {}
        self._begun = False  # whether its epochs were asked for
        self._resumed = 0  # epochs of the history that another process trained
        self._taken = self._left = 0  # optimiser steps of the epoch so far, and batches until the next one

    @property
    def seconds_before(self) -> float:
        """Seconds of training that an attempt in another process had spent on what this one went on with."""
        return sum(row["seconds"] for row in self.history[: self._resumed])

    def epochs(self) -> Iterator[int]:
        """The epochs that are still to be trained, by number from 1; what each of them is worth joins the history.

        A model that a trainer has trained before starts again from the weights it was made with, and a warning says so.
        Raises RuntimeError where this trainer has begun before: its optimiser and schedule are no longer new.
        """
        if self._begun:
            told = f"this Trainer has begun before and has {len(self.history)} epochs in its history"
            raise RuntimeError(f"{told}: a Trainer is for one loop, so make it anew, in its cell")
        self._begun = True
        seed_all(self.seed)
        self._start()
        with only_deterministic(self.deterministic):
            for epoch in range(len(self.history) + 1, self.number_of_epochs + 1):
                started, self._sums, self._taken = time.perf_counter(), {}, 0
                self.model.train()
                yield epoch
                self._close(epoch, started)
        if self.best:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.store(self.model)

    def batches(self) -> Iterator[Batch]:
        """The windows of an epoch, shuffled, in batches on the device."""
        batches = (self._prepared(each) for each in self.windows.batches(self.batch_size, self.generator))
        while group := tuple(islice(batches, self.accumulate)):
            self._left = len(group)
            yield from (batch._replace(step=group) for batch in group)

    def step(self, losses: Mapping[str, Tensor]) -> None:
        """Lower `losses["loss"]`; the other terms are kept for the history.

        Raises NonFiniteLoss where it is NaN or infinite.
        """
        if not torch.isfinite(losses["loss"]):
            terms = ", ".join(f"{name}={term.item():.3g}" for name, term in losses.items())
            raise NonFiniteLoss(f"epoch {len(self.history) + 1}: {terms}; lower lr ({self.lr}) or clip_norm")
        self.scaler.scale(losses["loss"]).backward()
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._left -= 1
        if self._left > 0:
            return
        self._taken += 1
        self.scaler.unscale_(self.optimiser)
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.rates.step()
        if self.average is not None:
            self.average.update(self.model, self.rates.last_epoch)

    def _start(self) -> None:
        """Give the model the weights to start from: those of the checkpoint, or those it was made with."""
        trained, resumes = self.model.first_weights, self.checkpoint is not None and self.checkpoint.is_file()
        now = {name: each.detach().clone() for name, each in self.model.state_dict().items()}
        self.model.first_weights = now | trained  # what was added since has only those of now
        if resumes:
            self._load(self.checkpoint)
        elif trained:
            self.model.load_state_dict(self.model.first_weights)
            told = "this network was trained already: it starts again from the weights it was made with"
            warnings.warn(f"{told}. To train it further, load it from its checkpoint.", stacklevel=3)
            if self.average is not None:
                self.average = Average(self.model)  # of those weights, not of the trained ones

    def _prepared(self, batch: Batch) -> Batch:
        batch = batch._replace(
            features=batch.features.to(self.device), padding=batch.padding.to(self.device), texts=self.texts
        )
        return batch if self.each_batch is None else self.each_batch(batch, self.generator)

    def _rate(self, step: int) -> float:
        """The learning rate as a share of its peak."""
        done, rising = step / self.steps, self.warm_up
        if done < rising:
            return (step + 1) / (rising * self.steps + 1)
        if self.schedule == "step":
            return STEP_BY ** int(done / STEP_AT)
        return 0.5 * (1 + math.cos(math.pi * (done - rising) / (1 - rising)))

    def _close(self, epoch: int, started: float) -> None:
        """Write the epoch's row of the history, look at the model, keep it if it is the best, and save the state."""
        row = {name: float(value) / self._taken for name, value in self._sums.items()}
        row |= {"epoch": epoch, "lr": self.rates.get_last_lr()[0], "windows": len(self.windows)}
        row |= {"seconds": time.perf_counter() - started, "memory": peak_memory(self.device)}
        self.history.append(row)
        if self.watch is not None:
            seen = self.model if self.average is None else deepcopy(self.model)
            if self.average is not None:
                self.average.store(seen)
            try:
                with torch.random.fork_rng(range(torch.cuda.device_count())):  # heads are trained to look, from a seed
                    row |= self.watch(seen)
            except FloatingPointError as error:
                raise NonFiniteLoss(f"epoch {epoch}: {error}, lr is {self.lr}") from error
        if self.log is not None:
            self.log(row)
        if self.select != "last":
            self._keep_the_best(row)
        told = f"training, loss {row['loss']:.3f}, tIoU of matches {row['matched_tiou']:.2f}"
        self.progress(epoch, self.number_of_epochs, told)
        if self.checkpoint is not None:
            self._save(self.checkpoint)

    def _keep_the_best(self, row: Mapping[str, float]) -> None:
        if self.select not in row:
            raise ValueError(f"select={self.select!r} is no number of an epoch; there are {', '.join(row)}")
        if row[self.select] == max(each[self.select] for each in self.history):
            kept = self.model.state_dict() if self.average is None else self.average.shadow
            self.best = {name: tensor.detach().clone() for name, tensor in kept.items()}

    def _save(self, path: Path) -> None:
        """Everything needed to go on, in one file, atomically."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rates": {name: value for name, value in self.rates.state_dict().items() if name != "lr_lambdas"},
            "history": self.history,
            "resumed": self._resumed,
            "process": PROCESS,
            "shuffling": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "average": self.average.shadow if self.average is not None else {},
            "best": self.best,
            "scaler": self.scaler.state_dict(),
        }
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def _load(self, path: Path) -> None:
        """Go on from a file that `_save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rates.load_state_dict(state["rates"] | {"lr_lambdas": [None] * len(self.rates.lr_lambdas)})
        self.history = state["history"]
        self._resumed = state["resumed"] if state["process"] == PROCESS else len(self.history)
        self.generator.set_state(state["shuffling"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([each.cpu() for each in state["random_cuda"][: torch.cuda.device_count()]])
        if self.average is not None:
            self.average.shadow = state["average"]
        self.best = state["best"]
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _groups(model: ConditionalDETR, lr: float, lr_backbone: float) -> list[dict[str, Any]]:
    """The parameters by learning rate, in the model's order: the optimiser's state is found by place on resuming."""
    slow = list(model.backbone.parameters())
    fast = [parameter for parameter in model.parameters() if not any(parameter is other for other in slow)]
    return [{"params": fast, "lr": lr}] + ([{"params": slow, "lr": lr_backbone}] if slow else [])
