"""What training asks of snippets and segments: which lie in actions, which are ignored, how well they overlap."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tadlib.data.batches import Batch, Target
from tadlib.detector.layers import place_in_window
from tadlib.segments import tiou, to_segments

ALPHA, GAMMA = 0.25, 2.0  # focal loss, Lin et al. 2017


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
    """The segments to be ignored in every window, filled up with NaN."""
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


def number_of_actions(batch: Batch) -> int:
    """The actions to be found in a batch."""
    return sum(len(target.labels_ix) for target in batch.targets)


def number_of_snippets(batch: Batch) -> int:
    """The snippets of a batch that count."""
    return int(counted(batch.targets, batch.padding).sum())


def mean_over(losses: Float[Tensor, "b t"], counted: Bool[Tensor, "b t"]) -> Float[Tensor, ""]:
    """The mean over the snippets that count; 0 where none does."""
    return losses[counted].sum() / counted.sum().clamp(min=1)
