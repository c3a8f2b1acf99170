"""Losses for training a classifier of segments, from logits (segments, classes) and labels, and hard negatives.

Hard negatives are a class's steps in a wrong order, and the regions adjacent to a segment (entry 65). In GAP's third
version every segment had the label 0, so that one class won and every head seemed useless.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tadlib.detector.targets import focal_terms
from tadlib.naming.similarity import above_average, log_class_probability
from tadlib.naming.text import TextEmbeddings

Labels, Logits, Bins = Int[Tensor, " n"], Float[Tensor, "n _"], Float[Tensor, "n r c"]  # of n segments
Score = Callable[[Tensor, TextEmbeddings], Tensor]  # bins (n, r, c), texts of k classes -> logits (n, k)
CLASSIFYING = ("cross_entropy", "bce", "focal")  # losses of single segments, not of pairs
BACKGROUND = -1  # label of background
ORDERS = 2  # random wrong orders per class


class Examples(NamedTuple):
    """Segments with labels."""

    bins: Bins
    labels: Labels  # class index; -1 is background
    adjacent: Float[Tensor, "n w r c"]  # bins of the regions adjacent to each segment
    in_video: Bool[Tensor, "n w"]  # which of these regions are in the video

    def only(self, rows: Tensor) -> "Examples":
        """Select examples by index or mask."""
        return Examples(*(field[rows] for field in self))


def targets(labels: Labels, columns: int, learned: bool = False) -> Logits:
    """Target distribution over columns: one-hot for a class; for background the last column if that is learned,
    otherwise uniform (DetPro, Du et al. 2022).
    """
    uniform = functional.one_hot(torch.tensor(columns - 1), columns) if learned else torch.full((columns,), 1 / columns)
    wanted = functional.one_hot(labels.clamp(min=0), columns).float()
    return torch.where((labels == BACKGROUND)[:, None], uniform.to(wanted), wanted)


def classification(logits: Logits, wanted: Logits, loss: str) -> Float[Tensor, ""]:
    """Mean classification loss: cross-entropy over classes, or a binary loss of each class's logit above the average.

    Binary losses sum over classes; focal has alpha 0.25 and gamma 2 (Lin et al. 2017).
    """
    if loss == "cross_entropy":
        return -(wanted * log_class_probability(logits)).sum(dim=1).mean()
    centred = above_average(logits)
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(centred, wanted, reduction="none").sum(dim=1).mean()
    return focal_terms(centred, wanted).sum(dim=1).mean()


def contrastive(
    logits: Logits, labels: Labels, wanted: Logits, orders: Logits | None = None, regions: Logits | None = None
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE as in CLIP's training: the right text among texts, and the right segment among segments.

    Negative texts are the other classes and the segment's own class with its steps in wrong `orders`. Negative segments
    are those of other classes in the batch, and the adjacent `regions` of each segment. Minus infinity excludes a
    negative. Background is a negative for every class and a positive for none.
    """
    among_texts = logits if orders is None else torch.cat([logits, orders], dim=1)
    share = among_texts.log_softmax(dim=1)[:, : logits.shape[1]]
    read = -torch.where(wanted > 0, wanted * share, 0.0).sum(dim=1).mean()
    real = labels != BACKGROUND
    if not real.any():
        return read
    own = labels.clamp(min=0)
    rivals = logits[:, own].T.masked_fill(labels[:, None] == labels, -torch.inf)  # row n: n's class in each segment
    right = logits.gather(1, own[:, None])
    among_segments = torch.cat([right, rivals] if regions is None else [right, rivals, regions], dim=1)
    seen = -among_segments.log_softmax(dim=1)[real, 0].mean()
    return (read + seen) / 2


def grounded(
    bins: Float[Tensor, "n r c"], steps: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"], factor: float
) -> Float[Tensor, "n k"]:
    """Grounding score of each class's texts in the bins of each segment (ODISE, Xu et al. 2023).

    Each text attends to the bins: sum over bins of softmax(factor * cosine) * factor * cosine, mean over the class's
    texts.
    """
    bins, flat = functional.normalize(bins, dim=-1), functional.normalize(steps, dim=-1).flatten(0, 1)
    similarity = factor * bins @ flat.T
    found = (similarity.softmax(dim=1) * similarity).sum(dim=1).unflatten(1, padding.shape)
    real = (~padding).to(found.dtype)
    return (found * real).sum(dim=2) / real.sum(dim=1)


def shuffled(steps: TextEmbeddings, name_first: bool) -> TextEmbeddings:
    """Permute the steps of every class at random; with `name_first` the leading name stays first.

    A class with a single step is unchanged.
    """
    places = torch.arange(steps.padding.shape[1], dtype=torch.float32)
    draw = torch.rand(steps.padding.shape)
    backwards = (len(places) - 1 - places).expand_as(draw)
    orders = []
    for wanted in (draw, backwards):
        wanted = wanted.masked_fill(steps.padding, float(len(places)))
        wanted[:, : int(name_first)] = -1
        orders.append(wanted.argsort(dim=1, stable=True))
    same = (orders[0] == places).all(dim=1, keepdim=True)
    order = torch.where(same, orders[1], orders[0])
    return TextEmbeddings(steps.embeddings.gather(1, order[..., None].expand_as(steps.embeddings)), steps.padding)


def adjacent(segments_ix: Float[Tensor, "n 2"], length: float) -> tuple[Float[Tensor, "n 2 2"], Bool[Tensor, "n 2"]]:
    """Adjacent regions before and after each segment, as long as the segment, clipped to a video of `length` snippets,
    and whether at least half of each is in the video.
    """
    start, end = segments_ix.unbind(dim=1)
    whole = end - start
    regions = torch.stack([torch.stack([start - whole, start], 1), torch.stack([end, end + whole], 1)], dim=1)
    cut = regions.clamp(0, length)
    return cut, (cut[..., 1] - cut[..., 0] >= whole[:, None] / 2) & (whole[:, None] > 0)


def repeated_near(segments: Float[Tensor, "n 2"], labels: Int[Tensor, " n"], length: float) -> Bool[Tensor, "n 2"]:
    """Whether another segment with the same label overlaps the adjacent region before or after each segment."""
    start, end = adjacent(segments, length)[0].unbind(dim=2)
    overlaps = (start[..., None] < segments[:, 1]) & (end[..., None] > segments[:, 0])
    return (overlaps & (labels[:, None] == labels)[:, None]).any(dim=2)


def hard_negatives(
    score: Score, examples: Examples, steps: TextEmbeddings, kind: str, name_first: bool
) -> dict[str, Logits]:
    """Logits of segments for their own class in wrong `orders` of its steps, and of their adjacent `regions` for it.

    `kind` is none, order, region or all. Minus infinity excludes the orders of background and of classes with a single
    step, and regions outside the video.
    """
    own, found = examples.labels.clamp(min=0)[:, None], {}
    if kind in ("order", "all"):
        orders = [score(examples.bins, shuffled(steps, name_first)).gather(1, own) for _ in range(ORDERS)]
        several = (~steps.padding).sum(dim=1) - int(name_first) > 1
        excluded = ~several[own] | (examples.labels == BACKGROUND)[:, None]
        found["orders"] = torch.cat(orders, dim=1).masked_fill(excluded, -torch.inf)
    if kind in ("region", "all"):
        regions = score(examples.adjacent.flatten(0, 1), steps).unflatten(0, examples.in_video.shape)
        regions = regions.gather(2, own[:, None].expand(-1, regions.shape[1], -1))[..., 0]
        found["regions"] = regions.masked_fill(~examples.in_video, -torch.inf)
    return found
