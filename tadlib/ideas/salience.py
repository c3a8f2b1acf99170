"""Does an auxiliary loss that separates snippets inside actions from others help? A head on the encoder's memory.

Entries 79 (bce: focal, ce: softmax over the window) and 67 (mask: a smaller head, plain cross-entropy). With
`published` the focal loss is that of GAP (Du et al. 2024): mean over each window's snippets, divided by the number of
actions, where the snippet after an action counts as inside.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tadlib.data.batches import Batch
from tadlib.detector.additions import Addition, Outputs, Padding, Segments, Snippets
from tadlib.detector.targets import counted, focal_terms, inside, mean_over, number_of_actions, number_of_snippets


class Salience(Addition):
    """Logit of each snippet being inside an action; `salience` is the form of the loss: bce, ce or mask."""

    name = "salience"

    def __init__(self, *, salience: str = "bce", loss_salience: float = 3.0, published: bool = False) -> None:
        super().__init__(salience=salience, loss_salience=loss_salience, published=published)
        self.form, self.weight = salience, loss_salience
        self.per_action = published and salience == "bce"

    def build(self, channels: int, width: int, heads: int) -> None:
        self.local = None if self.form == "mask" else nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(width, 1)

    def output(self, memory: Snippets, segments_cw: Segments, padding: Padding) -> Float[Tensor, "b t"]:
        if self.local is not None:
            local = self.local(memory.masked_fill(padding[..., None], 0.0).transpose(1, 2)).transpose(1, 2)
            memory = functional.leaky_relu(local, 0.2)
        return self.out(memory)[..., 0]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, tuple[Tensor, float, float]]:
        """Salience loss of a batch, mean over snippets, in `ce` over windows with an action."""
        logits = outputs.added[self.name].float()
        masks = inside(batch.targets, batch.padding), counted(batch.targets, batch.padding)
        wanted = masks[0].to(logits)
        if self.per_action:
            loss = published_salience(logits, *masks).sum() / max(1, number_of_actions(batch))
        elif self.form == "ce":
            loss = softmax_salience(logits, *masks)
        elif self.form == "bce":
            loss = mean_over(focal_terms(logits, wanted), masks[1])
        else:
            losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            loss = mean_over(losses, masks[1])
        return {"loss_salience": (loss, self.weight, batch.share(self._number_averaged))}

    def _number_averaged(self, batch: Batch) -> int:
        """Number of elements the loss of a batch is averaged over."""
        if self.per_action:
            return number_of_actions(batch)
        if self.form != "ce":
            return number_of_snippets(batch)
        return int((counted(batch.targets, batch.padding) & inside(batch.targets, batch.padding)).any(1).sum())


def published_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Focal loss averaged over each window's snippets; the snippet after an action counts as inside (entry 79).

    The published mean includes padding, this one does not.
    """
    after = functional.pad(inside[:, :-1], (1, 0))
    losses = focal_terms(logits, (inside | after).to(logits)).masked_fill(~counted, 0.0)
    return losses.sum(1) / counted.sum(1).clamp(min=1)


def softmax_salience(
    logits: Float[Tensor, "b t"], inside: Bool[Tensor, "b t"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Cross-entropy of a softmax over a window's snippets, mean over windows with an action (entry 79, second form)."""
    share = logits.masked_fill(~counted, -torch.inf).log_softmax(1)
    wanted = (inside & counted).to(logits)
    number = wanted.sum(1)
    loss = -(wanted * share.masked_fill(~counted, 0.0)).sum(1) / number.clamp(min=1)
    return loss.sum() / (number > 0).sum().clamp(min=1)


def additions(salience: str, loss_salience: float, system: str) -> list[Addition]:
    """Return the head that the parameters ask for."""
    if salience == "none":
        return []
    return [Salience(salience=salience, loss_salience=loss_salience, published=system == "published")]
