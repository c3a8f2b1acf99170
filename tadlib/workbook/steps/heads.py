"""The segment-level head as the parameters ask for it: trained once on true segments of seen classes, then kept."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tadlib import devices
from tadlib.files import atomic, digest
from tadlib.naming import heads
from tadlib.naming.heads import Head
from tadlib.naming.similarity import scale_of
from tadlib.segments import roi_align
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data, true_segments


def trained_head(data: Data, params: Params) -> Head | None:
    """The head that was trained for these parameters, or nothing if none is asked for; kept beside the features."""
    if params.head == "none":
        return None
    path = data.benchmark.cache / "heads" / f"{_key(data, params)}.pt"
    channels = data.store.read(data.training_videos[0].id).shape[1]
    devices.seed_all(params.seed)
    head = Head(params.head, channels, params.head_residual)
    if path.is_file():
        head.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    else:
        _train(head, data, params)
        with atomic(path) as temporary:
            torch.save(head.state_dict(), temporary)
    return head.eval().requires_grad_(False)


def _key(data: Data, params: Params) -> str:
    names = ("head", "head_residual", "head_loss", "head_epochs", "head_lr", "roi_bins", "seed", "logit_scale")
    names += ("text", "lead", "descriptions")
    wanted = {name: getattr(params, name) for name in names}
    return digest([wanted, data.fingerprint, data.classes.seen, torch.__version__])


def _train(head: Head, data: Data, params: Params) -> None:
    bins, labels = true_bins(data, params)
    heads.fit(
        head,
        bins,
        labels,
        replace(data, params=params).text(data.classes.seen),
        factor=scale_of(data.encoder.logit_scale, params.logit_scale),
        loss=params.head_loss,
        epochs=params.head_epochs,
        lr=params.head_lr,
    )


def true_bins(data: Data, params: Params) -> tuple[Float[Tensor, "n r c"], Int[Tensor, " n"]]:
    """Bins under every true segment of a seen class in the training videos, and the place of its class."""
    bins, labels = [], []
    for video in data.training_videos:
        snippets = torch.from_numpy(np.array(data.store.read(video.id), dtype=np.float32))
        segments_ix = data.grid(video).snippets(true_segments(video))
        bins.append(roi_align(snippets, segments_ix, params.roi_bins))
        labels += [data.classes.seen.index(action.label) for action in video.actions]
    return torch.cat(bins), torch.tensor(labels, dtype=torch.int64)
