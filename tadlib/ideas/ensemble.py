"""Is the mean of two opinions better than either: a trained one and frozen CLIP's? (entries 26, 28, 29 and 69)"""

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.naming.classifier import Logits


def ensemble(
    own: Float[Tensor, "n k"], clip: Float[Tensor, "n k"], how: str = "geometric", weight: float = 0.5
) -> Float[Tensor, "n k"]:
    """The opinions of a classifying detector, or of a trained head, and of CLIP as one, as log-probabilities.

    `weight` is CLIP's share. Geometric: the weighted mean of log-probabilities, to be normalised. Arithmetic: the
    logarithm of the weighted mean. Both in log space: powers of what may be negative gave NaN in GAP.
    """
    own, clip = own.log_softmax(dim=1), clip.log_softmax(dim=1)
    if how == "geometric":
        return (1 - weight) * own + weight * clip
    shares = torch.tensor([1 - weight, weight], dtype=own.dtype, device=own.device).log()
    return torch.logaddexp(shares[0] + own, shares[1] + clip)


def both(own: Logits, clip: Logits, classes: int, how: str, weight: float) -> Logits:
    """The mean of two opinions on as many classes; a learned background takes no part."""
    return lambda video, found: ensemble(own(video, found)[:, :classes], clip(video, found)[:, :classes], how, weight)
