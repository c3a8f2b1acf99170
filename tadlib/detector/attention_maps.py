"""Cross-attention weights of the decoder, recorded during a forward pass."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.detector.network import ConditionalDETR


@torch.inference_mode()
def cross_attention(
    model: ConditionalDETR,
    features: Float[Tensor, "b t c"],
    padding: Bool[Tensor, "b t"],
    texts: Float[Tensor, "k e"] | None = None,
) -> Float[Tensor, "layers b q t"]:
    """Attention weight of each query on each snippet in each decoder layer: mean over heads, sum 1 over snippets."""
    weights: list[Tensor] = []

    def record(module: torch.nn.Module, inputs: tuple) -> None:
        query, key = (part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in inputs[:2])
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        weights.append(scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1).mean(1))

    hooks = [layer.attention.register_forward_pre_hook(record) for layer in model.decoder]
    model.eval()(features, padding, texts)
    for hook in hooks:
        hook.remove()
    return torch.stack(weights)
