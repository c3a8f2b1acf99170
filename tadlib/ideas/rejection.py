"""Can proposals and videos without any candidate class be rejected by their similarity? (entries 72 and 73)

CLIP assigns a class to everything. The similarity of background differs between classes, so each class's logit is
standardised by the mean and standard deviation of its background.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.data.windows import outside, spans
from tadlib.detector.proposals import Proposals
from tadlib.ideas.snippet_groups import of_snippets
from tadlib.naming.classifier import Classifier
from tadlib.task import Task


class Background(NamedTuple):
    """Mean and standard deviation of the logits of background, for each class."""

    mean: Float[Tensor, " k"]
    spread: Float[Tensor, " k"]


def background(logits: Float[Tensor, "m k"], absent: Bool[Tensor, "m k"]) -> Background:
    """Mean and standard deviation of the logits of examples in which a class is `absent`.

    Raises ValueError if a class is absent from fewer than two.
    """
    number = absent.sum(dim=0)
    if int(number.min()) < 2:
        few = f"{int(number.min())} of {len(logits)} examples: at least 2 are needed; pass -p reject none"
        raise ValueError(f"class {int(number.argmin())} is absent from {few}")
    mean = (logits * absent).sum(dim=0) / number
    square = ((logits - mean).square() * absent).sum(dim=0) / number
    return Background(mean, square.sqrt().clamp(min=1e-6))


def above(logits: Float[Tensor, "n k"], statistics: Background) -> Float[Tensor, " n"]:
    """Largest logit of any class, in standard deviations above the mean of that class's background."""
    return ((logits - statistics.mean) / statistics.spread).amax(dim=1)


def proposals(
    found: Mapping[str, Proposals],
    data: Task,
    classifier_of: Callable[[Sequence[str]], Classifier],
    reject: str,
    reject_below: float,
) -> Mapping[str, Proposals]:
    """Reject proposals that stand out from the background of no unseen class, alone or with their whole video."""
    if reject == "none":
        return found
    videos, classify = {video.id: video for video in data.scored}, classifier_of(data.classes.unseen)
    statistics, kept = background_in_training(data, classify, reject), {}
    for video_id, own in found.items():
        features, grid = data.features(videos[video_id]), data.grid(videos[video_id])
        if reject == "proposal":
            logits = classify(features, grid.snippets(own.segments))[:, : len(data.classes.unseen)]
        else:
            logits = classify.video_logits(features).expand(len(own.scores), -1)
        kept[video_id] = own.at(above(logits, statistics) >= reject_below)
    return kept


def background_in_training(data: Task, classify: Classifier, reject: str) -> Background:
    """Statistics of background for the unseen classes in the training videos.

    For proposals: snippets outside of `data.occupied`. For videos: whole videos with seen actions only; with
    `ignore_unseen` nowhere all videos, apart from classes known in training. Raises ValueError if there is none.
    """
    unseen, rows, absent = data.classes.unseen, [], []
    for video in data.training_videos:
        features = data.features(video)
        if reject == "video":
            labels = {action.label for action in video.actions}
            if data.ignore_unseen != "nowhere" and data.hidden[video.id]:
                continue  # it is unknown which unseen classes it shows
            rows.append(classify.video_logits(features)[None])
            absent.append(torch.tensor([[label not in labels for label in unseen]]))
        else:
            spans_ix = data.grid(video).snippets(spans(data.occupied[video.id]))
            rows.append(of_snippets(classify, features)[:, : len(unseen)])
            absent.append(outside(len(features), spans_ix)[:, None].expand(-1, len(unseen)))
    if not rows:
        raise ValueError("reject=video needs training videos with nothing unseen in them: pass -p reject none")
    return background(torch.cat(rows), torch.cat(absent))
