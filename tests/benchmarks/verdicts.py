"""Verdicts on the demo's test videos, word by word: `python tests/benchmarks/verdicts.py RUN [RUN ...]`.

A video is a trial of every word that is asked: right where the word is found and an action of its class happens in the
video, or neither. Prints precision and recall of all trials at some thresholds, for the run's seen classes (by which
the default threshold was chosen, in world 0), its unseen ones and all, by the run's detector and by CLIP alone.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from tadlib.data.splits import ClassSplit
from tadlib.workbook import own_video
from tadlib.workbook.gathering import gather, task_settings
from tadlib.workbook.notebook_params import DetectParams

THRESHOLDS = (0.2, 0.3, 0.4)


def trials(run: str, detector: str, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each word in each test video of the run's world, and whether its class happens there."""
    asked = own_video.prepare(DetectParams.check({"run_dir": run, "detector": detector}))
    seen, data = set(asked.about["seen"]), gather(asked.trained)
    words = tuple(word for word in asked.words if side == "all" or (word.name in seen) == (side == "seen"))
    names, asked = tuple(word.name for word in words), replace(asked, words=words)
    scores, true = [], []
    for video in (each for each in data.benchmark.videos if each.subset == data.benchmark.test_subset):
        question = own_video.Question(
            benchmark=replace(data.benchmark, videos=(video,), classes=names),
            classes=ClassSplit(0, 0, own_video.rivals(words), names),
            store=data.store,  # the features that were made of the same files
            encoder=data.encoder,
            **task_settings(asked.params),
            asked=asked,
            clip=None,
        )
        considered = own_video.detect(question).considered
        best = dict(zip(considered.labels[::-1], considered.scores.tolist()[::-1], strict=True))
        scores.append([best.get(name, 0.0) for name in names])
        true.append([name in {action.label for action in video.actions} for name in names])
    return np.array(scores), np.array(true)


def main(runs: list[str]) -> None:
    """Print a row for each run, detector, and side of its class split."""
    print("| run | asked | by | " + " | ".join(f"P / R at {each:g}" for each in THRESHOLDS) + " |")
    for run in runs:
        for detector in ("run", "none"):
            for side in ("seen", "unseen", "all"):
                scores, true = trials(run, detector, side)
                cells = []
                for threshold in THRESHOLDS:
                    found = scores >= threshold
                    right = (found & true).sum()
                    cells.append(f"{right / max(1, found.sum()):.2f} / {right / true.sum():.2f}")
                print(f"| {Path(run).name} | {side} | {detector} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
