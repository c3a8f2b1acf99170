"""Hungarian matching of queries to actions, one to one and window by window, as in DETR."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy  # imports its submodules on first use
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tadlib.data.batches import Target
from tadlib.detector.targets import ALPHA, GAMMA
from tadlib.segments import giou, to_segments

Cost = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # same signature as `detection_cost`


def focal_cost(logits: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return the focal cost of matching a query to an action: focal loss as a positive minus that as a negative."""
    probability = logits.sigmoid()
    positive = ALPHA * (1 - probability) ** GAMMA * torch.nn.functional.softplus(-logits)
    negative = (1 - ALPHA) * probability**GAMMA * torch.nn.functional.softplus(logits)
    return positive - negative


def detection_cost(
    segments_cw: Float[Tensor, "b q 2"],
    logits: Float[Tensor, "b q k"],
    wanted_cw: Float[Tensor, "b n 2"],
    labels_ix: Int[Tensor, "b n"],
    *,
    cost_class: float = 2.0,
    cost_l1: float = 5.0,
    cost_giou: float = 2.0,
    measure: Callable[[Tensor, Tensor], Tensor] = giou,
) -> Float[Tensor, "b q n"]:
    """Return the cost of each (query, action) pair in a window: focal, L1 and gIoU, weighted (Meng et al. 2021).

    `measure` replaces gIoU as the overlap of segments (start, end).
    """
    cost = cost_class * focal_cost(logits).gather(2, labels_ix[:, None].expand(-1, logits.shape[1], -1))
    cost += cost_l1 * (segments_cw[:, :, None] - wanted_cw[:, None]).abs().sum(-1)
    return cost - cost_giou * measure(to_segments(segments_cw)[:, :, None], to_segments(wanted_cw)[:, None])


@torch.no_grad()
def match(
    segments_cw: Float[Tensor, "b q 2"],
    logits: Float[Tensor, "b q k"],
    targets: Sequence[Target],
    cost: Cost = detection_cost,
) -> list[tuple[Int[Tensor, " n"], Int[Tensor, " n"]]]:
    """Return the indices of matched queries and of their targets, for each window.

    `cost` gets the targets of all windows padded to the same number, on the device of the outputs; costs are copied to
    the host once. Raises FloatingPointError for outputs that are not finite, ValueError for classes without a logit.
    """
    labels = [target.labels_ix for target in targets]
    if not any(map(len, labels)):
        return [(torch.zeros(0, dtype=torch.int64),) * 2 for _ in targets]
    if (last := int(torch.cat(labels).amax())) >= logits.shape[2]:
        raise ValueError(f"windows are labelled for a detector of at least {last + 1} classes, got {logits.shape[2]}")
    wanted_cw = pad_sequence([target.segments_cw for target in targets], batch_first=True).to(logits.device)
    labels_ix = pad_sequence(labels, batch_first=True).to(logits.device)
    costs = cost(segments_cw.float(), logits.float(), wanted_cw, labels_ix).cpu().numpy()
    if not np.isfinite(costs).all():
        raise FloatingPointError("the network's outputs are NaN or infinite: lower lr or clip_norm")
    windows = zip(costs, map(len, labels), strict=True)
    pairs = (scipy.optimize.linear_sum_assignment(rows[:, :number]) for rows, number in windows)
    return [(torch.from_numpy(query_ix), torch.from_numpy(target_ix)) for query_ix, target_ix in pairs]
