"""Proposals of a detector and their names, as the parameters ask for them, and detection by CLIP alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib import ideas
from tadlib.data.annotations import Video
from tadlib.data.batches import WindowSet
from tadlib.detector import proposals as proposing
from tadlib.detector.proposals import Predictions, Proposals, grouped
from tadlib.evaluation import baselines
from tadlib.naming import fusion, text
from tadlib.naming.fusion import Detections
from tadlib.task import BACKGROUND, Task
from tadlib.workbook.params import Params

CLIP_ALONE = {  # settings without what a run adds to CLIP
    "target": "foreground",
    "reject": "none",
    "proposed_by": "detector",
    "ensemble": "none",
    "nms_per": "video",
}


def inference_windows(videos: Sequence[Video], data: Task, params: Params) -> WindowSet:
    """Every window of some videos, cut as for the test."""
    return data.test_windows(
        params.inference_window, videos=videos, overlap=params.test_overlap, rescale=params.rescale
    )


def clip_proposals(data: Task, params: Params, videos: Sequence[Video] | None = None) -> dict[str, Proposals] | None:
    """CLIP's own proposals in the scored videos where `agreement` with these scores the detector's, else None.

    Raises ValueError for an encoder that cannot be asked what background looks like.
    """
    if not params.agreement:
        return None
    if not data.reads(BACKGROUND):
        raise ValueError(
            f"agreement={params.agreement} asks what background looks like: it needs an encoder that reads any text, "
            f"got {data.encoder.name}; pass -p agreement 0"
        )
    return data.clip_proposals if videos is None else data.clip_proposals_in(videos)


def propose(
    predictions: Predictions, windows: WindowSet, params: Params, of_clip: Mapping[str, Proposals] | None = None
) -> dict[str, Proposals]:
    """Proposals of every video of the windows; `of_clip` as `clip_proposals` gives them."""
    return proposing.to_proposals(
        predictions,
        windows,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        top_k=params.top_k,
        filter_threshold=params.filter_threshold,
        clip_proposals=of_clip,
        agreement=params.agreement,
    )


def max_detections(data: Task, params: Params, video_ids: Iterable[str]) -> dict[str, int]:
    """How many proposals, and then detections, are kept of each video: `top_k` for each of its test windows."""
    return data.max_detections(video_ids, params.top_k, params.inference_window, params.test_overlap)


def class_agnostic(data: Task, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """The proposals that count where labels are ignored: after non-maximum suppression, as many as are kept."""
    if params.nms_per == "video":
        return proposals
    most = max_detections(data, params, proposals)
    return proposing.apply_nms(proposals, nms=params.nms, nms_tiou=params.nms_tiou, most=most)


def name(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Detections: proposals named by CLIP, or by the detector itself if it was trained to classify."""
    proposals = ideas.proposals(proposals, data, params)
    return to_detections(data, proposals, class_logits(data, proposals, params), params)


def class_logits(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "_ _"]]:
    """Logits (n, k) of the proposals of every video: for the unseen classes, then for the seen ones if they compete."""
    logits_of, videos = ideas.logits(ideas.classify(data, params), data, params), {v.id: v for v in data.scored}
    return {video_id: logits_of(videos[video_id], found) for video_id, found in proposals.items()}


def to_detections(
    data: Task,
    proposals: Mapping[str, Proposals],
    logits: Mapping[str, Float[Tensor, "_ _"]],
    params: Params,
    classes: Sequence[str] = (),
) -> dict[str, Detections]:
    """Detections from proposals and their class logits.

    `classes` names the first columns of the logits that may be detected; without, the unseen ones.
    """
    how = (params.fusion, params.fusion_weight, params.probability)
    return fusion.to_detections(
        proposals,
        {video_id: fusion.fuse(found.scores, logits[video_id], *how) for video_id, found in proposals.items()},
        classes or data.classes.unseen,
        max_detections(data, params, proposals),
        keep=params.keep,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        videos=ideas.whole_videos(data, proposals, params) if params.keep == "class_video" else {},
    )


def training_free(data: Task) -> dict[str, Detections]:
    """Detections of the scored videos by `baselines.training_free`."""
    classes, texts = data.classes.unseen, data.class_embeddings(data.competing)
    read, grid = data.store.read, data.grid
    return {each.id: baselines.training_free(each, read(each.id), texts, classes, grid(each)) for each in data.scored}


def by_clip_alone(data: Task, params: Params) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """Proposals and detections of the scored videos by CLIP alone: its own proposals, named by frozen CLIP."""
    return _by_frozen_clip(data, data.clip_proposals, params)


def _by_frozen_clip(
    data: Task, candidates: Mapping[str, Proposals], params: Params
) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    most = max_detections(data, params, candidates)
    proposals = proposing.apply_nms(candidates, nms=params.nms, nms_tiou=params.nms_tiou, most=most)
    return proposals, name(data, proposals, frozen_clip(params).but(**CLIP_ALONE))


def by_snippets(data: Task, params: Params) -> dict[str, dict[str, Detections]]:
    """Detections by single snippets, by name: a linear probe and the best text that names no class.

    Both are made on training videos: the probe from snippets inside and outside of actions of seen classes, the text
    chosen by how well its similarity tells them apart. Curves become segments as for CLIP alone, named by frozen CLIP.
    """
    features, labels = data.training_snippets()
    inside = labels >= 0
    if inside.all() or not inside.any():  # nothing to learn from
        return {}
    probability = baselines.linear_probe(features, inside)
    found = {"linear probe on single snippets": _from_curves(data, params, lambda own: probability(own)[:, None])}
    if data.reads(baselines.CLASS_FREE_TEXTS):
        texts = text.embed(data.encoder, baselines.CLASS_FREE_TEXTS, data.benchmark.cache)
        texts = functional.normalize(texts, dim=1)
        auc = baselines.discrimination(functional.normalize(features, dim=1) @ texts.T, inside) - 0.5
        best = int(auc.abs().argmax())
        chosen = texts[best] * auc[best].sign()
        called = f"best text that names no class: {baselines.CLASS_FREE_TEXTS[best]}"
        found[called] = _from_curves(data, params, lambda own: functional.normalize(own, dim=1) @ chosen[:, None])
    return found


def _from_curves(data: Task, params: Params, curve: Callable[[Tensor], Tensor]) -> dict[str, Detections]:
    """Detections from a curve (t, 1) of every video, smoothed and grouped, named by frozen CLIP."""
    candidates = {}
    for video in data.scored:
        smooth = baselines.smoothed(curve(data.features(video)).numpy(), data.grid(video))
        candidates[video.id] = grouped(torch.from_numpy(smooth), data.grid(video), video.duration)
    return _by_frozen_clip(data, candidates, params)[1]


def frozen_clip(params: Params) -> Params:
    """The parameters without anything that is trained to name segments."""
    return params.but(**ideas.trained_naming.frozen(params.pooling))
