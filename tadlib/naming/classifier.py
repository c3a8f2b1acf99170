"""CLIP as a classifier of segments: what lies under each is pooled and compared with the texts of classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.naming.similarity import cosine
from tadlib.naming.text import TextEmbeddings
from tadlib.segments import roi_align, roi_mean

TOP = 8  # a video is named by the best of every so many snippets
Map = Callable[[Tensor], Tensor]
Classify = Callable[[Video, Tensor], Tensor]  # a video and segments (n, 2) of it in seconds -> logits (n, k)
Logits = Callable[[Video, Proposals], Tensor]  # a video and proposals in it -> logits (n, k)


def identity(values: Tensor) -> Tensor:
    """The identity."""
    return values


@dataclass(frozen=True)
class Classifier:
    """Logits of segments for classes: RoIAlign, the mean of its bins, scaled cosine with the text of each class.

    Every part may be replaced; `None` is the plain way. What is replaced gets and gives tensors of these shapes:

    - `embed`: class names -> class embeddings (k, c) at length one; `embed_texts`: class names -> those of every text
    - `adjust_segments`: segments (n, 2) on the snippet axis -> the segments that are pooled
    - `head`: bins (n, r, c) -> bins (n, r, c)
    - `pooling`: bins (n, r, c) -> one feature (n, c) for each segment
    - `similarity`: features (*n, c), texts (k, c), scale -> (*n, k)
    - `map_logits`: logits (*n, k) -> logits of other classes
    - `bins_to_logits`: bins (n, r, c) -> logits (n, k), in place of pooling and similarity
    - `adjust_logits`: logits (n, k), features (t, c), segments (n, 2) -> logits (n, k)
    """

    classes: tuple[str, ...]
    embed: Callable[[Sequence[str]], Tensor]
    embed_texts: Callable[[Sequence[str]], TextEmbeddings]
    scale: float
    roi_bins: int = 16
    adjust_segments: Map = identity
    head: Map | None = None
    pooling: Map | None = None
    similarity: Callable[[Tensor, Tensor, float], Tensor] = cosine
    map_logits: Map = identity
    bins_to_logits: Map | None = None
    adjust_logits: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    @cached_property
    def texts(self) -> Float[Tensor, "k c"]:
        """The embeddings of the classes."""
        return self.embed(self.classes)

    def compare(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n k"]:
        """Logits of features for the classes."""
        return self.map_logits(self.similarity(features, self.texts, self.scale))

    def bins(self, features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"]) -> Float[Tensor, "n r c"]:
        """What lies under segments on the snippet axis, through the head if there is one."""
        bins = roi_align(features, segments_ix, self.roi_bins)
        return bins if self.head is None else self.head(bins)

    def __call__(self, features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"]) -> Float[Tensor, "n k"]:
        """Logits of segments (start, end) on the snippet axis of a video with these features.

        A segment without length has the feature at its place; what lies outside the video its first or last. Where
        background is learned its logit is a column beyond the classes.
        """
        given_ix, segments_ix = segments_ix, self.adjust_segments(segments_ix)
        if (self.head, self.pooling, self.bins_to_logits) == (None, None, None):
            logits = self.compare(roi_mean(features, segments_ix, self.roi_bins))
        elif self.bins_to_logits is not None:
            logits = self.bins_to_logits(self.bins(features, segments_ix))
        else:
            bins = self.bins(features, segments_ix)
            logits = self.compare(bins.mean(dim=1) if self.pooling is None else self.pooling(bins))
        return logits if self.adjust_logits is None else self.adjust_logits(logits, features, given_ix)

    def video_logits(self, features: Float[Tensor, "t c"]) -> Float[Tensor, " k"]:
        """Logits of a whole video: of each class the mean of its best eighth of snippets; background is no class."""
        logits = self.compare(features)[:, : len(self.classes)]
        return logits.topk(max(1, len(logits) // TOP), dim=0).values.mean(dim=0)
