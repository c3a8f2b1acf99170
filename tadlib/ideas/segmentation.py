"""Does an auxiliary classification of the encoder's snippets with text help? (entries 33 and 45)"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tadlib.data.batches import Batch
from tadlib.detector.additions import Addition, Outputs, Padding, Segments, Snippets
from tadlib.detector.layers import mlp
from tadlib.detector.targets import counted, number_of_snippets, overlapped, pad_segments
from tadlib.task import Task


class Segmentation(Addition):
    """Embedding of every snippet, compared with the texts of the seen classes in training.

    `segmentation_temperature` divides the cosine before the softmax over classes.
    """

    name = "segmentation"
    loss_segmentation, segmentation_temperature = 1.0, 0.07

    def build(self, channels: int, width: int, heads: int) -> None:
        self.embedding = mlp(width, width, channels)

    def output(self, memory: Snippets, segments_cw: Segments, padding: Padding) -> Float[Tensor, "b t e"]:
        return self.embedding(memory)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, tuple[Tensor, float, float]]:
        """Mean cross-entropy of the snippets' classes; the target of background is uniform."""
        targets, padding, texts = batch.targets, batch.padding, batch.texts
        if texts is None:
            raise ValueError("snippets are classified with text: give the texts of the seen classes, got None")
        embeddings = functional.normalize(outputs.added[self.name].float(), dim=-1)
        cosine = embeddings @ functional.normalize(texts.float(), dim=-1).T
        segments_cw, labels_ix = zip(*(target.named for target in targets), strict=True)
        overlaps = overlapped(pad_segments(segments_cw, padding.device), padding).to(cosine)
        labels_ix = pad_sequence(list(labels_ix), batch_first=True).to(padding.device)
        wanted = overlaps.transpose(1, 2) @ functional.one_hot(labels_ix, len(texts)).to(cosine)
        number = wanted.sum(-1, keepdim=True)
        wanted = torch.where(number > 0, wanted / number.clamp(min=1), 1 / len(texts))
        losses = -(wanted * (cosine / self.segmentation_temperature).log_softmax(-1)).sum(-1)
        mean = losses[counted(targets, padding)].sum() / max(1, number_of_snippets(batch))
        return {"loss_segmentation": (mean, self.loss_segmentation, batch.share(number_of_snippets))}


def additions(segmentation: str, loss_segmentation: float, segmentation_temperature: float) -> list[Addition]:
    words = {"loss_segmentation": loss_segmentation, "segmentation_temperature": segmentation_temperature}
    return [] if segmentation == "none" else [Segmentation(**words)]


def texts(data: Task, classes: Sequence[str], segmentation: str) -> Tensor | None:
    return data.class_embeddings(classes) if segmentation != "none" else None
