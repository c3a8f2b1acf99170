"""The detector as the parameters ask for it: its windows, its training, what is kept of it."""

import io
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.batches import Cut, Extras, Item, WindowSet, collate
from tadlib.detector import looking, training
from tadlib.detector.logs import tensorboard
from tadlib.detector.losses import Criterion
from tadlib.detector.matching import Costs
from tadlib.detector.network import ConditionalDetr, Switches
from tadlib.detector.parallel import ALONE, Team
from tadlib.detector.proposals import Proposals
from tadlib.files import Progress, atomic, read_json, silent
from tadlib.workbook import checkpoints, stages
from tadlib.workbook.inheritance import agrees
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run, RunError
from tadlib.workbook.steps import changes
from tadlib.workbook.steps.answers import texts_read
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.watching import SEEN, divided, watching


def training_windows(data: Data, params: Params) -> WindowSet:
    """The windows the detector learns from: those with an action of a seen class, and `negatives` without anything.

    With `ignore_unseen` negatives or everywhere, no part of anything that is annotated lies in the latter; everywhere,
    the losses of the former leave out what is annotated there of unseen classes, which else is background.
    """
    classes = None if params.target == "foreground" else data.classes.seen
    cut = Cut(params.window, params.overlap, params.rescale, params.integrity)
    videos, _ = divided(data.training_videos, params)
    names = data.classes.seen if params.segmentation != "none" or params.episodes else None
    data = replace(data, params=params)
    ignored = data.hidden if params.ignore_unseen == "everywhere" else None
    occupied = None if params.ignore_unseen == "nowhere" else data.occupied
    extras = Extras(names, ignored, occupied, params.jitter)
    return WindowSet(videos, data.store, params.stride, cut, classes, True, params.negatives, extras)


def window_counts(data: Data, windows: WindowSet) -> list[dict[str, object]]:
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


def train(
    data: Data, windows: WindowSet, params: Params, run: Run, progress: Progress = silent
) -> tuple[ConditionalDetr, list[dict[str, float]]]:
    """A trained detector and its history; interrupted training goes on where it stopped. Writes `checkpoint.pt`."""
    log = tensorboard(run.path("tensorboard")) if params.tensorboard else None
    about = origin(data)
    run.record["made_from"] = changes.of_test(data)
    with run.unfinished(key_of(data, params)) as checkpoint:
        begun = time.monotonic()
        model, history = fit(data, windows, params, checkpoint, progress, log=log)
        run.earlier = max(0.0, sum(row["seconds"] for row in history) - (time.monotonic() - begun))
        with atomic(run.target("checkpoint.pt")) as temporary:
            saved = {"model": model.state_dict(), "params": params.model_dump(), "about": about}
            torch.save(saved, temporary)
    return model, history


def fit(
    data: Data,
    windows: WindowSet,
    params: Params,
    checkpoint: Path,
    progress: Progress = silent,
    *,
    log: Callable[[Mapping[str, float]], None] | None = None,
    team: Team = ALONE,
) -> tuple[ConditionalDetr, list[dict[str, float]]]:
    """A detector trained from where `checkpoint` stands, alone or by a team, and its history."""
    model = network(windows.channels, params, len(data.classes.seen))
    device, texts = devices.pick(params.device), texts_read(data, params, data.classes.seen)
    texts = None if texts is None else texts.to(device)
    history = training.fit(
        model,
        windows,
        recipe_of(params),
        texts=texts,
        seed=params.seed,
        device=device,
        dtype=devices.precision_dtype(params.precision, device),
        checkpoint=checkpoint,
        progress=progress,
        observers=training.Observers(watching(data, windows, params, texts, device), log),
        team=team,
    )
    return model, history


def key_of(data: Data, params: Params) -> dict[str, object]:
    """What two trainings have in common if one can go on with what the other left."""
    made = {"code": stages.code_version(), "files": stages.data_version(params, "train"), "data": data.fingerprint}
    return {"parameters": stages.read_by("train", params)} | made


