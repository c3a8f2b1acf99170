"""Do groups of snippets that CLIP assigns to one class help as proposals, alone or with the detector's? (entry 61)"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

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
    """Proposals from groups of snippets of one unseen class, in place of the detector's or in addition.

    Snippets are classified as segments of one snippet, so that trained heads take part.
    """
    if proposed_by == "detector":
        return found
    classify, videos, groups = classifier_of(data.competing), {video.id: video for video in data.scored}, {}
    for video_id, own in found.items():
        video, grid = videos[video_id], data.grid(videos[video_id])
        features = data.features(video)
        edges = torch.from_numpy(grid.seconds(np.arange(len(features) + 1.0))).float()
        snippets_ix = grid.snippets(torch.stack([edges[:-1], edges[1:]], dim=1))
        likely = class_probability(classify(features, snippets_ix), probability)
        new = grouped(likely[:, : len(data.classes.unseen)], grid, video.duration)
        both = Proposals(torch.cat([own.segments, new.segments]), torch.cat([own.scores, new.scores]))
        groups[video_id] = both if proposed_by == "both" else new
    return groups
