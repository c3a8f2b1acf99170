"""Heads that read the encoder's memory, snippet by snippet or under the segments the detector answered.

Each one is off by default and one word of `Switches`; rows are those of the method survey.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.detector.layers import Attention, mlp
from tadlib.segments import roi_align_windows, to_segments

QUALITY_CHANNELS, QUALITY_BINS = 32, 16  # what is kept of a snippet, and samples under a segment
CONTEXT = 1.5  # how much wider than its segment the quality head looks (Liu et al. 2022, TadTR)


class SalienceHead(nn.Module):
    """One logit a snippet, is it inside an action? Convolutions of three and one snippets (row 79)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(width, 1)

    def forward(self, memory: Float[Tensor, "b t d"], padding: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        local = self.local(memory.masked_fill(padding[..., None], 0.0).transpose(1, 2)).transpose(1, 2)
        return self.out(functional.leaky_relu(local, 0.2))[..., 0]


class MaskHead(nn.Module):
    """One logit a snippet from that snippet alone (row 67)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 1)

    def forward(self, memory: Float[Tensor, "b t d"], padding: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        return self.out(memory)[..., 0]


class QualityHead(nn.Module):
    """One logit a query: the tIoU its segment is expected to have with an action (row 16; TadTR, Liu et al. 2022).

    It reads the memory under the segment and as much again beside it; the segment itself is not moved by it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, QUALITY_CHANNELS)  # before RoIAlign, with which it commutes: far fewer rows
        self.judge = mlp(QUALITY_CHANNELS * QUALITY_BINS, width, 1)

    def forward(
        self, memory: Float[Tensor, "b t d"], segments_cw: Float[Tensor, "b q 2"], padding: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b q"]:
        lengths = (~padding).sum(1)
        wider = segments_cw.detach().float() * torch.tensor([1.0, CONTEXT], device=segments_cw.device)
        segments_ix = to_segments(wider) * lengths[:, None, None]
        samples = roi_align_windows(self.reduce(memory), segments_ix, lengths, QUALITY_BINS)
        return self.judge(samples.flatten(2))[..., 0]


class TextFusion(nn.Module):
    """Snippets look at the class texts before the encoder does its work (row 17); no order of classes matters.

    Its output starts at zero: an untrained fusion leaves the snippets alone.
    """

    def __init__(self, width: int, text_dim: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(text_dim, width)
        self.value = nn.Linear(text_dim, width)
        self.attention = Attention(width, heads)

    def forward(self, x: Float[Tensor, "b t d"], texts: Float[Tensor, "k e"]) -> Float[Tensor, "b t d"]:
        texts = texts.to(x.dtype).expand(len(x), -1, -1)
        return x + self.attention(self.query(x), self.key(texts), self.value(texts))


def snippet_head(width: int, text_dim: int) -> nn.Module:
    """Snippets of the memory as embeddings to compare with class texts (row 33)."""
    return mlp(width, width, text_dim)
