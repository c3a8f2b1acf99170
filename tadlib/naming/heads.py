"""Trainable heads between CLIP's features under a segment and their pooling; CLIP itself is never trained.

A head learns from true segments of seen classes, each against its own class: in GAP's third version the label was 0
for every segment, so that one class won and every head seemed useless. With `residual` a head starts as nothing
(x + gate * f(x) with gate 0; ReZero, Bachlechner et al. 2021), and what CLIP knows survives a head that learns little.
The adapter is CLIP-Adapter's (Gao et al. 2021): a bottleneck whose output is mixed with the feature.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from tadlib.files import Progress, silent
from tadlib.naming.similarity import cosine, log_probability

KINDS = ("mlp", "conv", "attention", "encoder", "adapter")
LOSSES = ("cross_entropy", "bce", "focal")
BATCH = 64  # segments a step
SQUEEZE = 4  # times fewer channels in the adapter's middle
MIXED = 0.2  # share of the adapter's output


class _OverTime(nn.Module):
    """Two convolutions over the bins of a segment."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """Features of the bins, each from its neighbourhood."""
        return self.second(self.first(bins.transpose(1, 2)).relu()).transpose(1, 2)


class _Attention(nn.Module):
    """Self-attention among the bins of a segment."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, math.gcd(4, channels), batch_first=True)

    def forward(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """Features of the bins, each from all."""
        return self.attention(bins, bins, bins, need_weights=False)[0]


def _map(kind: str, channels: int) -> nn.Module:
    """The trainable part of a head."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
    if kind == "conv":
        return _OverTime(channels)
    if kind == "attention":
        return _Attention(channels)
    if kind == "encoder":
        return nn.TransformerEncoderLayer(channels, math.gcd(4, channels), 4 * channels, dropout=0.0, batch_first=True)
    if kind == "adapter":
        middle = max(1, channels // SQUEEZE)
        return nn.Sequential(nn.Linear(channels, middle), nn.ReLU(), nn.Linear(middle, channels), nn.ReLU())
    raise ValueError(f"head must be one of {', '.join(KINDS)}, got {kind!r}")


class Head(nn.Module):
    """Bins of CLIP features to bins in the same space; features come in at length one, whatever the encoder."""

    def __init__(self, kind: str, channels: int, residual: bool = True) -> None:
        super().__init__()
        self.map, self.mixed, self.residual = _map(kind, channels), kind == "adapter", residual
        self.gate = nn.Parameter(torch.zeros(()), requires_grad=residual and not self.mixed)

    def forward(self, bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
        """The bins as the head sees them."""
        unit = functional.normalize(bins, dim=-1)
        if self.mixed:
            return MIXED * self.map(unit) + (1 - MIXED) * unit
        return unit + self.gate * self.map(unit) if self.residual else self.map(unit)


def loss_of(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], loss: str) -> Float[Tensor, ""]:
    """Mean loss of class logits: of one class among all, or of each class on its own against the average class.

    Binary losses sum over classes; focal has alpha 0.25 and gamma 2 (Lin et al. 2017).
    """
    if loss not in LOSSES:
        raise ValueError(f"head_loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if loss == "cross_entropy":
        return -log_probability(logits).gather(1, labels[:, None]).mean()
    centred = logits - logits.mean(dim=1, keepdim=True)
    true = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    if loss == "bce":
        return functional.binary_cross_entropy_with_logits(centred, true, reduction="none").sum(dim=1).mean()
    return sigmoid_focal_loss(centred, true, alpha=0.25, gamma=2.0, reduction="none").sum(dim=1).mean()


def fit(
    head: Head,
    bins: Float[Tensor, "n r c"],
    labels: Int[Tensor, " n"],
    texts: Float[Tensor, "k c"],
    *,
    factor: float,
    loss: str = "cross_entropy",
    epochs: int = 20,
    lr: float = 1e-3,
    progress: Progress = silent,
) -> list[float]:
    """Train a head in place on segments and their own labels; returns the mean loss of every epoch.

    Features and texts are read, never changed. Raises ValueError where a label has no text.
    """
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= len(texts):
        raise ValueError(f"a head needs segments with labels 0..{len(texts) - 1}, got {labels.unique().tolist()}")
    optimiser = torch.optim.AdamW([weight for weight in head.parameters() if weight.requires_grad], lr=lr)
    history = []
    for epoch in range(epochs):
        losses = []
        for part in torch.randperm(len(labels)).split(BATCH):
            logits = cosine(head(bins[part]).mean(dim=1), texts, factor)
            value = loss_of(logits, labels[part], loss)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            losses += [value.item()] * len(part)
        history.append(sum(losses) / len(losses))
        progress(epoch + 1, epochs, f"head: loss {history[-1]:.3f}")
    return history
