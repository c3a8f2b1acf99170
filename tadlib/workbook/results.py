"""A result between its floor and its ceilings, class by class and video by video, and what metrics.json holds of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tadlib import ideas
from tadlib.data import leakage
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import baselines, diagnosis, metrics, protocols, scoring
from tadlib.evaluation.rows import compare as compare_rows
from tadlib.evaluation.scoring import recalls
from tadlib.naming.fusion import Detections, select
from tadlib.naming.similarity import class_probability
from tadlib.task import Task, true_segments
from tadlib.workbook.gathering import with_texts
from tadlib.workbook.inference import by_clip_alone, class_agnostic, class_logits, max_detections, name, to_detections
from tadlib.workbook.params import Params

TRUE_LABELS = "our segments, true label"


def compare(data: Task, detections: Mapping[str, Detections], params: Params) -> list[dict[str, object]]:
    """mAP of the floors, the training-free baselines, this run and both ceilings, a row each."""
    return rows(data, compared(data, detections, params))


def rows(data: Task, shown: Mapping[str, tuple[str, Mapping[str, Detections]]]) -> list[dict[str, object]]:
    """mAP of each entry of what `compared` gives, a row each."""
    classes, protocol = data.classes.unseen, data.protocol
    return diagnosis.rows(data.scored, shown, classes, data.benchmark.tious, protocol, data.ambiguous)


def compared(
    data: Task, detections: Mapping[str, Detections], params: Params
) -> dict[str, tuple[str, Mapping[str, Detections]]]:
    """Role and detections of the floors, the training-free baselines, this run and both ceilings, by name."""
    classes, texts = data.classes.unseen, data.class_embeddings(data.competing)
    as_they_are = {"proposed_by": "detector", "reject": "none", "rerank": 0.0, "nms_per": "video"}
    by_clip = params.but(target="foreground", fusion="clip", **as_they_are)
    places = baselines.anchors(data.training_videos, data.benchmark.tious)
    free = {
        video.id: baselines.training_free(video, data.store.read(video.id), texts, classes, data.grid(video))
        for video in data.scored
    }
    return {
        "blind windows, true label (floor)": ("floor", _blind(data, params)),
        "seen anchors, true label (floor)": ("floor", baselines.anchored(data.test_videos, places)),
        "seen anchors, CLIP's label (floor)": ("floor", _anchors_by_clip(data, places, by_clip)),
        "CLIP alone, training-free": ("baseline", free),
        "CLIP alone, calibrated and thinned": ("baseline", by_clip_alone(data, params)[1]),
        "this run": ("ours", detections),
        TRUE_LABELS: ("ceiling", diagnosis.oracle_label(data.scored, detections)),
        "true segments, CLIP's label": ("ceiling", _truth_by_clip(data, by_clip)),
    }


def _truth_by_clip(data: Task, params: Params) -> dict[str, Detections]:
    """True segments, each once and however many there are, with the names that CLIP gives them."""
    segments = {video.id: true_segments(video).unique(dim=0) for video in data.test_videos}
    found = {video_id: Proposals(each, torch.ones(len(each))) for video_id, each in segments.items()}
    most = max([params.top_k, *map(len, segments.values())])
    return name(data, found, params.but(top_k=most))


def _anchors_by_clip(data: Task, anchors: baselines.Anchors, params: Params) -> dict[str, Detections]:
    """Anchors with the names that CLIP gives whole videos: nobody looks for when something happens."""
    classes, found = data.classes.unseen, {}
    wholes = ideas.whole_videos(data, [video.id for video in data.scored], params)
    most = max_detections(data, params, wholes)
    for video in data.scored:
        certain = class_probability(wholes[video.id][None], params.probability)[0, : len(classes)]
        scores = anchors.scores[:, None] * certain
        found[video.id] = select(anchors.fractions * video.duration, scores, classes, top_k=most[video.id])
    return found


def generalised(data: Task, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """mAP where seen and unseen classes compete and both count: of seen (base), of unseen (novel), harmonic mean.

    Nothing for a closed set, where every class is both. Proposals keep as many detections as elsewhere.
    """
    if set(data.classes.seen) & set(data.classes.unseen):
        return []
    wide = params.but(candidates="all")
    data = with_texts(data, wide)
    proposals = ideas.proposals(proposals, data, wide)
    found = to_detections(data, proposals, class_logits(data, proposals, wide), wide, data.competing)
    whole = {video.id: video for video in data.benchmark.videos}
    scored, found_in = [whole[video.id] for video in data.scored], protocols.with_any(found)
    videos = scoring.counted(scored, found_in, data.competing, data.protocol, data.short)
    numbers = metrics.generalised(videos, found, data.classes.seen, data.classes.unseen, data.benchmark.tious)
    row = {"classes that compete": len(data.competing)}
    return [row | {f"mAP {name}": numbers[name] for name in ("base", "novel", "harmonic")}]


def recall_curves(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, list[float]]:
    """AR@AN of this run's proposals and of blind windows."""
    return {
        name: list(metrics.average_recall(data.test_videos, found).values())
        for name, found in (
            ("proposals", class_agnostic(data, proposals, params)),
            ("blind windows", _blind(data, params)),
        )
    }


