"""Does aligning the bins of a segment with the steps of an action, in order, help? (entry 73)"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.naming.classifier import Classifier


def classifier(found: Classifier, pooling: str) -> Classifier | None:
    """Return the classifier that aligns bins with the steps of every class."""
    if pooling != "ordered":
        return None
    steps = found.embed_texts(found.classes)
    texts = steps.embeddings.flatten(0, 1)

    def bins_to_logits(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        return aligned(found.similarity(bins, texts, found.scale).unflatten(-1, steps.padding.shape), steps.padding)

    return replace(found, bins_to_logits=bins_to_logits)


def aligned(of_bins: Float[Tensor, "n r k s"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "n k"]:
    """Mean over bins of the best monotonic alignment of bins to steps: the first bin has the first step, the last has
    the last, and every next bin the same step or the next (dynamic programming).

    Raises ValueError if a class has more steps than there are bins.
    """
    steps = (~padding).sum(dim=1)
    if int(steps.max()) > of_bins.shape[1]:
        raise ValueError(
            f"roi_bins must be at least the {int(steps.max())} steps of a class, got {of_bins.shape[1]}: "
            f"pass -p roi_bins {int(steps.max())} or more"
        )
    best = torch.full_like(of_bins[:, 0], -torch.inf)
    best[..., 0] = of_bins[:, 0, :, 0]
    for place in range(1, of_bins.shape[1]):
        moved = functional.pad(best[..., :-1], (1, 0), value=-torch.inf)
        best = of_bins[:, place] + torch.maximum(best, moved)
    return best.gather(2, steps[None, :, None].expand(len(best), -1, 1) - 1)[..., 0] / of_bins.shape[1]
