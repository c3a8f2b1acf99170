"""The detection loss: focal loss on scores, L1 and gIoU on segments, after Hungarian matching."""

from collections.abc import Iterable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.batches import Batch
from tadlib.data.checks import one_of
from tadlib.detector.additions import Addition, Outputs
from tadlib.detector.matching import Cost, detection_cost, match
from tadlib.detector.targets import best_tiou, focal_terms, ignored, number_of_actions
from tadlib.segments import diou, giou, tiou, to_segments

COSINE_SCALE = 20.0  # scale of the cosine between query embeddings and class texts, before the sigmoid
OVERLAPS = {"giou": giou, "diou": diou, "iou": tiou}
IGNORED_TIOU = 0.5  # unmatched queries with at least this tIoU with an ignored action are left out of the focal loss


def class_logits(outputs: Outputs, texts: Float[Tensor, "k e"] | None) -> Float[Tensor, "b q n"]:
    """Return the class logits of every query: its actionness, or one logit per class with an embedding head.

    With an embedding head the logit is the actionness logit plus a scaled cosine with the class text. Computed in full
    precision. Raises ValueError for an embedding head without texts.
    """
    actionness_logits = outputs.actionness_logits.float()[..., None]
    if outputs.embeddings is None:
        return actionness_logits
    if texts is None:
        raise ValueError("queries are classified with text: give the texts of the classes, got None")
    cosine = functional.normalize(outputs.embeddings.float(), dim=-1) @ functional.normalize(texts, dim=-1).T
    return actionness_logits + COSINE_SCALE * cosine


class DetectionLoss:
    """Set-prediction loss of a batch: each action is matched to one query, then scores and segments are compared.

    `loss_class`, `loss_l1` and `loss_giou` weigh the focal loss, L1 and overlap (`overlap_loss`: giou, diou or iou);
    `cost_class`, `cost_l1` and `cost_giou` weigh the class, L1 and gIoU parts of the matching cost. `cost` replaces
    `detection_cost` and is called without these weights. With `aux_loss` every decoder layer has a loss. The terms of
    `additions` are added.
    """

    pair_cost = staticmethod(detection_cost)

    def __init__(  # noqa: PLR0913  one word for each weight
        self,
        *,
        loss_class: float = 3.0,
        loss_l1: float = 5.0,
        loss_giou: float = 2.0,
        overlap_loss: str = "giou",
        cost_class: float = 2.0,
        cost_l1: float = 5.0,
        cost_giou: float = 2.0,
        cost: Cost | None = None,
        aux_loss: bool = True,
        additions: Iterable[Addition] = (),
    ) -> None:
        one_of("overlap_loss", overlap_loss, OVERLAPS)
        self.overlap_loss, self.aux_loss, self.additions = overlap_loss, aux_loss, additions
        self.weights = {"loss_class": loss_class, "loss_l1": loss_l1, f"loss_{overlap_loss}": loss_giou}
        weights = {"cost_class": cost_class, "cost_l1": cost_l1, "cost_giou": cost_giou}
        self.cost = cost or partial(self.pair_cost, **weights)

    def __call__(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the terms by name and their weighted sum `loss`.

        For monitoring also `matches`, the number of matched queries, and `matched_tiou`, the sum of their tIoUs.
        Every term but those of additions is divided by the number of actions in its optimiser step (`Batch.step`). With
        `aux_loss` a term is the mean over decoder layers, which are matched as if they were windows of one batch.
        """
        share = batch.share(number_of_actions)
        terms = {name: share * value for name, value in self._query_terms(outputs, batch).items()}
        parts = [weight * terms[name] for name, weight in self.weights.items()]
        for addition in self.additions:
            for name, (value, weight, its_share) in addition.losses(outputs, batch).items():
                terms[name] = its_share * value
                parts.append(weight * terms[name])
        return {name: term.detach() for name, term in terms.items()} | {"loss": sum(parts)}

    def overlap(self, found: Float[Tensor, "n 2"], true: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """Return the overlap of segments (start, end) with their matched actions."""
        return OVERLAPS[self.overlap_loss](found, true)

    def _query_terms(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of all layers, per action. L1 uses unclamped segments, so those outside have a gradient."""
        layers = [outputs, *(outputs.earlier if self.aux_loss else ())]
        predicted_cw = torch.cat([layer.segments_cw for layer in layers])
        logits = torch.cat([class_logits(layer, batch.texts) for layer in layers])
        targets = [*batch.targets] * len(layers)
        pairs = match(predicted_cw, logits, targets, self.cost)
        query_ix, target_ix = (torch.cat(each) for each in zip(*pairs, strict=True))
        window_ix = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(rows) for rows, _ in pairs]))
        sizes = torch.tensor([len(target.labels_ix) for target in targets])
        target_ix = target_ix + (sizes.cumsum(0) - sizes)[window_ix]
        labels_ix = torch.cat([target.labels_ix for target in targets])[target_ix]
        segments_cw = torch.cat([target.segments_cw for target in targets])[target_ix].to(logits.device)
        window_ix, query_ix, labels_ix = torch.stack([window_ix, query_ix, labels_ix]).to(logits.device)
        wanted = torch.zeros_like(logits)
        wanted[window_ix, query_ix, labels_ix] = 1.0
        found_cw = predicted_cw[window_ix, query_ix]
        found, true = to_segments(found_cw), to_segments(segments_cw)
        kept = _in_focal_loss(predicted_cw, wanted, targets)
        if kept is not None:
            logits, wanted = logits[kept], wanted[kept]
        sums = {
            "loss_class": focal_terms(logits, wanted).sum(),
            "loss_l1": functional.l1_loss(found_cw, segments_cw, reduction="sum"),
            f"loss_{self.overlap_loss}": (1 - self.overlap(found, true)).sum(),
            "matched_tiou": tiou(found, true).detach().sum(),
            "matches": torch.full((), len(found), dtype=found.dtype, device=found.device),
        }
        number = len(layers) * max(1, number_of_actions(batch))
        return {name: value / number for name, value in sums.items()}


def _in_focal_loss(
    segments_cw: Float[Tensor, "b q 2"], wanted: Float[Tensor, "b q k"], targets: list
) -> Bool[Tensor, "b q"] | None:
    """Return the queries in the focal loss: all but unmatched ones that overlap an ignored action; None means all."""
    if all(target.ignored_cw is None for target in targets):
        return None
    return (best_tiou(segments_cw, ignored(targets, segments_cw.device)) < IGNORED_TIOU) | (wanted > 0).any(-1)
