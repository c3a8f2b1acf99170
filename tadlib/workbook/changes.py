"""Facts about the data that a stage read, by which a later stage notices that the data changed since.

A fact is a digest of what something was made from: the same for every copy, and whatever machine encoded a video.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tadlib.data.annotations import Video
from tadlib.data.stores import FolderStore
from tadlib.files import digest
from tadlib.ideas import class_targets
from tadlib.naming.text import Wording, texts_of
from tadlib.project import resolve
from tadlib.task import Task
from tadlib.workbook import runs
from tadlib.workbook.params import Params
from tadlib.workbook.rerun import command
from tadlib.workbook.runs import Run, RunError

Facts = Mapping[str, str]


def of_training(data: Task, params: Params) -> dict[str, str]:
    """Facts about the training videos: annotations, features, and the class texts that the detector reads."""
    videos = data.training_videos
    shown = [[asdict(action) for action in (*video.actions, *data.occupied[video.id])] for video in videos]
    found = _common(data, params, videos) | {"annotations": digest(shown)}
    if params.ideas:
        found |= {"file of ideas": digest(resolve(params.ideas).read_text(encoding="utf-8"))}
    if params.target in ("prompt", "name", "description"):
        return found | _texts(data, data.classes.seen, class_targets.wording(data, params.target))
    reads = params.target == "foreground" and (params.fuse_text or params.segmentation != "none")
    return found | (_texts(data, data.classes.seen, data.wording) if reads else {})


def of_test(data: Task, params: Params) -> dict[str, str]:
    """Facts about the test videos, counted by the protocol or not: annotations, features, and class texts."""
    videos = [video for video in data.benchmark.videos if video.subset == data.benchmark.test_subset]
    found = _common(data, params, videos) | {
        "annotations": digest([asdict(video.with_ambiguous())["actions"] for video in videos])
    }
    return found | _texts(data, data.competing, data.wording)


def _common(data: Task, params: Params, videos: Sequence[Video]) -> dict[str, str]:
    names = [video.id for video in videos]
    found = {"precision": params.precision, "list of videos": digest(names)}
    found["durations or frame rates"] = digest([[video.id, video.duration, video.fps] for video in videos])
    if isinstance(data.store, FolderStore):
        return found | {"features": data.store.version(names)}
    if params.features != "simulate":
        return found | data.store.facts(names)
    whole = [asdict(video) for video in data.benchmark.videos if video.id in set(names)]
    return found | {"features": digest([data.benchmark.classes, whole])}


def _texts(data: Task, classes: Sequence[str], said: Wording) -> dict[str, str]:
    return {"class texts": digest(texts_of(classes, said)), "text encoder": data.encoder.key}


def changed(then: Facts, now: Facts) -> list[str]:
    """The facts that two records both have and that differ; an encoder asked for in another precision is the same."""
    names = [name for name in now if name in then and then[name] != now[name]]
    if "precision" in names:
        names = [name for name in names if name != "precision" and "encoder" not in name]
    return names


def check_training(data: Task, params: Params, about: Mapping[str, Any], run: Run) -> None:
    """Raise RunError where the training videos are not as the detector saw them; warn where that is not known."""
    if "trained_on" not in about:
        warnings.warn(
            f"{run.path('checkpoint.pt')} was written by an earlier version and does not say on which features and "
            "annotations it was trained: that they are the same now was not checked",
            stacklevel=2,
        )
    elif names := changed(about["trained_on"], of_training(data, params)):
        raise RunError(
            f"{_listed(names)} of the training videos of {params.dataset} changed since the detector in {run.dir} "
            "was trained: train again in another run_dir, or put back the data it was trained on"
        )


def check_detections(data: Task, params: Params, run: Run) -> None:
    """Raise RunError where the test videos are not as they were when the detections of a run were made.

    Annotations made no detection: where they alone changed, a warning says so. It warns where nothing is known too.
    """
    records = runs.records(run.dir)
    owner, other = (
        next((stage for stage, record in records.items() if name in record.get("files", ())), None)
        for name in ("detections.json", "proposals.parquet")
    )
    if owner != other:
        raise RunError(
            f"detections.json in {run.dir} is of {owner or 'no stage'} and proposals.parquet of {other or 'no stage'}, "
            f"so one of them was interrupted: run `{command('classify', run.dir)}` again"
        )
    then = records.get(owner, {}).get("made_from")
    names = changed(then or {}, of_test(data, params))
    if then is None:
        warnings.warn(
            f"run.json in {run.dir} was written by an earlier version and does not say from which test videos and "
            "class texts its detections were made: that they are the same now was not checked",
            stacklevel=2,
        )
    elif names == ["annotations"]:
        warnings.warn(
            f"annotations of the test videos of {params.dataset} changed since {owner} made the detections in "
            f"{run.dir}: they are scored by the annotations of now",
            stacklevel=2,
        )
    elif names:
        raise RunError(
            f"{_listed(names)} of the test videos of {params.dataset} changed since {owner} made the detections "
            f"in {run.dir}: run `{command('classify', run.dir)}`, or put back the data they were made from"
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
