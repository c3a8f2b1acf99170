"""Methods of the research log that are off by default: one file each, with its question, its code and its hooks.

A file may have any of these functions. They get parameters by their names and answer nothing where the idea is off:

    additions(...)         -> list of `Addition`: layers, losses and scores added to the detector
    parts(...)             -> dict of arguments of the network that replace a part of it
    network(...)           -> a class in place of `ConditionalDETR`
    loss(...)              -> a class in place of `DetectionLoss`
    each_batch(windows, ...) -> a map of training batches

`asked` calls them for the parameters of a run. An idea of your own needs no file: hand its objects to the same
arguments.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from tadlib.data.batches import Batch, WindowSet
from tadlib.detector.additions import Addition
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.network import ConditionalDETR
from tadlib.ideas import (
    drawn_centres,
    episodes,
    learned_positions,
    published,
    quality,
    rectifying,
    salience,
    segmentation,
    text_fusion,
)

# in the order in which additions join the network, which is that in which their first weights are drawn
MODULES = (salience, rectifying, quality, text_fusion, segmentation, drawn_centres, learned_positions, episodes)
MODULES += (published,)


def additions(params: object) -> list[Addition]:
    """What the parameters add to the detector."""
    return [part for parts in asked("additions", params) for part in parts]


def parts(params: object) -> dict[str, Any]:
    """The arguments of the network by which the parameters replace parts of it."""
    return {name: part for parts in asked("parts", params) for name, part in parts.items()}


def network(params: object) -> type[ConditionalDETR]:
    """The class of network that the parameters ask for."""
    return next(iter(asked("network", params)), ConditionalDETR)


def loss(params: object) -> type[DetectionLoss]:
    """The class of loss that the parameters ask for."""
    return next(iter(asked("loss", params)), DetectionLoss)


def each_batch(windows: WindowSet, params: object) -> Callable[[Batch, Any], Batch] | None:
    """The map of training batches that the parameters ask for."""
    return next(iter(asked("each_batch", params, windows)), None)


def asked(hook: str, params: object, *given: Any) -> list[Any]:
    """What the ideas answer to a hook, of those that are on; `params` has the parameters as attributes."""
    answers = []
    for module in MODULES:
        ask = getattr(module, hook, None)
        if ask is not None:
            names = list(inspect.signature(ask).parameters)[len(given) :]
            answers.append(ask(*given, **{name: getattr(params, name) for name in names}))
    return [answer for answer in answers if answer]


def classes() -> dict[str, type[nn.Module]]:
    """The modules that ideas put into a detector, by the names under which checkpoints keep them."""
    found = (value for module in MODULES for value in vars(module).values() if isinstance(value, type))
    return {value.__name__: value for value in found if issubclass(value, nn.Module)}
