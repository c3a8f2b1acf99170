"""Does pooling with a mask, trained to separate action from background, help? (entry 68)

In GAP the mask's logit was multiplied with the feature before the cosine, which ignores lengths: only the sign of the
logit mattered. Here bins are weighted by their probability of being inside an action.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.naming.classifier import Classifier

BINS = 1024  # snippets a step


class Mask(nn.Module):
    """Linear logit of a normalised snippet feature being inside an action; initialised to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, bins: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
        """Logits of bins or snippets."""
        return self.linear(functional.normalize(bins, dim=-1))[..., 0]


def with_mask(found: Classifier, mask: Mask, similarity_at: str) -> Classifier:
    """Classifier that weighs bins by the mask, before (`pooled`) or after (`bins`) the comparison with texts."""

    def bins_to_logits(bins: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        weights, seen = mask(bins).sigmoid(), bins if found.head is None else found.head(bins)
        if similarity_at == "pooled":
            return found.compare(weighted_mean(seen, weights))
        return weighted_mean(found.compare(seen), weights)

    return replace(found, head=None, bins_to_logits=bins_to_logits)


def weighted_mean(values: Float[Tensor, "n r k"], weights: Float[Tensor, "n r"]) -> Float[Tensor, "n k"]:
    """Mean over bins, weighted by `weights`."""
    shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)  # sigmoids
    return (shares[..., None] * values).sum(dim=1)


def fit_mask(
    mask: Mask, snippets: Float[Tensor, "t c"], inside: Bool[Tensor, " t"], epochs: int = 20, lr: float = 1e-3
) -> list[float]:
    """Train a mask in place to separate snippets inside actions from others; returns the loss of every epoch."""
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
