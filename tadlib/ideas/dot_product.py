"""What happens to the similarity when nobody normalises? (entry 18)"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from tadlib.naming.classifier import Classifier
from tadlib.naming.text import raw_embeddings


def dot(pooled: Float[Tensor, "*n c"], texts: Float[Tensor, "k c"], scale: float) -> Float[Tensor, "*n k"]:
    """Scaled dot product of vectors as long as they are: CLIP's are about 10 long, so that 1 is a cosine of 0.01."""
    return scale * pooled @ texts.T


def classifier(found: Classifier, similarity: str) -> Classifier | None:
    """The classifier that compares vectors at the lengths that the encoder gave them."""
    if similarity != "dot":
        return None
    return replace(found, similarity=dot, embed=lambda classes: raw_embeddings(found.embed_texts(classes)))
