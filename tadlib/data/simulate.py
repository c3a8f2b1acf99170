"""Simulated CLIP-like features for given annotations, to test the whole pipeline at full size without videos.

A feature is a weighted sum of directions: common to all images (CLIP's modality gap), to the video, to the class of
its scene (before, during and after the action), the class again inside an action, the action's onset, middle and
offset, distractors (another class without its action), and noise with temporal correlation. A text is a sum of what
is common to all texts, its class, its template and its wording. The strengths are calibrated on real CLIP ViT-B/32
vectors: norms near 10; cosine 0.86-0.99 of features 2 s apart, 0.78-0.90 of two features of a video, 0.45 of two
videos, 0.67-0.84 of class names, 0.11-0.35 of a feature and a class name; the true class leads by 0.05-0.1.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Float

from tadlib.data.annotations import Action, Video
from tadlib.data.features import FeatureStore
from tadlib.data.grid import Grid
from tadlib.files import Progress, digest, silent


@dataclass(frozen=True)
class Strengths:
    """Strengths of the components: shares of a feature's squared length unless stated otherwise."""

    pictures: float = 0.42  # common to all images: cosine of features of two videos
    video: float = 0.36  # common to all features of a video
    drift: float = 0.13  # noise with a correlation time of `memory`
    memory: float = 3.0  # seconds
    noise: float = 0.02  # independent noise of every snippet
    scene: float = 0.12  # length along the class's direction anywhere in a video of that class
    action: float = 0.05  # additional length along the class's direction inside an action
    mistaken: float = 0.16  # length along another class's direction in the whole video: uniform from 0 to this
    phases: float = 0.20  # length along the directions of onset, middle and offset
    distractors: float = 0.5  # segments per minute that look like another class without action
    gap: float = 0.35  # cosine of the common parts of images and texts
    template: float = 0.06  # of a text: common to all texts with the same template
    wording: float = 0.03  # of a text: its own; this and the template's are guesses
    norm: float = 10.5
    channels: int = 512


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _generator(*words: object) -> np.random.Generator:
    """Random generator seeded with words, the same on every machine."""
    return np.random.default_rng(list(hashlib.sha256(repr(words).encode()).digest()))


def _direction(*words: object, channels: int) -> np.ndarray:
    return _unit(_generator("direction", *words).normal(size=channels))


def _words(name: str) -> list[str]:
    """Words of a class name: CleanAndJerk -> Clean, And, Jerk."""
    return re.findall(r"[A-Z]?[a-z]+", name) or [re.escape(name)]


