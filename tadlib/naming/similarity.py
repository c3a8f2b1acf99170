"""Similarity of features and texts: cosine, its scale, and class probabilities.

The scale is always applied; in GAP another parameter switched it off.
"""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def scale_of(tau: float, logit_scale: str) -> float:
    """Return the scale of the cosine: exp(tau) as CLIP was trained, tau itself (a common mistake), or 1."""
    return {"exp": math.exp(tau), "raw": tau, "none": 1.0}[logit_scale]


def cosine(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Return the scaled cosine; features and texts are always normalised.

    A feature of length zero has cosine 0 with every text.
    """
    return scale * functional.normalize(pooled, dim=-1) @ functional.normalize(texts, dim=-1).T


def class_probability(logits: Float[Tensor, "n k"], probability: str = "softmax") -> Float[Tensor, "n k"]:
    """Return class probabilities: softmax over classes, or sigmoid of each logit minus the mean logit.

    Without the mean the sigmoid is 1 for every class, because CLIP's logit is 100 times a cosine of about 0.2.
    """
    return logits.softmax(dim=1) if probability == "softmax" else above_average(logits).sigmoid()


def log_class_probability(logits: Float[Tensor, "n k"], probability: str = "softmax") -> Float[Tensor, "n k"]:
    """Return the logarithm of `class_probability`, finite where that underflows."""
    return logits.log_softmax(dim=1) if probability == "softmax" else functional.logsigmoid(above_average(logits))


def above_average(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Return logits minus their mean over classes."""
    return logits - logits.mean(dim=1, keepdim=True)
