"""Naming compared on true segments and on proposals: texts, tokens, poolings, ways to fuse the scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tadlib import ideas
from tadlib.data.windows import true_segments
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis, metrics
from tadlib.ideas.context import fits
from tadlib.ideas.poolings import FEATURES, LOGITS
from tadlib.naming import tokens
from tadlib.naming.classifier import Classify
from tadlib.naming.descriptions import KINDS, has_all
from tadlib.naming.fusion import Detections
from tadlib.naming.similarity import class_probability
from tadlib.naming.text import STYLES, texts_of
from tadlib.task import Task
from tadlib.workbook.gathering import with_texts
from tadlib.workbook.inference import frozen_clip, name, to_detections
from tadlib.workbook.params import Params

FUSIONS = ("after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip")
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # CLIP's share
GOOD = 0.5  # tIoU from which a proposal counts as being on its action


def named_segments(
    data: Task, classify: Classify, params: Params, proposals: Mapping[str, Proposals] | None = None
) -> dict[str, np.ndarray]:
    """What segments of unseen actions are called, among these: `true` and `named` class, `tiou`, `certainty`.

    Flat over videos. Without proposals the segments are the true ones; with proposals each is compared with the action
    it overlaps most, and those that overlap none are left out. Of actions at the same time each label is right.
    """
    classes, rows = data.classes.unseen, []
    for video in data.test_videos:
        segments, nearest, tiou = true_segments(video), np.arange(len(video.actions)), np.ones(len(video.actions))
        if proposals is not None:
            segments = proposals[video.id].segments
            nearest, tiou = diagnosis.nearest_actions(video, proposals[video.id])
        logits = classify(video, segments)
        # background, the last column if there is one, takes its share and is never the answer; seen classes take none
        logits = torch.cat([logits[:, : len(classes)], logits[:, len(data.competing) :]], dim=1)
        certainty, best = class_probability(logits, params.probability)[:, : len(classes)].max(dim=1)
        for place in np.flatnonzero(tiou > 0):
            action, answer = video.actions[nearest[place]], classes[best[place]]
            same = {a.label for a in video.actions if (a.start, a.end) == (action.start, action.end)}
            true = classes.index(answer if answer in same else action.label)
            rows.append((true, int(best[place]), tiou[place], float(certainty[place])))
    true, named, overlap, certain = np.array(rows, dtype=float).reshape(-1, 4).T
    return {"true": true.astype(int), "named": named.astype(int), "tiou": overlap, "certainty": certain}


def precision(data: Task, detections: Mapping[str, Detections]) -> dict[str, float]:
    """mAP of detections of the unseen classes in the scored videos."""
    return metrics.mean_average_precision(data.scored, detections, data.classes.unseen, data.benchmark.tious)


def compare_fusions(
    data: Task, proposals: Mapping[str, Proposals], logits: Mapping[str, Float[Tensor, "_ _"]], params: Params
) -> list[dict[str, object]]:
    """mAP of every way of fusing the detector's and CLIP's scores, on the same proposals."""
    return [
        {"fusion": how} | precision(data, to_detections(data, proposals, logits, params.but(fusion=how)))
        for how in FUSIONS
    ]


def fusion_curves(
    data: Task, proposals: Mapping[str, Proposals], logits: Mapping[str, Float[Tensor, "_ _"]], params: Params
) -> dict[str, list[float]]:
    """mAP at every one of `WEIGHTS` (CLIP's share) for both means, and of the product for comparison."""

    def at(how: str, weight: float) -> float:
        """mAP of one way of fusing the same logits."""
        changed = params.but(fusion=how, fusion_weight=weight)
        return precision(data, to_detections(data, proposals, logits, changed))["mAP"]

    curves = {how: [at(how, weight) for weight in WEIGHTS] for how in ("geometric", "arithmetic")}
    return curves | {"after_softmax": [at("after_softmax", 0.5)] * len(WEIGHTS)}


def styles(data: Task) -> tuple[str, ...]:
    """The styles of text that can be compared: those for which every class has texts and the encoder reads them."""
    if not tokens.reads_any_text(data.encoder):
        return (data.wording.text,)
    own = data.wording.descriptions
    return (*STYLES, *(kind for kind in KINDS if has_all(data.benchmark.classes, kind, own)))


def compare_poolings(data: Task, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """Every pooling on the same segments: share named right of true ones and of good proposals, and mAP, by CLIP.

    Order-aware pooling is there where every class has subactions that leave room for `context`, and reads them; the
    others read `text`. Poolings that learn are trained as everything else that the parameters ask for, on seen classes.
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
        rows.append(
            {"pooling": changed.pooling, "text": changed.text}
            | _accuracies(now, proposals, changed)
            | {"mAP": precision(data, name(now, proposals, changed))["mAP"]}
        )
    return rows


def _accuracies(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, float]:
    classify = ideas.classify(data, params)
    on_truth, on_proposals = (named_segments(data, classify, params, segments) for segments in (None, proposals))
    good = on_proposals["tiou"] >= GOOD
    return {
        "true segments": _share(on_truth["true"] == on_truth["named"]),
        "good proposals": _share((on_proposals["true"] == on_proposals["named"])[good]),
    }


def _share(right: Shaped[np.ndarray, " n"]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def accuracy_by_text(data: Task, params: Params) -> dict[str, dict[str, float]]:
    """Share of the true segments of each unseen class that frozen CLIP names right, for each style of text."""
    found = {}
    for style in styles(data):
        changed = frozen_clip(params).but(text=style, lead="none", pooling="mean")
        now = with_texts(data, changed)
        named = named_segments(now, ideas.classify(now, changed), changed)
        right = named["true"] == named["named"]
        found[style] = {label: _share(right[named["true"] == place]) for place, label in enumerate(data.classes.unseen)}
    return found


def token_table(data: Task, classes: Sequence[str]) -> list[dict[str, object]]:
    """How the texts of classes are read, and those of all competing ones that are cut; last what happens to one that
    is too long: the first, again and again.
    """
    texts = [text for several in texts_of(classes, data.wording) for text in several]
    every = [text for several in texts_of(data.competing, data.wording) for text in several]
    cut = [text for text in tokens.cut_texts(data.encoder, every) if text not in texts]
    return tokens.token_rows(data.encoder, [*texts, *cut, tokens.too_long(data.encoder, texts[0])])


def best_detections(data: Task, detections: Mapping[str, Detections], number: int = 12) -> list[dict[str, object]]:
    """The detections of all videos with the highest scores, a row each."""
    rows = [
        {"video": video_id, "start (s)": start, "end (s)": end, "class": label, "score": round(score, 3)}
        for video_id, found in detections.items()
        for (start, end), score, label in zip(
            found.segments.round(decimals=1).tolist(), found.scores.tolist(), found.labels, strict=True
        )
    ]
    return sorted(rows, key=lambda row: -row["score"])[:number]
