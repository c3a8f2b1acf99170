"""Should queries learn classes (as texts or as one-hot vectors) instead of actionness? (entries 32, 36 and 38)"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.ideas.dot_product import dot
from tadlib.naming import text
from tadlib.naming.classifier import Logits
from tadlib.naming.similarity import cosine
from tadlib.naming.text import Wording
from tadlib.task import Task


def wording(data: Task, target: str) -> Wording:
    """Class texts on which a detector that classifies with text is trained."""
    return replace(data.wording, text=target, lead="none")


def texts(data: Task, classes: Sequence[str], target: str) -> Float[Tensor, "k c"] | None:
    """Unit-length class embeddings, or one-hot vectors over the seen classes if `target` is none."""
    if target == "foreground":
        return None
    if target == "none":
        return torch.eye(len(data.classes.seen))[[data.classes.seen.index(name) for name in classes]]
    return text.class_embeddings(data.encoder, classes, wording(data, target), data.benchmark.cache)


def logits(data: Task, target: str, similarity: str, scale: float) -> Logits | None:
    """Return the detector's own class logits of proposals; None if it is class-agnostic."""
    embeddings, compare = texts(data, data.competing, target), cosine if similarity == "cosine" else dot
    return None if embeddings is None else lambda _, found: compare(found.embeddings, embeddings, scale)
