"""Is the mean of two classifiers, a trained one and frozen CLIP, better than either? (entries 26, 28, 29 and 69)"""

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.naming.classifier import Logits


def ensemble(
    own: Float[Tensor, "n k"], clip: Float[Tensor, "n k"], how: str = "geometric", weight: float = 0.5
) -> Float[Tensor, "n k"]:
    """Log-probabilities of an ensemble of a detector or trained head (`own`) with CLIP, whose share is `weight`.

    Geometric: the weighted mean of log-probabilities, not normalised. Arithmetic: the logarithm of the weighted mean.
    Both are computed in log space, because powers of negative logits gave NaN in GAP.
    """
    own, clip = own.log_softmax(dim=1), clip.log_softmax(dim=1)
    if how == "geometric":
        return (1 - weight) * own + weight * clip
    shares = torch.tensor([1 - weight, weight], dtype=own.dtype, device=own.device).log()
    return torch.logaddexp(shares[0] + own, shares[1] + clip)


def both(own: Logits, clip: Logits, classes: int, how: str, weight: float) -> Logits:
    """Ensemble of two classifiers over the first `classes` columns; a learned background is left out."""
    return lambda video, found: ensemble(own(video, found)[:, :classes], clip(video, found)[:, :classes], how, weight)