def class_precision(data: Task, detections: Mapping[str, Detections]) -> dict[str, float]:
    """AP of each unseen class that has actions, mean over tIoU."""
    table = diagnosis.class_table(
        data.scored, detections, data.classes.unseen, data.benchmark.tious, data.protocol, data.ambiguous
    )
    return {
        label: float(row.mean())
        for label, row in zip(data.classes.unseen, table, strict=True)
        if not np.isnan(row).any()
    }


def actions_per_class(data: Task) -> dict[str, int]:
    """Test actions of each unseen class."""
    labels = [action.label for video in data.test_videos for action in video.actions]
    return {label: labels.count(label) for label in data.classes.unseen}


def best_and_worst(data: Task, detections: Mapping[str, Detections], each: int = 2) -> tuple[list[Video], dict]:
    """The videos with the highest and the lowest own mAP, and the mAP of every video."""
    scores = diagnosis.video_precision(data.test_videos, detections, data.classes.unseen, data.benchmark.tious)
    ordered = sorted(data.test_videos, key=lambda video: -scores[video.id])
    return ordered[:each] + ordered[-each:], scores


def summarise(
    data: Task,
    table: Sequence[Mapping[str, object]],
    proposals: Mapping[str, Proposals],
    detections: Mapping[str, Detections],
    params: Params,
) -> dict[str, object]:
    """What metrics.json holds: flat names and fractions, the rows compared with, the protocol and its counts.

    `blind_` names what the blind windows of the floor reach, whatever the label; `renamed` are the unseen classes that
    training knows under a seen name. Of the training videos `evaluate_on` and the classes scored, `seen`, are said.
    """
    ours = next(row for row in table if row["role"] == "ours")
    flat = {name: value for name, value in ours.items() if name.startswith("mAP")}
    flat |= whatever_the_label(data, proposals, params)
    blind = _blind(data, params)
    flat["blind_agnostic_mAP"] = _agnostic(data, blind)["mAP"]
    flat["blind_AR@100"] = recalls(compare_rows(data.test_videos, blind))["AR@100"]
    return flat | {
        "per_class": class_precision(data, detections),
        "rows": [dict(row) for row in table],
        "protocol": data.protocol,
        "counts": protocols.counts(data.scored, protocols.with_any(detections)),
        **_classes(data),
    }


def _classes(data: Task) -> dict[str, object]:
    if data.evaluate_on == "training":
        return {"evaluate_on": "training", "seen": list(data.classes.seen), "renamed": []}
    return {"unseen": list(data.classes.unseen), "renamed": leakage.renamed(data.benchmark, data.classes)}


def whatever_the_label(data: Task, proposals: Mapping[str, Proposals], params: Params) -> dict[str, float]:
    """Class-agnostic mAP (`agnostic_mAP`, `agnostic_mAP@...`) and average recall (`AR@...`) of proposals."""
    apart = class_agnostic(data, proposals, params)
    precision = {f"agnostic_{name}": value for name, value in _agnostic(data, apart).items()}
    return precision | recalls(compare_rows(data.test_videos, apart))


def _blind(data: Task, params: Params) -> dict[str, Detections]:
    return baselines.blind(data.test_videos, params.seed)


def _agnostic(data: Task, proposals: Mapping[str, Proposals | Detections]) -> dict[str, float]:
    tious = data.benchmark.tious
    table = diagnosis.class_table(data.scored, proposals, None, tious, data.protocol, data.ambiguous)
    return metrics.means(table, tious)


def true_label_precision(data: Task, shown: Mapping[str, tuple[str, Mapping[str, Detections]]]) -> dict[str, float]:
    """AP of each unseen class if our segments had their true labels, of what `compared` gives."""
    return class_precision(data, shown[TRUE_LABELS][1])
