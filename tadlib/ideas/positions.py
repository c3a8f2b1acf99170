"""Do random fixed query centres (entry 82, posPrior) or learned position embeddings help?"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadlib.detector.layers import mlp, sine_embedding

PLACES = 256  # entries of the table: two per half cycle of the fastest sine


class DrawnQueries(nn.Module):
    """`LearnedQueries`, but with random reference centres that are not learned, from which the content is computed."""

    def __init__(self, number: int, width: int) -> None:
        super().__init__()
        self.content = mlp(width, width, width)
        self.places = nn.Parameter(torch.logit(torch.rand(number), eps=1e-4)[:, None], requires_grad=False)

    def start(self) -> None:
        """Nothing to do: the content network has the detector's default initialisation."""

    def references(self) -> Float[Tensor, "q 1"]:
        return self.places

    def forward(self, sine: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        return self.content(sine)


class LearnedPositions(nn.Module):
    """Learned table of position embeddings, interpolated linearly, for positions in [0, 1].

    The table is initialised with the sines, so that neighbouring positions are similar from the start.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(sine_embedding((torch.arange(PLACES) + 0.5) / PLACES, width))

    def forward(self, position: Float[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        place = (position * PLACES - 0.5).clamp(0, PLACES - 1)
        below = place.detach().long().clamp(max=PLACES - 2)
        return torch.lerp(self.table[below], self.table[below + 1], (place - below)[..., None].to(self.table.dtype))


def parts(centres: str, positions: str) -> dict[str, type[nn.Module]]:
    queries = {"queries_from": DrawnQueries} if centres == "drawn" else {}
    return queries | ({"positions_from": LearnedPositions} if positions == "learned" else {})
