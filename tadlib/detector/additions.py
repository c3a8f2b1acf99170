"""Outputs of the detector, and the interface for extensions that add layers, loss terms and scores to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

Features = Float[Tensor, "b t c"]
Texts = Float[Tensor, "k e"]
Snippets = Float[Tensor, "b t d"]  # the encoder's memory
Queries = Float[Tensor, "b q d"]
Segments = Float[Tensor, "b q 2"]
Padding = Bool[Tensor, "b t"]  # True where there is no snippet


class Outputs(NamedTuple):
    """Predictions for each query of each window, from the last decoder layer and from the earlier ones (`earlier`)."""

    segments_cw: Float[Tensor, "b q 2"]  # centre, width; fractions of the window
    actionness_logits: Float[Tensor, "b q"]
    embeddings: Float[Tensor, "b q e"] | None = None  # compared with class texts, if the detector has an embedding head
    earlier: tuple["Outputs", ...] = ()
    added: Mapping[str, Tensor] = {}  # outputs of additions, by `Addition.name`


class Addition(nn.Module):
    """Base class of extensions of the detector: layers, the points where they are called, and loss terms.

    A subclass declares its settings with their defaults as class attributes, creates its layers in `build` and
    overrides the other methods as needed. A checkpoint stores `arguments`, from which the addition is created again.
    """

    name = ""  # key of its output in `Outputs.added`

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments
        for setting, value in arguments.items():
            if not hasattr(type(self), setting):
                raise TypeError(f"{type(self).__name__} has no setting {setting!r}")
            setattr(self, setting, value)

    def build(self, channels: int, width: int, heads: int) -> None:
        """Create the layers, given the number of feature `channels` and the detector's `width` and `heads`."""

    def start(self) -> None:
        """Initialise the weights that should not keep the detector's default initialisation."""

    def before_encoder(self, memory: Snippets, texts: Texts | None) -> Snippets:
        """Transform the projected snippets before they enter the encoder."""
        return memory

    def after_decoder(
        self, queries: Queries, features: Features, segments_cw: Segments, padding: Padding
    ) -> Queries | None:
        """Apply one more layer to the queries, whose outputs are the final ones; None adds no layer."""
        return None

    def output(self, memory: Snippets, segments_cw: Segments, padding: Padding) -> Tensor | None:
        """Return a tensor to store under `name` in `Outputs.added`, or None."""
        return None

    def losses(self, outputs: Outputs, batch: Any) -> dict[str, tuple[Tensor, float, float]]:
        """Return its loss terms by name: value, weight, and share of the optimiser step (`Batch.share`)."""
        return {}

    def score(self, scores: Float[Tensor, "b q"], outputs: Outputs) -> Float[Tensor, "b q"]:
        """Return the scores by which proposals are ranked."""
        return scores
