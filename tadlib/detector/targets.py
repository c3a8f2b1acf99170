"""Training targets of snippets and segments: snippets inside actions, ignored regions, overlaps, focal loss."""

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
    """Return the focal loss (Lin et al. 2017; alpha 0.25, gamma 2) of each logit."""
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    wrong = wanted * (1 - probability) + (1 - wanted) * probability
    weight = wanted * ALPHA + (1 - wanted) * (1 - ALPHA)
    return weight * wrong**GAMMA * loss


def pad_segments(segments_cw: Sequence[Float[Tensor, "_ 2"]], device: torch.device) -> Float[Tensor, "b n 2"]:
    """Pad the segments of every window with NaN, which overlaps nothing, and copy them to the device at once."""
    return pad_sequence(list(segments_cw), batch_first=True, padding_value=torch.nan).to(device)


def best_tiou(segments_cw: Float[Tensor, "b q 2"], others_cw: Float[Tensor, "b n 2"]) -> Float[Tensor, "b q"]:
    """Return the highest tIoU of each segment with the others of its window, without gradient; 0 if there are none."""
    found, others = to_segments(segments_cw.detach().float()), to_segments(others_cw)
    overlap = tiou(found[:, :, None], others[:, None]).nan_to_num(0.0)
    return functional.pad(overlap, (0, 1)).amax(dim=2)  # the extra column is the 0


def ignored(targets: Sequence[Target], device: torch.device) -> Float[Tensor, "b n 2"]:
    """Return the ignored segments of every window, padded with NaN."""
    return pad_segments([t.segments_cw[:0] if t.ignored_cw is None else t.ignored_cw for t in targets], device)


def overlapped(segments_cw: Float[Tensor, "b n 2"], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b n t"]:
    """Whether each segment overlaps each snippet of its window."""
    start, end = to_segments(segments_cw)[..., None].unbind(-2)
    middles, half = place_in_window(padding)[:, None], 0.5 / (~padding).sum(1)[:, None, None]
    return (middles + half > start) & (middles - half < end) & ~padding[:, None]


def inside(targets: Sequence[Target], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """Whether an action overlaps each snippet."""
    return overlapped(pad_segments([target.segments_cw for target in targets], padding.device), padding).any(1)


def counted(targets: Sequence[Target], padding: Bool[Tensor, "b t"]) -> Bool[Tensor, "b t"]:
    """Whether each snippet counts in the loss: not padding, and inside an action or outside every ignored region."""
    if all(target.ignored_cw is None for target in targets):
        return ~padding
    excluded = overlapped(ignored(targets, padding.device), padding).any(1)
    return ~padding & (~excluded | inside(targets, padding))


def number_of_actions(batch: Batch) -> int:
    """Return the number of target actions in a batch."""
    return sum(len(target.labels_ix) for target in batch.targets)


def number_of_snippets(batch: Batch) -> int:
    """Return the number of snippets of a batch that count in the loss."""
    return int(counted(batch.targets, batch.padding).sum())
