"""Are queries that are computed from fixed, drawn centres better than learned ones? (entry 82, posPrior)"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadlib.detector.layers import mlp


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


def parts(centres: str) -> dict[str, type[nn.Module]]:
    """The queries that parameters ask for."""
    return {"queries_from": DrawnQueries} if centres == "drawn" else {}