class World:
    """Common directions and those of the classes, determined by `seed` and names."""

    def __init__(self, classes: Sequence[str], seed: int = 0, strengths: Strengths | None = None) -> None:
        self.classes, self.seed = tuple(classes), seed
        self.strengths = strengths or Strengths()
        self._texts = self._shared("texts")
        pictures = _unit(self._shared("pictures") - self._texts * (self._shared("pictures") @ self._texts))
        gap = self.strengths.gap
        self._pictures = gap * self._texts + math.sqrt(1 - gap**2) * pictures
        self._phases = np.stack([self._shared(name) for name in ("onset", "middle", "offset")])
        self._classes = {name: self._class(name) for name in self.classes}

    @property
    def key(self) -> str:
        """Hash (12 digits) of everything that determines the features."""
        return digest([self.classes, self.seed, asdict(self.strengths), "1"])

    def _shared(self, name: str) -> np.ndarray:
        return _direction(self.seed, name, channels=self.strengths.channels)

    def _class(self, name: str) -> np.ndarray:
        """Direction of a class; classes that share a word (Diving, CliffDiving) are more similar."""
        parts = [self._shared(f"word {word.lower()}") for word in _words(name)] + [2 * self._shared(f"class {name}")]
        away = np.sum(parts, axis=0)
        return _unit(away - self._texts * (away @ self._texts))

    def text(self, name: str, text: str) -> Float[np.ndarray, " c"]:
        """Embedding of a text about a class, of norm 8 to 12; texts of the same class are similar but differ."""
        strengths, random = self.strengths, _generator(self.seed, "text", name, text)
        template = re.sub(rf"\b({'|'.join(_words(name))})\b", "", text, flags=re.IGNORECASE)
        own = _generator(self.seed, "text", name).uniform(0.11, 0.33)  # squared length of the class component
        shared = 1 - own - strengths.template - strengths.wording
        vector = (
            math.sqrt(shared) * self._texts
            + math.sqrt(own) * self._classes[name]
            + math.sqrt(strengths.template) * self._shared(f"template {' '.join(template.split())}")
            + math.sqrt(strengths.wording) * _direction(self.seed, "wording", name, text, channels=strengths.channels)
        )
        return random.uniform(8.1, 12.5) * _unit(vector)

    def features(self, video: Video, stride: int) -> Float[np.ndarray, "t c"]:
        """Simulate the features of a video; raises KeyError for an unknown class."""
        strengths, random = self.strengths, _generator(self.seed, "video", video.id)
        grid = Grid(video.fps, stride)
        snippets = max(1, math.ceil(grid.snippets(video.duration)))
        shared = self._pictures * math.sqrt(strengths.pictures)
        shared = shared + _unit(random.normal(size=strengths.channels)) * math.sqrt(strengths.video)
        labels = sorted({action.label for action in video.actions})
        if labels:
            shared = shared + strengths.scene * np.mean([self._classes[label] for label in labels], axis=0)
        shared = shared + random.uniform(0, strengths.mistaken) * self._classes[random.choice(self.classes)]
        features = shared + self._noise(random, snippets, grid)
        seconds = grid.seconds(np.arange(snippets) + 0.5)
        for action in video.actions:
            features += self._of_action(action, seconds)
        for _ in range(random.poisson(strengths.distractors * video.duration / 60)):
            label, start = random.choice(self.classes), random.uniform(0, video.duration)
            inside = (seconds >= start) & (seconds < start + random.uniform(2, 8))
            features += inside[:, None] * (strengths.scene + strengths.action) * self._classes[label]
        norms = strengths.norm * (1 + 0.03 * random.normal(size=(snippets, 1)))
        return (norms * _unit(features)).astype(np.float32)

    def _noise(self, random: np.random.Generator, snippets: int, grid: Grid) -> np.ndarray:
        strengths = self.strengths
        keeps = math.exp(-grid.seconds(1) / strengths.memory)
        steps = random.standard_normal((snippets, strengths.channels), dtype=np.float32)
        steps[1:] *= math.sqrt(1 - keeps**2)
        drift = scipy.signal.lfilter([1.0], [1.0, -keeps], steps, axis=0)
        noise = random.standard_normal((snippets, strengths.channels), dtype=np.float32)
        scale = 1 / math.sqrt(strengths.channels)
        return scale * (math.sqrt(strengths.drift) * drift + math.sqrt(strengths.noise) * noise)

    def _of_action(self, action: Action, seconds: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t c"]:
        """Contribution of an action: its class and its phase."""
        lasts = max(action.end - action.start, 1e-6)
        done = (seconds - action.start) / lasts
        inside = ((done >= 0) & (done < 1))[:, None]
        phase = np.stack([np.clip(1 - abs(done - middle) / 0.5, 0, 1) for middle in (0.0, 0.5, 1.0)], axis=1)
        own = self.strengths.action * self._classes[action.label]
        return inside * (own + self.strengths.phases * phase @ self._phases)


def make(
    world: World, videos: Sequence[Video], store: FeatureStore, stride: int, progress: Progress = silent
) -> FeatureStore:
    """Simulate missing features, one video at a time, and write them as float16."""
    for done, video in enumerate(videos, start=1):
        made = {"fps": video.fps, "stride": stride}
        if not store.has(video.id) or store.changed(video.id, made):
            features = world.features(video, stride).astype(np.float16)
            store.write(video.id, features, made)
        progress(done, len(videos), "simulating features")
    return store
