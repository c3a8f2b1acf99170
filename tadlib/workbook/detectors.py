"""A detector and its proposals in the folder of a run: written by one stage, read and checked by later ones."""

import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.batches import Item, WindowSet, collate
from tadlib.detector import attention_maps
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import Proposals
from tadlib.files import atomic, read_json
from tadlib.task import Task
from tadlib.workbook import changes, checkpoints, stages
from tadlib.workbook.inheritance import agrees
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run, RunError
from tadlib.workbook.vocabulary import other_cells


def window_counts(data: Task, windows: WindowSet) -> list[dict[str, object]]:
    """How many training windows hold what."""
    of = [item.window for item in windows if len(item.target.labels_ix)]
    mixed = sum(windows.touches(window, data.hidden[window.video_id]) for window in of)
    rows = [
        ("windows with an action of a seen class", len(of)),
        ("of them, with part of an action of an unseen class too", mixed),
        ("windows without anything (`negatives`)", len(windows) - len(of)),
        ("windows left out: nothing to find, but part of something annotated", windows.left_out),
    ]
    return [{"training": name, "number": number} for name, number in rows]


def key_of(data: Task, params: Params, namespace: Mapping[str, Any]) -> dict[str, object]:
    """What two trainings have in common if one can go on with what the other left; `namespace` is globals().

    The cells that ran are part of it: a training whose network, loss or loop was edited starts anew.
    """
    made = {"code": stages.code_version(), "files": stages.data_version(params, "train"), "data": data.fingerprint}
    return {
        "parameters": stages.read_by("train", params),
        "cells": other_cells(namespace.get("In", []), Params.model_fields),
    } | made


def origin(data: Task, params: Params) -> dict[str, object]:
    """What a checkpoint says of its training: classes, features, seconds a snippet, and facts about what it saw."""
    lasts = [data.grid(video).seconds(1) for video in data.training_videos]
    names = {"classes": list(data.benchmark.classes), "seen": list(data.classes.seen)}
    features = {"features": data.store.key, "snippet_seconds": statistics.median(lasts)}
    return names | features | {"trained_on": changes.of_training(data, params)}


def load_detector(data: Task, params: Params, run: Run, own: Sequence[type] = ()) -> ConditionalDETR:
    """The detector of an earlier stage; `own` are the classes of parts that are the reader's.

    Raises RunError where the parameters, the seen classes or the training videos are not those of its training.
    """
    saved = trained_here(data, params, run)
    run.record["made_from"] = changes.of_test(data, params)
    return checkpoints.restore(saved, run.path("checkpoint.pt"), params, own)


def save_detector(run: Run, model: ConditionalDETR, data: Task, params: Params, about: Mapping[str, Any]) -> None:
    """Write `checkpoint.pt`: the network, the parameters, and what it was trained on, which `origin` says."""
    run.record["made_from"] = changes.of_test(data, params)
    with atomic(run.target("checkpoint.pt")) as temporary:
        torch.save({"network": model.saved(), "params": params.model_dump(), "about": about}, temporary)


def trained_here(data: Task, params: Params, run: Run) -> dict[str, Any]:
    """What the checkpoint of a run holds: `network`, `params` and `about`.

    Raises RunError where the parameters, the seen classes or the training videos are not those of its training.
    """
    path = run.require("checkpoint.pt", "train")
    saved = checkpoints.read(path)
    trained = checkpoints.parameters(saved["params"], path)
    agrees(run.stage, "train", stages.settled("train", trained), trained, params.model_dump(), run.dir)
    knew, now = saved["about"]["seen"], list(data.classes.seen)
    if sorted(knew) != sorted(now):
        raise RunError(
            f"the detector in {run.dir} was trained on the classes {', '.join(knew)}; the class split of "
            f"{params.dataset} now calls these seen: {', '.join(now)}. Its unseen classes are not those asked for"
        )
    changes.check_training(data, params, saved["about"], run)
    return saved


def attention(model: ConditionalDETR, example: Item, texts: Float[Tensor, "k c"] | None) -> Float[Tensor, "layers q t"]:
    """How much each query looks at each snippet of one window, in each decoder layer."""
    device, batch = next(model.parameters()).device, collate([example])
    texts = None if texts is None else texts.to(device)
    return attention_maps.cross_attention(model, batch.features.to(device), batch.padding.to(device), texts)[:, 0].cpu()


def save_proposals(path: Path, proposals: Mapping[str, Proposals]) -> None:
    """Proposals as a parquet table: video, start, end (s), score, and the embedding of a detector that classifies."""
    frame = pd.concat(
        pd.DataFrame(found.segments.numpy(), columns=["start", "end"]).assign(
            video=video_id,
            score=found.scores.numpy(),
            **({} if found.embeddings is None else {"embedding": list(found.embeddings.numpy())}),
        )
        for video_id, found in proposals.items()
    )
    columns = ["video", "start", "end", "score", *(["embedding"] if "embedding" in frame else [])]
    content = io.BytesIO()
    frame[columns].to_parquet(content, index=False)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_proposals(data: Task, params: Params, run: Run) -> dict[str, Proposals]:
    """The proposals of a run whose detections are there, of every scored video.

    Raises RunError where the detector was trained otherwise, where videos that count were never asked about, and where
    what was found there has names that are none of the unseen classes or comes from test videos that changed since.
    """
    trained_here(data, params, run)
    frame = pd.read_parquet(run.require("proposals.parquet", "classify"))
    rows, asked = dict(list(frame.groupby("video"))), read_json(run.require("detections.json", "classify"))["results"]
    lacking = [video.id for video in data.scored if video.id not in asked]
    if lacking:
        raise RunError(
            f"{len(lacking)} videos that count under protocol={params.protocol} are not in detections.json of "
            f"{run.dir}, first {lacking[0]}: pass -p protocol {params.protocol} to classify too"
        )
    if others := {row["label"] for found in asked.values() for row in found} - set(data.classes.unseen):
        raise RunError(
            f"detections.json of {run.dir} names {', '.join(map(repr, sorted(others)))}, which the class split of "
            f"{params.dataset} does not have as unseen now ({', '.join(data.classes.unseen)}): run classify again, "
            "with another run_dir if it has finished there"
        )
    changes.check_detections(data, params, run)
    return {video.id: _proposals(rows.get(video.id, frame[:0]), frame) for video in data.scored}


def _proposals(rows: pd.DataFrame, frame: pd.DataFrame) -> Proposals:
    segments = torch.tensor(rows[["start", "end"]].to_numpy(np.float32))
    embeddings = None
    if "embedding" in rows and len(frame):
        width = len(frame["embedding"].iloc[0])
        embeddings = torch.tensor(rows["embedding"].tolist(), dtype=torch.float32).reshape(-1, width)
    return Proposals(segments, torch.tensor(rows["score"].to_numpy(np.float32)), embeddings)
