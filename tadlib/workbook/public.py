"""The workbook from Python, without a notebook: `tad.load`, `tad.name`, `tad.evaluate` and `tad.detect`."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from tadlib.data.checks import nearest
from tadlib.detector.proposals import Proposals
from tadlib.files import Progress, silent
from tadlib.naming.fusion import Detections
from tadlib.task import Task
from tadlib.workbook import inference, own_video, own_video_report, results, stages
from tadlib.workbook.gathering import gather
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.own_video_report import Answers
from tadlib.workbook.params import Params

OF_LOADING = stages.WORDING | stages.DATA | {"candidates", "protocol", "ignore_unseen", "validation", "seed"}
OF_NAMING = (stages.NAMING | stages.MERGING | stages.KEEPING | {"window", "target", "ideas"}) - OF_LOADING | {"seed"}


def load(dataset: str | PathLike = "demo", *, progress: Progress = silent, **words: Any) -> Task:
    """Load a data set with its class split, features and encoder; the demo and missing features are made first.

    `dataset` is demo, thumos14, activitynet13 or a folder; `words` are parameters as in the notebooks: `split`,
    `split_id`, `protocol`, `encoder`, `features`, `text`, `candidates`, `device`, `data_dir` and so on. Raises
    ValueError for an unknown parameter, one that loading does not use, or an invalid value.
    """
    words |= {"dataset": dataset}
    if others := sorted(words.keys() & Params.model_fields.keys() - OF_LOADING):
        raise ValueError(f"{others[0]} loads nothing: pass it to training_windows, fit, propose or name")
    return gather(Params.check(words), progress)


def name(proposals: Mapping[str, Proposals], data: Task, **words: Any) -> dict[str, Detections]:
    """Name proposals with CLIP and return the detections of every video, scored by actionness and class.

    `words` are parameters of naming: `pooling`, `fusion`, `keep`, `top_k` and so on; `top_k` detections are kept for
    each test window of `window` snippets. Raises ValueError for an unknown parameter or one of `load`, for a video that
    is not scored, and for proposals of a detector that classifies if `target` is not given.
    """
    for word in words:
        if word in Params.model_fields and word not in OF_NAMING:
            raise ValueError(f"{word} changes no name: it is a word of {'load' if word in OF_LOADING else 'training'}")
    proposals = _checked(proposals, Proposals, data)
    if any(each.embeddings is not None for each in proposals.values()) and "target" not in words:
        raise ValueError("these proposals are of a detector that classifies: pass the target that it learned")
    texts, classes = data.wording, data.classes
    loaded = {"text": texts.text, "lead": texts.lead, "descriptions": texts.descriptions, "candidates": data.candidates}
    loaded |= {"protocol": data.protocol, "split": classes.split, "split_id": classes.split_id}
    return inference.name(data, proposals, Params.check({"dataset": data.benchmark.name} | words, loaded))


def evaluate(detections: Mapping[str, Detections], data: Task) -> dict[str, float]:
    """Return mAP over the unseen classes and mAP@tIoU for each tIoU of the data set: fractions, by the task's protocol.

    Raises ValueError for scored videos without an entry, for others, and for labels that are no classes.
    """
    detections = _checked(detections, Detections, data)
    if lacking := [video.id for video in data.scored if video.id not in detections]:
        raise ValueError(f"{len(lacking)} scored videos have no entry, not even an empty one, first {lacking[0]}")
    labels = {label for found in detections.values() for label in found.labels}
    if unknown := sorted(labels - set(data.benchmark.classes)):
        raise ValueError(f"detections are labelled {unknown[0]!r}{nearest(unknown[0], data.benchmark.classes)}")
    if labels and labels.isdisjoint(data.classes.unseen):
        raise ValueError(
            f"detections are labelled {min(labels)!r} and so on, none unseen here: are they of this split?"
        )
    return results.precision(data, detections)


def detect(videos: Any, words: Any = "", *, progress: Progress = silent, **params: Any) -> Answers:
    """Detect your own words in videos; return detections by the video's name, which a notebook shows as verdicts.

    `videos` is a file, a folder, a pattern or a list of these, `words` is like `classes` of `detect.ipynb`, and
    `params` are its other parameters: `run_dir`, `detector`, `threshold` and so on. Raises ValueError for an unknown
    parameter or an unusable video, and RunError for an unusable run.
    """
    given = DetectParams.check({"video": videos, "classes": words} | params)
    return own_video_report.answers(own_video.prepare(given, progress), progress)


def _checked(found: Mapping[str, Any], kind: type, data: Task) -> dict[str, Any]:
    """Return proposals or detections on the CPU, in full precision; raise ValueError with the first invalid video."""
    if not isinstance(data, Task) or not isinstance(found, Mapping):
        got = f"{type(found).__name__} and {type(data).__name__}"
        raise ValueError(f"expected a mapping from videos to {kind.__name__}, and the Task that load gives; got {got}")
    scored, kept = {video.id: video.duration for video in data.scored}, {}
    for video_id, each in found.items():
        if video_id not in scored:
            raise ValueError(f"{kind.__name__} of video {video_id!r}, which is none of the {len(scored)} scored videos")
        if not isinstance(each, kind) or not all(isinstance(part, Tensor) for part in each[:2]):
            raise ValueError(f"video {video_id} must have {kind.__name__} of tensors, got {type(each).__name__}")
        (segments, scores), number = each[:2], len(each.scores)
        if segments.shape != (number, 2) or scores.dim() != 1 or (kind is Detections and len(each.labels) != number):
            raise ValueError(f"video {video_id} must have a segment, a score and a label each, got {number} scores")
        start, end = segments.T
        right = (start <= end) & end.isfinite() & (start < scored[video_id]) & (scores >= 0) & (scores <= 1)
        if kind is Proposals and not right.all():
            raise ValueError(
                f"video {video_id} has a segment that ends before it starts or starts after {scored[video_id]} s, or a "
                "score outside 0 to 1 (a logit?)"
            )
        of = {"device": "cpu", "dtype": torch.float32 if kind is Proposals else torch.float64}
        kept[video_id] = each._replace(segments=segments.detach().to(**of), scores=scores.detach().to(**of))
    return kept
