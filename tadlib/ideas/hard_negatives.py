"""Hard negatives: a class's steps in a wrong order, and the regions adjacent to a segment. (entry 65)"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tadlib.naming.text import TextEmbeddings

ORDERS = 2  # random wrong orders per class


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


def has_order(steps: TextEmbeddings, name_first: bool) -> Bool[Tensor, " k"]:
    """Whether each class has more than one step to permute."""
    return (~steps.padding).sum(dim=1) - int(name_first) > 1


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
