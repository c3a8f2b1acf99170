"""Does cross-attention from snippets to class texts before the encoder improve proposals? (entry 17)"""

from collections.abc import Sequence

from torch import Tensor, nn

from tadlib.detector.additions import Addition, Snippets, Texts
from tadlib.detector.layers import Attention
from tadlib.task import Task


class TextFusion(Addition):
    """Cross-attention from snippets to class texts; invariant to the order of classes.

    Its output starts at zero, so that an untrained fusion is the identity.
    """

    name = "text_fusion"

    def build(self, channels: int, width: int, heads: int) -> None:
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.attention = Attention(width, heads)

    def start(self) -> None:
        nn.init.zeros_(self.attention.out.weight)

    def before_encoder(self, memory: Snippets, texts: Texts | None) -> Snippets:
        if texts is None:
            raise ValueError("this detector fuses class texts in: it needs `texts`, got None")
        texts = texts.to(memory.dtype).expand(len(memory), -1, -1)
        return memory + self.attention(self.query(memory), self.key(texts), self.value(texts))


def additions(fuse_text: bool) -> list[Addition]:
    return [TextFusion()] if fuse_text else []


def texts(data: Task, classes: Sequence[str], fuse_text: bool) -> Tensor | None:
    return data.class_embeddings(classes) if fuse_text else None
