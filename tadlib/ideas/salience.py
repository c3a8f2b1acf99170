"""Does an auxiliary loss that separates snippets inside actions from others help? A head on the encoder's memory.

Entries 79 (bce: focal, ce: softmax over the window) and 67 (mask: a smaller head, plain cross-entropy). With
`published` the focal loss is that of GAP (Du et al. 2024): mean over each window's snippets, divided by the number of
actions, where the snippet after an action counts as inside. The published mean includes padding, this one does not.
"""

from jaxtyping import Bool, Float
from torch import Tensor, inf, nn
from torch.nn import functional

from tadlib.data.batches import Batch
from tadlib.detector.additions import Addition, Outputs, Padding, Segments, Snippets
from tadlib.detector.targets import counted, focal_terms, inside, number_of_actions, number_of_snippets


class Salience(Addition):
    """Logit of each snippet being inside an action; `salience` is the form of the loss: bce, ce or mask."""

    name = "salience"
    salience, loss_salience, published = "bce", 3.0, False

    def build(self, channels: int, width: int, heads: int) -> None:
        self.local = None if self.salience == "mask" else nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(width, 1)

    def output(self, memory: Snippets, segments_cw: Segments, padding: Padding) -> Float[Tensor, "b t"]:
        if self.local is not None:
            local = self.local(memory.masked_fill(padding[..., None], 0.0).transpose(1, 2)).transpose(1, 2)
            memory = functional.leaky_relu(local, 0.2)
        return self.out(memory)[..., 0]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, tuple[Tensor, float, float]]:
        """Salience loss, a mean over snippets, in `ce` over windows with an action, as published over actions."""
        logits = outputs.added[self.name].float()
        within, valid = inside(batch.targets, batch.padding), counted(batch.targets, batch.padding)
        if self.salience == "ce":
            losses, number = softmax_losses(logits, within, valid), windows_with_actions
        elif self.salience == "bce" and self.published:
            losses, number = published_losses(logits, within, valid), number_of_actions
        else:
            loss = focal_terms if self.salience == "bce" else functional.binary_cross_entropy_with_logits
            options = {} if self.salience == "bce" else {"reduction": "none"}
            losses, number = loss(logits, within.to(logits), **options)[valid], number_of_snippets
        mean = losses.sum() / max(1, number(batch))
        return {"loss_salience": (mean, self.loss_salience, batch.share(number))}


def published_losses(
    logits: Float[Tensor, "b t"], within: Bool[Tensor, "b t"], valid: Bool[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Mean focal loss of each window's snippets; the snippet after an action counts as inside."""
    after = functional.pad(within[:, :-1], (1, 0))
    losses = focal_terms(logits, (within | after).to(logits)).masked_fill(~valid, 0.0)
    return losses.sum(1) / valid.sum(1).clamp(min=1)


def softmax_losses(
    logits: Float[Tensor, "b t"], within: Bool[Tensor, "b t"], valid: Bool[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Cross-entropy of a softmax over each window's snippets; 0 for windows without an action."""
    share = logits.masked_fill(~valid, -inf).log_softmax(1)
    wanted = (within & valid).to(logits)
    return -(wanted * share.masked_fill(~valid, 0.0)).sum(1) / wanted.sum(1).clamp(min=1)


def windows_with_actions(batch: Batch) -> int:
    """Number of windows with a snippet inside an action."""
    return int((counted(batch.targets, batch.padding) & inside(batch.targets, batch.padding)).any(1).sum())


def additions(salience: str, loss_salience: float, system: str) -> list[Addition]:
    words = {"salience": salience, "loss_salience": loss_salience, "published": system == "published"}
    return [] if salience == "none" else [Salience(**words)]
