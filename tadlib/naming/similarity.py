"""How alike a feature and a text are: the cosine, the one factor on it, and the probability of a class.

In GAP a switch for exp(tau) did nothing unless another one normalised, and a conclusion was drawn from that. Here the
factor is always applied.
"""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def scale_of(tau: float, logit_scale: str) -> float:
    """The factor on the cosine: exp(tau) as CLIP was trained, tau itself (the trap of forgetting exp), or 1."""
    return {"exp": math.exp(tau), "raw": tau, "none": 1.0}[logit_scale]


def cosine(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Scaled cosine; both sides are always normalised, so that the scale always means what it says.

    A feature of length zero is equally unlike every text: 0.
    """
    return scale * functional.normalize(pooled, dim=-1) @ functional.normalize(texts, dim=-1).T


def class_probability(logits: Float[Tensor, "n k"], probability: str = "softmax") -> Float[Tensor, "n k"]:
    """Probabilities of classes: one of them (softmax), or each on its own against the average class (sigmoid).

    The sigmoid of 100 times a cosine of 0.2 is 1 for every class: only what is above the average of the candidates
    says something.
    """
    return logits.softmax(dim=1) if probability == "softmax" else above_average(logits).sigmoid()


def log_class_probability(logits: Float[Tensor, "n k"], probability: str = "softmax") -> Float[Tensor, "n k"]:
    """The logarithm of `class_probability`, finite where that would be 0."""
    return logits.log_softmax(dim=1) if probability == "softmax" else functional.logsigmoid(above_average(logits))


def above_average(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Logits less the mean over the candidates."""
    return logits - logits.mean(dim=1, keepdim=True)
