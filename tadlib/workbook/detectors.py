"""Checkpoint and proposals of a run: written by one stage, read and checked by later stages."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.data.batches import Item, WindowSet, collate
from tadlib.data.stores import FolderStore
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import Proposals
from tadlib.files import atomic, digest, read_json
from tadlib.ideas import class_targets
from tadlib.naming.text import Wording, texts_of
from tadlib.project import resolve
from tadlib.task import Task
from tadlib.tensors import write_tensors
from tadlib.workbook import runs, stages
from tadlib.workbook.inheritance import agrees, load_network, read_checkpoint, stored_parameters
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run, RunError
from tadlib.workbook.vocabulary import other_cells


def window_counts(data: Task, windows: WindowSet) -> list[dict[str, object]]:
    """Return rows that count training windows: with actions, negatives, and excluded ones."""
    positive = [item.window for item in windows if len(item.target.labels_ix)]
    mixed = sum(windows.overlaps(window, data.hidden[window.video_id]) for window in positive)
    return [
        {"training": "windows with an action of a seen class", "number": len(positive)},
        {"training": "of them, with part of an action of an unseen class too", "number": mixed},
        {"training": "windows without an action (negatives)", "number": len(windows) - len(positive)},
        {"training": "more that negatives asks for, but the videos do not have", "number": windows.missing},
        {"training": "windows left out: no target, but part of an annotated action", "number": windows.left_out},
    ]


def facts_of_training(data: Task, params: Params) -> dict[str, str]:
    """Return digests of the training data: annotations, features, and the class texts that the detector reads.

    Digests do not depend on the copy of the data, nor on the machine that encoded a video.
    """
    videos = data.training_videos
    annotated = [[asdict(action) for action in (*video.actions, *data.occupied[video.id])] for video in videos]
    found = _facts(data, params, videos) | {"annotations": digest(annotated)}
    if params.target in ("prompt", "name", "description"):
        return found | _text_facts(data, data.classes.seen, class_targets.wording(data, params.target))
    reads = params.target == "foreground" and (params.fuse_text or params.segmentation != "none")
    return found | (_text_facts(data, data.classes.seen, data.wording) if reads else {})


def facts_of_test(data: Task, params: Params) -> dict[str, str]:
    """Return digests of all test videos, including those the protocol excludes, and of the class texts."""
    videos = [video for video in data.benchmark.videos if video.subset == data.benchmark.test_subset]
    annotated = {"annotations": digest([asdict(video.with_ambiguous())["actions"] for video in videos])}
    return _facts(data, params, videos, tested=True) | annotated | _text_facts(data, data.competing, data.wording)


def _facts(data: Task, params: Params, videos: Sequence[Video], tested: bool = False) -> dict[str, str]:
    names = [video.id for video in videos]
    found = {"precision": params.precision, "list of videos": digest(names)}
    if params.ideas and (tested or stages.trains(params.ideas)):
        found["file of ideas"] = digest(resolve(params.ideas).read_text(encoding="utf-8"))
    found["durations or frame rates"] = digest([[video.id, video.duration, video.fps] for video in videos])
    if isinstance(data.store, FolderStore):
        return found | {"features": data.store.version(names)}
    if params.features != "simulate":
        return found | data.store.facts(names)
    whole = [asdict(video) for video in data.benchmark.videos if video.id in set(names)]
    return found | {"features": digest([data.benchmark.classes, whole])}


def _text_facts(data: Task, classes: Sequence[str], wording: Wording) -> dict[str, str]:
    return {"class texts": digest(texts_of(classes, wording)), "text encoder": data.encoder.key}


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Join the names of facts that differ; another precision, and the encoder key it changes, is no difference."""
    names = [name for name in now if name in then and then[name] != now[name]]
    if "precision" in names:
        names = [name for name in names if name != "precision" and "encoder" not in name]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def key_of(data: Task, params: Params, namespace: Mapping[str, Any]) -> dict[str, object]:
    """Return the key of a training: an interrupted one is resumed only with an equal key. `namespace` is globals().

    The executed cells are part of the key: a training with an edited network, loss or loop starts anew.
    """
    return {
        "parameters": stages.read_by("train", params),
        "cells": other_cells(namespace.get("In", []), Params.model_fields),
        "code": stages.code_version(),
        "files": stages.data_version(params, "train"),
        "data": data.fingerprint,
    }


def origin(data: Task, params: Params) -> dict[str, object]:
    """Return the record of training data stored in a checkpoint: classes, features, seconds a snippet, and digests."""
    seconds = [data.grid(video).seconds(1) for video in data.training_videos]
    names = {"classes": list(data.benchmark.classes), "seen": list(data.classes.seen)}
    features = {"features": data.store.key, "snippet_seconds": statistics.median(seconds)}
    return names | features | {"trained_on": facts_of_training(data, params)}


def load_detector(data: Task, params: Params, run: Run, own: Sequence[type] = ()) -> ConditionalDETR:
    """Load the detector of an earlier stage; `own` are the reader's own classes of additions.

    Raises RunError if the parameters, the seen classes or the training videos are not those of its training.
    """
    saved = _trained_here(data, params, run)
    run.record["made_from"] = facts_of_test(data, params)
    return load_network(saved, run.dir / "checkpoint.pt", params, own)


def save_detector(run: Run, model: ConditionalDETR, data: Task, params: Params, about: Mapping[str, Any]) -> None:
    """Write `checkpoint.pt`: the network, the parameters, and `about`, the record of training data from `origin`."""
    run.record["made_from"] = facts_of_test(data, params)
    content = {"network": model.saved(), "params": params.model_dump(), "about": about}
    write_tensors(run.target("checkpoint.pt"), content)


