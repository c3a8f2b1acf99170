"""Simulated CLIP-like features for given annotations, to test the whole pipeline at full size without videos.

A feature is a weighted sum of directions: common to all images (CLIP's modality gap), to the video, to the class of
its scene (before, during and after the action), the class again inside an action, other classes that the video and the
action resemble, and noise that changes slowly, a part of it among the directions of the classes. An action has marks:
onset, middle and offset. They lie, with another part of that noise, in a space of few dimensions, and so do the
directions of the classes. Longer actions are clearer. Distractors carry such marks and are no actions, most of them
whole ones that nobody annotated; annotations are off by part of a second. A text is a sum of what is common to all
texts, its class, its template and its wording; one that is shorter or longer than a caption leans towards other
classes. What detectors and baselines reach is compared with real levels by `tests/benchmarks/calibration.py`.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from tadlib.data.annotations import Video
from tadlib.data.features import FeatureStore
from tadlib.data.windows import Grid
from tadlib.files import Progress, digest, silent
from tadlib.locks import locked

Curve = Float[np.ndarray, " t"]
Span = Sequence[float] | np.ndarray  # start and end
PHASES = {"onset": 0.0, "middle": 0.5, "offset": 1.0}  # where in an action each is strongest
CAPTION = 6  # words of a caption beside the name of a class
# the part of an action that a distractor shows: one cut short, warming up (its middle alone), none but other movement
DISTRACTORS = ((0.0, 0.6), (0.5, 0.5), None)
RAMP = 0.5  # seconds in which an action begins or ends


@dataclass(frozen=True)
class Strengths:
    """Strengths of the components: shares of a feature's squared length unless stated otherwise.

    The first group is set by real vectors of CLIP ViT-B/32: norms near 10; cosine 0.86-0.99 of features 2 s apart,
    0.78-0.90 of two features of a video, 0.45 of two videos, 0.67-0.84 of class names, 0.11-0.35 of a feature and a
    class name; the true class leads by 0.05-0.1. The second is fitted to facts of `benchmarks/calibration.yaml`.
    """

    pictures: float = 0.445  # common to all images: cosine of features of two videos
    video: float = 0.35  # common to all features of a video
    drift: float = 0.014  # slow noise in all directions: of cosines with texts that have nothing to do with the video
    memory: float = 6.0  # its correlation time in seconds
    noise: float = 0.01  # independent noise of every snippet
    scene: float = 0.1  # length along the class's direction anywhere in a video of that class
    gap: float = 0.383  # cosine of the common parts of images and texts
    norm: float = 10.5
    channels: int = 512

    action: float = 0.1  # additional length along that direction inside an action: L4, segments of CLIP alone
    action_confusion: float = 0.42  # length along another class's direction in an action, uniform from 0: L7
    video_confusion: float = 0.015  # the same for a whole video: the share of videos that CLIP names right
    class_noise: float = 0.014  # slow noise among the directions of the classes: L2, the training-free baseline
    phases: float = 0.21  # length of the marks of an action, times 0.5 to 1.5: L6, class-agnostic mAP
    common: float = 0.59  # share of the marks that all classes have in common: 50/50, where fewer classes are seen
    distractors: float = 6.0  # a minute: the linear probe, with L6
    movement: float = 0.028  # slow noise in the space of marks: the same
    lasting: float = 0.8  # power of an action's length (over 4 s) in its strength: how much class splits differ
    lookalikes: float = 0.7  # share of the distractors that are whole actions, as if nobody had annotated them: L6
    edges: float = 0.5  # seconds (standard deviation) by which annotations are off: annotators differ by 0.2-0.5 s

    meanings: int = 48  # dimensions in which classes differ: what a trained head learns for others, E8
    contents: int = 16  # dimensions of the space of marks; from here on guesses
    neighbours: float = 8.0  # a class resembles another with weight exp(this * cosine of their directions)
    wander: float = 0.07  # of a text, for each word more or less than a caption's, towards other classes: E4 and E5
    template: float = 0.06  # of a text: common to all texts with the same template
    wording: float = 0.045  # of a text: its own
    hints: float = 0.05  # of a text that names no class: standard deviation of its length along the common marks


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _generator(*words: object) -> np.random.Generator:
    """Random generator seeded with words, the same on every machine."""
    return np.random.default_rng(list(hashlib.sha256(repr(words).encode()).digest()))


def _words(name: str) -> list[str]:
    """Words of a class name: CleanAndJerk -> Clean, And, Jerk."""
    return re.findall(r"[A-Z]?[a-z]+", name) or [re.escape(name)]


class World:
    """Common directions and those of the classes, determined by `seed` and names."""

    def __init__(self, classes: Sequence[str], seed: int = 0, strengths: Strengths | None = None) -> None:
        self.classes, self.seed = tuple(classes), seed
        self.strengths = own = strengths or Strengths()
        directions = [self._direction(f"axis {number}") for number in range(own.contents + 2)]
        self._texts, pictures, *contents = np.linalg.qr(np.stack(directions, axis=1))[0].T
        self._pictures = own.gap * self._texts + math.sqrt(1 - own.gap**2) * pictures
        self._contents = np.stack(contents)
        self._meanings = np.stack([self._direction(f"meaning {number}") for number in range(own.meanings)])
        self._classes = {name: self._of_class(name, self._meaning) for name in self.classes}
        self._common = np.stack([self._content(phase) for phase in PHASES])
        marks = {name: [self._of_class(name, self._content, phase) for phase in PHASES] for name in self.classes}
        share, rest = math.sqrt(own.common), math.sqrt(1 - own.common)
        self._marks = {name: share * self._common + rest * np.stack(each) for name, each in marks.items()}

    @property
    def key(self) -> str:
        """Hash (12 digits) of everything that determines the features."""
        return digest([self.classes, self.seed, asdict(self.strengths), "5"])

    def _direction(self, *words: object, channels: int = 0) -> np.ndarray:
        return _unit(_generator("direction", self.seed, *words).normal(size=channels or self.strengths.channels))

    def _meaning(self, *words: object) -> np.ndarray:
        """Direction in the space of classes."""
        return _unit(self._direction(*words, channels=self.strengths.meanings) @ self._meanings)

    def _content(self, *words: object) -> np.ndarray:
        """Direction in the space of marks."""
        return self._direction(*words, channels=self.strengths.contents) @ self._contents

    def _of_class(self, name: str, draw: Callable[..., np.ndarray], *about: object) -> np.ndarray:
        """Direction of a class; those of classes that share a word (Diving, CliffDiving) are more similar."""
        parts = [draw("word", word.lower(), *about) for word in _words(name)]
        return _unit(np.sum([*parts, draw("class", name, *about)], axis=0))

    def _between(self, *words: object) -> np.ndarray:
        """Direction among those of the classes."""
        weights = self._direction("between", *words, channels=len(self.classes))
        return _unit(weights @ np.stack([self._classes[name] for name in self.classes]))

    def text(self, name: str, text: str) -> Float[np.ndarray, " c"]:
        """Embedding of a text about a class, or with an empty `name` about none; of norm 8 to 12."""
        strengths, random = self.strengths, _generator(self.seed, "text", name, text)
        template = re.sub(rf"\b({'|'.join(_words(name))})\b", "", text, flags=re.IGNORECASE)
        hint = strengths.hints * random.normal() * _unit(self._common.sum(axis=0))
        away = strengths.wander * abs(len(template.split()) - CAPTION) * self._between(name, text)
        meaning = _unit(self._classes[name] + away) if name else self._direction("meaning", text) + hint
        own = _generator(self.seed, "text", name).uniform(0.13, 0.25)  # squared length of the class component
        shared = 1 - own - strengths.template - strengths.wording
        vector = (
            math.sqrt(shared) * self._texts
            + math.sqrt(own) * meaning
            + math.sqrt(strengths.template) * self._direction(f"template {' '.join(template.split())}")
            + math.sqrt(strengths.wording) * self._direction("wording", name, text)
        )
        return random.uniform(8.1, 12.5) * _unit(vector)

    def features(self, video: Video, stride: int) -> Float[np.ndarray, "t c"]:
        """Simulate the features of a video; raises KeyError for an unknown class."""
        strengths, random = self.strengths, _generator(self.seed, "video", video.id)
        grid = Grid(video.fps, stride)
        snippets = max(1, math.ceil(grid.snippets(video.duration)))
        shared = self._pictures * math.sqrt(strengths.pictures)
        shared = shared + _unit(random.normal(size=strengths.channels)) * math.sqrt(strengths.video)
        labels = sorted({action.label for action in video.actions}) or [random.choice(self.classes)]
        scene = np.mean([self._classes[label] for label in labels], axis=0)
        alike = random.uniform(0, strengths.video_confusion)
        shared = shared + strengths.scene * scene + alike * self._classes[self._other_class(random, labels[0])]
        features = shared + self._noise(random, snippets, grid)
        seconds = grid.seconds(np.arange(snippets) + 0.5)
        for action in video.actions:
            length = action.end - action.start
            off = (random.normal(size=2) * strengths.edges).clip(-length / 3, length / 3)
            features += self._action(random, action.label, seconds, off + (action.start, action.end))
        for _ in range(random.poisson(strengths.distractors * video.duration / 60)):
            features += self._distractor(random, video, labels, seconds)
        norms = strengths.norm * (1 + 0.03 * random.normal(size=(snippets, 1)))
        return (norms * _unit(features)).astype(np.float32)

    def _other_class(self, random: np.random.Generator, name: str) -> str:
        """A class that a video or an action resembles, more often one with a similar direction."""
        others = [other for other in self.classes if other != name] or [name]
        cosines = np.array([self._classes[other] @ self._classes[name] for other in others])
        weights = np.exp(self.strengths.neighbours * cosines)
        return random.choice(others, p=weights / weights.sum())

    def _noise(self, random: np.random.Generator, snippets: int, grid: Grid) -> np.ndarray:
        strengths = self.strengths
        keeps = math.exp(-grid.seconds(1) / strengths.memory)

        def slow(channels: int, strength: float) -> np.ndarray:
            """Noise (t, channels) that changes slowly, `strength` its mean squared length."""
            steps = random.standard_normal((snippets, channels), dtype=np.float32) * math.sqrt(strength / channels)
            steps[1:] *= math.sqrt(1 - keeps**2)
            made = steps.astype(np.float64)
            for place in range(1, snippets):
                made[place] += keeps * made[place - 1]
            return made

        noise = random.standard_normal((snippets, strengths.channels), dtype=np.float32)
        found = slow(strengths.channels, strengths.drift) + math.sqrt(strengths.noise / strengths.channels) * noise
        found += slow(len(self.classes), strengths.class_noise) @ np.stack([*self._classes.values()])
        return found + slow(strengths.contents, strengths.movement) @ self._contents

    def _action(
        self, random: np.random.Generator, label: str, seconds: Curve, span: Span, shown: Span = (0.0, 1.0)
    ) -> Float[np.ndarray, "t c"]:
        """Contribution of an action, or of the part of it that is `shown`: its class and the marks of its phases."""
        inside = np.minimum((seconds - span[0]) / RAMP + 0.5, (span[1] - seconds) / RAMP + 0.5).clip(0, 1)[:, None]
        done = np.interp(seconds, span, shown)
        phase = np.stack([np.clip(1 - abs(done - middle) / 0.5, 0, 1) for middle in PHASES.values()], axis=1)
        marks = self.strengths.phases * phase @ self._marks[label]
        other = random.uniform(0, self.strengths.action_confusion) * self._classes[self._other_class(random, label)]
        clear = np.clip(((span[1] - span[0]) / 4) ** self.strengths.lasting, 1 / 3, 3)
        own = random.uniform(0.5, 1.5) * (self.strengths.action * self._classes[label] + marks)
        return inside * clear * (own + other)

    def _distractor(
        self, random: np.random.Generator, video: Video, labels: Sequence[str], seconds: Curve
    ) -> Float[np.ndarray, "t c"]:
        """Contribution of what is not annotated: a whole action, a part of one, or other movement."""
        length = random.choice([action.end - action.start for action in video.actions] or [4.0])
        start, length = random.uniform(0, video.duration), length * random.uniform(0.5, 1.5)
        label, shown = random.choice(labels), DISTRACTORS[random.integers(len(DISTRACTORS))]
        if random.random() < self.strengths.lookalikes:
            shown = (0.0, 1.0)
        if any(action.start < start + length and start < action.end for action in video.actions):
            return np.zeros((len(seconds), self.strengths.channels))
        if shown is not None:
            return self._action(random, label, seconds, (start, start + length), shown)
        other = _unit(random.normal(size=self.strengths.contents)) @ self._contents
        inside = ((seconds >= start) & (seconds < start + length))[:, None]
        return inside * random.uniform(0.5, 1.5) * self.strengths.phases * other


def make(
    world: World, videos: Sequence[Video], store: FeatureStore, stride: int, progress: Progress = silent
) -> FeatureStore:
    """Simulate missing features, one video at a time, and write them as float16."""

    def lacks(video: Video) -> bool:
        return not store.has(video.id) or bool(store.changed(video.id, {"fps": video.fps, "stride": stride}))

    if any(map(lacks, videos)):
        with locked(store.folder, progress):
            for done, video in enumerate(videos, start=1):
                if lacks(video):
                    features = world.features(video, stride).astype(np.float16)
                    store.write(video.id, features, {"fps": video.fps, "stride": stride})
                progress(done, len(videos), "simulating features")
    return store
