"""Training: epochs over shuffled windows, AdamW with a schedule, checkpoints that resume to the same numbers."""

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.batches import Batch, WindowSet
from tadlib.detector.averages import Average
from tadlib.detector.episodes import shown_batches
from tadlib.detector.losses import Criterion, detection_losses, shares, snippet_losses
from tadlib.detector.network import ConditionalDetr
from tadlib.detector.parallel import ALONE, Team
from tadlib.devices import CPU, only_deterministic, peak_memory, seed_all
from tadlib.files import Progress, atomic, silent

STEP_AT, STEP_BY = 0.4, 0.1  # the step schedule: every 0.4 of the epochs the rate falls to a tenth
FIRST_SCALE = 2.0**10  # of float16 gradients: losses of order ten do not overflow, so no first step is lost


@dataclass(frozen=True)
class Recipe:
    """How to train; the words and defaults are those of the parameters."""

    epochs: int = 100
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-4
    lr_backbone: float = 1e-4
    weight_decay: float = 1e-4
    clip_norm: float = 0.1
    schedule: str = "cosine"
    warm_up: float = 0.05  # share of the steps in which the learning rate rises
    ema: bool = False
    aux_loss: bool = True
    weights: Mapping[str, float] = field(default_factory=lambda: {"loss_class": 3.0, "loss_l1": 5.0, "loss_giou": 2.0})
    criterion: Criterion = Criterion()
    compile: bool = False
    deterministic: bool = False
    episodes: float = 0.0  # share of the classes that is hidden in every batch
    select: str = "last"  # or the name of a number that `watch` returns: the epoch in which it is largest


@dataclass(frozen=True)
class Observers:
    """Who looks on, and changes no number of the training: what they return is added to an epoch's row."""

    watch: Callable[[ConditionalDetr], Mapping[str, float]] | None = None  # after every epoch, the model so far
    log: Callable[[Mapping[str, float]], None] | None = None  # the finished row


class NonFiniteLoss(RuntimeError):
    """A loss or an answer became NaN or infinite; the message names the terms."""


def fit(  # noqa: PLR0913  each of them is something else
    model: ConditionalDetr,
    windows: WindowSet,
    recipe: Recipe,
    *,
    texts: Float[Tensor, "k e"] | None = None,
    seed: int = 0,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    observers: Observers = Observers(),
    team: Team = ALONE,
) -> list[dict[str, float]]:
    """Train `model` in place; one row of numbers per epoch.

    `texts` makes it a detector that classifies with text. With a `checkpoint` path the state is saved after every
    epoch, and training goes on from there when the file exists: to the same numbers as without interruption. The
    caller sees to it that the file belongs to this training. `dtype` bfloat16 or float16 runs the network under
    autocast, float16 with scaled gradients. Processes of a `team` share each batch; the first observes and saves.
    """
    if not len(windows):
        raise ValueError("no training window holds an action: are there annotated videos of the seen classes?")
    seed_all(seed)
    trainer = Trainer(model.to(device), windows, recipe, seed, team)
    if checkpoint is not None and checkpoint.is_file():
        trainer.load(checkpoint, device)
    team.seed(seed)
    texts = None if texts is None else texts.to(device)
    with only_deterministic(recipe.deterministic):
        for epoch in range(len(trainer.history) + 1, recipe.epochs + 1):
            try:
                row = trainer.epoch(epoch, texts, device, dtype)
                if team.leads:
                    trainer.look(observers)
            except FloatingPointError as error:
                raise NonFiniteLoss(f"epoch {epoch}: {error}; lower lr ({recipe.lr}) or clip_norm") from error
            if team.leads:
                said = f"training, loss {row['loss']:.3f}, tIoU of matches {row['matched_tiou']:.2f}"
                progress(epoch, recipe.epochs, said)
                if checkpoint is not None:
                    trainer.save(checkpoint)
    trainer.store()
    return trainer.history


