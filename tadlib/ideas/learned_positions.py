"""Are learned positions better than sines? (`positions: learned`)"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadlib.detector.layers import sine_embedding

PLACES = 256  # entries of the table: two for every half turn of the fastest sine


class LearnedPositions(nn.Module):
    """Positions in [0, 1] looked up between the entries of a learned table: windows of any length, no longest one.

    The table starts as the sines, so that near places resemble each other from the first step on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(sine_embedding((torch.arange(PLACES) + 0.5) / PLACES, width))

    def forward(self, position: Float[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        place = (position * PLACES - 0.5).clamp(0, PLACES - 1)
        below = place.detach().long().clamp(max=PLACES - 2)
        return torch.lerp(self.table[below], self.table[below + 1], (place - below)[..., None].to(self.table.dtype))


def parts(positions: str) -> dict[str, type[nn.Module]]:
    """The positions that parameters ask for."""
    return {"positions_from": LearnedPositions} if positions == "learned" else {}
