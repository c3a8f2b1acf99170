"""Segments in one dimension, on tensors, in any unit: tIoU, gIoU, RoIAlign, hard and soft NMS.

A segment is (start, end); `_cw` is (centre, width). Sources: generalised IoU, Rezatofighi et al. 2019, in one
dimension; soft-NMS, Bodla et al. 2017; RoIAlign, He et al. 2017, with one sample in the middle of each bin.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Segments, Scores, Groups = Float[Tensor, "n 2"], Float[Tensor, " n"], Int[Tensor, " n"]
MAX_BLOCK = 80_000  # number of padded segments per NMS block, which about fits a core's cache


def to_segments(segments_cw: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
    """Convert (centre, width) to (start, end)."""
    centre, width = segments_cw.unbind(-1)
    return torch.stack([centre - width / 2, centre + width / 2], dim=-1)


def to_cw(segments: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
    """Convert (start, end) to (centre, width)."""
    start, end = segments.unbind(-1)
    return torch.stack([(start + end) / 2, end - start], dim=-1)


def _overlap(a: Float[Tensor, "*x 2"], b: Float[Tensor, "*y 2"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return signed intersection (negative: gap), union and hull of broadcastable segments."""
    signed = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - signed.clamp(min=0)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return signed, union, hull


def tiou(a: Float[Tensor, "*x 2"], b: Float[Tensor, "*y 2"]) -> Float[Tensor, "*z"]:
    """Return the temporal intersection over union of broadcastable segments; 0 for two segments of length zero."""
    signed, union, _ = _overlap(a, b)
    return signed.clamp(min=0) / union.clamp(min=torch.finfo(union.dtype).tiny)


def pairwise_tiou(a: Float[Tensor, "n 2"], b: Float[Tensor, "m 2"]) -> Float[Tensor, "n m"]:
    """Return the tIoU of every segment of `a` with every segment of `b`."""
    return tiou(a[:, None], b[None])


def giou(a: Float[Tensor, "*x 2"], b: Float[Tensor, "*y 2"]) -> Float[Tensor, "*z"]:
    """Generalised IoU: tIoU minus gap over hull (down to -1 for segments that are apart)."""
    signed, union, hull = _overlap(a, b)
    tiny = torch.finfo(union.dtype).tiny
    return signed.clamp(min=0) / union.clamp(min=tiny) - (-signed).clamp(min=0) / hull.clamp(min=tiny)


def diou(a: Float[Tensor, "*x 2"], b: Float[Tensor, "*y 2"]) -> Float[Tensor, "*z"]:
    """Distance IoU (Zheng et al. 2020): tIoU minus (distance of centres / hull)^2 (down to -1)."""
    signed, union, hull = _overlap(a, b)
    tiny = torch.finfo(union.dtype).tiny
    apart = (a.sum(-1) - b.sum(-1)) / 2
    return signed.clamp(min=0) / union.clamp(min=tiny) - (apart / hull.clamp(min=torch.finfo(hull.dtype).eps)).square()


def nms(segments: Segments, scores: Scores, groups: Groups, threshold: float) -> Int[Tensor, " kept"]:
    """Apply hard NMS within each group; returns the indices of the kept segments, best first, ties in their order."""
    order = scores.argsort(descending=True, stable=True)
    rank = torch.arange(len(order), 0, -1, dtype=torch.float32, device=scores.device)  # all different
    return order[_nms(segments[order], rank, groups[order], lambda tiou: tiou.le_(threshold)) > 0]


def soft_nms_of_groups(segments: Segments, scores: Scores, groups: Groups, sigma: float = 0.5) -> Scores:
    """Apply Gaussian soft-NMS within each group: every segment lowers the scores of worse segments that it overlaps."""
    return _nms(segments, scores, groups, lambda tiou: tiou.square_().div_(-sigma).exp_())


