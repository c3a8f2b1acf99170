"""Does attention from class texts to the bins of a segment help? (entry 64; GAP, Du et al. 2024)"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.ideas.heads import multihead
from tadlib.naming.classifier import Classifier


class Matching(nn.Module):
    """Attention with class texts as queries and bins as keys and values; the output is compared with the text.

    fixed: weights softmax(factor * cosine / sqrt(c)) over bins, that is attention of normalised CLIP vectors (GAP's
    third version). learned: adds a multi-head attention with an initial gate of 0.
    """

    def __init__(self, kind: str, channels: int = 0) -> None:
        super().__init__()
        self.attention = multihead(channels) if kind == "matching_learned" else None
        self.gate = nn.Parameter(torch.zeros(())) if self.attention is not None else None

    def forward(self, bins: Float[Tensor, "n r c"], texts: Float[Tensor, "k c"], factor: float) -> Float[Tensor, "n k"]:
        """Logits of segments for classes: `factor` times the cosine of each text with its attention output."""
        bins, texts = functional.normalize(bins, dim=-1), functional.normalize(texts, dim=-1)
        weights = (factor / math.sqrt(bins.shape[-1]) * (texts @ bins.transpose(1, 2))).softmax(dim=2)
        found = weights @ bins
        if self.attention is not None:
            asking = texts.expand(len(bins), -1, -1)
            found = found + self.gate * self.attention(asking, bins, bins, need_weights=False)[0]
        return factor * (functional.normalize(found, dim=-1) * texts).sum(dim=-1)


def with_matching(found: Classifier, matching: Matching) -> Classifier:
    """Return a classifier whose texts attend to the bins."""
    return replace(found, bins_to_logits=lambda bins: found.map_logits(matching(bins, found.texts, found.scale)))


def classifier(found: Classifier, pooling: str) -> Classifier | None:
    """Return the fixed matching; the learned one is in `trained_naming`."""
    return with_matching(found, Matching(pooling)) if pooling == "matching_fixed" else None
