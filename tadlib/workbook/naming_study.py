"""Comparisons of naming on true segments and on proposals: texts, tokens, poolings, and fusions of the scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tadlib import ideas
from tadlib.data.windows import spans
from tadlib.detector.proposals import Proposals
from tadlib.ideas.context import fits
from tadlib.ideas.poolings import FEATURES, LOGITS
from tadlib.naming import tokens
from tadlib.naming.classifier import Classify
from tadlib.naming.descriptions import KINDS, has_all
from tadlib.naming.fusion import Detections
from tadlib.naming.similarity import class_probability
from tadlib.naming.text import STYLES, texts_of
from tadlib.segments import pairwise_tiou
from tadlib.task import Task
from tadlib.workbook.gathering import with_texts
from tadlib.workbook.inference import frozen_clip, name, to_detections
from tadlib.workbook.params import Params
from tadlib.workbook.results import precision

FUSIONS = ("after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip")
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # CLIP's share
BEST = 12  # detections in a table
GOOD = 0.5  # minimum tIoU of a good proposal with its action


def named_segments(
    data: Task, classify: Classify, params: Params, proposals: Mapping[str, Proposals] | None = None
) -> dict[str, np.ndarray]:
    """Classify segments of unseen actions among the unseen classes: `true` and `named` class, `tiou`, `certainty`.

    The arrays are flat over videos. Without proposals the segments are the true ones; each proposal is compared with
    the action it overlaps most, or left out without one. If actions share a segment, each of their labels is right.
    """
    classes, rows = data.classes.unseen, []
    for video in data.test_videos:
        segments, nearest, tiou = spans(video.actions), np.arange(len(video.actions)), np.ones(len(video.actions))
        if proposals is not None:
            segments = proposals[video.id].segments
            best = pairwise_tiou(segments.float(), spans(video.actions)).max(dim=1)  # the action it overlaps most
            nearest, tiou = best.indices.numpy(), best.values.numpy()
        logits = classify(video, segments)
        # without the columns of seen classes; background, the last one if any, takes probability but is never chosen
        logits = torch.cat([logits[:, : len(classes)], logits[:, len(data.competing) :]], dim=1)
        certainty, named = class_probability(logits, params.probability)[:, : len(classes)].max(dim=1)
        for place in np.flatnonzero(tiou > 0):
            action, answer = video.actions[nearest[place]], classes[named[place]]
            same = {a.label for a in video.actions if (a.start, a.end) == (action.start, action.end)}
            true = classes.index(answer if answer in same else action.label)
            rows.append((true, int(named[place]), tiou[place], float(certainty[place])))
    true, named, overlap, certain = np.array(rows, dtype=float).reshape(-1, 4).T
    return {"true": true.astype(int), "named": named.astype(int), "tiou": overlap, "certainty": certain}


def compare_fusions(
    data: Task, proposals: Mapping[str, Proposals], logits: Mapping[str, Float[Tensor, "_ _"]], params: Params
) -> list[dict[str, object]]:
    """Return the mAP of each fusion of the detector's and CLIP's scores, on the same proposals."""
    return [
        {"fusion": fusion} | precision(data, to_detections(data, proposals, logits, params.but(fusion=fusion)))
        for fusion in FUSIONS
    ]


def fusion_curves(
    data: Task, proposals: Mapping[str, Proposals], logits: Mapping[str, Float[Tensor, "_ _"]], params: Params
) -> dict[str, list[float]]:
    """Return the mAP at each of `WEIGHTS` (CLIP's share) for both means, and that of the product for comparison."""
    curves: dict[str, list[float]] = {"geometric": [], "arithmetic": [], "after_softmax": []}
    for fusion, curve in curves.items():
        for weight in WEIGHTS:
            changed = params.but(fusion=fusion, fusion_weight=weight)
            curve.append(precision(data, to_detections(data, proposals, logits, changed))["mAP"])
    return curves


def styles(data: Task) -> tuple[str, ...]:
    """Return the styles of text that can be compared: every class has such texts, and the encoder can read them."""
    if not tokens.reads_any_text(data.encoder):
        return (data.wording.text,)
    own = data.wording.descriptions
    return (*STYLES, *(kind for kind in KINDS if has_all(data.benchmark.classes, kind, own)))


def compare_poolings(data: Task, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """Compare all poolings with CLIP: accuracy on true segments and on good proposals, and mAP.

    Order-aware pooling is included if every class has subactions that leave room for `context`; it reads these, the
    other poolings read `text`. Trainable poolings are trained on seen classes, as the parameters say.
    """
    cosines = params.similarity == "cosine"
    changes = [{"pooling": how} for how in (*FEATURES, *LOGITS) if cosines or not how.startswith("matching")]
    orders = params.text_head != "cross" and params.background != "learned" and params.transfer == "none"
    if orders and "subactions" in styles(data):
        bins = max(params.roi_bins, Params.model_fields["roi_bins"].default)  # no fewer than a class has steps
        ordered = {"pooling": "ordered", "text": "subactions", "lead": "none", "roi_bins": bins}
        steps = texts_of(data.benchmark.classes, with_texts(data, params.but(**ordered)).wording)
        changes += [ordered] if fits(data.encoder, params.context, steps) else []
    if params.pooling == "ordered":
        changes = [{"text": "subactions", "lead": "none"} | change for change in changes]
    rows = []
    for change in changes:
        changed = params.but(**{"target": "foreground"} | change)
        now = with_texts(data, changed)
        classify, row = ideas.classify(now, changed), {"pooling": changed.pooling, "text": changed.text}
        for kind, segments, least in (("true segments", None, 0), ("good proposals", proposals, GOOD)):
            named = named_segments(now, classify, changed, segments)
            row[kind] = _share((named["true"] == named["named"])[named["tiou"] >= least])
        rows.append(row | {"mAP": precision(data, name(now, proposals, changed))["mAP"]})
    return rows


def _share(right: Shaped[np.ndarray, " n"]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def accuracy_by_text(data: Task, params: Params) -> dict[str, dict[str, float]]:
    """Return frozen CLIP's accuracy on the true segments of each unseen class, for each style of text."""
    found = {}
    for style in styles(data):
        changed = frozen_clip(params).but(text=style, lead="none", pooling="mean")
        now = with_texts(data, changed)
        named = named_segments(now, ideas.classify(now, changed), changed)
        right = named["true"] == named["named"]
        found[style] = {label: _share(right[named["true"] == place]) for place, label in enumerate(data.classes.unseen)}
    return found


def token_table(data: Task, classes: Sequence[str]) -> list[dict[str, object]]:
    """Return rows with the tokens of the texts of `classes`, of all competing texts that are cut, and of a made example
    that is too long (the first text, repeated).
    """
    texts = [text for class_texts in texts_of(classes, data.wording) for text in class_texts]
    competing = [text for class_texts in texts_of(data.competing, data.wording) for text in class_texts]
    cut = [text for text in tokens.cut_texts(data.encoder, competing) if text not in texts]
    return tokens.token_rows(data.encoder, [*texts, *cut, tokens.too_long(data.encoder, texts[0])])


def best_detections(data: Task, detections: Mapping[str, Detections]) -> list[dict[str, object]]:
    """Return the detections with the highest scores over all videos, a row each."""
    rows = [
        {"video": video_id, "start (s)": f"{start:.1f}", "end (s)": f"{end:.1f}", "class": label, "score": score}
        for video_id, found in detections.items()
        for (start, end), score, label in zip(found.segments.tolist(), found.scores.tolist(), found.labels, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["score"])[:BEST]
