"""Results of a run: scored videos, comparison with floors, baselines and ceilings, and the contents of metrics.json."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tadlib import ideas
from tadlib.data import leakage
from tadlib.data.windows import spans
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation import baselines, diagnosis, metrics, protocols, scoring
from tadlib.evaluation.rows import compare as compare_rows
from tadlib.naming.fusion import Detections, read_detections, select, write_detections
from tadlib.naming.similarity import class_probability
from tadlib.task import SIDES, Task
from tadlib.workbook import inference
from tadlib.workbook.detectors import load_detector, load_proposals
from tadlib.workbook.gathering import with_texts
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run
from tadlib.workbook.stages import DETECTIONS_ON_TRAINING

Compared = Mapping[str, tuple[str, Mapping[str, Detections]]]  # name -> role and detections
TRUE_LABELS = "our segments, true label"


def to_evaluate(data: Task, params: Params, run: Run) -> tuple[Task, dict[str, Proposals], dict[str, Detections]]:
    """Return the task with the videos of `evaluate_on`, and a run's proposals and detections in them.

    Those in test videos are read from the files of earlier stages; those in training videos, named among the seen
    classes, are made now. Raises ValueError for a protocol under which none of their actions counts.
    """
    if params.evaluate_on == "test":
        detections = read_detections(run.require("detections.json", "classify"))
        return data, load_proposals(data, params, run), detections
    test, data = data, data.on_training()
    if not data.test_videos:
        none = f"protocol={params.protocol} counts no action of a seen class in the training videos"
        raise ValueError(f"{none}: evaluate_on=training needs one, pass another protocol")
    model = load_detector(test, params, run)
    windows = inference.inference_windows(data.scored, data, params)
    predictions = predict(model, windows, texts=ideas.texts(data, data.competing, params))
    proposals = inference.propose(predictions, windows, params, inference.clip_proposals(data, params))
    detections = inference.name(data, proposals, params)
    write_detections(run.target(DETECTIONS_ON_TRAINING), detections)
    return data, proposals, detections


def train_and_test(
    test: Task,
    data: Task,
    proposals: Mapping[str, Proposals],
    detections: Mapping[str, Detections],
    params: Params,
    run: Run,
) -> list[dict[str, object]]:
    """Return rows of mAP, class-agnostic mAP and average recall: test videos, then training videos if evaluated."""
    sides, rows = [(data, proposals, detections)], []
    if data.evaluate_on == "training":
        sides = [to_evaluate(test, params.but(evaluate_on="test"), run), *sides]
    for task, proposed, found in sides:
        agnostic = class_agnostic(task, inference.class_agnostic(task, proposed, params))
        counted = protocols.detected(task.scored, found, task.protocol)
        row = {"side": SIDES[task.evaluate_on], "videos": len(counted)}
        row |= {"actions": sum(len(video.actions) for video in counted)} | precision(task, found)
        row |= {"mAP of proposals": agnostic["agnostic_mAP"]}
        rows.append(row | {metric: value for metric, value in agnostic.items() if metric.startswith("AR@")})
    return rows


def class_table(data: Task, detections: Mapping[str, Detections]) -> np.ndarray:
    """Return AP (k, number of tIoUs) of each unseen class under the protocol."""
    classes, tious = data.classes.unseen, data.benchmark.tious
    return scoring.class_table(data.scored, detections, classes, tious, data.protocol)


def precision(data: Task, detections: Mapping[str, Detections]) -> dict[str, float]:
    """Return mAP and mAP@tIoU of the unseen classes under the protocol."""
    return metrics.means(class_table(data, detections), data.benchmark.tious)


def class_precision(data: Task, detections: Mapping[str, Detections]) -> dict[str, float]:
    """Return AP of each unseen class that has actions, averaged over tIoUs."""
    rows = zip(data.classes.unseen, class_table(data, detections), strict=True)
    return {label: float(row.mean()) for label, row in rows if not np.isnan(row).any()}


def class_agnostic(data: Task, found: Mapping[str, Proposals | Detections]) -> dict[str, float]:
    """Return mAP without labels (`agnostic_mAP`, `agnostic_mAP@...`) and average recall (`AR@...`)."""
    tious = data.benchmark.tious
    table = scoring.class_table(data.scored, found, None, tious, data.protocol)
    return metrics.means(table, tious, "agnostic_") | scoring.recalls(compare_rows(data.test_videos, found))


def compare(data: Task, detections: Mapping[str, Detections], params: Params) -> list[dict[str, object]]:
    """Return the mAP of the floors, the baselines, this run and both ceilings, a row each."""
    return rows(data, compared(data, detections, params))


def advice(table: Sequence[Mapping[str, object]]) -> str:
    """Say whether this run is above the best floor or baseline of the table, and what to try if it is not."""
    ours = next(row["mAP"] for row in table if row["role"] == "ours")
    best = max((row for row in table if row["role"] in ("floor", "baseline")), key=lambda row: row["mAP"])
    lies, tries = "above", ""
    if ours <= best["mAP"]:
        lies, tries = "not above", " Try more epochs, another lr or a smaller width; choose with held_out."
    return f"This run ({ours:.1%}) is {lies} the best floor or baseline, {best['name']} ({best['mAP']:.1%}).{tries}"


def rows(data: Task, shown: Compared) -> list[dict[str, object]]:
    """Return the mAP of each entry of `compared`, a row each."""
    return [{"name": name, "role": role} | precision(data, found) for name, (role, found) in shown.items()]


def compared(data: Task, detections: Mapping[str, Detections], params: Params) -> Compared:
    """Return role and detections of the floors, the baselines, this run and both ceilings, by name."""
    unchanged = {"proposed_by": "detector", "reject": "none", "rerank": 0.0, "nms_per": "video"}
    by_clip = params.but(target="foreground", fusion="clip", **unchanged)
    anchors = baselines.anchors(data.training_videos, data.benchmark.tious)
    thinned = ", with NMS" * (params.nms != "none")
    return {
        "blind windows, true label (floor)": ("floor", baselines.blind(data.test_videos, params.seed)),
        "seen anchors, true label (floor)": ("floor", baselines.anchored(data.test_videos, anchors)),
        "seen anchors, CLIP's label (floor)": ("floor", _anchors_by_clip(data, anchors, by_clip)),
        "CLIP alone, training-free": ("baseline", inference.training_free(data)),
        f"CLIP alone, calibrated{thinned}": ("baseline", inference.by_frozen_clip(data, data.clip_proposals, params)),
        **{name: ("baseline", found) for name, found in inference.by_snippets(data, params).items()},
        "this run": ("ours", detections),
        TRUE_LABELS: ("ceiling", diagnosis.oracle_label(data.scored, detections)),
        "true segments, CLIP's label": ("ceiling", _truth_by_clip(data, by_clip)),
    }


def _truth_by_clip(data: Task, params: Params) -> dict[str, Detections]:
    """Name the true segments of each video with CLIP, without duplicates and without a limit on their number."""
    segments = {video.id: spans(video.actions).unique(dim=0) for video in data.test_videos}
    found = {video_id: Proposals(each, torch.ones(len(each))) for video_id, each in segments.items()}
    return inference.name(data, found, params.but(top_k=max([params.top_k, *map(len, segments.values())])))


def _anchors_by_clip(data: Task, anchors: baselines.Anchors, params: Params) -> dict[str, Detections]:
    """Name anchors with CLIP's classes of the whole video, so that no frame tells when something happens."""
    classes, found = data.classes.unseen, {}
    logits = ideas.whole_videos(data, [video.id for video in data.scored], params)
    most = inference.max_detections(data, params, logits)
    for video in data.scored:
        probability = class_probability(logits[video.id][None], params.probability)[0, : len(classes)]
        scores = anchors.scores[:, None] * probability
        found[video.id] = select(anchors.fractions * video.duration, scores, classes, top_k=most[video.id])
    return found


