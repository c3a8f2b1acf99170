"""Can proposals and videos that show none of the classes be told by how alike background is? (entries 72 and 73)

CLIP must name whatever it is shown. How alike background is to a class differs from class to class, so that every
class is measured against its own background: in standard deviations above its mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.data.windows import outside
from tadlib.detector.proposals import Proposals
from tadlib.naming.classifier import Classifier
from tadlib.task import Task, spans


class Background(NamedTuple):
    """How alike what shows none of the classes is to each of them."""

    mean: Float[Tensor, " k"]
    spread: Float[Tensor, " k"]  # standard deviation


def background(logits: Float[Tensor, "m k"], absent: Bool[Tensor, "m k"]) -> Background:
    """Mean and spread of the logits of snippets or videos, over those in which a class is `absent`.

    Raises ValueError where a class is absent from fewer than two.
    """
    number = absent.sum(dim=0)
    if int(number.min()) < 2:
        raise ValueError(
            f"class {int(number.argmin())} is absent from {int(number.min())} of {len(logits)} examples: "
            "at least 2 are needed to know what background looks like; pass -p reject none"
        )
    mean = (logits * absent).sum(dim=0) / number
    square = ((logits - mean).square() * absent).sum(dim=0) / number
    return Background(mean, square.sqrt().clamp(min=1e-6))


def above(logits: Float[Tensor, "n k"], usual: Background) -> Float[Tensor, " n"]:
    """By how many standard deviations the class that stands out most is above its background."""
    return ((logits - usual.mean) / usual.spread).amax(dim=1)


def proposals(
    found: Mapping[str, Proposals],
    data: Task,
    classifier_of: Callable[[Sequence[str]], Classifier],
    reject: str,
    reject_below: float,
) -> Mapping[str, Proposals]:
    """Proposals without those that look like none of the unseen classes, alone or because their video does."""
    if reject == "none":
        return found
    videos, classify = {video.id: video for video in data.scored}, classifier_of(data.classes.unseen)
    usual, kept = usual_in_training(data, classify, reject), {}
    for video_id, own in found.items():
        features, grid = data.features(videos[video_id]), data.grid(videos[video_id])
        if reject == "proposal":
            logits = classify(features, grid.snippets(own.segments))[:, : len(data.classes.unseen)]
        else:
            logits = classify.video_logits(features).expand(len(own.scores), -1)
        rest = above(logits, usual) >= reject_below
        kept[video_id] = Proposals(*(None if field is None else field[rest] for field in own))
    return kept


def usual_in_training(data: Task, classify: Classifier, reject: str) -> Background:
    """How alike background is to the unseen classes, in the training videos.

    Of proposals: snippets outside all that `data.occupied` knows of. Of videos: whole videos with seen actions alone;
    with `ignore_unseen` nowhere all, but for classes that training knows. Raises ValueError where there is none.
    """
    unseen, rows, absent = data.classes.unseen, [], []
    for video in data.training_videos:
        features = data.features(video)
        if reject == "video":
            labels = {action.label for action in video.actions}
            if data.ignore_unseen != "nowhere" and data.hidden[video.id]:
                continue  # of which classes is not known
            rows.append(classify.video_logits(features)[None])
            absent.append(torch.tensor([[label not in labels for label in unseen]]))
        else:
            spans_ix = data.grid(video).snippets(spans(data.occupied[video.id]))
            rows.append(classify.compare(features)[:, : len(unseen)])
            absent.append(outside(len(features), spans_ix)[:, None].expand(-1, len(unseen)))
    if not rows:
        raise ValueError("reject=video needs training videos with nothing unseen in them: pass -p reject none")
    return background(torch.cat(rows), torch.cat(absent))
