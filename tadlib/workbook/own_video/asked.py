"""A video and words as a data set of their own, so that every step which reads a data set reads them too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import Video
from tadlib.data.video import Clip
from tadlib.naming import text
from tadlib.naming.text import TextEmbeddings, in_rows
from tadlib.naming.words import Word, sentence
from tadlib.task import BACKGROUND, Task
from tadlib.workbook.asking import Asking
from tadlib.workbook.params import Params


@dataclass(frozen=True, kw_only=True)
class Asked(Task):
    """A video and words as a data set of its own; `classes.unseen` are the words, `classes.seen` their rivals."""

    params: Params
    asking: Asking
    clip: Clip
    words: tuple[Word, ...]
    about: Mapping[str, object]  # what the checkpoint says of its training; nothing where there is none
    checkpoint: Path | None
    off: Mapping[str, object]  # settings of the run that do not hold for these words, as they are in the run

    @property
    def video(self) -> Video:
        """The video that was asked."""
        return self.benchmark.videos[0]

    def text_embeddings(self, classes: Sequence[str]) -> TextEmbeddings:
        """Embeddings of every text of classes, not normalised: the words' own texts, or what a name is read as."""
        said = {word.name: word.texts for word in self.words}
        texts = [said.get(label, (label,)) for label in classes]
        rows = text.embed(self.encoder, [each for several in texts for each in several], self.benchmark.cache)
        return in_rows(rows, list(map(len, texts)))

    def class_embeddings(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Unit-length embeddings of classes; of several texts the normalised mean."""
        steps = self.text_embeddings(classes)
        unit = functional.normalize(steps.embeddings, dim=-1).sum(dim=1)
        return functional.normalize(unit, dim=1)

    def background(self) -> Float[Tensor, "b c"]:
        """Unit-length embeddings of the rivals."""
        return self.class_embeddings(self.classes.seen)

    def file(self, video: Video) -> Path:
        """The file of the video."""
        return self.clip.path


def rivals(words: Sequence[Word]) -> tuple[str, ...]:
    """Texts of what shows none of the words; what was asked for itself is no rival."""
    asked = {said.casefold() for word in words for said in (word.name, *word.texts)}
    return tuple(said for said in BACKGROUND if said not in asked and sentence(said) not in asked)
