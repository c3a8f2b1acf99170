"""Verdicts on the demo's test videos, word by word: `python tests/benchmarks/verdicts.py RUN [RUN ...]`.

A video is a trial of every word that is asked: right where the word is found and an action of its class happens in the
video, or neither. Prints precision and recall at some thresholds, for the run's seen classes (whose names chose the
default threshold, in world 0), its unseen ones and all, asked by names and sentences, of its detector and CLIP alone.
"""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from tadlib.data.splits import ClassSplit
from tadlib.naming.words import Word
from tadlib.workbook import own_video
from tadlib.workbook.gathering import gather, task_settings
from tadlib.workbook.notebook_params import DetectParams

THRESHOLDS = (0.2, 0.3, 0.4)
PARAPHRASES = {  # sentences that no caption of the demo's small CLIP holds: another reader's words
    "BaseballPitch": ("a pitcher hurls a baseball", "throwing a pitch at the batter"),
    "BasketballDunk": ("a man slams the ball into the basket", "scoring at the hoop with a leap"),
    "Billiards": ("somebody plays pool", "hitting balls on a green table with a cue"),
    "CleanAndJerk": ("a strong woman lifts a barbell", "a man raises heavy weights over his head"),
    "CliffDiving": ("a dive from a cliff", "somebody leaps off a rock into the sea"),
    "CricketBowling": ("a bowler delivers the ball to the batsman", "bowling at the wicket"),
    "CricketShot": ("a batsman swings his bat", "batting in a cricket game"),
    "Diving": ("somebody jumps into the water", "an athlete dives from a springboard into the pool"),
    "FrisbeeCatch": ("somebody catches a frisbee", "running after a plastic disc in the park"),
    "GolfSwing": ("a golfer hits the ball", "playing golf with a club"),
    "HammerThrow": ("an athlete spins and throws a hammer", "whirling a ball on a wire"),
    "HighJump": ("jumping over a bar", "an athlete flops over the bar onto the mat"),
    "JavelinThrow": ("an athlete throws a javelin", "a woman hurls a spear"),
    "LongJump": ("somebody jumps into the sand", "a leap into the sand pit"),
    "PoleVault": ("flying over the bar with a long pole", "a woman vaults with a pole"),
    "Shotput": ("a man pushes a metal ball", "an athlete puts a heavy shot"),
    "SoccerPenalty": ("a footballer shoots at the goal", "kicking a penalty in football"),
    "TennisSwing": ("a tennis player hits the ball", "swinging a racket on the court"),
    "ThrowDiscus": ("an athlete hurls a discus", "turning and flinging a round plate"),
    "VolleyballSpiking": ("a volleyball player smashes at the net", "jumping to hit the ball over the net"),
}


def trials(run: str, detector: str, side: str, said: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each class's name, or sentence, in each test video of the run's world, and whether it happens."""
    asked = own_video.prepare(DetectParams.check({"run_dir": run, "detector": detector}))
    seen, data = set(asked.about["seen"]), gather(asked.trained)
    words = (word for word in asked.words if side == "all" or (word.name in seen) == (side == "seen"))
    words = tuple(each if said is None else Word(each.name, (PARAPHRASES[each.name][said],)) for each in words)
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
            for side, said in product(("seen", "unseen", "all"), (None, 0, 1)):
                scores, true = trials(run, detector, side, said)
                how = ("first sentence", "second sentence", "name")[-1 if said is None else said]
                cells = []
                for threshold in THRESHOLDS:
                    found = scores >= threshold
                    right = (found & true).sum()
                    cells.append(f"{right / max(1, found.sum()):.2f} / {right / true.sum():.2f}")
                print(f"| {Path(run).name} | {side}, {how} | {detector} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
