"""Where queries look: the weights of the decoder's attention to snippets, read while the detector answers."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.detector.network import ConditionalDETR


@torch.inference_mode()
def attention(
    model: ConditionalDETR,
    features: Float[Tensor, "b t c"],
    padding: Bool[Tensor, "b t"],
    texts: Float[Tensor, "k e"] | None = None,
) -> Float[Tensor, "layers b q t"]:
    """How much each query looks at each snippet in each decoder layer: mean over heads, 1 in sum over snippets."""
    seen: list[Tensor] = []

    def look(module: torch.nn.Module, given: tuple) -> None:
        query, key = (part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in given[:2])
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        seen.append(scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1).mean(1))

    hooks = [layer.attention.register_forward_pre_hook(look) for layer in model.decoder]
    model.eval()(features, padding, texts)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)
