"""Timelines of the benchmark: the actions of each video and their times, with THUMOS14's statistics.

Taken from THUMOS14's validation annotations: the median duration of each class and how much durations vary within
a video and between videos, the quantiles of video durations and of the share of a video inside an action, several
classes in about one video of eight, every CliffDiving action labelled Diving too. Videos last half as long as
THUMOS14's, between 20 and 240 s, so that two cores render the benchmark in about a minute.

Except in pauses, no single frame distinguishes an action from the time between actions, when the athlete practises
parts of it, back and forth at its own speed. Only the whole movement is an action. Cameras change independently.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tadlib.data.annotations import Action
from tadlib.data.demo.looks import choose_camera
from tadlib.data.demo.performances import CLASSES, DISTRACTORS, IDLE, PRACTICE

MEDIAN_DURATION = {  # seconds, THUMOS14 validation
    "BaseballPitch": 3.45, "BasketballDunk": 1.7, "Billiards": 3.2, "CleanAndJerk": 9.7, "CliffDiving": 2.6,
    "CricketBowling": 1.1, "CricketShot": 1.1, "Diving": 2.4, "FrisbeeCatch": 1.8, "GolfSwing": 4.5,
    "HammerThrow": 7.1, "HighJump": 4.3, "JavelinThrow": 6.25, "LongJump": 6.5, "PoleVault": 6.85, "Shotput": 5.0,
    "SoccerPenalty": 2.95, "TennisSwing": 1.6, "ThrowDiscus": 2.55, "VolleyballSpiking": 1.3,
}  # fmt: skip
SHARES = (0.0, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0)
VIDEO_DURATION = (8.8, 30.7, 36.9, 81.1, 150.4, 228.6, 450.4, 699.9, 1409.3)  # seconds at SHARES
COVERAGE = (0.02, 0.058, 0.084, 0.157, 0.225, 0.375, 0.58, 0.68, 0.75)  # share of a video inside actions at SHARES
SCALE, SHORTEST, LONGEST = 0.5, 20.0, 240.0
SPREAD_BETWEEN, SPREAD_WITHIN = 0.45, 0.40  # standard deviations of log durations, between videos and within one
SECOND_CLASS = 0.13  # share of videos with a second class
PARTNERS = (  # classes that share a scene
    ("CricketBowling", "CricketShot"),
    ("HammerThrow", "ThrowDiscus", "Shotput", "JavelinThrow"),
    ("HighJump", "LongJump", "PoleVault"),
)
PRACTICED = 0.88  # share of the scenes between actions that show practice
PRACTICE_SECONDS, PAUSE_SECONDS = (1.5, 5.0), (1.2, 4.0)
PART = (0.06, 0.22)  # share of the action that is practised in one scene
PAUSES = {**dict.fromkeys(IDLE, 1.0), **dict.fromkeys(DISTRACTORS, 0.6), "empty": 0.4, "passer-by": 0.4}
SHOT, SHORTEST_SHOT = 4.0, 0.8  # mean and shortest duration of a camera shot, in seconds


@dataclass(frozen=True)
class Scene:
    """Interval of a video, in seconds, that shows one activity.

    The phase of the activity moves back and forth between `low` and `high`: `begun` passages are done at the start,
    then `passages` more follow until the end.
    """

    start: float
    end: float
    activity: str
    label: str
    low: float = 0.0
    high: float = 1.0
    begun: float = 0.0
    passages: float = 1.0

    def phase(self, seconds: float) -> float:
        """Return the phase 0..1 of the activity at a time of the video."""
        done = self.begun + self.passages * (seconds - self.start) / (self.end - self.start)
        return self.low + (self.high - self.low) * (1 - abs(done % 2 - 1))


@dataclass(frozen=True)
class Timeline:
    """The script of one video."""

    id: str
    subset: str
    duration: float
    scenes: tuple[Scene, ...]
    cuts: tuple[float, ...]  # start of each shot, in seconds
    cameras: tuple[int, ...]  # camera of each shot, as an index in `CAMERAS`

    def actions(self) -> tuple[Action, ...]:
        """Return the annotations: every CliffDiving action is a Diving action as well, as in THUMOS14."""
        acted = [scene for scene in self.scenes if scene.activity == "action"]
        doubled = [(s.start, s.end, "Diving") for s in acted if s.label == "CliffDiving"]
        return tuple(Action(*row) for row in sorted([(s.start, s.end, s.label) for s in acted] + doubled))

    def camera(self, seconds: float) -> int:
        """Return the camera that films a time of the video."""
        return self.cameras[bisect_right(self.cuts, seconds) - 1]


def benchmark(seed: int = 0, per_class: tuple[int, int] = (6, 3), longest: float = LONGEST) -> tuple[Timeline, ...]:
    """Draw the timelines of all videos: `per_class` training ("val") and test videos with each main class."""
    timelines = []
    for subset, number in zip(("val", "test"), per_class, strict=True):
        labels = [label for label in CLASSES for _ in range(number)]
        for place, label in enumerate(labels):
            rng = np.random.default_rng([seed, subset == "test", place])
            timelines.append(sample_timeline(rng, f"demo_{subset}_{place + 1:04d}", subset, label, longest))
    return tuple(timelines)


def sample_timeline(rng: np.random.Generator, video_id: str, subset: str, label: str, longest: float) -> Timeline:
    """Draw a random timeline with main class `label`, of at most `longest` seconds, in steps of 0.1 s."""
    duration = round(float(np.clip(SCALE * np.interp(rng.random(), SHARES, VIDEO_DURATION), SHORTEST, longest)), 1)
    target = duration * np.interp(rng.random(), SHARES, COVERAGE)
    second = _second_class(rng, label)
    tempo = SPREAD_BETWEEN * rng.standard_normal()
    acted: list[tuple[str, float]] = []
    while not acted or sum(length for _, length in acted) < target:
        chosen = second if second and rng.random() < 0.4 else label
        length = MEDIAN_DURATION[chosen] * np.exp(tempo + SPREAD_WITHIN * rng.standard_normal())
        acted.append((chosen, float(np.clip(round(length, 1), 0.5, 0.5 * duration))))
    while len(acted) > 1 and sum(length for _, length in acted) > target:
        acted.pop()
    free = duration - sum(length for _, length in acted)
    weights = rng.lognormal(0, 1, len(acted) + 1)
    gaps = free * weights / weights.sum()
    scenes, now, before = [], 0.0, acted[0][0]
    for (name, length), gap in zip([*acted, (acted[-1][0], 0.0)], gaps, strict=True):
        start = min(round(now + gap, 1), duration) if length else duration
        scenes += _between(rng, round(now, 1), start, before, name)
        if length:
            scenes.append(Scene(start, round(min(start + length, duration), 1), "action", name))
        now, before = start + length, name
    cuts = [0.0]
    while cuts[-1] < duration:
        cuts.append(cuts[-1] + SHORTEST_SHOT + rng.exponential(SHOT - SHORTEST_SHOT))
    cameras = tuple(choose_camera(rng) for _ in cuts)
    scenes = tuple(scene for scene in scenes if scene.end > scene.start)
    return Timeline(video_id, subset, duration, scenes, tuple(cuts), cameras)


def beside(groups: Sequence[Sequence[str]], label: str) -> list[str]:
    """Return the other classes of all groups that contain a class, in order."""
    return [name for group in groups if label in group for name in group if name != label]


def _second_class(rng: np.random.Generator, label: str) -> str | None:
    partners = beside(PARTNERS, label)
    if label.startswith("Cricket"):
        return partners[0] if rng.random() < 0.5 else None
    if rng.random() >= SECOND_CLASS:
        return None
    others = partners or [name for name in CLASSES if name != label]
    return others[rng.integers(len(others))]


def _between(rng: np.random.Generator, start: float, end: float, before: str, after: str) -> list[Scene]:
    """Draw the scenes between an action of class `before` and one of class `after`: practice and pauses."""
    names, weights = list(PAUSES), np.array(list(PAUSES.values()))
    scenes, now = [], start
    while end - now > 1e-6:
        label = before if now < (start + end) / 2 else after
        if rng.random() < PRACTICED:
            stop = min(end, round(now + rng.uniform(*PRACTICE_SECONDS), 1))
            part = rng.uniform(*PART)
            low = float(np.clip(rng.uniform(-part / 2, 1 - part / 2), 0, 1 - part))
            speed = 1 / (MEDIAN_DURATION[label] * np.exp(SPREAD_WITHIN * rng.standard_normal()))  # phases a second
            passages, begun = float(speed * (stop - now) / part), float(rng.uniform(0, 2))
            scenes.append(Scene(now, stop, PRACTICE, label, low, low + part, begun, passages))
        else:
            stop = min(end, round(now + rng.uniform(*PAUSE_SECONDS), 1))
            scenes.append(Scene(now, stop, str(rng.choice(names, p=weights / weights.sum())), label))
        now = stop
    return scenes
