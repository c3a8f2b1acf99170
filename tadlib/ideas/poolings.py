"""Are other poolings of the features under a segment better than the mean of its bins? (entries 42, 64, 68, 73, 83)

Self-attention without projections, softmax(S S^T) S, the middle bin, the middle snippet, every fourth bin, and the
mean of all bins and of every fourth (`slow_fast`) are GAP's (Du et al. 2024); `multi_rate` is ours. With
`text_attention` every class attends to the bins, weighted by the softmax of its logits; with a matching, its text does;
`ordered` aligns the bins with the steps of an action, in order.

With `mask` bins are weighted by their probability of being inside an action, which is trained. In GAP the mask's logit
was multiplied with the feature before the cosine, which ignores lengths: only the sign of the logit mattered.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.ideas.head_training import HeadTraining
from tadlib.ideas.heads import Mask, Matching
from tadlib.ideas.trained_naming import trained
from tadlib.naming.classifier import Classifier
from tadlib.task import Task

RATES = (1, 2, 4)  # numbers of neighbouring bins that `multi_rate` averages
SPARSE = 4  # bins that `sparse` uses


def _multi_rate(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n c"]:
    """Maximum over averages of one, two and four neighbouring bins, averaged over these rates."""
    last = bins.transpose(1, 2)
    rates = [rate for rate in RATES if rate <= bins.shape[1]]
    return torch.stack([functional.avg_pool1d(last, rate, ceil_mode=True).amax(dim=2) for rate in rates]).mean(dim=0)


def _sparse(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n c"]:
    """Mean of four evenly spaced bins."""
    return bins[:, :: max(1, bins.shape[1] // SPARSE)].mean(dim=1)


SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {  # (n, bins, c) -> (n, c), of features or of logits
    "mean": lambda bins: bins.mean(dim=1),
    "max": lambda bins: bins.amax(dim=1),
    "centre_bin": lambda bins: bins[:, bins.shape[1] // 2],
    "multi_rate": _multi_rate,
    "slow_fast": lambda bins: (bins.mean(dim=1) + _sparse(bins)) / 2,
    "sparse": _sparse,
}
FEATURES = (*SUMMARIES, "centre_snippet", "self_attention")  # poolings that give a feature
LOGITS = ("text_attention", "matching_fixed", "matching_learned", "mask")  # poolings that only give logits


def classifier(
    found: Classifier, data: Task, training: HeadTraining, pooling: str, similarity_at: str
) -> Classifier | None:
    """Return the classifier with another pooling, a trained one or one of `pooled`."""
    if pooling == "mask":
        return _masked(found, trained(data, training).mask, similarity_at)
    if pooling == "matching_learned":
        return _matched(found, trained(data, training).matching)
    return pooled(found, pooling, similarity_at)


def pooled(found: Classifier, pooling: str, similarity_at: str) -> Classifier | None:
    """Return the classifier with another pooling of features (`similarity_at` pooled) or of the logits of every bin."""
    if pooling == "centre_snippet":
        return replace(found, roi_bins=1, adjust_segments=partial(_middle_snippet, found))
    if pooling == "text_attention":
        return replace(found, bins_to_logits=lambda bins: _text_attention(found.compare(bins)))
    if pooling == "ordered":
        return _ordered(found)
    if pooling == "matching_fixed":
        return _matched(found, Matching())
    if pooling == "mean" and similarity_at == "pooled":
        return None
    summary = SUMMARIES["mean" if pooling == "self_attention" else pooling]

    def bins_to_logits(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        seen = (bins @ bins.transpose(1, 2)).softmax(dim=2) @ bins if pooling == "self_attention" else bins
        return found.compare(summary(seen)) if similarity_at == "pooled" else summary(found.compare(seen))

    return replace(found, bins_to_logits=bins_to_logits)


def _middle_snippet(found: Classifier, segments_ix: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    first = found.adjust_segments(segments_ix).mean(dim=1).floor()  # snippet t covers [t, t + 1)
    return torch.stack([first, first + 1], dim=1)


def _text_attention(of_bins: Float[Tensor, "n r k"]) -> Float[Tensor, "n k"]:
    return (of_bins.softmax(dim=1) * of_bins).sum(dim=1)


def _matched(found: Classifier, matching: Matching) -> Classifier:
    return replace(found, bins_to_logits=lambda bins: found.map_logits(matching(bins, found.texts, found.scale)))


def _masked(found: Classifier, mask: Mask, similarity_at: str) -> Classifier:
    """Classifier that weighs bins by the mask, before (`pooled`) or after (`bins`) the comparison with texts."""

    def bins_to_logits(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        weights, seen = mask(bins).sigmoid(), bins if found.head is None else found.head(bins)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        if similarity_at == "pooled":
            return found.compare((shares[..., None] * seen).sum(dim=1))
        return (shares[..., None] * found.compare(seen)).sum(dim=1)

    return replace(found, head=None, bins_to_logits=bins_to_logits)


def _ordered(found: Classifier) -> Classifier:
    steps = found.embed_texts(found.classes)
    compare = partial(found.similarity, texts=steps.embeddings.flatten(0, 1), scale=found.scale)
    split, padding = steps.padding.shape, steps.padding
    return replace(found, bins_to_logits=lambda bins: aligned(compare(bins).unflatten(-1, split), padding))


def aligned(of_bins: Float[Tensor, "n r k s"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "n k"]:
    """Mean over bins of the best monotonic alignment of bins to steps: the first bin has the first step, the last has
    the last, and every next bin the same step or the next (dynamic programming).

    Raises ValueError if a class has more steps than there are bins.
    """
    steps = (~padding).sum(dim=1)
    if (most := int(steps.max())) > of_bins.shape[1]:
        got = f"roi_bins must be at least the {most} steps of a class, got {of_bins.shape[1]}"
        raise ValueError(f"{got}: pass -p roi_bins {most} or more")
    best = torch.full_like(of_bins[:, 0], -torch.inf)
    best[..., 0] = of_bins[:, 0, :, 0]
    for place in range(1, of_bins.shape[1]):
        moved = functional.pad(best[..., :-1], (1, 0), value=-torch.inf)
        best = of_bins[:, place] + torch.maximum(best, moved)
    return best.gather(2, steps[None, :, None].expand(len(best), -1, 1) - 1)[..., 0] / of_bins.shape[1]
