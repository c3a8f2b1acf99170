"""None of these: proposals and videos that look no more like a candidate class than what has none of them does.

CLIP must name whatever it is shown. How alike background is to a class differs from class to class, so that every
class is measured against its own background: in standard deviations above its mean.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Background(NamedTuple):
    """How alike what shows none of the classes is to each of them."""

    mean: Float[Tensor, " k"]
    spread: Float[Tensor, " k"]  # standard deviation


def background(logits: Float[Tensor, "m k"], absent: Bool[Tensor, "m k"]) -> Background:
    """Mean and spread of the logits of snippets or videos, over those in which a class is `absent`.

    Raises ValueError where a class is absent from fewer than two.
    """
    number = absent.sum(dim=0)
    if int(number.min()) < 2:
        raise ValueError(
            f"class {int(number.argmin())} is absent from {int(number.min())} of {len(logits)} examples: "
            "at least 2 are needed to know what background looks like; pass -p reject none"
        )
    mean = (logits * absent).sum(dim=0) / number
    square = ((logits - mean).square() * absent).sum(dim=0) / number
    return Background(mean, square.sqrt().clamp(min=1e-6))


def above(logits: Float[Tensor, "n k"], usual: Background) -> Float[Tensor, " n"]:
    """By how many standard deviations the class that stands out most is above its background."""
    return ((logits - usual.mean) / usual.spread).amax(dim=1)


def outside(length: int, spans_ix: Float[Tensor, "n 2"]) -> Bool[Tensor, " t"]:
    """Which of `length` snippets have their middle in none of the spans."""
    middle = torch.arange(length)[:, None] + 0.5
    return ~((middle >= spans_ix[:, 0]) & (middle < spans_ix[:, 1])).any(dim=1)
