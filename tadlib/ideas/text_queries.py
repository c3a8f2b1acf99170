"""Should the text of each class look for itself among the bins of a segment? (entry 53; GAP, Du et al. 2024)"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.ideas import maps
from tadlib.naming.classifier import Classifier


class Matching(nn.Module):
    """Texts as queries, the bins of a segment as what they look at: what a class finds there is compared with its text.

    fixed: softmax(factor * cosine / sqrt(c)) over bins, which is the attention of CLIP's vectors whatever their length
    (GAP's third version). learned: a multi-head attention, added to what is found so, at first with gate 0.
    """

    def __init__(self, kind: str, channels: int = 0) -> None:
        super().__init__()
        self.attention = maps.Attention(channels).attention if kind == "matching_learned" else None
        self.gate = nn.Parameter(torch.zeros(())) if self.attention is not None else None

    def forward(self, bins: Float[Tensor, "n r c"], texts: Float[Tensor, "k c"], factor: float) -> Float[Tensor, "n k"]:
        """Logits of segments for classes: `factor` times the cosine of each text with what it finds."""
        bins, texts = functional.normalize(bins, dim=-1), functional.normalize(texts, dim=-1)
        weights = (factor / math.sqrt(bins.shape[-1]) * (texts @ bins.transpose(1, 2))).softmax(dim=2)
        found = weights @ bins
        if self.attention is not None:
            asking = texts.expand(len(bins), -1, -1)
            found = found + self.gate * self.attention(asking, bins, bins, need_weights=False)[0]
        return factor * (functional.normalize(found, dim=-1) * texts).sum(dim=-1)


def with_matching(found: Classifier, matching: Matching) -> Classifier:
    """A classifier whose texts look at the bins."""
    return replace(found, bins_to_logits=lambda bins: found.map_logits(matching(bins, found.texts, found.scale)))


def classifier(found: Classifier, pooling: str) -> Classifier | None:
    """The matching without anything learned; that which is learned is one of `trained_naming`."""
    return with_matching(found, Matching(pooling)) if pooling == "matching_fixed" else None
