"""Simulated features have the statistics of real CLIP features, and are the same for the same seed."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from tadlib.data.annotations import Action, Video
from tadlib.data.datasets import THUMOS14_CLASSES
from tadlib.data.features import FeatureStore
from tadlib.data.simulate import Strengths, World, make

WORLD = World(THUMOS14_CLASSES)
STRIDE = 8  # frames at 30 frames per second: 0.27 s a snippet


def timeline(number):
    """A video of 100 s with ten actions of 4 s of one class."""
    label = THUMOS14_CLASSES[number % 20]
    actions = tuple(Action(start, start + 4.0, label) for start in range(3, 100, 10))
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


def test_norms_are_near_ten():
    norms = np.linalg.norm(WORLD.features(VIDEOS[0], STRIDE), axis=1)
    assert 9.3 < norms.min() and norms.max() < 11.8 and 10 < norms.mean() < 11
    lengths = [np.linalg.norm(said(name)) for name in THUMOS14_CLASSES]
    assert 8.1 < min(lengths) and max(lengths) < 12.5


def test_features_two_seconds_apart_are_at_cosine_0_86_to_0_99(features):
    apart = round(2 * 30 / STRIDE)
    cosines = np.concatenate([(f[apart:] * f[:-apart]).sum(axis=1) for f in features])
    assert 0.86 < np.quantile(cosines, 0.05) and np.quantile(cosines, 0.95) < 0.99


def test_two_features_of_a_video_are_at_0_78_to_0_90_and_of_two_videos_at_0_45(features):
    assert 0.78 < np.mean([(f @ f.T).mean() for f in features]) < 0.90
    means = np.stack([f.mean(axis=0) for f in features])
    assert (means @ means.T)[np.triu_indices(40, 1)].mean() == pytest.approx(0.45, abs=0.04)


def test_class_names_are_at_cosine_0_67_to_0_84(texts):
    low, middle, high = np.quantile((texts @ texts.T)[np.triu_indices(20, 1)], [0.05, 0.5, 0.95])
    assert 0.67 < low and high < 0.84 and middle == pytest.approx(0.77, abs=0.03)


def test_a_feature_and_a_class_name_are_at_cosine_0_11_to_0_35(features, texts):
    cosines = np.concatenate([(f @ texts.T).ravel() for f in features])
    low, middle, high = np.quantile(cosines, [0.01, 0.5, 0.99])
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
    assert 0.6 * np.mean(ahead) < np.mean(scene) < np.mean(ahead)


def test_clip_is_right_about_most_but_not_all_snippets_of_actions(features, texts):
    right = [
        ((found @ texts.T).argmax(axis=1) == number % 20)[inside(VIDEOS[number], len(found))].mean()
        for number, found in enumerate(features)
    ]
    assert 0.6 < np.mean(right) < 0.95


def test_classes_that_share_a_word_are_closer_than_others(texts):
    place = THUMOS14_CLASSES.index
    own = unit(texts - texts.mean(axis=0))
    cosines = own @ own.T
    assert cosines[place("Diving"), place("CliffDiving")] > np.quantile(cosines[place("Diving")], 0.9)


def test_texts_of_one_class_are_closer_than_those_of_one_template_and_their_mean_is_closer_to_the_class(texts):
    templates = ("a video of {}", "{} seen from afar", "somebody doing {}", "{}!")
    found = unit(np.array([[said(name, each) for each in templates] for name in THUMOS14_CLASSES]))
    alike = np.einsum("kac,kbc->kab", found, found)[:, *np.triu_indices(4, 1)]
    others = [found[:, place] @ found[:, place].T for place in range(4)]
    assert 0.85 < alike.min() and alike.max() < 0.97
    assert alike.mean() > np.mean([each[np.triu_indices(20, 1)].mean() for each in others]) + 0.05

    def apart(vectors):
        """How far texts of classes are apart, by what other templates say of the same classes."""
        centred = vectors - vectors.mean(axis=0)
        elsewhere = texts - texts.mean(axis=0)
        return (unit(centred) * unit(elsewhere)).sum(axis=1).mean()

    assert apart(unit(found.mean(axis=1))) > max(apart(found[:, place]) for place in range(4))


def test_an_action_unfolds_in_phases():
    quiet = Strengths(drift=1e-9, noise=1e-9, distractors=0.0)
    found = unit(World(THUMOS14_CLASSES, strengths=quiet).features(timeline(0), STRIDE))
    onset, middle, offset, background = (found[round(t * 30 / STRIDE)] for t in (23.1, 25.0, 26.8, 29.0))
    assert max(onset @ middle, middle @ offset, onset @ offset) < 0.97
    assert background @ found[round(20 * 30 / STRIDE)] > 0.995


def test_the_same_seed_gives_the_same_features_whatever_else_is_simulated():
    again = World(THUMOS14_CLASSES)
    np.testing.assert_array_equal(again.features(VIDEOS[3], STRIDE), WORLD.features(VIDEOS[3], STRIDE))
    assert World(THUMOS14_CLASSES, seed=1).key != WORLD.key == again.key
    assert not np.allclose(
        World(THUMOS14_CLASSES, seed=1).features(VIDEOS[3], STRIDE), WORLD.features(VIDEOS[3], STRIDE)
    )


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


WRITER = """
import sys
from pathlib import Path
from tadlib.data.annotations import Video
from tadlib.data.features import FeatureStore
from tadlib.data.simulate import World, make
videos = [Video(f"v{n}", 2000.0, 30.0, "val", ()) for n in range(1000)]
make(World(["a", "b"]), videos, FeatureStore(Path(sys.argv[1])), 8)
"""


@pytest.mark.notebooks
def test_a_writer_that_is_killed_leaves_no_half_file_that_counts(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("v*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.kill()
    writer.wait()
    done = [path.stem for path in tmp_path.glob("v*.json")]
    assert 2 <= len(done) < 1000
    for name in done:
        assert FeatureStore(tmp_path).read(name).shape == (7500, 512)
    videos = [Video(f"v{n}", 2000.0, 30.0, "val", ()) for n in range(len(done) + 1)]
    store = make(World(["a", "b"]), videos, FeatureStore(tmp_path), STRIDE)
    assert all(store.read(video.id).shape == (7500, 512) for video in videos)
