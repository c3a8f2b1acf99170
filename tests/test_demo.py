"""The demo world: scripts with THUMOS14's statistics, real video files, pictures that a CLIP can learn from."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional

from tadlib.data import datasets
from tadlib.data.annotations import spoken
from tadlib.data.demo import clip, videos
from tadlib.data.demo.looks import sample_look
from tadlib.data.demo.performances import CLASSES, render
from tadlib.data.demo.timelines import COVERAGE, MEDIAN_DURATION, SHARES, SHOT, benchmark
from tadlib.data.encoder import DEMO, DEMO_WEIGHTS, Encoder, load_encoder
from tadlib.evaluation.baselines import CLASS_FREE_TEXTS, discrimination

TIMELINES = benchmark()


def durations(label: str) -> list[float]:
    """Seconds of every action of a class."""
    return [a.end - a.start for line in TIMELINES for a in line.actions() if a.label == label]


def test_classes_last_as_long_as_in_thumos14():
    logs = [np.log(np.median(durations(label)) / MEDIAN_DURATION[label]) for label in CLASSES]
    assert abs(np.mean(logs)) < 0.25 and np.abs(logs).max() < 0.9
    spread = [np.std(np.log(durations(label))) for label in CLASSES]
    assert 0.45 < np.mean(spread) < 0.75  # THUMOS14: 0.615


def test_as_much_of_a_video_is_action_as_in_thumos14():
    acting = [sum(s.end - s.start for s in line.scenes if s.activity == "action") / line.duration for line in TIMELINES]
    quantiles = np.quantile(acting, SHARES[3:6])
    assert quantiles == pytest.approx(COVERAGE[3:6], abs=0.05)


def test_every_cliff_dive_is_a_dive_as_well():
    for line in TIMELINES:
        cliff = {(a.start, a.end) for a in line.actions() if a.label == "CliffDiving"}
        assert cliff <= {(a.start, a.end) for a in line.actions() if a.label == "Diving"}


@pytest.mark.parametrize("label", CLASSES)
def test_an_action_looks_different_from_start_to_end(label):
    look = sample_look(np.random.default_rng(0), label)
    start, middle = (render(look, "action", phase).astype(int) for phase in (0.02, 0.6))
    assert start.shape == (120, 160, 3) and np.abs(start - middle).mean() > 0.3


@pytest.mark.notebooks
def test_videos_are_real_files_whose_frames_are_as_long_as_the_script_says(tiny):
    folder = Path(tiny["dataset"])
    for video in datasets.load(str(folder), folder).videos[:5]:
        with av.open(str(folder / "videos" / f"{video.id}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert sum(1 for _ in container.decode(stream)) == round(video.duration * videos.FPS)


SCRIPT = """
import sys
from tadlib.data.demo import videos
from tadlib.data.demo.timelines import benchmark
from tadlib.locks import locked
print("begun")
with locked(sys.argv[1] + "/videos"):
    videos.make(sys.argv[1], timelines=sorted(benchmark(0, (1, 0), longest=20.0), key=lambda x: x.duration)[:2])
"""


@pytest.mark.notebooks
def test_a_script_that_calls_at_top_level_is_run_once_and_does_not_hang(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["begun"]), done.stderr[-2000:]
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2


def test_cameras_and_cuts_do_not_depend_on_what_happens():
    filmed, cut = {True: [], False: []}, []
    for line in TIMELINES:
        borders = np.array([[action.start, action.end] for action in line.actions()]).ravel()
        cut += [np.abs(borders[:, None] - line.cuts).min(1) < 0.5]
        for scene in line.scenes:
            seconds = np.arange(scene.start, scene.end, 0.1)
            filmed[scene.activity == "action"] += [line.camera(each) for each in seconds]
    acting, idle = (np.bincount(filmed[which], minlength=3) / len(filmed[which]) for which in (True, False))
    assert acting == pytest.approx(idle, abs=0.05)
    assert np.mean(np.concatenate(cut)) == pytest.approx(1 - np.exp(-1 / SHOT), abs=0.05)  # as at any other time


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(DEMO, str(DEMO_WEIGHTS), torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures() -> tuple[list[np.ndarray], torch.Tensor, list[str]]:
    """1,000 pictures at random times of the scripts, whether an action is on in each, and their classes."""
    rng, frames, labels = np.random.default_rng(0), [], []
    while len(frames) < 1000:
        place = rng.integers(len(TIMELINES))
        line = TIMELINES[place]
        scenes = [scene for scene in line.scenes if (scene.activity == "action") == bool(len(frames) % 2)]
        lengths = np.array([scene.end - scene.start for scene in scenes])
        scene = scenes[rng.choice(len(scenes), p=lengths / lengths.sum())]
        seconds = rng.uniform(scene.start, scene.end)
        look = sample_look(np.random.default_rng(place), scene.label)
        frames.append(render(look, scene.activity, scene.phase(seconds), line.camera(seconds)))
        labels.append(scene.label)
    return frames, torch.arange(1000) % 2 == 1, labels


def told_apart_and_named_right(encoder: Encoder, pictures: tuple) -> tuple[float, float]:
    """How far from one half the area under the curve of a text that names no class is at most, and the share of
    pictures whose nearest prompt is their class's."""
    frames, inside, labels = pictures
    seen = functional.normalize(encoder.encode(torch.stack([*map(encoder.prepare, frames)])), dim=1)
    texts = functional.normalize(encoder.texts(CLASS_FREE_TEXTS), dim=1)
    prompts = encoder.texts([f"a video of a person doing {spoken(label)}" for label in CLASSES])
    found = (seen @ functional.normalize(prompts, dim=1).T).argmax(1)
    right = np.mean([CLASSES[place] == label for place, label in zip(found, labels, strict=True)])
    return float((discrimination(seen @ texts.T, inside) - 0.5).abs().max()), float(right)


@pytest.fixture(scope="module")
def measured(encoder, pictures) -> tuple[float, float]:
    return told_apart_and_named_right(encoder, pictures)


@pytest.mark.long
def test_no_text_without_a_class_tells_action_from_the_rest(measured):
    assert len(CLASS_FREE_TEXTS) >= 50 and measured[0] < 0.1


@pytest.mark.long
def test_the_small_clip_names_far_more_often_than_by_chance_and_not_always(measured):
    assert 0.25 < measured[1] < 0.95


@pytest.mark.slow
def test_the_small_clip_can_be_made_again(encoder, pictures, measured, tmp_path):
    made = tmp_path / "clip.npz"
    clip.train(made)
    again = load_encoder(DEMO, str(made), torch.device("cpu"))
    apart, right = told_apart_and_named_right(again, pictures)
    assert apart < 0.1 and right == pytest.approx(measured[1], abs=0.1)
    assert made.stat().st_size < 4e6
    read = [each.model.token_embedding.weight.any(1) for each in (encoder, again)]
    assert torch.equal(*read)


def test_each_seed_draws_a_world_of_its_own_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "write", lambda path, line, seed: path.parent.mkdir(exist_ok=True) or path.touch())
    monkeypatch.setattr(videos, "pool", ThreadPoolExecutor)
    worlds = [datasets.load("demo", tmp_path, demo_seed=seed) for seed in (0, 1, 0)]
    assert worlds[0] == worlds[2] and worlds[0].videos != worlds[1].videos
    assert [world.folder.name for world in worlds] == ["demo", "demo-1", "demo"]
