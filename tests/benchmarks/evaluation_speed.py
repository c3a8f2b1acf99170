"""How fast is it: `python tests/benchmarks/evaluation_speed.py` times the measures beside plain loops, in one run.

CPU seconds of one process, best of a few repetitions; a result of THUMOS14's size and one of ActivityNet's. Two
peers: data frames, a prediction at a time, which is how the published scorers are written and what they cost; and
bare loops over arrays, a faster thing than any of them. Peers that take too long are timed on some of the classes and
scaled by the predictions those have (marked ~). Set OMP_NUM_THREADS=1 for one core.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import reference
import torch
import torchvision

from tadlib import segments as geometry
from tadlib.evaluation import metrics
from tadlib.evaluation.recall import RECALL_TIOUS, recall_table
from tadlib.evaluation.rows import Actions, Comparison, Predictions

SIZES = {
    "THUMOS14 size": {"videos": 213, "per_video": 200, "classes": 20, "actions": 15.7},
    "ActivityNet size": {"videos": 4728, "per_video": 100, "classes": 200, "actions": 1.55},
}
TIOUS = {"THUMOS14 size": (0.3, 0.4, 0.5, 0.6, 0.7), "ActivityNet size": RECALL_TIOUS}
PATIENCE = 10_000  # predictions a peer is timed on


def simulated(videos: int, per_video: int, classes: int, actions: float, seed: int = 0) -> Comparison:
    """A result as detectors leave it: half the predictions near an action, half of those named as the action."""
    rng = np.random.default_rng(seed)
    number = 1 + rng.poisson(actions - 1, videos)
    video = np.repeat(np.arange(videos), number)
    start = rng.uniform(0, 200, len(video))
    true = np.stack([start, start + rng.uniform(1, 15, len(start))], axis=1)
    label = rng.integers(0, classes, videos)[video]
    of = np.repeat(np.arange(videos), per_video)
    near = (np.cumsum(number) - number)[of] + rng.integers(0, number[of])
    start = rng.uniform(0, 200, len(of))
    random = np.stack([start, start + rng.uniform(1, 15, len(start))], axis=1)
    found = np.where(rng.random((len(of), 1)) < 0.5, np.sort(true[near] + rng.normal(0, 1, (len(of), 2)), 1), random)
    named = np.where(rng.random(len(of)) < 0.5, label[near], rng.integers(0, classes, len(of)))
    return Comparison(videos, classes, Actions(video, label, true), Predictions(of, named, found, rng.random(len(of))))


def cpu_seconds(work: Callable[[], object], repetitions: int = 5) -> float:
    """The least CPU time of some repetitions."""
    return min(timed(work)[0] for _ in range(repetitions))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds that a piece of work takes, whatever else the machine does meanwhile, and what it gives."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def some_classes(comparison: Comparison, most: int) -> Comparison:
    """The first classes whose predictions are no more than `most` together, at least one."""
    counts = np.bincount(comparison.predictions.label, minlength=comparison.classes)
    classes = max(1, int(np.searchsorted(np.cumsum(counts), most, "right")))
    rows = [
        type(rows)(*(column[rows.label < classes] for column in rows))
        for rows in (comparison.actions, comparison.predictions)
    ]
    return Comparison(comparison.videos, classes, *rows)


def frames_precision(comparison: Comparison, tious: tuple[float, ...]) -> np.ndarray:
    """AP of each class at each tIoU with data frames, group look-ups and a row at a time."""
    true, found = (
        pd.DataFrame(
            {"video": rows.video, "label": rows.label, "start": rows.segments[:, 0], "end": rows.segments[:, 1]}
        )
        for rows in (comparison.actions, comparison.predictions)
    )
    found["score"] = comparison.predictions.scores
    table = np.full((comparison.classes, len(tious)), np.nan)
    for label, own in true.groupby("label"):
        table[int(label)] = _frame_precision(own, found[found["label"] == label], tious)
    return table


def _frame_precision(true: pd.DataFrame, found: pd.DataFrame, tious: tuple[float, ...]) -> np.ndarray:
    groups, videos = true.groupby("video"), set(true["video"])
    found = found.iloc[found["score"].to_numpy().argsort()[::-1]].reset_index(drop=True)
    taken = np.zeros((len(tious), true.index.max() + 1), dtype=bool)
    hits = np.zeros((len(tious), len(found)))
    for place, row in found.iterrows():
        if row["video"] not in videos:
            continue
        others = groups.get_group(row["video"])
        segment = np.array([row["start"], row["end"]])
        overlap = reference.tious_with(segment, others[["start", "end"]].to_numpy())
        for column, tiou in enumerate(tious):
            for wish in overlap.argsort()[::-1]:
                if overlap[wish] < tiou:
                    break
                if not taken[column, others.index[wish]]:
                    taken[column, others.index[wish]] = hits[column, place] = True
                    break
    precision = hits.cumsum(axis=1) / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (precision * hits).sum(axis=1) / len(true)


def measure_precision(name: str) -> list[str]:
    """Lines on mAP: ours, data frames, bare loops; the last two must give our numbers."""
    rows, tious = simulated(**SIZES[name]), TIOUS[name]
    ours = cpu_seconds(lambda: metrics.precision_table(rows, tious))
    lines = [_line(f"mAP, {name}", "ours", ours, len(rows.predictions.label))]
    part = some_classes(rows, PATIENCE)
    for peer, work in (("data frames", frames_precision), ("bare loops", reference.precision_table)):
        seconds, table = timed(lambda work=work: work(part, tious))
        np.testing.assert_allclose(metrics.precision_table(part, tious), table, rtol=0, atol=1e-12)
        seconds *= len(rows.predictions.label) / len(part.predictions.label)
        lines.append(_line("", peer, seconds, len(rows.predictions.label), ours, part.classes < rows.classes))
    return lines


def measure_recall(name: str) -> list[str]:
    """Lines on AR@AN: ours and bare loops, which must give our numbers."""
    rows = simulated(**SIZES[name])
    ours = cpu_seconds(lambda: recall_table(rows))
    peer, table = timed(lambda: reference.recall_table(rows, RECALL_TIOUS))
    np.testing.assert_allclose(recall_table(rows), table, rtol=0, atol=1e-12)
    number = len(rows.predictions.label)
    return [_line(f"AR@AN and AUC, {name}", "ours", ours, number), _line("", "bare loops", peer, number, ours)]


def measure_nms(name: str) -> list[str]:
    """Lines on NMS of all groups at once: hard beside a loop of torchvision's, which keeps the same, and soft."""
    rows = simulated(**SIZES[name])
    segments, scores, groups = grouped(rows)
    number, lines = len(scores), []
    for what, group in (("videos", groups // rows.classes), ("classes of videos", groups)):
        ours = cpu_seconds(partial(geometry.nms, segments, scores, group, 0.5))
        loop = partial(torchvision_nms, segments, scores, group, 0.5)
        peer = cpu_seconds(loop, 2)
        assert torch.equal(geometry.nms(segments, scores, group, 0.5), loop())
        lines.append(_line(f"hard NMS in {what}, {name}", "ours", ours, number))
        lines.append(_line("", "torchvision", peer, number, ours))
    ours, peer = cpu_seconds(lambda: thinned(rows), 3), _group_at_a_time(rows)
    lines.append(_line(f"soft-NMS in {what}, {name}", "ours", ours, number))
    return [*lines, _line("", "a group at a time", peer, number, ours, True)]


def torchvision_nms(segments: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, tiou: float) -> torch.Tensor:
    """Kept rows, best first, of torchvision's NMS on boxes of height 1, a group at a time."""
    boxes = torch.stack([segments[:, 0], torch.zeros_like(scores), segments[:, 1], torch.ones_like(scores)], dim=1)
    kept = torch.cat([part[torchvision.ops.nms(boxes[part], scores[part], tiou)] for part in _parts(groups)])
    return kept[scores[kept].argsort(descending=True, stable=True)]


def grouped(rows: Comparison) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    video, label, segments, scores = rows.predictions
    groups = video * rows.classes + label
    return tuple(map(torch.from_numpy, (segments.astype(np.float32), scores.astype(np.float32), groups)))


def thinned(rows: Comparison) -> np.ndarray:
    return geometry.soft_nms_of_groups(*grouped(rows)).numpy()


def _group_at_a_time(rows: Comparison) -> float:
    """CPU seconds of soft-NMS in a loop over groups, from some of them."""
    segments, scores, groups = grouped(rows)
    parts = _parts(groups)[: PATIENCE // 20]
    seconds = cpu_seconds(lambda: [reference.soft_nms(segments[part], scores[part]) for part in parts], 1)
    return seconds * len(groups) / sum(len(part) for part in parts)


def _parts(groups: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rows of each group."""
    order = groups.argsort(stable=True)
    return order.split(groups[order].unique_consecutive(return_counts=True)[1].tolist())


def _line(what: str, who: str, seconds: float, number: int, ours: float = 0.0, scaled: bool = False) -> str:
    ratio = f"{seconds / ours:8.1f} times ours" if ours else ""
    return f"{what:46}{who:20}{'~' if scaled else ' '}{seconds:9.4f} s{1e6 * seconds / number:10.2f} us each{ratio}"


def main() -> None:
    """Print every measurement, as soon as it is there."""
    for measure in (measure_precision, measure_recall, measure_nms):
        for name in SIZES:
            print(*measure(name), sep="\n", flush=True)


if __name__ == "__main__":
    main()