def generalised(data: Task, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """Return generalised zero-shot mAP, where seen and unseen classes compete and count: base, novel, harmonic mean.

    Empty for a closed set, and if no scored video shows a seen class.
    """
    shown = {action.label for video in data.annotated for action in video.actions}
    if set(data.classes.seen) & set(data.classes.unseen) or shown.isdisjoint(data.classes.seen):
        return []
    wide = params.but(candidates="all")
    data = with_texts(data, wide)
    proposals = ideas.proposals(proposals, data, wide)
    logits = inference.class_logits(data, proposals, wide)
    found = inference.to_detections(data, proposals, logits, wide, data.competing)
    seen, unseen, tious = data.classes.seen, data.classes.unseen, data.benchmark.tious
    videos = protocols.chosen(data.annotated, data.competing, data.protocol, data.short)
    table = scoring.class_table(videos, found, [*seen, *unseen], tious, data.protocol)
    numbers = metrics.generalised(table, seen, unseen, tious)
    row = {"classes that compete": len(data.competing)}
    return [row | {f"mAP {name}": numbers[name] for name in ("base", "novel", "harmonic")}]


def under_every_protocol(data: Task, detections: Mapping[str, Detections]) -> list[dict[str, object]]:
    """Score the same detections under each protocol, on those of its videos that were processed, a row each.

    The last column is the number of videos that count under the protocol but were not processed by this run.
    """
    classes, tious, table = data.classes.unseen, data.benchmark.tious, []
    for protocol in protocols.PROTOCOLS:
        own, row = {video.id for video in data.scored_under(protocol)}, {"protocol": protocol}
        videos = [video for video in data.annotated if video.id in own]
        counted = scoring.counted(videos, detections, classes, protocol, data.short)
        if any(video.actions for video in counted):
            result = scoring.score(videos, detections, classes, tious, protocol, stride=data.short)
            row |= {"mAP": result["mAP"], "mAP without labels": result["agnostic_mAP"]}
            row |= {name: result["counts"][name] for name in ("videos", "actions", "detections")}
        else:
            row = {"protocol": f"{protocol}: no action counts", "mAP": np.nan, "mAP without labels": np.nan}
            row |= {"videos": len(counted), "actions": 0, "detections": 0}
        table.append(row | {"videos not processed": len(own) - len(videos)})
    return table


def summarise(
    data: Task,
    table: Sequence[Mapping[str, object]],
    proposals: Mapping[str, Proposals],
    detections: Mapping[str, Detections],
    params: Params,
) -> dict[str, object]:
    """Return the contents of metrics.json: metrics as fractions, the rows of the comparison, protocol and counts.

    `blind_` marks class-agnostic metrics of blind windows; `renamed` are unseen classes that are seen by another name.
    """
    ours, found_in = next(row for row in table if row["role"] == "ours"), protocols.with_detections(detections)
    blind = class_agnostic(data, baselines.blind(data.test_videos, params.seed))
    if data.evaluate_on == "training":
        classes = {"evaluate_on": "training", "seen": list(data.classes.seen), "renamed": []}
    else:
        renamed = leakage.renamed(data.benchmark, data.classes)
        classes = {"unseen": list(data.classes.unseen), "renamed": renamed}
    return {
        **{name: value for name, value in ours.items() if name.startswith("mAP")},
        **class_agnostic(data, inference.class_agnostic(data, proposals, params)),
        **{f"blind_{name}": blind[name] for name in ("agnostic_mAP", "AR@100")},
        "per_class": class_precision(data, detections),
        "rows": [dict(row) for row in table],
        "protocol": data.protocol,
        "counts": protocols.counts(protocols.detected(data.scored, detections, data.protocol), found_in),
        **classes,
    }
