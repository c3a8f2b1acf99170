"""Simulated features have the statistics of real CLIP features, and are the same for the same seed."""

import itertools
import json
import re

import numpy as np
import pytest
import torch

from tadlib.data.annotations import Action, Video
from tadlib.data.datasets import THUMOS14_CLASSES
from tadlib.data.features import FeatureStore
from tadlib.data.simulate import World, make
from tadlib.evaluation import baselines

WORLD = World(THUMOS14_CLASSES)
STARTS = range(3, 100, 10)
STRIDE = 8  # frames at 30 frames per second: 0.27 s a snippet


def timeline(number):
    """A video of 100 s with ten actions of 4 s of one class."""
    label = THUMOS14_CLASSES[number % 20]
    actions = tuple(Action(start, start + 4.0, label) for start in STARTS)
    return Video(f"v{number}", 100.0, 30.0, "val", actions)


VIDEOS = [timeline(number) for number in range(40)]


def said(name, template="{}"):
    """The embedding of a class in words."""
    return WORLD.text(name, template.format(re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def features():
    return [unit(WORLD.features(video, STRIDE)) for video in VIDEOS]


@pytest.fixture(scope="module")
def texts():
    return unit(np.stack([said(name) for name in THUMOS14_CLASSES]))


def inside(video, snippets):
    seconds = (np.arange(snippets) + 0.5) * STRIDE / 30
    return np.any([(seconds >= a.start) & (seconds < a.end) for a in video.actions], axis=0)


def test_norms_and_cosines_are_those_of_clip(features, texts):
    """Of features 2 s apart, of class names, and of a feature and a class name."""
    norms = np.linalg.norm(WORLD.features(VIDEOS[0], STRIDE), axis=1)
    lengths = [np.linalg.norm(said(name)) for name in THUMOS14_CLASSES]
    assert 9.3 < norms.min() and norms.max() < 11.8 and 10 < norms.mean() < 11
    assert 8.1 < min(lengths) and max(lengths) < 12.5
    apart = round(2 * 30 / STRIDE)
    cosines = np.concatenate([(f[apart:] * f[:-apart]).sum(axis=1) for f in features])
    assert 0.86 < np.quantile(cosines, 0.05) and np.quantile(cosines, 0.95) < 0.99
    low, middle, high = np.quantile((texts @ texts.T)[np.triu_indices(20, 1)], [0.05, 0.5, 0.95])
    assert 0.67 < low and high < 0.84 and middle == pytest.approx(0.77, abs=0.03)
    low, middle, high = np.quantile(np.concatenate([(f @ texts.T).ravel() for f in features]), [0.01, 0.5, 0.99])
    assert 0.11 < low and high < 0.35 and 0.18 < middle < 0.22


def test_the_true_class_is_ahead_by_0_05_to_0_1_and_the_scene_alone_suggests_it(features, texts):
    ahead, scene = [], []
    for number, (video, found) in enumerate(zip(VIDEOS, features, strict=True)):
        cosines = found @ texts.T
        lead = cosines[:, number % 20] - np.delete(cosines, number % 20, axis=1).mean(axis=1)
        within = inside(video, len(found))
        ahead.append(lead[within].mean())
        scene.append(lead[~within].mean())
    assert 0.05 < np.mean(ahead) < 0.10
    assert 0.02 < np.mean(scene) < np.mean(ahead)


def test_clip_names_some_videos_wrong_and_those_rather_by_a_similar_class(texts):
    similar = {frozenset(("Diving", "CliffDiving")), frozenset(("CricketBowling", "CricketShot"))}
    similar |= {frozenset(pair) for pair in itertools.combinations(("HammerThrow", "JavelinThrow", "ThrowDiscus"), 2)}
    right, alike, wrong = 0, 0, 0
    for number, name in enumerate(sorted(set().union(*similar)) * 40):
        video = Video(f"short {number} {name}", 12.0, 8.0, "val", (Action(4.0, 8.0, name),))
        named = THUMOS14_CLASSES[(unit(WORLD.features(video, 8))[4:8].mean(axis=0) @ texts.T).argmax()]
        right, wrong = right + (named == name), wrong + (named != name)
        alike += frozenset((name, named)) in similar
    assert 0.25 < right / (right + wrong) < 0.75
    assert alike / wrong > 3 * (1 * 4 + 2 * 3) / 7 / 19, "three times as often as by chance"


def test_a_single_snippet_of_a_class_that_was_not_seen_tells_little(features):
    """How well a linear probe tells actions from background, above chance: less than half as well as in training."""

    def of(numbers):
        found = [inside(VIDEOS[number], len(features[number])) for number in numbers]
        snippets = np.concatenate([features[number] for number in numbers])
        return torch.from_numpy(snippets), torch.from_numpy(np.concatenate(found))

    learned, others = of(range(10)), of(range(10, 20))
    probe = baselines.linear_probe(*learned)
    area, elsewhere = (float(baselines.discrimination(probe(x)[:, None], y)) for x, y in (learned, others))
    assert 0.5 < elsewhere < 0.5 + (area - 0.5) / 2


def test_texts_of_no_class_are_as_long_and_as_near_as_those_of_classes(features, texts):
    found = np.stack([WORLD.text("", text) for text in baselines.CLASS_FREE_TEXTS])
    lengths = np.linalg.norm(found, axis=1)
    assert 8.1 < lengths.min() and lengths.max() < 12.5
    assert 0.6 < (unit(found) @ texts.T).mean() < 0.84
    assert 0.11 < (np.concatenate(features) @ unit(found).T).mean() < 0.35


def test_the_same_seed_gives_the_same_features_whatever_else_is_simulated():
    again = World(THUMOS14_CLASSES)
    np.testing.assert_array_equal(again.features(VIDEOS[3], STRIDE), WORLD.features(VIDEOS[3], STRIDE))
    other = World(THUMOS14_CLASSES, seed=1)
    assert other.key != WORLD.key == again.key
    assert not np.allclose(other.features(VIDEOS[3], STRIDE), WORLD.features(VIDEOS[3], STRIDE))


def test_simulated_features_are_written_once(tmp_path):
    store, seen = FeatureStore(tmp_path), []
    make(WORLD, VIDEOS[:2], store, STRIDE)
    written = (tmp_path / "v0.npy").stat().st_mtime_ns
    make(WORLD, VIDEOS[:3], store, STRIDE, lambda done, total, text: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)] and (tmp_path / "v0.npy").stat().st_mtime_ns == written
    assert store.read("v2").shape == (375, 512) and store.read("v2").dtype == np.float32
    record = json.loads((tmp_path / "v2.json").read_text())
    assert (record["fps"], record["stride"], record["snippets"]) == (30.0, 8, 375)
    np.testing.assert_allclose(store.read("v2"), WORLD.features(VIDEOS[2], STRIDE), rtol=1e-3, atol=1e-3)
    np.save(tmp_path / "v2.npy", np.zeros((375, 512), np.float16))
    make(WORLD, VIDEOS[:3], store, STRIDE)
    assert store.read("v2").any(), "what somebody overwrote is simulated anew"
