"""The detector as the parameters ask for it: its windows, its training, its answers, its proposals."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Action
from tadlib.data.batches import Cut, Extras, Item, WindowSet, collate
from tadlib.detector import looking, training
from tadlib.detector import proposals as proposing
from tadlib.detector.logs import tensorboard
from tadlib.detector.losses import Criterion
from tadlib.detector.matching import Costs
from tadlib.detector.network import ConditionalDetr, Switches
from tadlib.detector.proposals import Proposals
from tadlib.files import Progress, atomic, silent
from tadlib.naming import text
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.watching import SEEN, divided, watching
from tadlib.workbook.switches import NamingSwitches


def training_windows(data: Data, params: Params) -> WindowSet:
    """The windows the detector learns from: those with an action of a seen class, and `negatives` without."""
    classes = None if params.target == "foreground" else data.classes.seen
    cut = Cut(params.window, params.overlap, params.rescale, params.integrity)
    videos, _ = divided(data.training_videos, params)
    names = data.classes.seen if params.segmentation != "none" else None
    extras = Extras(names, unlabelled(data) if params.ignore_unseen else None, params.jitter)
    return WindowSet(videos, data.store, params.stride, cut, classes, True, params.negatives, extras)


def unlabelled(data: Data) -> dict[str, tuple[Action, ...]]:
    """The actions of unseen classes in each training video: that they are there is known, their classes are not used.

    A double of a seen action (CliffDiving is Diving) is none of them.
    """
    whole = {video.id: video for video in data.benchmark.videos}
    found = {}
    for video in data.training_videos:
        known = {(action.start, action.end) for action in video.actions}
        found[video.id] = tuple(a for a in whole[video.id].actions if (a.start, a.end) not in known)
    return found


def test_windows(data: Data, params: Params) -> WindowSet:
    """Every window of the scored videos."""
    cut = Cut(params.window, params.test_overlap, params.rescale)
    return WindowSet(data.scored, data.store, params.stride, cut)


def train(
    data: Data, windows: WindowSet, params: Params, run: Run, progress: Progress = silent
) -> tuple[ConditionalDetr, list[dict[str, float]]]:
    """A trained detector and its history; interrupted training goes on where it stopped. Writes `checkpoint.pt`."""
    model = network(windows.channels, params, len(data.classes.seen))
    device, texts = devices.pick(params.device), training_texts(data, params)
    log = tensorboard(run.path("tensorboard")) if params.tensorboard else None
    key = {"parameters": _training_parameters(params), "data": data.fingerprint, "torch": torch.__version__}
    with run.unfinished(key) as checkpoint:
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
        )
        with atomic(run.path("checkpoint.pt")) as temporary:
            torch.save({"model": model.state_dict(), "params": params.model_dump()}, temporary)
    return model, history


def recipe_of(params: Params) -> training.Recipe:
    """How the parameters ask to train; only heads that are there have a weight."""
    same = ("epochs", "batch_size", "accumulate", "lr", "lr_backbone", "weight_decay", "clip_norm", "schedule", "ema")
    same += ("aux_loss", "compile", "deterministic")
    weights = {"loss_class": params.loss_class, "loss_l1": params.loss_l1}
    weights[f"loss_{params.overlap_loss}"] = params.loss_giou
    heads = {"salience": params.salience != "none", "quality": params.quality}
    heads["segmentation"] = params.segmentation != "none"
    weights |= {f"loss_{name}": getattr(params, f"loss_{name}") for name, there in heads.items() if there}
    costs = Costs(params.cost_class, params.cost_l1, params.cost_giou)
    criterion = Criterion(params.overlap_loss, params.salience, params.segmentation_temperature, costs)
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


def training_texts(data: Data, params: Params) -> Float[Tensor, "k c"] | None:
    """The texts of the seen classes, for a detector that does anything with text."""
    if params.target != "foreground":
        return target_texts(data, params)
    return data.text(data.classes.seen) if params.fuse_text or params.segmentation != "none" else None


def _training_parameters(params: Params) -> dict[str, object]:
    later = {"run_dir", "keep", "top_k", "nms", "nms_tiou", "filter_threshold", "protocol"}
    naming = later | set(NamingSwitches.model_fields)
    return {name: value for name, value in params.model_dump().items() if name not in naming}


def target_texts(data: Data, params: Params, classes: Sequence[str] | None = None) -> Float[Tensor, "k c"]:
    """Unit-length embeddings of what a classifying detector is trained on: of the seen classes, or others.

    Without text a class is its place among the seen ones: one number is 1, the others 0.
    """
    names = data.classes.seen if classes is None else classes
    if params.target == "none":
        return torch.eye(len(data.classes.seen))[[data.classes.seen.index(name) for name in names]]
    return text.class_embeddings(data.encoder, names, params.target, data.benchmark.cache)


def load_detector(data: Data, params: Params, run: Run) -> ConditionalDetr:
    """The detector of an earlier stage; its own parameters decide its shape."""
    saved = torch.load(run.require("checkpoint.pt", "train"), map_location="cpu", weights_only=True)
    trained = Params.check(saved["params"])
    model = network(data.store.read(data.scored[0].id).shape[1], trained, len(data.classes.seen))
    model.load_state_dict(saved["model"])
    return model


def answer(model: ConditionalDetr, data: Data, params: Params) -> tuple[proposing.Answers, WindowSet]:
    """What every query says about every window of the scored videos."""
    windows = test_windows(data, params)
    device = devices.pick(params.device)
    dtype = devices.precision_dtype(params.precision, device)
    texts = data.text(data.competing) if model.fuse is not None else None
    return proposing.answer(model, windows, device=device, dtype=dtype, texts=texts), windows


def attention(model: ConditionalDetr, example: Item, data: Data, params: Params) -> Float[Tensor, "layers q t"]:
    """How much each query looks at each snippet of one window, in each decoder layer."""
    device = next(model.parameters()).device
    batch, texts = collate([example]), training_texts(data, params)
    texts = None if texts is None else texts.to(device)
    return looking.attention(model, batch.features.to(device), batch.padding.to(device), texts)[:, 0].cpu()


def propose(answers: proposing.Answers, windows: WindowSet, params: Params) -> dict[str, Proposals]:
    """Proposals of every scored video, merged once."""
    return proposing.merge(
        answers,
        windows,
        how=params.nms,
        threshold=params.nms_tiou,
        top_k=params.top_k,
        least=params.filter_threshold,
    )


def save_proposals(path: Path, proposals: Mapping[str, Proposals]) -> None:
    """Proposals as a parquet table: video, start, end (s), score."""
    frame = pd.concat(
        pd.DataFrame(found.segments.numpy(), columns=["start", "end"]).assign(
            video=video_id, score=found.scores.numpy()
        )
        for video_id, found in proposals.items()
    )
    content = io.BytesIO()
    frame[["video", "start", "end", "score"]].to_parquet(content, index=False)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())
