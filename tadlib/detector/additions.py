"""Outputs of the detector, and the interface by which layers, loss terms and scores are added to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Outputs(NamedTuple):
    """Predictions for each query of each window, by the last decoder layer and by the ones before (`earlier`)."""

    segments_cw: Float[Tensor, "b q 2"]  # centre, width; fractions of the window
    actionness_logits: Float[Tensor, "b q"]
    embeddings: Float[Tensor, "b q e"] | None = None  # for comparison with class texts, if the detector has such a head
    earlier: tuple["Outputs", ...] = ()
    added: Mapping[str, Tensor] = {}  # outputs of additions, by their names


class Addition(nn.Module):
    """Base class of additions to the detector: layers, where they join, and their loss terms.

    A subclass makes its layers in `build` and overrides the other methods that it needs; a checkpoint keeps `arguments`
    and makes the addition again from them.
    """

    name = ""  # of its output among `Outputs.added`

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments

    def build(self, channels: int, width: int, heads: int) -> None:
        """Make the layers, for features of `channels` and a detector of `width` and `heads`."""

    def start(self) -> None:
        """Set the first weights that are to differ from the detector's own way of drawing them."""

    def before_encoder(self, memory: Float[Tensor, "b t d"], texts: Float[Tensor, "k e"] | None) -> Tensor:
        """The snippets as the encoder gets them."""
        return memory

    def after_decoder(
        self,
        queries: Float[Tensor, "b q d"],
        features: Float[Tensor, "b t c"],
        segments_cw: Float[Tensor, "b q 2"],
        padding: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b q d"] | None:
        """The queries after one more layer, whose outputs come last; None adds no layer."""
        return None

    def output(
        self, memory: Float[Tensor, "b t d"], segments_cw: Float[Tensor, "b q 2"], padding: Bool[Tensor, "b t"]
    ) -> Tensor | None:
        """What is kept under its name in `Outputs.added`."""
        return None

    def losses(self, outputs: Outputs, batch: Any) -> dict[str, tuple[Tensor, float, float]]:
        """Its loss terms by name: value, weight, and share of the optimiser step (`Batch.share`)."""
        return {}

    def score(self, scores: Float[Tensor, "b q"], outputs: Outputs) -> Float[Tensor, "b q"]:
        """The score by which proposals are ranked."""
        return scores
