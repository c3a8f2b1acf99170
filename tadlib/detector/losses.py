"""What the detector is trained to lower: focal loss on scores, L1 and true gIoU on matched segments."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.batches import Target
from tadlib.detector.matching import ALPHA, GAMMA, match
from tadlib.detector.network import Outputs
from tadlib.segments import giou, tiou, to_segments

COSINE_SCALE = 20.0  # sharpness of the cosine between a query's embedding and class texts; sigmoids follow


def focal_loss(logits: Float[Tensor, "*b"], wanted: Float[Tensor, "*b"]) -> Float[Tensor, ""]:
    """Focal loss (Lin et al. 2017; alpha 0.25, gamma 2), summed."""
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    wrong = wanted * (1 - probability) + (1 - wanted) * probability
    weight = wanted * ALPHA + (1 - wanted) * (1 - ALPHA)
    return (weight * wrong**GAMMA * loss).sum()


def class_logits(outputs: Outputs, texts: Float[Tensor, "k e"] | None) -> Float[Tensor, "b q k"]:
    """Scores to be trained: one per query, or for a detector that classifies with text one per query and class.

    The text detector's logit is the query's actionness logit plus a scaled cosine: a class must fit and be there.
    """
    if texts is None:
        return outputs.actionness_logits[..., None]
    cosine = functional.normalize(outputs.embeddings, dim=-1) @ functional.normalize(texts, dim=-1).T
    return outputs.actionness_logits[..., None] + COSINE_SCALE * cosine


def detection_losses(
    outputs: Outputs, targets: Sequence[Target], texts: Float[Tensor, "k e"] | None = None
) -> dict[str, Tensor]:
    """The terms by name, each divided by the number of actions in the batch; `matched_tiou` is only for looking at.

    With earlier layers among the outputs, each term is the mean over layers. L1 sees unclamped segments, so that what
    lies outside the window still has a gradient.
    """
    layers = [outputs, *outputs.earlier]
    number = max(1, sum(len(target.labels_ix) for target in targets))
    terms: dict[str, Tensor] = {}
    for layer in layers:
        for name, value in _layer_losses(layer, targets, texts).items():
            terms[name] = terms.get(name, 0.0) + value / (number * len(layers))
    return terms


def _layer_losses(outputs: Outputs, targets: Sequence[Target], texts: Float[Tensor, "k e"] | None) -> dict[str, Tensor]:
    logits = class_logits(outputs, texts)
    pairs = match(outputs.segments_cw, logits, targets)
    device = logits.device
    window_ix = torch.cat([torch.full_like(query_ix, place) for place, (query_ix, _) in enumerate(pairs)]).to(device)
    query_ix = torch.cat([query_ix for query_ix, _ in pairs]).to(device)
    labels_ix = torch.cat([target.labels_ix[ix] for target, (_, ix) in zip(targets, pairs, strict=True)]).to(device)
    segments_cw = torch.cat([target.segments_cw[ix] for target, (_, ix) in zip(targets, pairs, strict=True)]).to(device)
    wanted = torch.zeros_like(logits)
    wanted[window_ix, query_ix, labels_ix] = 1.0
    found_cw = outputs.segments_cw[window_ix, query_ix]
    found, true = to_segments(found_cw), to_segments(segments_cw)
    return {
        "loss_class": focal_loss(logits, wanted),
        "loss_l1": functional.l1_loss(found_cw, segments_cw, reduction="sum"),
        "loss_giou": (1 - giou(found, true)).sum(),
        "matched_tiou": tiou(found, true).detach().sum(),
    }
