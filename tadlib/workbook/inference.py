"""Inference with the settings of the parameters: proposals, their classification, and detection by CLIP alone."""

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

# settings that disable what a run adds to CLIP
CLIP_ALONE = {"target": "foreground", "reject": "none", "proposed_by": "detector", "ensemble": "none"}
CLIP_ALONE |= {"nms_per": "video"}


def inference_windows(videos: Sequence[Video], data: Task, params: Params) -> WindowSet:
    """Return all windows of the videos, cut as for testing."""
    return data.test_windows(
        params.inference_window, videos=videos, overlap=params.test_overlap, rescale=params.rescale
    )


def clip_proposals(data: Task, params: Params, videos: Sequence[Video] | None = None) -> dict[str, Proposals] | None:
    """Return CLIP's own proposals in the given or scored videos; None if `agreement`, which rescores by them, is 0.

    Raises ValueError if the encoder cannot encode background texts.
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
    """Return the proposals of every video of the windows; `of_clip` is the result of `clip_proposals`."""
    names = ("nms", "nms_per", "nms_tiou", "top_k", "filter_threshold", "agreement")
    settings = {name: getattr(params, name) for name in names}
    return proposing.to_proposals(predictions, windows, clip_proposals=of_clip, **settings)


def max_detections(data: Task, params: Params, video_ids: Iterable[str]) -> dict[str, int]:
    """Return the largest number of proposals and detections kept per video: `top_k` for each of its test windows."""
    return data.max_detections(video_ids, params.top_k, params.inference_window, params.test_overlap)


def class_agnostic(data: Task, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """Return the proposals for class-agnostic evaluation: after NMS, at most `max_detections` per video."""
    return proposals if params.nms_per == "video" else after_nms(data, proposals, params)


def after_nms(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Proposals]:
    """Return the proposals after NMS, at most `max_detections` per video."""
    most = max_detections(data, params, proposals)
    return proposing.apply_nms(proposals, nms=params.nms, nms_tiou=params.nms_tiou, most=most)


def name(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Return detections: proposals classified by CLIP, or by the detector itself if it was trained to classify."""
    proposals = ideas.proposals(proposals, data, params)
    return to_detections(data, proposals, class_logits(data, proposals, params), params)


def class_logits(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "_ _"]]:
    """Return logits (n, k) of the proposals of every video: unseen classes first, then seen ones if they compete."""
    logits_of, videos = ideas.logits(ideas.classify(data, params), data, params), {v.id: v for v in data.scored}
    return {video_id: logits_of(videos[video_id], found) for video_id, found in proposals.items()}


def to_detections(
    data: Task,
    proposals: Mapping[str, Proposals],
    logits: Mapping[str, Float[Tensor, "_ _"]],
    params: Params,
    classes: Sequence[str] = (),
) -> dict[str, Detections]:
    """Return detections from proposals and their class logits.

    `classes` are the classes of the first columns of the logits, the only ones detected; by default the unseen ones.
    """
    settings = (params.fusion, params.fusion_weight, params.probability)
    return fusion.to_detections(
        proposals,
        {video_id: fusion.fuse(found.scores, logits[video_id], *settings) for video_id, found in proposals.items()},
        classes or data.classes.unseen,
        max_detections(data, params, proposals),
        keep=params.keep,
        nms=params.nms,
        nms_per=params.nms_per,
        nms_tiou=params.nms_tiou,
        videos=ideas.whole_videos(data, proposals, params) if params.keep == "class_video" else {},
    )


def training_free(data: Task) -> dict[str, Detections]:
    """Return detections of the scored videos by `baselines.training_free`."""
    classes, texts = data.classes.unseen, data.class_embeddings(data.competing)
    read, grid = data.features, data.grid
    return {each.id: baselines.training_free(each, read(each), texts, classes, grid(each)) for each in data.scored}


def by_frozen_clip(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Return detections without anything trained: proposals after NMS, named by frozen CLIP."""
    return name(data, after_nms(data, proposals, params), frozen_clip(params).but(**CLIP_ALONE))


def by_snippets(data: Task, params: Params) -> dict[str, dict[str, Detections]]:
    """Return detections of two single-snippet baselines by name: a linear probe, and the best text that names no class.

    The probe is trained on snippets of training videos inside and outside of actions of seen classes; the text is the
    one whose similarity separates these best. Curves become segments as for CLIP alone, named by frozen CLIP.
    """
    features, labels = data.training_snippets()
    inside = labels >= 0
    if inside.all() or not inside.any():  # no negative or no positive snippets
        return {}
    probability = baselines.linear_probe(features, inside)
    found = {"linear probe on single snippets": _from_curves(data, params, lambda own: probability(own)[:, None])}
    if data.reads(baselines.CLASS_FREE_TEXTS):
        texts = text.embed(data.encoder, baselines.CLASS_FREE_TEXTS, data.benchmark.cache)
        texts = functional.normalize(texts, dim=1)
        auc = baselines.discrimination(functional.normalize(features, dim=1) @ texts.T, inside) - 0.5
        best = int(auc.abs().argmax())
        chosen = texts[best] * auc[best].sign()
        title = f"best text that names no class: {baselines.CLASS_FREE_TEXTS[best]}"
        found[title] = _from_curves(data, params, lambda own: functional.normalize(own, dim=1) @ chosen[:, None])
    return found


def _from_curves(data: Task, params: Params, curve: Callable[[Tensor], Tensor]) -> dict[str, Detections]:
    """Return detections from a curve (t, 1) per video: smoothed, grouped into segments, and named by frozen CLIP."""
    found = {}
    for video in data.scored:
        smooth = baselines.smoothed(curve(data.features(video)).numpy(), data.grid(video))
        found[video.id] = grouped(torch.from_numpy(smooth), data.grid(video), video.duration)
    return by_frozen_clip(data, found, params)


def frozen_clip(params: Params) -> Params:
    """Return the parameters with all trained parts of the classifier switched off."""
    return params.but(**ideas.trained_naming.frozen(params.pooling))
