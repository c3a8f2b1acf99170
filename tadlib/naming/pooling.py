"""CLIP's features under a proposal as one vector, or as one logit per class; the features themselves stay untouched.

Sources: outer-inner contrast, AutoLoc (Shou et al. 2018); self-attention without projections, softmax(S S^T) S, and
the middle bin, the middle snippet, every fourth bin, and the mean of all bins and of every fourth (`slow_fast`), GAP
(Du et al. 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.grid import Grid
from tadlib.segments import roi_align, roi_mean, to_cw, to_segments

Alike = Callable[[Tensor], Tensor]  # features (*n, c) -> logits (*n, k)

RATES = (1, 2, 4)  # neighbouring bins that `multi_rate` averages
SPARSE = 4  # bins that `sparse` looks at
MARGIN = 0.25  # of a segment's length: how far on either side the outside reaches
TOP = 8  # a video is named by the best of every so many snippets


@dataclass(frozen=True)
class Pooling:
    """How what lies under a proposal is read; words and defaults are those of the parameters."""

    pooling: str = "mean"
    roi_bins: int = 16
    similarity_at: str = "pooled"
    extend: float = 1.0
    contrast: float = 0.0
    head: Alike | None = None  # bins (n, r, c) -> bins: what was trained, or nothing
    mask: Alike | None = None  # bins (n, r, c) -> logits (n, r) of being part of an action, for `mask`
    reader: Alike | None = None  # bins (n, r, c) -> logits (n, k), for poolings in which texts look at bins


def _multi_rate(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n c"]:
    """The most of averages over one, two and four neighbouring bins, averaged over these rates."""
    last = bins.transpose(1, 2)
    rates = [rate for rate in RATES if rate <= bins.shape[1]]
    return torch.stack([functional.avg_pool1d(last, rate, ceil_mode=True).amax(dim=2) for rate in rates]).mean(dim=0)


def _attended(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
    """Every bin as a mixture of all, weighted by likeness: softmax(S S^T) S, without a square root."""
    return (bins @ bins.transpose(1, 2)).softmax(dim=2) @ bins


def _sparse(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n c"]:
    """The mean of every fourth of 16 bins, of four bins whatever their number."""
    return bins[:, :: max(1, bins.shape[1] // SPARSE)].mean(dim=1)


SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {  # (n, bins, c) -> (n, c), of features or of logits
    "mean": lambda bins: bins.mean(dim=1),
    "max": lambda bins: bins.amax(dim=1),
    "centre_bin": lambda bins: bins[:, bins.shape[1] // 2],
    "multi_rate": _multi_rate,
    "slow_fast": lambda bins: (bins.mean(dim=1) + _sparse(bins)) / 2,
    "sparse": _sparse,
}
HOW = (*SUMMARIES, "centre_snippet", "self_attention")  # those that make a feature


def pool(
    features: np.ndarray, segments: Float[Tensor, "n 2"], grid: Grid, bins: int = 16, how: str = "mean"
) -> Float[Tensor, "n c"]:
    """One vector per segment (seconds) from snippet features (t, c): RoIAlign, then one of its bins.

    A segment without length takes the feature at its place; what lies outside the video takes its first or last.
    """
    if how not in HOW:
        raise ValueError(f"pooling must be one of {', '.join(HOW)}, got {how!r}")
    options = Pooling(how, bins)
    return _pooled(_tensor(features), grid.snippets(segments.float()), options, alike=torch.nn.Identity())


def segment_logits(
    features: np.ndarray, segments: Float[Tensor, "n 2"], grid: Grid, alike: Alike, options: Pooling
) -> Float[Tensor, "n k"]:
    """Logits of segments (seconds) from snippet features (t, c); `alike` compares features with the classes.

    With `contrast`, the similarity of what lies just outside is taken off, where there is something outside.
    """
    snippets = _tensor(features)
    segments_ix = _stretched(grid.snippets(segments.float()), options.extend)
    return _less_outside(_pooled(snippets, segments_ix, options, alike), snippets, segments_ix, alike, options)


def ordered_logits(
    features: np.ndarray,
    segments: Float[Tensor, "n 2"],
    grid: Grid,
    alike: Alike,
    of_steps: tuple[Alike, Bool[Tensor, "k s"]],
    options: Pooling,
) -> Float[Tensor, "n k"]:
    """Logits of segments (seconds) whose bins must run through the steps of the action in their order.

    `of_steps` compares features with all steps of all classes (flat) and says which steps are padding; `alike`
    compares with whole classes, for what lies outside.
    """
    snippets, (compare, padding) = _tensor(features), of_steps
    segments_ix = _stretched(grid.snippets(segments.float()), options.extend)
    of_bins = compare(_bins(snippets, segments_ix, options)).unflatten(-1, padding.shape)
    return _less_outside(in_order(of_bins, padding), snippets, segments_ix, alike, options)


def in_order(of_bins: Float[Tensor, "n r k s"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "n k"]:
    """The best mean over bins if every bin is given a step, the first bin the first one, the last bin the last one,
    and each next bin the same step or the next; found step by step (dynamic programming).

    Raises ValueError where a class has more steps than there are bins.
    """
    last = (~padding).sum(dim=1) - 1
    if of_bins.shape[1] <= int(last.max()):
        raise ValueError(
            f"roi_bins must be at least the {int(last.max()) + 1} steps of a class, got {of_bins.shape[1]}: "
            f"pass -p roi_bins {int(last.max()) + 1} or more"
        )
    best = torch.full_like(of_bins[:, 0], -torch.inf)
    best[..., 0] = of_bins[:, 0, :, 0]
    for place in range(1, of_bins.shape[1]):
        moved = functional.pad(best[..., :-1], (1, 0), value=-torch.inf)
        best = of_bins[:, place] + torch.maximum(best, moved)
    ended = best.gather(2, last[None, :, None].expand(len(best), -1, 1))
    return ended[..., 0] / of_bins.shape[1]


def video_logits(features: np.ndarray, alike: Alike) -> Float[Tensor, " k"]:
    """Logits of a whole video from snippet features (t, c): of each class the mean of its best eighth of snippets."""
    logits = alike(_tensor(features))
    return logits.topk(max(1, len(logits) // TOP), dim=0).values.mean(dim=0)


def _tensor(features: np.ndarray) -> Float[Tensor, "t c"]:
    return torch.from_numpy(np.array(features, dtype=np.float32))


def _stretched(segments_ix: Float[Tensor, "n 2"], extend: float) -> Float[Tensor, "n 2"]:
    """Segments `extend` times as long around the same centres; by 1 they stay as they are, to the bit."""
    if extend == 1:
        return segments_ix
    return to_segments(to_cw(segments_ix) * torch.tensor([1.0, extend]))


def _pooled(
    snippets: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"], options: Pooling, alike: Alike
) -> Float[Tensor, "n k"]:
    """What `alike` says of the pooled features, or the pooled opinion of what it says of every bin.

    `text_attention`: every class attends to the bins that are most like it, in proportion to the softmax of its logits.
    `mask`: bins count by their probability of being part of an action. In GAP the mask's logit was multiplied with the
    feature before the cosine, which is blind to lengths: only the sign of the logit did anything.
    """
    how, whole = options.pooling, options.similarity_at == "pooled"
    if how == "centre_snippet":
        middle = segments_ix.mean(dim=1).floor().long()  # snippet t covers [t, t + 1)
        return alike(_through(options.head, snippets[middle.clamp(0, len(snippets) - 1)]))
    if how == "mean" and whole and options.head is None:
        return alike(roi_mean(snippets, segments_ix, options.roi_bins))
    bins = _bins(snippets, segments_ix, options)
    if options.reader is not None:
        return options.reader(bins)
    if how == "text_attention":
        of_bins = alike(bins)
        return (of_bins.softmax(dim=1) * of_bins).sum(dim=1)
    if how == "mask":
        shown = options.mask(roi_align(snippets, segments_ix, options.roi_bins)).sigmoid()
        return _weighted(bins, shown, alike) if whole else _weighted(alike(bins), shown, torch.nn.Identity())
    if how == "self_attention":
        how, bins = "mean", _attended(bins)
    return alike(SUMMARIES[how](bins)) if whole else SUMMARIES[how](alike(bins))


def _weighted(values: Float[Tensor, "n r k"], weights: Float[Tensor, "n r"], then: Alike) -> Float[Tensor, "n j"]:
    """The mean of bins by their weights, and what is made of it."""
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)  # sigmoids
    return then((shares[..., None] * values).sum(dim=1))


def _bins(
    snippets: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"], options: Pooling
) -> Float[Tensor, "n r c"]:
    """Bins of every segment, through the head if there is one."""
    bins = roi_align(snippets, segments_ix, options.roi_bins)
    return bins if options.head is None else options.head(bins)


def _through(head: Alike | None, features: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Features as segments of one bin, through the head if there is one."""
    return features if head is None else head(features[:, None])[:, 0]


def _less_outside(
    logits: Float[Tensor, "n k"],
    snippets: Float[Tensor, "t c"],
    segments_ix: Float[Tensor, "n 2"],
    alike: Alike,
    options: Pooling,
) -> Float[Tensor, "n k"]:
    """Logits less `contrast` times those of what lies within a quarter of a length on either side, in the video."""
    if options.contrast == 0:
        return logits
    start, end = segments_ix.clamp(0, len(snippets)).unbind(dim=1)
    margin = MARGIN * (end - start)
    left = torch.stack([(start - margin).clamp(min=0), start], dim=1)
    right = torch.stack([end, (end + margin).clamp(max=len(snippets))], dim=1)
    lengths = torch.stack([left[:, 1] - left[:, 0], right[:, 1] - right[:, 0]])
    share = lengths / lengths.sum(dim=0).clamp(min=torch.finfo(lengths.dtype).tiny)
    before, after = (roi_mean(snippets, side, options.roi_bins) for side in (left, right))
    outside = share[0, :, None] * before + share[1, :, None] * after
    there = (lengths.sum(dim=0) > 0)[:, None]
    return logits - options.contrast * alike(_through(options.head, outside)) * there