class Trainer:
    """What training remembers from one epoch to the next."""

    def __init__(
        self, model: ConditionalDetr, windows: WindowSet, recipe: Recipe, seed: int, team: Team = ALONE
    ) -> None:
        self.model, self.windows, self.recipe, self.team = model, windows, recipe, team
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []
        self.average = Average(model) if recipe.ema else None
        self.best: dict[str, Tensor] = {}
        self.run = model.compiled(replayed=recipe.accumulate == 1) if recipe.compile else model
        self.scaler = torch.amp.GradScaler(next(model.parameters()).device.type, enabled=False)
        # lists in the model's order: the optimiser's state is found by place when a training is resumed
        slow = list(model.backbone.parameters())
        fast = [parameter for parameter in model.parameters() if not any(parameter is other for other in slow)]
        groups = [{"params": fast, "lr": recipe.lr}]
        groups += [{"params": slow, "lr": recipe.lr_backbone}] if slow else []
        self.optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
        self.batches = math.ceil(len(windows) / recipe.batch_size)  # of an epoch
        self.steps = recipe.epochs * math.ceil(self.batches / recipe.accumulate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)

    def _rate(self, step: int) -> float:
        """The learning rate as a share of its peak."""
        done, rising = step / self.steps, self.recipe.warm_up
        if done < rising:
            return (step + 1) / (rising * self.steps + 1)
        if self.recipe.schedule == "step":
            return STEP_BY ** int(done / STEP_AT)
        return 0.5 * (1 + math.cos(math.pi * (done - rising) / (1 - rising)))

    def epoch(self, number: int, texts: Tensor | None, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
        """One pass over the windows; returns (and remembers) its row of the history."""
        started = time.perf_counter()
        self.model.train()
        if dtype == torch.float16 and not self.scaler.is_enabled():
            self.scaler = torch.amp.GradScaler(device.type, FIRST_SCALE)
        sums: dict[str, Tensor] = {}
        batches = shown_batches(self.windows, self.recipe.batch_size, texts, self.recipe.episodes, self.generator)
        while group := list(islice(batches, self.recipe.accumulate)):
            parts = shares([batch for batch, _ in group], self.recipe.criterion)
            for (batch, shown), share in zip(group, parts, strict=True):
                terms = self._terms(batch, shown, device, dtype)
                weighted = {name: weight * terms[name] for name, weight in self.recipe.weights.items()}
                terms["loss"] = loss = sum(weighted.values()).detach()
                if not torch.isfinite(loss):
                    raise FloatingPointError(", ".join(f"{name}={term.item():.3g}" for name, term in terms.items()))
                self.scaler.scale(sum(share[name] * term for name, term in weighted.items())).backward()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.detach()
            self._step()
        row = {name: float(value) / self.batches for name, value in sums.items()}
        row |= {"epoch": number, "lr": self.schedule.get_last_lr()[0], "windows": len(self.windows)}
        row |= {"seconds": time.perf_counter() - started, "memory": peak_memory(device)}
        self.history.append(row)
        return row

    def _terms(self, batch: Batch, texts: Tensor | None, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        padding, criterion = batch.padding.to(device), self.recipe.criterion
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            features, hidden = self.team.share(batch.features, padding)
            outputs = self.run(features.to(device), hidden, texts)
        outputs = self.team.whole(outputs, len(batch.targets))
        if not self.recipe.aux_loss:
            outputs = outputs._replace(earlier=())
        terms = detection_losses(outputs, batch.targets, texts, criterion)
        return terms | snippet_losses(outputs, batch.targets, padding, texts, criterion)

    def look(self, observers: Observers) -> None:
        """Let the observers see the model as it would be kept now, and remember it if it is the best so far."""
        row = self.history[-1]
        if observers.watch is not None:
            seen = self.model if self.average is None else deepcopy(self.model)
            if self.average is not None:
                self.average.store(seen)
            with torch.random.fork_rng(range(torch.cuda.device_count())):  # heads are trained to look, from a seed
                row |= observers.watch(seen)
        if observers.log is not None:
            observers.log(row)
        if self.recipe.select != "last":
            if self.recipe.select not in row:
                raise ValueError(f"select={self.recipe.select!r} is no number of an epoch; there are {', '.join(row)}")
            if row[self.recipe.select] == max(earlier[self.recipe.select] for earlier in self.history):
                kept = self.model.state_dict() if self.average is None else self.average.shadow
                self.best = {name: tensor.detach().clone() for name, tensor in kept.items()}

    def store(self) -> None:
        """Give the model the parameters to be kept: the last, their average, or those of the best epoch."""
        if self.best:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.store(self.model)

    def _step(self) -> None:
        self.team.add_gradients(self.model)
        self.scaler.unscale_(self.optimiser)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.model, self.schedule.last_epoch)

    def save(self, path: Path) -> None:
        """Everything needed to go on, in one file, atomically."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "shuffling": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "average": self.average.shadow if self.average is not None else {},
            "best": self.best,
            "scaler": self.scaler.state_dict(),
        }
        state["schedule"].pop("lr_lambdas")
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path, device: torch.device) -> None:
        """Go on from a file that `save` wrote."""
        state = torch.load(path, map_location=device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"] | {"lr_lambdas": [None] * len(self.schedule.lr_lambdas)})
        self.history = state["history"]
        self.generator.set_state(state["shuffling"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([each.cpu() for each in state["random_cuda"][: torch.cuda.device_count()]])
        if self.average is not None:
            self.average.shadow = state["average"]
        self.best = state["best"]
        if state["scaler"]:
            self.scaler = torch.amp.GradScaler(device.type)
            self.scaler.load_state_dict(state["scaler"])
