"""CLIP classifier of segments: features pooled under each segment are compared with class texts."""

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

TOP_SHARE = 8  # a video's class logit is the mean of its best 1/TOP_SHARE of snippets
Map = Callable[[Tensor], Tensor]
Classify = Callable[[Video, Tensor], Tensor]  # a video and segments (n, 2) in seconds -> logits (n, k)
Logits = Callable[[Video, Proposals], Tensor]  # a video and its proposals -> logits (n, k)


def identity(values: Tensor) -> Tensor:
    """Return the argument."""
    return values


@dataclass(frozen=True)
class Classifier:
    """Classifier of segments: RoIAlign, mean of the bins, scaled cosine with each class text.

    Every part can be replaced; the first line describes the defaults. Shapes of the parts:

    - `embed`: class names -> unit-length class embeddings (k, c); `embed_texts`: -> the embeddings of every text
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
        """Embeddings of the classes."""
        return self.embed(self.classes)

    def compare(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n k"]:
        """Return the logits of features for the classes."""
        return self.map_logits(self.similarity(features, self.texts, self.scale))

    def bins(self, features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"]) -> Float[Tensor, "n r c"]:
        """Return features under segments on the snippet axis (RoIAlign), transformed by the head if there is one."""
        bins = roi_align(features, segments_ix, self.roi_bins)
        return bins if self.head is None else self.head(bins)

    def __call__(self, features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"]) -> Float[Tensor, "n k"]:
        """Return the logits of segments (start, end) on the snippet axis of a video with these features.

        A segment of length zero has the feature at its position; beyond the video the first or last snippet is
        repeated. A learned background adds a last column.
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
        """Return the logits of a whole video: for each class the mean over its best eighth of snippets."""
        logits = self.compare(features)[:, : len(self.classes)]
        return logits.topk(max(1, len(logits) // TOP_SHARE), dim=0).values.mean(dim=0)
