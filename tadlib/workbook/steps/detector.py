"""The detector as the parameters ask for it: its windows, its training, its answers, its proposals."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.batches import Cut, WindowSet
from tadlib.detector import proposals as proposing
from tadlib.detector import training
from tadlib.detector.network import ConditionalDetr
from tadlib.detector.proposals import Proposals
from tadlib.files import Progress, atomic, silent
from tadlib.naming import text
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run
from tadlib.workbook.steps.data import Data


def training_windows(data: Data, params: Params) -> WindowSet:
    """The windows the detector learns from: those with an action of a seen class, and `negatives` without."""
    classes = None if params.target == "foreground" else data.classes.seen
    cut = Cut(params.window, params.overlap, params.rescale, params.integrity)
    return WindowSet(data.training_videos, data.store, params.stride, cut, classes, True, params.negatives)


def test_windows(data: Data, params: Params) -> WindowSet:
    """Every window of the scored videos."""
    cut = Cut(params.window, params.test_overlap, params.rescale)
    return WindowSet(data.scored, data.store, params.stride, cut)


def train(
    data: Data, windows: WindowSet, params: Params, run: Run, progress: Progress = silent
) -> tuple[ConditionalDetr, list[dict[str, float]]]:
    """A trained detector and its history; interrupted training goes on where it stopped. Writes `checkpoint.pt`."""
    model = network(windows.channels, params)
    recipe = training.Recipe(
        **{
            name: getattr(params, name)
            for name in (
                "epochs", "batch_size", "accumulate", "lr", "lr_backbone", "weight_decay", "clip_norm", "schedule",
                "ema", "aux_loss",
            )
        },
        weights={name: getattr(params, name) for name in ("loss_class", "loss_l1", "loss_giou")},
    )  # fmt: skip
    key = {"parameters": _training_parameters(params), "data": data.fingerprint, "torch": torch.__version__}
    with run.unfinished(key) as checkpoint:
        history = training.fit(
            model,
            windows,
            recipe,
            texts=None if params.target == "foreground" else target_texts(data, params),
            seed=params.seed,
            device=devices.pick(params.device),
            dtype=devices.precision_dtype(params.precision, devices.pick(params.device)),
            checkpoint=checkpoint,
            progress=progress,
        )
        with atomic(run.path("checkpoint.pt")) as temporary:
            torch.save({"model": model.state_dict(), "params": params.model_dump()}, temporary)
    return model, history


def network(channels: int, params: Params) -> ConditionalDetr:
    """An untrained detector of the size the parameters ask for."""
    devices.seed_all(params.seed)
    sizes = ("queries", "width", "heads", "encoder_layers", "decoder_layers", "conv_layers", "dropout")
    sizes += ("feature_noise", "feature_shift")
    text_dim = None if params.target == "foreground" else channels
    return ConditionalDetr(channels, text_dim=text_dim, **{name: getattr(params, name) for name in sizes})


def _training_parameters(params: Params) -> dict[str, object]:
    naming = {
        *("run_dir", "text", "descriptions", "lead", "candidates", "pooling", "roi_bins", "similarity_at", "extend"),
        *("contrast", "similarity", "logit_scale", "temperature", "probability", "fusion", "fusion_weight"),
        *("head", "head_residual", "head_loss", "head_epochs", "head_lr"),
        *("ensemble", "ensemble_weight", "reject", "reject_below", "keep", "top_k", "nms", "nms_tiou"),
    }
    return {name: value for name, value in params.model_dump().items() if name not in naming | {"protocol"}}


def target_texts(data: Data, params: Params, classes: Sequence[str] | None = None) -> Float[Tensor, "k c"]:
    """Unit-length embeddings of the texts that a classifying detector is trained on: of the seen classes, or others."""
    names = data.classes.seen if classes is None else classes
    return text.class_embeddings(data.encoder, names, params.target, data.benchmark.cache)


def load_detector(data: Data, params: Params, run: Run) -> ConditionalDetr:
    """The detector of an earlier stage; its own parameters decide its shape."""
    saved = torch.load(run.require("checkpoint.pt", "train"), map_location="cpu", weights_only=True)
    trained = Params.check(saved["params"])
    model = network(data.store.read(data.scored[0].id).shape[1], trained)
    model.load_state_dict(saved["model"])
    return model


def answer(model: ConditionalDetr, data: Data, params: Params) -> tuple[proposing.Answers, WindowSet]:
    """What every query says about every window of the scored videos."""
    windows = test_windows(data, params)
    device = devices.pick(params.device)
    dtype = devices.precision_dtype(params.precision, device)
    return proposing.answer(model, windows, device=device, dtype=dtype), windows


def propose(answers: proposing.Answers, windows: WindowSet, params: Params) -> dict[str, Proposals]:
    """Proposals of every scored video, merged once."""
    return proposing.merge(answers, windows, how=params.nms, threshold=params.nms_tiou, top_k=params.top_k)


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
