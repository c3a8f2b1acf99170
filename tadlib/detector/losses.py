"""What the detector is trained to lower: focal loss on scores, L1 and true gIoU on matched segments."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.batches import Batch, Target
from tadlib.detector.dense import (
    best_tiou,
    counted,
    focal_terms,
    ignored,
    inside,
    quality_loss,
    salience_loss,
    segmentation_loss,
)
from tadlib.detector.matching import Costs, match
from tadlib.detector.network import Outputs
from tadlib.segments import diou, giou, tiou, to_segments

COSINE_SCALE = 20.0  # sharpness of the cosine between a query's embedding and class texts; sigmoids follow
OVERLAPS = {"giou": giou, "diou": diou, "iou": tiou}
TERMS = ("loss_class", "loss_l1", *(f"loss_{name}" for name in OVERLAPS))
TERMS += ("loss_salience", "loss_quality", "loss_segmentation")
IGNORED_TIOU = 0.5  # from which on a query answers an action that is to be ignored


@dataclass(frozen=True)
class Criterion:
    """The forms of the losses, and what a pair costs in matching; the words are those of the parameters."""

    overlap: str = "giou"  # diou, iou
    salience: str = "bce"  # ce, mask
    temperature: float = 0.07  # of the softmax over classes in snippet segmentation (row 45)
    costs: Costs = Costs()
    published: bool = False  # overlap of what lies inside the window; salience per action, not per snippet

    @property
    def per_action(self) -> bool:
        """Whether salience is divided by the number of actions, as the published focal form is."""
        return self.published and self.salience == "bce"


def focal_loss(logits: Float[Tensor, "*b"], wanted: Float[Tensor, "*b"]) -> Float[Tensor, ""]:
    """Focal loss (Lin et al. 2017; alpha 0.25, gamma 2), summed."""
    return focal_terms(logits, wanted).sum()


def class_logits(outputs: Outputs, texts: Float[Tensor, "k e"] | None) -> Float[Tensor, "b q n"]:
    """Logits that are trained and ranked by: one per query, of a detector that classifies with text one per class too.

    The text detector's logit is the query's actionness logit plus a scaled cosine: a class must fit and be there. All
    of it is in full precision, whatever the network answered in. Raises ValueError for such a detector without texts.
    """
    actionness_logits = outputs.actionness_logits.float()[..., None]
    if outputs.embeddings is None:
        return actionness_logits
    if texts is None:
        raise ValueError("queries are classified with text: give the texts of the classes, got None")
    cosine = functional.normalize(outputs.embeddings.float(), dim=-1) @ functional.normalize(texts, dim=-1).T
    return actionness_logits + COSINE_SCALE * cosine


def detection_losses(
    outputs: Outputs,
    targets: Sequence[Target],
    texts: Float[Tensor, "k e"] | None = None,
    criterion: Criterion = Criterion(),
) -> dict[str, Tensor]:
    """The terms by name, each divided by the number of actions in the batch; `matched_tiou` is only for looking at.

    With earlier layers among the outputs, each term is the mean over layers, which are matched and compared as if they
    were windows of one batch. L1 sees unclamped segments, so that what lies outside the window still has a gradient.
    """
    layers = [outputs, *outputs.earlier]
    segments_cw = torch.cat([layer.segments_cw for layer in layers])
    logits = torch.cat([class_logits(layer, texts) for layer in layers])
    terms = _sums(segments_cw, logits, [*targets] * len(layers), criterion)
    number = len(layers) * max(1, _actions(targets))
    return {name: value / number for name, value in terms.items()}


def snippet_losses(
    outputs: Outputs,
    targets: Sequence[Target],
    padding: Bool[Tensor, "b t"],
    texts: Float[Tensor, "k e"] | None = None,
    criterion: Criterion = Criterion(),
) -> dict[str, Tensor]:
    """The terms of the heads that the detector has beside its queries; nothing for one that has none."""
    terms: dict[str, Tensor] = {}
    if outputs.salience_logits is not None:
        form = "published" if criterion.per_action else criterion.salience
        terms["loss_salience"] = salience_loss(outputs.salience_logits, targets, padding, form)
    if outputs.quality_logits is not None:
        terms["loss_quality"] = quality_loss(outputs.quality_logits, outputs.segments_cw, targets)
    if outputs.snippet_embeddings is not None:
        if texts is None:
            raise ValueError("snippets are classified with text: give the texts of the seen classes, got None")
        terms["loss_segmentation"] = segmentation_loss(
            outputs.snippet_embeddings, texts, targets, padding, criterion.temperature
        )
    return terms


def shares(batches: Sequence[Batch], criterion: Criterion = Criterion()) -> list[dict[str, float]]:
    """By how much each batch's terms count for their sum to be the terms of all batches as one.

    A term is a mean over actions, snippets or windows, of which a batch may have more than the next.
    """
    if len(batches) == 1:
        return [dict.fromkeys(TERMS, 1.0)]
    parts = [_amounts(batch, criterion) for batch in batches]
    total = {name: max(1, sum(part[name] for part in parts)) for name in TERMS}
    return [{name: max(1, part[name]) / total[name] for name in TERMS} for part in parts]


def _amounts(batch: Batch, criterion: Criterion) -> dict[str, int]:
    """What each term of a batch is a mean over, none of it where there is none."""
    snippets = counted(batch.targets, batch.padding)
    windows = (snippets & inside(batch.targets, batch.padding)).any(1)
    amounts = dict.fromkeys(TERMS, _actions(batch.targets))
    amounts |= {"loss_quality": len(batch.targets), "loss_segmentation": int(snippets.sum())}
    if not criterion.per_action:
        amounts["loss_salience"] = int((windows if criterion.salience == "ce" else snippets).sum())
    return amounts


def _actions(targets: Sequence[Target]) -> int:
    return sum(len(target.labels_ix) for target in targets)


def _sums(
    answered_cw: Float[Tensor, "b q 2"], logits: Float[Tensor, "b q k"], targets: Sequence[Target], criterion: Criterion
) -> dict[str, Tensor]:
    """The terms of all windows, summed over their actions."""
    pairs = match(answered_cw, logits, targets, criterion.costs)
    query_ix, target_ix = (torch.cat(each) for each in zip(*pairs, strict=True))
    window_ix = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(rows) for rows, _ in pairs]))
    sizes = torch.tensor([len(target.labels_ix) for target in targets])
    target_ix = target_ix + (sizes.cumsum(0) - sizes)[window_ix]
    labels_ix = torch.cat([target.labels_ix for target in targets])[target_ix]
    segments_cw = torch.cat([target.segments_cw for target in targets])[target_ix].to(logits.device)
    window_ix, query_ix, labels_ix = torch.stack([window_ix, query_ix, labels_ix]).to(logits.device)
    wanted = torch.zeros_like(logits)
    wanted[window_ix, query_ix, labels_ix] = 1.0
    found_cw = answered_cw[window_ix, query_ix]
    found, true = to_segments(found_cw), to_segments(segments_cw)
    judged = found.clamp(0, 1) if criterion.published else found
    kept = _kept(answered_cw, wanted, targets)
    return {
        "loss_class": focal_loss(logits, wanted) if kept is None else focal_loss(logits[kept], wanted[kept]),
        "loss_l1": functional.l1_loss(found_cw, segments_cw, reduction="sum"),
        f"loss_{criterion.overlap}": (1 - OVERLAPS[criterion.overlap](judged, true)).sum(),
        "matched_tiou": tiou(found, true).detach().sum(),
    }


def _kept(
    segments_cw: Float[Tensor, "b q 2"], wanted: Float[Tensor, "b q k"], targets: Sequence[Target]
) -> Bool[Tensor, "b q"] | None:
    """Queries that count: all but those that found nothing wanted but something to be ignored (B21); None for all."""
    if all(target.ignored_cw is None for target in targets):
        return None
    return (best_tiou(segments_cw, ignored(targets, segments_cw.device)) < IGNORED_TIOU) | (wanted > 0).any(-1)
