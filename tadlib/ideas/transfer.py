"""Can logits of seen classes be transferred to unseen ones by text similarity? (entries 21 and 22)"""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.naming.classifier import Classifier
from tadlib.naming.similarity import cosine
from tadlib.task import Task

MAX_SEEN = 10  # seen classes that ConSE mixes


def transferred(
    logits: Float[Tensor, "*n s"], seen: Float[Tensor, "s c"], texts: Float[Tensor, "k c"], how: str, factor: float
) -> Float[Tensor, "*n k"]:
    """Logits of classes with embeddings `texts`, from logits of seen classes.

    map: weighted mean of seen logits, with weights softmax(factor * cosine of texts).
    conse: mean of the seen texts weighted by the probabilities of the ten most probable classes (Norouzi et al. 2014),
    compared with `texts`.
    """
    if how == "map":
        return logits @ cosine(texts, seen, factor).softmax(dim=1).T
    probability = logits.softmax(dim=-1)
    likely = probability.topk(min(MAX_SEEN, len(seen)), dim=-1)
    kept = torch.zeros_like(probability).scatter(-1, likely.indices, likely.values)
    return cosine(kept @ functional.normalize(seen, dim=1), texts, factor)


def classifier(found: Classifier, data: Task, transfer: str) -> Classifier | None:
    """Return the classifier that scores the seen classes and transfers their logits."""
    if transfer == "none":
        return None
    seen = found.embed(data.classes.seen)
    map_logits = partial(transferred, seen=seen, texts=found.texts, how=transfer, factor=found.scale)
    return replace(found, embed=lambda _: seen, map_logits=map_logits)
