"""One training by several processes, each with a device of its own: every one answers for its share of each batch.

What all shares answered is put together, and every process computes the loss of the whole batch from it; only its own
answers carry a gradient there, and the sum of all gradients is that of the whole batch. So the update is that of one
process for every loss, however it is normalised, and where a batch has fewer windows than there are processes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed, nn

from tadlib.detector.network import Outputs


class Team(NamedTuple):
    """The place of this process among `size`; a single one does nothing of the following."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that looks, reports and saves for all."""
        return self.rank == 0

    def seed(self, seed: int) -> None:
        """Give processes other noise and dropout than the first; what is drawn for all comes from a generator."""
        if not self.leads:
            torch.manual_seed(seed + self.rank)

    def share(
        self, features: Float[Tensor, "b t c"], padding: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "s t c"], Bool[Tensor, "s t"]]:
        """The windows of this process; one that nobody asks for where there are too few."""
        first = self.rank if self.rank < len(features) else 0
        return features[first :: self.size], padding[first :: self.size]

    def whole(self, answered: Outputs, windows: int) -> Outputs:
        """The answers of all processes in the order of the batch's windows, of which there are so many."""
        if self.size == 1:
            return answered
        return Outputs(*(self._whole(each, windows) for each in answered))

    def _whole(self, own: Tensor | tuple[Outputs, ...] | None, windows: int) -> Tensor | tuple[Outputs, ...] | None:
        if own is None:
            return None
        if isinstance(own, tuple):
            return tuple(self.whole(each, windows) for each in own)
        numbers = [len(range(rank, windows, self.size)) for rank in range(self.size)]
        own = own[: numbers[self.rank]]
        sent = own.new_zeros(numbers[0], *own.shape[1:])
        sent[: len(own)] = own.detach()
        shares = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(shares, sent)
        shares = [share[:number] for share, number in zip(shares, numbers, strict=True)]
        shares[self.rank] = own
        order = torch.cat([torch.arange(rank, windows, self.size) for rank in range(self.size)])
        return torch.cat(shares)[order.argsort().to(own.device)]

    def add_gradients(self, model: nn.Module) -> None:
        """Give every process the sum of all gradients, in one message."""
        if self.size == 1:
            return
        learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([parameter.grad.flatten() for parameter in learning])
        distributed.all_reduce(flat)
        for parameter, total in zip(learning, flat.split([each.numel() for each in learning]), strict=True):
            parameter.grad.copy_(total.view_as(parameter))


ALONE = Team()