def origin(data: Data) -> dict[str, object]:
    """What a checkpoint says of its training: classes, features, seconds a snippet, and facts about what it saw."""
    lasts = [data.grid(video).seconds(1) for video in data.training_videos]
    names = {"classes": list(data.benchmark.classes), "seen": list(data.classes.seen)}
    features = {"features": data.store.key, "snippet_seconds": statistics.median(lasts)}
    return names | features | {"trained_on": changes.of_training(data)}


def recipe_of(params: Params) -> training.Recipe:
    """How the parameters ask to train; only heads that are there have a weight."""
    same = ("epochs", "batch_size", "accumulate", "lr", "lr_backbone", "weight_decay", "clip_norm", "schedule", "ema")
    same += ("warm_up", "aux_loss", "compile", "deterministic", "episodes")
    weights = {"loss_class": params.loss_class, "loss_l1": params.loss_l1}
    weights[f"loss_{params.overlap_loss}"] = params.loss_giou
    heads = {"salience": params.salience != "none", "quality": params.quality}
    heads["segmentation"] = params.segmentation != "none"
    weights |= {f"loss_{name}": getattr(params, f"loss_{name}") for name, there in heads.items() if there}
    published = params.system == "published"
    costs = Costs(params.cost_class, params.cost_l1, params.cost_giou, published)
    criterion = Criterion(params.overlap_loss, params.salience, params.segmentation_temperature, costs, published)
    select = SEEN if params.select == "validation" else "last"
    return training.Recipe(
        **{name: getattr(params, name) for name in same}, weights=weights, criterion=criterion, select=select
    )


def network(channels: int, params: Params, classes: int = 0) -> ConditionalDetr:
    """An untrained detector of the size the parameters ask for; `classes` are those of a one-hot detector."""
    devices.seed_all(params.seed)
    sizes = ("queries", "width", "heads", "encoder_layers", "decoder_layers", "conv_layers", "dropout")
    sizes += ("feature_noise", "feature_shift")
    text_dim = {"foreground": None, "none": classes}.get(params.target, channels)
    switches = Switches(**{each.name: getattr(params, each.name) for each in fields(Switches)})
    same = {name: getattr(params, name) for name in sizes}
    return ConditionalDetr(channels, text_dim=text_dim, switches=switches, **same)


def load_detector(data: Data, params: Params, run: Run) -> ConditionalDetr:
    """The detector of an earlier stage; its own parameters decide its shape.

    Raises RunError where the parameters, the seen classes or the training videos are not those of its training.
    """
    saved = trained_here(data, params, run)
    run.record["made_from"] = changes.of_test(data)
    trained = Params.read(saved["params"])
    model = network(data.store.read(data.scored[0].id).shape[1], trained, len(data.classes.seen))
    checkpoints.restore(model, saved, run.path("checkpoint.pt"))
    return model


def trained_here(data: Data, params: Params, run: Run) -> dict[str, Any]:
    """What the checkpoint of a run holds: `model`, `params` and `about`.

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
            f"{data.params.dataset} now calls these seen: {', '.join(now)}. Its unseen classes are not those asked for"
        )
    changes.check_training(data, saved["about"], run)
    return saved


def attention(model: ConditionalDetr, example: Item, data: Data, params: Params) -> Float[Tensor, "layers q t"]:
    """How much each query looks at each snippet of one window, in each decoder layer."""
    device = next(model.parameters()).device
    batch, texts = collate([example]), texts_read(data, params, data.classes.seen)
    texts = None if texts is None else texts.to(device)
    return looking.attention(model, batch.features.to(device), batch.padding.to(device), texts)[:, 0].cpu()


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


def load_proposals(data: Data, params: Params, run: Run) -> dict[str, Proposals]:
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
    changes.check_detections(data, run)
    return {video.id: _proposals(rows.get(video.id, frame[:0]), frame) for video in data.scored}


def _proposals(rows: pd.DataFrame, frame: pd.DataFrame) -> Proposals:
    segments = torch.tensor(rows[["start", "end"]].to_numpy(np.float32))
    embeddings = None
    if "embedding" in rows and len(frame):
        width = len(frame["embedding"].iloc[0])
        embeddings = torch.tensor(rows["embedding"].tolist(), dtype=torch.float32).reshape(-1, width)
    return Proposals(segments, torch.tensor(rows["score"].to_numpy(np.float32)), embeddings)
