"""Losses on snippets and on expected quality: what heads beside the queries are trained to lower.

Only real snippets count: padding has no influence. Rows are those of the method survey.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tadlib.data.batches import Target
from tadlib.detector.layers import place_in_window
from tadlib.detector.matching import ALPHA, GAMMA
from tadlib.segments import tiou, to_segments


def focal_terms(logits: Float[Tensor, "*b"], wanted: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Focal loss (Lin et al. 2017; alpha 0.25, gamma 2) of each logit."""
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    wrong = wanted * (1 - probability) + (1 - wanted) * probability
    weight = wanted * ALPHA + (1 - wanted) * (1 - ALPHA)
    return weight * wrong**GAMMA * loss


def side_by_side(segments_cw: Sequence[Float[Tensor, "_ 2"]], device: torch.device) -> Float[Tensor, "b n 2"]:
    """The segments of every window, filled up with NaN, which lies nowhere: in one piece to the device."""
    return pad_sequence(list(segments_cw), batch_first=True, padding_value=torch.nan).to(device)


def best_tiou(segments_cw: Float[Tensor, "b q 2"], others_cw: Float[Tensor, "b n 2"]) -> Float[Tensor, "b q"]:
    """The tIoU of each segment with the nearest of the others of its window; 0 where there is none. No gradient."""
    found, others = to_segments(segments_cw.detach().float()), to_segments(others_cw)
    overlap = tiou(found[:, :, None], others[:, None]).nan_to_num(0.0)
    return functional.pad(overlap, (0, 1)).amax(dim=2)  # the column more: nothing at all


def ignored(targets: Sequence[Target], device: torch.device) -> Float[Tensor, "b n 2"]:
    """What is to be ignored in every window."""
    return side_by_side([t.segments_cw[:0] if t.ignored_cw is None else t.ignored_cw for t in targets], device)


def touched(segments_cw: Float[Tensor, "b n 2"], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b n t"]:
    """Which snippets of its window each segment touches."""
    start, end = to_segments(segments_cw)[..., None].unbind(-2)
    middles, half = place_in_window(padding)[:, None], 0.5 / (~padding).sum(1)[:, None, None]
    return (middles + half > start) & (middles - half < end) & ~padding[:, None]


def inside(targets: Sequence[Target], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """Which snippets an action touches."""
    return touched(side_by_side([target.segments_cw for target in targets], padding.device), padding).any(1)


def counted(targets: Sequence[Target], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """Which snippets are real and not inside what is to be ignored; inside an action they always count."""
    if all(target.ignored_cw is None for target in targets):
        return ~padding
    neither = touched(ignored(targets, padding.device), padding).any(1)
    return ~padding & (~neither | inside(targets, padding))


def _mean(losses: Float[Tensor, "b t"], counted: Bool[Tensor, "b t"]) -> Float[Tensor, ""]:
    """Over the snippets that count; 0 where none does."""
    return losses[counted].sum() / counted.sum().clamp(min=1)


def focal_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Mean focal loss of the snippets (row 79)."""
    return _mean(focal_terms(logits, inside.to(logits)), counted)


def published_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Focal loss as a mean over the snippets of each window, where the snippet after an action is one of it (row 79).

    The published mean is over padding too, which is none of it here.
    """
    after = functional.pad(inside[:, :-1], (1, 0))
    losses = focal_terms(logits, (inside | after).to(logits)).masked_fill(~counted, 0.0)
    return losses.sum(1) / counted.sum(1).clamp(min=1)


def softmax_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the snippets inside against all, mean over windows with an action (row 79, second form)."""
    share = logits.masked_fill(~counted, -torch.inf).log_softmax(1)
    wanted = (inside & counted).to(logits)
    number = wanted.sum(1)
    loss = -(wanted * share.masked_fill(~counted, 0.0)).sum(1) / number.clamp(min=1)
    return loss.sum() / (number > 0).sum().clamp(min=1)


def plain_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the snippets (row 67, the mask loss)."""
    return _mean(functional.binary_cross_entropy_with_logits(logits, inside.to(logits), reduction="none"), counted)


SALIENCE = {"bce": focal_salience, "ce": softmax_salience, "mask": plain_salience}


def salience_loss(
    logits: Float[Tensor, "b t"], targets: Sequence[Target], padding: Bool[Tensor, "b t"], form: str
) -> Float[Tensor, ""]:
    """How badly snippets are told to be inside an action; `form` is bce, ce, mask or (per action, of bce) published."""
    masks = inside(targets, padding), counted(targets, padding)
    if form == "published":
        number = sum(len(target.labels_ix) for target in targets)
        return published_salience(logits.float(), *masks).sum() / max(1, number)
    return SALIENCE[form](logits.float(), *masks)


def quality_loss(
    logits: Float[Tensor, "b q"], segments_cw: Float[Tensor, "b q 2"], targets: Sequence[Target]
) -> Float[Tensor, ""]:
    """Mean difference between the expected and the true tIoU of each segment with its nearest action (row 16).

    Where the nearest is to be ignored, there is none: nobody knows what it is worth.
    """
    wanted = best_tiou(segments_cw, side_by_side([target.segments_cw for target in targets], segments_cw.device))
    missed = (logits.float().sigmoid() - wanted).abs()
    if any(target.ignored_cw is not None for target in targets):
        missed = missed.masked_fill(best_tiou(segments_cw, ignored(targets, segments_cw.device)) > wanted, 0.0)
    return missed.mean()


def segmentation_loss(
    embeddings: Float[Tensor, "b t e"],
    texts: Float[Tensor, "k e"],
    targets: Sequence[Target],
    padding: Bool[Tensor, "b t"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of each real snippet's class, mean over snippets; background is every class alike (rows 33, 45)."""
    cosine = functional.normalize(embeddings.float(), dim=-1) @ functional.normalize(texts.float(), dim=-1).T
    if any(target.named is None for target in targets):
        raise ValueError("snippets are classified with text, but the targets name no classes: give WindowSet names")
    segments_cw, labels_ix = zip(*(target.named for target in targets), strict=True)
    touches = touched(side_by_side(segments_cw, padding.device), padding).to(cosine)
    labels_ix = pad_sequence(list(labels_ix), batch_first=True).to(padding.device)
    wanted = touches.transpose(1, 2) @ functional.one_hot(labels_ix, len(texts)).to(cosine)
    number = wanted.sum(-1, keepdim=True)
    wanted = torch.where(number > 0, wanted / number.clamp(min=1), 1 / len(texts))
    loss = -(wanted * (cosine / temperature).log_softmax(-1)).sum(-1)
    return _mean(loss, counted(targets, padding))
