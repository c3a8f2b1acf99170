"""Does a mask, trained to tell action from background, pool the right bins? (entry 52)

In GAP the mask's logit was multiplied with the feature before the cosine, which is blind to lengths: only the sign of
the logit did anything. Here bins count by their probability of being part of an action.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.naming.classifier import Classifier

BINS = 1024  # snippets a step


class Mask(nn.Module):
    """How much of an action a snippet shows, from its feature at length one: a logit, at first the same for all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, bins: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
        """Logits of bins or snippets."""
        return self.linear(functional.normalize(bins, dim=-1))[..., 0]


def with_mask(found: Classifier, mask: Mask, similarity_at: str) -> Classifier:
    """A classifier that weighs bins by the mask, before (`pooled`) or after (`bins`) they are compared."""

    def bins_to_logits(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        """Logits of segments."""
        weights, seen = mask(bins).sigmoid(), bins if found.head is None else found.head(bins)
        if similarity_at == "pooled":
            return found.compare(weighted_mean(seen, weights))
        return weighted_mean(found.compare(seen), weights)

    return replace(found, head=None, bins_to_logits=bins_to_logits)


def weighted_mean(values: Float[Tensor, "n r k"], weights: Float[Tensor, "n r"]) -> Float[Tensor, "n k"]:
    """The mean over bins, weighted by `weights`."""
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)  # sigmoids
    return (shares[..., None] * values).sum(dim=1)


def fit_mask(
    mask: Mask, snippets: Float[Tensor, "t c"], inside: Bool[Tensor, " t"], epochs: int = 20, lr: float = 1e-3
) -> list[float]:
    """Train a mask in place to tell snippets inside actions from those outside; returns the loss of every epoch."""
    optimiser, history = torch.optim.AdamW(mask.parameters(), lr=lr), []
    for _ in range(epochs):
        losses = []
        for part in torch.randperm(len(snippets)).split(BINS):
            loss = functional.binary_cross_entropy_with_logits(mask(snippets[part]), inside[part].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses += [loss.item()] * len(part)
        history.append(sum(losses) / len(losses))
    return history