def _nms(segments: Segments, scores: Scores, groups: Groups, factor: Callable[[Tensor], Tensor]) -> Scores:
    """Multiply scores (at least 0) by `factor(tiou)` with each better segment of the group, best first."""
    order = groups.argsort(stable=True)
    _, sizes = groups[order].unique_consecutive(return_counts=True)
    firsts, lowered = sizes.cumsum(0) - sizes, scores.clone()
    by_size = sizes.argsort()  # similar sizes in one block reduce padding
    by_size = by_size[sizes[by_size] > 1]
    level = (3 * sizes[by_size].log2()).long()  # sizes within a factor of 1.26
    blocks = (sizes[by_size].cumsum(0) // MAX_BLOCK + level * len(order)).unique_consecutive(return_counts=True)[1]
    for part in by_size.split(blocks.tolist()):
        within = torch.arange(int(sizes[part].max()), device=scores.device)
        real = within < sizes[part, None]
        rows = order[(firsts[part, None] + within).clamp(max=len(order) - 1)]
        lowered[rows[real]] = _nms_padded(segments[rows], torch.where(real, scores[rows], 0), factor)[real]
    return lowered


def _nms_padded(
    segments: Float[Tensor, "g n 2"], scores: Float[Tensor, "g n"], factor: Callable[[Tensor], Tensor]
) -> Float[Tensor, "g n"]:
    """NMS of groups of n segments; a score of 0 is padding. Each step settles the best open segment of each group."""
    start, end = segments.movedim(-1, 0).contiguous()
    length = (end - start).clamp_(min=torch.finfo(segments.dtype).tiny)
    settled, rest = torch.zeros_like(scores), scores.clone()
    for _ in range(scores.shape[1]):
        value, best = rest.max(dim=1, keepdim=True)
        if not value.any():
            break
        settled.scatter_add_(1, best, value)  # adds 0 in a finished group
        shared = torch.minimum(end, end.gather(1, best)).sub_(torch.maximum(start, start.gather(1, best))).clamp_(min=0)
        union = (length + length.gather(1, best)).sub_(shared)
        rest.mul_(factor(shared.div_(union))).scatter_(1, best, 0)
    return settled


def roi_samples(
    segments_ix: Float[Tensor, "b q 2"], lengths: Int[Tensor, " b"], bins: int
) -> tuple[Int[Tensor, "b q bins"], Int[Tensor, "b q bins"], Float[Tensor, "b q bins"]]:
    """Return for the middle of each bin the two neighbouring snippets, and the weight of the later one (linear).

    Positions are continuous: snippet t covers [t, t + 1) and has its value at t + 0.5; beyond the first and last
    snippet the value is constant. `lengths` are the valid snippets of each window; padding is never used.
    """
    middle = (torch.arange(bins, device=segments_ix.device, dtype=segments_ix.dtype) + 0.5) / bins
    start, end = segments_ix[..., :1], segments_ix[..., 1:]
    last = (lengths - 1)[:, None, None]
    position = (start + middle * (end - start) - 0.5).clamp(min=0).minimum(last.to(segments_ix.dtype))
    below = position.detach().long()
    return below, torch.minimum(below + 1, last), position - below


def roi_align(features: Float[Tensor, "t c"], segments_ix: Segments, bins: int = 16) -> Float[Tensor, "n bins c"]:
    """Return the features under each segment, sampled in the middle of `bins` equal parts (RoIAlign)."""
    return roi_align_windows(features[None], segments_ix[None], _length(features), bins)[0]


def roi_mean(features: Float[Tensor, "t c"], segments_ix: Segments, bins: int = 16) -> Float[Tensor, "n c"]:
    """Mean of `roi_align` over its bins, without the (n, bins, c) array: a weighted sum of rows per segment."""
    below, above, share = (each[0] for each in roi_samples(segments_ix[None], _length(features), bins))
    weights = (torch.cat([1 - share, share], dim=1) / bins).to(features.dtype)
    rows = torch.cat([below, above], dim=1)
    return functional.embedding_bag(rows, features, per_sample_weights=weights, mode="sum")


def _length(features: Float[Tensor, "t c"]) -> Int[Tensor, " 1"]:
    return torch.tensor([len(features)], device=features.device)


def roi_align_windows(
    features: Float[Tensor, "b t c"], segments_ix: Float[Tensor, "b q 2"], lengths: Int[Tensor, " b"], bins: int = 16
) -> Float[Tensor, "b q bins c"]:
    """`roi_align` in each of several padded windows of `lengths` snippets."""
    below, above, share = roi_samples(segments_ix, lengths, bins)
    first = (torch.arange(len(features), device=features.device) * features.shape[1])[:, None, None]
    rows = torch.stack([below + first, above + first], dim=-1).flatten(0, -2)
    weights = torch.stack([1 - share, share], dim=-1).flatten(0, -2).to(features.dtype)
    # `embedding_bag` sums the two weighted rows of each bin without a sparse matrix or a copy of the rows
    mixed = functional.embedding_bag(rows, features.flatten(0, 1), per_sample_weights=weights, mode="sum")
    return mixed.unflatten(0, below.shape)


def roi_mean_windows(
    features: Float[Tensor, "b t c"], segments_ix: Float[Tensor, "b q 2"], lengths: Int[Tensor, " b"], bins: int = 16
) -> Float[Tensor, "b q c"]:
    """Mean of `roi_align_windows` over its bins, without computing the bins."""
    below, above, share = roi_samples(segments_ix, lengths, bins)
    weights = share.new_zeros(*below.shape[:2], features.shape[1])
    weights = weights.scatter_add(-1, below, (1 - share) / bins).scatter_add(-1, above, share / bins)
    return weights.to(features.dtype) @ features
