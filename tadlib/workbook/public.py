"""Loading, naming and evaluation from Python, without a notebook: `tad.load`, `tad.name`, `tad.evaluate`."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from tadlib.detector.proposals import Proposals
from tadlib.evaluation import metrics
from tadlib.files import Progress, silent
from tadlib.naming.fusion import Detections
from tadlib.task import Task
from tadlib.workbook import inference, results, stages
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

OF_LOADING = stages.WORDING | stages.DATA | {"candidates", "protocol", "ignore_unseen", "validation", "seed"}
OF_NAMING = (stages.NAMING | stages.MERGING | stages.KEEPING | {"window", "target", "ideas"}) - OF_LOADING | {"seed"}


def load(dataset: str | PathLike = "demo", *, progress: Progress = silent, **words: Any) -> Task:
    """A data set with its class split, features and encoder; what is missing of the demo or of features is made.

    `dataset` is demo, thumos14, activitynet13 or a folder; `words` are parameters, as those of the notebooks: `split`,
    `split_id`, `protocol`, `encoder`, `features`, `text`, `candidates`, `device`, `data_dir` and so on.

    Raises ValueError for an unknown parameter, one that loading does not use, or an impossible value.
    """
    for word in words:
        if word in Params.model_fields and word not in OF_LOADING:
            raise ValueError(f"{word} loads nothing: pass it to training_windows, fit, propose or name")
    return gather(Params.check({"dataset": str(dataset)} | words), progress)


def name(proposals: Mapping[str, Proposals], data: Task, **words: Any) -> dict[str, Detections]:
    """Detections of every video: proposals named by CLIP, each pair of proposal and class scored by both.

    `words` are parameters of naming: `pooling`, `fusion`, `keep`, `top_k` and so on; `window` is that of the test, for
    each of which `top_k` are kept.

    Raises ValueError for an unknown parameter or one of `load`, for a video that is not scored, and for proposals of a
    detector that classifies where `target` is not given.
    """
    for word in words:
        if word in OF_LOADING - OF_NAMING:
            raise ValueError(f"{word} is a word of load, not of name: load({word}={words[word]!r})")
        if word in Params.model_fields and word not in OF_NAMING:
            raise ValueError(f"{word} changes no name: it is a word of training or of evaluation")
    if unknown := [video_id for video_id in proposals if video_id not in {video.id for video in data.scored}]:
        raise ValueError(f"proposals of video {unknown[0]!r}, which is none of the {len(data.scored)} scored videos")
    if any(each.embeddings is not None for each in proposals.values()) and "target" not in words:
        raise ValueError("these proposals are of a detector that classifies: pass the target that it learned")
    said, classes = data.wording, data.classes
    loaded = {"text": said.text, "lead": said.lead, "descriptions": said.descriptions, "candidates": data.candidates}
    loaded |= {"protocol": data.protocol, "split": classes.split, "split_id": classes.split_id}
    return inference.name(data, proposals, Params.check({"dataset": data.benchmark.name} | words, loaded))


def evaluate(detections: Mapping[str, Detections], data: Task) -> dict[str, float]:
    """mAP over the unseen classes, and mAP@tIoU for each tIoU of the data set: fractions, under the task's protocol.

    Raises ValueError for detections of other videos alone.
    """
    if detections and not detections.keys() & {video.id for video in data.scored}:
        raise ValueError(
            f"no detection is in a scored video: got {next(iter(detections))!r}, there is {data.scored[0].id!r}"
        )
    return metrics.means(results.class_table(data, detections), data.benchmark.tious)
