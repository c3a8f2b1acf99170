"""What does the similarity do without normalisation? (entry 18)"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from tadlib.naming.classifier import Classifier
from tadlib.naming.text import raw_embeddings


def dot(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Scaled dot product without normalisation; CLIP's vectors have length about 10, so 1 is a cosine of 0.01."""
    return scale * pooled @ texts.T


def classifier(found: Classifier, similarity: str) -> Classifier | None:
    """Return the classifier that compares unnormalised vectors."""
    if similarity != "dot":
        return None
    return replace(found, similarity=dot, embed=lambda classes: raw_embeddings(found.embed_texts(classes)))
