"""Do groups of snippets that CLIP assigns to one class help as proposals, alone or with the detector's? (entry 61)"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.detector.proposals import Proposals, grouped
from tadlib.naming.classifier import Classifier
from tadlib.naming.similarity import class_probability
from tadlib.task import Task


def proposals(
    found: Mapping[str, Proposals],
    data: Task,
    classifier_of: Callable[[Sequence[str]], Classifier],
    proposed_by: str,
    probability: str,
) -> Mapping[str, Proposals]:
    """Proposals from groups of snippets of one unseen class, in place of the detector's or in addition."""
    if proposed_by == "detector":
        return found
    classify, videos, groups = classifier_of(data.competing), {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        video = videos[video_id]
        likely = class_probability(of_snippets(classify, data.features(video)), probability)
        new = grouped(likely[:, : len(data.classes.unseen)], data.grid(video), video.duration)
        both = Proposals(torch.cat([own.segments, new.segments]), torch.cat([own.scores, new.scores]))
        groups[video_id] = both if proposed_by == "both" else new
    return groups


def of_snippets(classify: Classifier, features: Float[Tensor, "t c"]) -> Float[Tensor, "t k"]:
    """Logits of the snippets of a video as segments of one snippet, so that trained heads and poolings take part."""
    return classify(features, torch.arange(len(features) + 1.0).unfold(0, 2, 1))
