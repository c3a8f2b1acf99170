"""One-to-one assignment of queries to actions (Hungarian matching, as in DETR), window by window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tadlib.data.batches import Target
from tadlib.segments import giou, tiou, to_segments

ALPHA, GAMMA = 0.25, 2.0  # focal loss, Lin et al. 2017


@dataclass(frozen=True)
class Costs:
    """What the parts of a pair's cost weigh (Meng et al. 2021)."""

    classes: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    published: bool = False  # tIoU of what lies inside the window, instead of gIoU


def focal_cost(logits: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """What calling a query an action costs: the focal loss of a positive less that of a negative."""
    probability = logits.sigmoid()
    positive = ALPHA * (1 - probability) ** GAMMA * torch.nn.functional.softplus(-logits)
    negative = (1 - ALPHA) * probability**GAMMA * torch.nn.functional.softplus(logits)
    return positive - negative


@torch.no_grad()
def match(
    segments_cw: Float[Tensor, "b q 2"],
    logits: Float[Tensor, "b q k"],
    targets: Sequence[Target],
    costs: Costs = Costs(),
) -> list[tuple[Int[Tensor, " n"], Int[Tensor, " n"]]]:
    """For each window the matched queries and, in the same order, the targets they are matched to.

    Costs are computed for each window against its own targets, padded to the most of any window, on the device of
    the outputs; they travel to the host once. Raises FloatingPointError for outputs that are not finite.
    """
    most = max((len(target.labels_ix) for target in targets), default=0)
    if most == 0:
        empty = torch.zeros(0, dtype=torch.int64)
        return [(empty, empty) for _ in targets]
    wanted = torch.nn.utils.rnn.pad_sequence([target.segments_cw for target in targets], batch_first=True)
    labels_ix = torch.nn.utils.rnn.pad_sequence([target.labels_ix for target in targets], batch_first=True)
    wanted, labels_ix = wanted.to(logits.device), labels_ix.to(logits.device)
    segments_cw, logits = segments_cw.float(), logits.float()
    cost = costs.classes * focal_cost(logits).gather(2, labels_ix[:, None].expand(-1, logits.shape[1], -1))
    cost += costs.l1 * (segments_cw[:, :, None] - wanted[:, None]).abs().sum(-1)
    found, true = to_segments(segments_cw)[:, :, None], to_segments(wanted)[:, None]
    cost -= costs.giou * (tiou(found.clamp(0, 1), true.clamp(0, 1)) if costs.published else giou(found, true))
    pairs, cost = [], cost.cpu().numpy()
    if not np.isfinite(cost).all():
        raise FloatingPointError("the network's answers are NaN or infinite")
    for rows, target in zip(cost, targets, strict=True):
        query_ix, target_ix = linear_sum_assignment(rows[:, : len(target.labels_ix)])
        pairs.append((torch.from_numpy(query_ix), torch.from_numpy(target_ix)))
    return pairs
