"""Can proposals and videos without any candidate class be rejected by their similarity? (entries 72 and 73)

CLIP assigns a class to everything. The similarity of background differs between classes, so each class's logit is
standardised by the mean and standard deviation of its background.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tadlib.data.windows import outside, spans
from tadlib.detector.proposals import Proposals
from tadlib.ideas.snippet_groups import of_snippets
from tadlib.naming.classifier import Classifier
from tadlib.task import Task

OfClasses = Float[Tensor, " k"]


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
    (mean, spread), kept = background(*examples(data, classify, reject)), {}
    for video_id, own in found.items():
        features, grid = data.features(videos[video_id]), data.grid(videos[video_id])
        if reject == "proposal":
            logits = classify(features, grid.snippets(own.segments))[:, : len(data.classes.unseen)]
        else:
            logits = classify.video_logits(features).expand(len(own.scores), -1)
        kept[video_id] = own.at(((logits - mean) / spread).amax(dim=1) >= reject_below)
    return kept


def background(logits: Float[Tensor, "m k"], absent: Bool[Tensor, "m k"]) -> tuple[OfClasses, OfClasses]:
    """Mean and standard deviation of each class's logits in examples in which it is `absent`.

    Raises ValueError if a class is absent from fewer than two.
    """
    number = absent.sum(dim=0)
    if int(number.min()) < 2:
        few = f"{int(number.min())} of {len(logits)} examples: at least 2 are needed; pass -p reject none"
        raise ValueError(f"class {int(number.argmin())} is absent from {few}")
    mean = (logits * absent).sum(dim=0) / number
    square = ((logits - mean).square() * absent).sum(dim=0) / number
    return mean, square.sqrt().clamp(min=1e-6)


def examples(data: Task, classify: Classifier, reject: str) -> tuple[Float[Tensor, "m k"], Bool[Tensor, "m k"]]:
    """Logits of training examples for the unseen classes, and which of these are absent from each.

    For proposals: snippets, background outside of `data.occupied`. For videos: whole videos with seen actions only;
    with `ignore_unseen` nowhere all videos, apart from classes known in training. Raises ValueError if there is none.
    """
    unseen, rows, absent = data.classes.unseen, [], []
    for video in data.training_videos:
        features = data.features(video)
        if reject == "proposal":
            spans_ix = data.grid(video).snippets(spans(data.occupied[video.id]))
            rows.append(of_snippets(classify, features)[:, : len(unseen)])
            absent.append(outside(len(features), spans_ix)[:, None].expand(-1, len(unseen)))
        elif data.ignore_unseen == "nowhere" or not data.hidden[video.id]:  # else it may show any unseen class
            labels = {action.label for action in video.actions}
            rows.append(classify.video_logits(features)[None])
            absent.append(torch.tensor([[label not in labels for label in unseen]]))
    if not rows:
        raise ValueError("reject=video needs training videos with nothing unseen in them: pass -p reject none")
    return torch.cat(rows), torch.cat(absent)
