"""The demo world: scripts with THUMOS14's statistics, real video files, pictures that a CLIP can learn from."""

import subprocess
import sys

import av
import numpy as np
import pytest

from tadlib.data.demo import clip, videos
from tadlib.data.demo.looks import sample_look
from tadlib.data.demo.performances import ACTIVITIES, CLASSES, render
from tadlib.data.demo.sayings import SAYINGS
from tadlib.data.demo.timelines import COVERAGE, MEDIAN_DURATION, SHARES, benchmark
from tadlib.data.readers import read_json_entries, whole

TIMELINES = benchmark()
TEST = [line for line in TIMELINES if line.subset == "test"]


def durations(label: str) -> list[float]:
    """Seconds of every action of a class."""
    return [a.end - a.start for line in TIMELINES for a in line.actions() if a.label == label]


def covered(line) -> float:
    """Share of a video in which its athlete acts."""
    return sum(scene.end - scene.start for scene in line.scenes if scene.activity == "action") / line.duration


def test_there_are_enough_videos_of_every_class():
    assert len(TIMELINES) - len(TEST) >= 60 and len(TEST) >= 40
    for label in CLASSES:
        assert sum(any(a.label == label for a in line.actions()) for line in TEST) >= 3


def test_a_script_fills_its_video_without_gap_or_overlap():
    for line in TIMELINES:
        ends = [0.0] + [scene.end for scene in line.scenes]
        assert ends[:-1] == pytest.approx([scene.start for scene in line.scenes]) and ends[-1] == line.duration


def test_classes_last_as_long_as_in_thumos14():
    logs = [np.log(np.median(durations(label)) / MEDIAN_DURATION[label]) for label in CLASSES]
    assert abs(np.mean(logs)) < 0.25 and np.abs(logs).max() < 0.9
    spread = [np.std(np.log(durations(label))) for label in CLASSES]
    assert 0.45 < np.mean(spread) < 0.75  # THUMOS14: 0.615


def test_as_much_of_a_video_is_action_as_in_thumos14():
    quantiles = np.quantile([covered(line) for line in TIMELINES], SHARES[3:6])
    assert quantiles == pytest.approx(COVERAGE[3:6], abs=0.05)


def test_every_cliff_dive_is_a_dive_as_well():
    for line in TIMELINES:
        cliff = {(a.start, a.end) for a in line.actions() if a.label == "CliffDiving"}
        assert cliff <= {(a.start, a.end) for a in line.actions() if a.label == "Diving"}


def test_some_videos_hold_two_classes_and_all_hold_scenes_without_action():
    several = [line for line in TIMELINES if len({s.label for s in line.scenes if s.activity == "action"}) > 1]
    assert 0.05 < len(several) / len(TIMELINES) < 0.3
    shown = {scene.activity for line in TIMELINES for scene in line.scenes}
    assert shown == set(ACTIVITIES)


def test_scripts_depend_on_the_seed_alone():
    assert benchmark() == TIMELINES and benchmark(1) != TIMELINES


@pytest.mark.parametrize("label", CLASSES)
def test_an_action_looks_different_from_start_to_end(label):
    look = sample_look(np.random.default_rng(0), label)
    start, middle = (render(look, "action", phase).astype(int) for phase in (0.02, 0.6))
    assert start.shape == (120, 160, 3) and np.abs(start - middle).mean() > 0.3


@pytest.mark.notebooks
def test_videos_are_real_files_whose_frames_are_as_long_as_the_script_says(tiny, tmp_path):
    folder = tmp_path.__class__(tiny["dataset"])
    path = folder / "annotations.json"
    for video in [whole(path, *row) for row in read_json_entries(path).items()][:5]:
        with av.open(str(folder / "videos" / f"{video.id}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert sum(1 for _ in container.decode(stream)) == round(video.duration * videos.FPS)


@pytest.mark.notebooks
def test_an_older_version_is_made_anew(tmp_path, monkeypatch):
    (script,) = benchmark(0, (1, 0), longest=20.0)[:1]
    videos.make(tmp_path, timelines=[script])
    first = (tmp_path / "videos" / f"{script.id}.mp4").stat().st_mtime_ns
    (tmp_path / "clip.pt").touch()
    videos.make(tmp_path, timelines=[script])
    assert (tmp_path / "videos" / f"{script.id}.mp4").stat().st_mtime_ns == first and (tmp_path / "clip.pt").exists()
    monkeypatch.setattr(videos, "VERSION", videos.VERSION + 1)
    videos.make(tmp_path, timelines=[script])
    assert (tmp_path / "videos" / f"{script.id}.mp4").stat().st_mtime_ns > first
    assert not (tmp_path / "clip.pt").exists()


SCRIPT = """
import sys
from tadlib.data.demo import videos
from tadlib.data.demo.sayings import SAYINGS
from tadlib.data.demo.timelines import benchmark
from tadlib.files import locked
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


def test_pictures_for_clip_are_not_the_benchmarks():
    frames, shown = videos.sample_frames(seed=5, looks=6, per_look=2)
    assert frames.shape == (12, 120, 160, 3) and frames.dtype == np.uint8
    assert [activity == "action" for _, activity, _ in shown] == [True, False] * 6
    again, _ = videos.sample_frames(seed=5, looks=6, per_look=2)
    assert np.array_equal(frames, again)


def test_captions_name_the_sport_of_an_action_and_may_keep_silent_between():
    rng = np.random.default_rng(0)
    during = {clip.caption(rng, "GolfSwing", "action", "wide") for _ in range(50)}
    between = {clip.caption(rng, "GolfSwing", "stand", "close") for _ in range(200)}
    named = {text for text in during if "golf swing" in text}
    assert named and during - named
    assert all(text.startswith(SAYINGS["GolfSwing"]) for text in during - named)
    assert any("wide shot" in text for text in during) and any("close-up" in text for text in between)
    assert any("golf swing" in text for text in between) and any("golf swing" not in text for text in between)


@pytest.mark.notebooks
def test_the_small_clip_is_trained_once(tiny):
    folder = clip.Path(tiny["pretrained"]).parent
    before = (folder / "clip.pt").stat().st_mtime_ns
    assert clip.make(folder) == folder / "clip.pt" and (folder / "clip.pt").stat().st_mtime_ns == before
