"""How alike a feature and a text are: cosine or dot product, and the one factor on it.

In GAP a switch for exp(tau) did nothing unless another one normalised, and a conclusion was drawn from that. Here the
factor is always applied, and a factor that CLIP learnt for cosines is refused where there is no cosine.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Measure:
    """Kind of similarity and what stands before it; words and defaults are those of the parameters."""

    similarity: Literal["cosine", "dot"] = "cosine"
    logit_scale: Literal["exp", "raw", "none"] = "exp"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.similarity == "dot" and self.logit_scale != "none":
            raise ValueError(
                f"logit_scale={self.logit_scale} is a factor on cosines, got similarity=dot: pass -p logit_scale none"
            )

    def factor(self, tau: float) -> float:
        """What the similarity is multiplied by, from the encoder's tau."""
        return scale_of(tau, self.logit_scale) / self.temperature

    def of(self, pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], factor: float) -> Float[Tensor, "*n k"]:
        """Similarity of features with texts, times a factor."""
        return (cosine if self.similarity == "cosine" else dot)(pooled, texts, factor)


def scale_of(tau: float, logit_scale: str) -> float:
    """The factor on the cosine: exp(tau) as CLIP was trained, tau itself (the trap of forgetting exp), or 1."""
    return {"exp": math.exp(tau), "raw": tau, "none": 1.0}[logit_scale]


def cosine(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Scaled cosine; both sides are always normalised, so that the scale always means what it says.

    A feature of length zero is equally unlike every text: 0.
    """
    return scale * functional.normalize(pooled, dim=-1) @ functional.normalize(texts, dim=-1).T


def dot(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Scaled dot product of vectors as long as they are: CLIP's are about 10 long, so that 1 is a cosine of 0.01."""
    return scale * pooled @ texts.T


def probability(logits: Float[Tensor, "n k"], how: str = "softmax") -> Float[Tensor, "n k"]:
    """Probabilities of classes: one of them (softmax), or each on its own against the average class (sigmoid).

    The sigmoid of 100 times a cosine of 0.2 is 1 for every class: only what is above the average of the candidates
    says something.
    """
    return logits.softmax(dim=1) if how == "softmax" else above_average(logits).sigmoid()


def log_probability(logits: Float[Tensor, "n k"], how: str = "softmax") -> Float[Tensor, "n k"]:
    """The logarithm of `probability`, finite where that would be 0."""
    return logits.log_softmax(dim=1) if how == "softmax" else functional.logsigmoid(above_average(logits))


def above_average(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Logits less the mean over the candidates."""
    return logits - logits.mean(dim=1, keepdim=True)


def ensemble(
    own: Float[Tensor, "n k"], clip: Float[Tensor, "n k"], how: str = "geometric", weight: float = 0.5
) -> Float[Tensor, "n k"]:
    """The opinions of a classifying detector and of CLIP as one, as log-probabilities; `weight` is CLIP's share.

    Geometric: the weighted mean of log-probabilities, to be normalised. Arithmetic: the logarithm of the weighted
    mean. Both in log space: powers of what may be negative gave NaN in GAP.
    """
    own, clip = own.log_softmax(dim=1), clip.log_softmax(dim=1)
    if how == "geometric":
        return (1 - weight) * own + weight * clip
    shares = torch.tensor([1 - weight, weight], dtype=own.dtype, device=own.device).log()
    return torch.logaddexp(shares[0] + own, shares[1] + clip)