def _trained_here(data: Task, params: Params, run: Run) -> dict[str, Any]:
    """Read the checkpoint of a run; raise RunError as `load_detector` does."""
    path = run.require("checkpoint.pt", "train")
    saved = read_checkpoint(path)
    trained = stored_parameters(saved["params"], path)
    agrees(run.stage, "train", stages.settled("train", trained), trained, params, run.dir)
    then, now = saved["about"]["seen"], list(data.classes.seen)
    if sorted(then) != sorted(now):
        raise RunError(
            f"the detector in {run.dir} was trained on the classes {', '.join(then)}; the class split of "
            f"{params.dataset} now calls these seen: {', '.join(now)}. Its unseen classes are not those asked for"
        )
    if names := _changed(saved["about"]["trained_on"], facts_of_training(data, params)):
        raise RunError(
            f"{names} of the training videos of {params.dataset} changed since the detector in {run.dir} was trained: "
            "train again in another run_dir, or put back the data it was trained on"
        )
    return saved


@torch.inference_mode()
def attention(model: ConditionalDETR, example: Item, texts: Float[Tensor, "k c"] | None) -> Float[Tensor, "layers q t"]:
    """Return attention weights of queries on snippets by decoder layer: mean over heads, the sum over snippets is 1."""
    device, batch, weights = next(model.parameters()).device, collate([example]), []  # one window, nothing is padded

    def record(module: torch.nn.Module, inputs: tuple) -> None:
        query, key = (part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in inputs[:2])
        scores = ((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)).float()
        weights.append(scores.softmax(-1).mean(1)[0].cpu())

    hooks = [layer.attention.register_forward_pre_hook(record) for layer in model.decoder]
    texts = None if texts is None else texts.to(device)
    model.eval()(batch.features.to(device), batch.padding.to(device), texts)
    for hook in hooks:
        hook.remove()
    return torch.stack(weights)


def save_proposals(path: Path, proposals: Mapping[str, Proposals]) -> None:
    """Write proposals as parquet: video, start, end (s), score, and the embedding if the detector classifies."""
    parts = []
    for video_id, found in proposals.items():
        (start, end), score = found.segments.numpy().T, found.scores.numpy()
        columns = {"video": [video_id] * len(score), "start": start, "end": end, "score": score}
        columns |= {} if found.embeddings is None else {"embedding": list(found.embeddings.numpy())}
        parts.append(pd.DataFrame(columns))
    with atomic(path) as temporary:
        pd.concat(parts).to_parquet(temporary, index=False)


def load_proposals(data: Task, params: Params, run: Run) -> dict[str, Proposals]:
    """Read the proposals of a classified run for every scored video.

    Raises RunError if the detector was trained with other data or parameters, if scored videos are missing from the
    detections, if these name other than unseen classes, or if the test videos have changed since.
    """
    _trained_here(data, params, run)
    frame = pd.read_parquet(run.require("proposals.parquet", "classify"))
    rows, results = dict(list(frame.groupby("video"))), read_json(run.require("detections.json", "classify"))["results"]
    if lacking := [video.id for video in data.scored if video.id not in results]:
        raise RunError(
            f"{len(lacking)} videos that count under protocol={params.protocol} are not in detections.json of "
            f"{run.dir}, first {lacking[0]}: pass -p protocol {params.protocol} to classify too"
        )
    if others := {row["label"] for found in results.values() for row in found} - set(data.classes.unseen):
        raise RunError(
            f"detections.json of {run.dir} names {', '.join(map(repr, sorted(others)))}, which the class split of "
            f"{params.dataset} does not have as unseen now ({', '.join(data.classes.unseen)}): run classify again, "
            "with another run_dir if it has finished there"
        )
    _check_detections(data, params, run)
    return {video.id: _proposals(rows.get(video.id, frame[:0]), frame) for video in data.scored}


def _proposals(rows: pd.DataFrame, frame: pd.DataFrame) -> Proposals:
    segments = torch.tensor(rows[["start", "end"]].to_numpy(np.float32))
    embeddings = None
    if "embedding" in rows and len(frame):
        width = len(frame["embedding"].iloc[0])
        embeddings = torch.from_numpy(np.array(rows["embedding"].tolist(), dtype=np.float32)).reshape(-1, width)
    return Proposals(segments, torch.tensor(rows["score"].to_numpy(np.float32)), embeddings)


def _check_detections(data: Task, params: Params, run: Run) -> None:
    """Raise RunError if the test videos have changed since the detections of a run were made.

    Changed annotations alone only cause a warning: detections do not depend on them.
    """
    records = runs.records(run.dir)
    owner, other = (
        next((stage for stage, record in records.items() if name in record.get("files", ())), None)
        for name in ("detections.json", "proposals.parquet")
    )
    if owner != other:
        raise RunError(
            f"detections.json in {run.dir} is of {owner or 'no stage'} and proposals.parquet of {other or 'no stage'}, "
            f"so one of them was interrupted: run `{runs.command('classify', run.dir)}` again"
        )
    made_from, detections = records.get(owner, {}).get("made_from", {}), f"the detections in {run.dir}"
    names = _changed(made_from, facts_of_test(data, params))
    if not made_from:
        warnings.warn(f"no record says from which videos and texts {detections} were made: not checked", stacklevel=2)
    elif names == "annotations":
        changed = f"annotations of the test videos of {params.dataset} changed since {owner} made {detections}"
        warnings.warn(f"{changed}: they are scored by the annotations of now", stacklevel=2)
    elif names:
        raise RunError(
            f"{names} of the test videos of {params.dataset} changed since {owner} made {detections}: "
            f"run `{runs.command('classify', run.dir)}`, or put back the data they were made from"
        )
