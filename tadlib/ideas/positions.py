"""Do other positions help: query centres that are drawn and fixed (entry 82, posPrior), positions that are learned?"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadlib.detector.layers import mlp, sine_embedding

PLACES = 256  # entries of the table: two for every half turn of the fastest sine


class DrawnQueries(nn.Module):
    """Reference centres drawn once and never learned; all of a query is computed from its centre."""

    def __init__(self, number: int, width: int) -> None:
        super().__init__()
        self.content = mlp(width, width, width)
        self.places = nn.Parameter(torch.logit(torch.rand(number), eps=1e-4)[:, None], requires_grad=False)

    @property
    def own(self) -> tuple[nn.Parameter, ...]:
        """The parameters that start as they were made."""
        return (self.places,)

    def start(self) -> None:
        """Nothing to set: the content is drawn like the detector's other layers."""

    def references(self) -> Float[Tensor, "q 1"]:
        """Logits of the reference centres."""
        return self.places

    def forward(self, sine: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """The queries, given their embedded reference centres."""
        return self.content(sine)


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


def parts(centres: str, positions: str) -> dict[str, type[nn.Module]]:
    """The queries and the embedding of positions that parameters ask for."""
    queries = {"queries_from": DrawnQueries} if centres == "drawn" else {}
    return queries | ({"positions_from": LearnedPositions} if positions == "learned" else {})
