"""Can what is said of seen classes be carried over to others, by how alike their texts are? (entries 21 and 22)"""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.naming.classifier import Classifier
from tadlib.naming.similarity import cosine
from tadlib.task import Task

TOP = 10  # seen classes that ConSE mixes


def transferred(
    logits: Float[Tensor, "*n s"], seen: Float[Tensor, "s c"], texts: Float[Tensor, "k c"], how: str, factor: float
) -> Float[Tensor, "*n k"]:
    """Logits of classes with these texts, from logits of seen classes.

    map: every class takes the logits of the seen ones it is like, in proportion to softmax(factor * cosine).
    conse: the mean of the seen texts, weighted by the probability of the ten most probable, is what the segment shows
    (Norouzi et al. 2014), and is compared with the texts.
    """
    if how == "map":
        return logits @ cosine(texts, seen, factor).softmax(dim=1).T
    probability = logits.softmax(dim=-1)
    likely = probability.topk(min(TOP, len(seen)), dim=-1)
    kept = torch.zeros_like(probability).scatter(-1, likely.indices, likely.values)
    return cosine(kept @ functional.normalize(seen, dim=1), texts, factor)


def classifier(found: Classifier, data: Task, transfer: str) -> Classifier | None:
    """The classifier that is asked about the seen classes, and carries over what it says."""
    if transfer == "none":
        return None
    seen = found.embed(data.classes.seen)
    map_logits = partial(transferred, seen=seen, texts=found.texts, how=transfer, factor=found.scale)
    return replace(found, embed=lambda _: seen, map_logits=map_logits)
