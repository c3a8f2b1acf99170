"""Where the errors of detections come from, and what may be said of them: what evaluate.ipynb asks of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tadlib.evaluation import calibration, errors, scoring, sensitivity, statistics
from tadlib.evaluation.calibration import Confusability, Reliability
from tadlib.evaluation.errors import Judged
from tadlib.evaluation.protocols import PROTOCOLS, with_any
from tadlib.evaluation.rows import Comparison, compare
from tadlib.evaluation.sensitivity import Sensitivity
from tadlib.naming.fusion import Detections
from tadlib.task import Task

JUDGED_AT = 0.5  # tIoU at which single predictions are called right or wrong


@dataclass(frozen=True)
class Examined:
    """The detections of one run beside the actions of the scored videos, judged at one tIoU."""

    data: Task
    rows: Comparison
    window: int  # snippets of a test window, 0 for whole videos

    @cached_property
    def judged(self) -> Judged:
        """The type of every detection."""
        return errors.judge(self.rows, JUDGED_AT)

    def shares(self) -> np.ndarray:
        """Share of each type (columns: errors.TYPES) among the best 1, 2, ... 10 detections per action."""
        return errors.shares(self.rows, self.judged)

    def gains(self) -> dict[str, float]:
        """mAP gained if detections of one type were not there; last, those where no unseen action is near."""
        seconds = np.array([self.window * self.data.stride / video.fps for video in self.data.scored])
        return errors.gains(self.rows, self.data.benchmark.tious, seconds if self.window else None)

    def sensitivity(self) -> dict[str, Sensitivity]:
        """Misses and normalised AP by length, coverage and number of instances."""
        return sensitivity.sensitivity(self.rows, self.data.scored, self.data.benchmark.tious)

    def reliability(self) -> Reliability:
        """How often detections of a score are right."""
        return calibration.reliability(self.rows.predictions.scores, self.judged.hit >= 0)

    def confusability(self) -> Confusability:
        """Similarity of class texts against how often detections confuse the classes."""
        counts = errors.confusion_counts(self.rows, self.judged, JUDGED_AT)
        return calibration.confusability(counts, self.data.class_embeddings(self.data.classes.unseen).numpy())

    def record(self, table: Sequence[Mapping[str, object]]) -> dict[str, object]:
        """What metrics.json holds beside the headline: the verdicts given and the cost of each type of error."""
        return {"verdicts": [dict(row) for row in table], "gains": self.gains()}


def examine(data: Task, detections: Mapping[str, Detections], window: int) -> Examined:
    """A run's detections, ready to be asked where their errors come from; `window` is that of the test."""
    return Examined(data, compare(data.scored, detections, data.classes.unseen), window)


def verdicts(
    data: Task, compared: Mapping[str, tuple[str, Mapping[str, Detections]]], seed: int = 0
) -> list[dict[str, object]]:
    """This run's mAP with its interval, and a row for every other result: the difference and what may be said of it.

    `compared` as `results.compared` gives it; `seed` draws the resamples. Videos and actions are those of the protocol,
    matching and area always the ActivityNet toolkit's: a resample of videos needs no new matching there.
    """
    tious = data.benchmark.tious
    rows = {name: compare(data.scored, found, data.classes.unseen) for name, (_, found) in compared.items()}
    ours = next(name for name, (role, _) in compared.items() if role == "ours")
    counts = statistics.draws(rows[ours].videos, seed=seed)
    whole = float(statistics.resampled(rows[ours], tious, np.ones_like(counts[:1]))[0])
    low, high = statistics.interval(statistics.resampled(rows[ours], tious, counts), whole)
    table = [{"what": ours, "mAP": whole, "mAP from": low, "mAP to": high, "this run is": ""}]
    for name, other in rows.items():
        if name != ours:
            found = statistics.compare_videos(rows[ours], other, tious, seed=seed)
            interval = {"mAP": found.difference, "mAP from": found.low, "mAP to": found.high}
            table.append({"what": f"{ours} minus {name}"} | interval | {"this run is": found.verdict})
    return table


def under_every_protocol(data: Task, detections: Mapping[str, Detections]) -> list[dict[str, object]]:
    """What the same detections score under each protocol's rules, on the videos that were processed.

    The last column counts the videos that a protocol would count as well, but that this run was never asked about. A
    protocol under which no action counts has a row that says so.
    """
    videos, classes = data.annotated, data.classes.unseen
    asked, found_in = {video.id for video in videos}, with_any(detections)
    table = []
    for protocol in PROTOCOLS:
        lacking = [v for v in data.scored_under(protocol) if v.id not in asked]
        counted = scoring.counted(videos, found_in, classes, protocol, data.short)
        if any(video.actions for video in counted):
            result = scoring.score(videos, detections, classes, data.benchmark.tious, protocol, stride=data.short)
            counts = result["counts"]
            assert isinstance(counts, dict)
            row = {"protocol": protocol, "mAP": result["mAP"], "mAP without labels": result["agnostic_mAP"]}
            row |= {name: counts[name] for name in ("videos", "actions", "detections")}
        else:
            row = {"protocol": f"{protocol}: no action counts", "mAP": np.nan, "mAP without labels": np.nan}
            row |= {"videos": len(counted), "actions": 0, "detections": 0}
        table.append(row | {"videos not asked about": len(lacking)})
    return table
