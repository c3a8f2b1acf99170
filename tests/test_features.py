"""Videos become features: the right frames at the right times, resumed, and every broken file named."""

import json
import os
import re
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from standins import Grey, to_tensor, video
from videos import index_of, shade, steady, write_sound, write_video

from tadlib.data.encoder import Encoder, load_encoder
from tadlib.data.features import FeatureStore, extract, store_folder
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import snippets
from tadlib.files import temporary_path

CPU = torch.device("cpu")


def shown(path, stride, fps, each=1):
    return [index_of(image) for image in snippets(path, stride, fps, each)]


@pytest.mark.parametrize(
    ("frames", "stride", "expected"), [(1, 8, [0]), (8, 8, [4]), (9, 8, [4, 8]), (3, 1, [0, 1, 2])]
)
def test_every_length_has_its_snippets(tmp_path, frames, stride, expected):
    assert shown(write_video(tmp_path / "v.mp4", steady(frames, 25)), stride, 25.0) == expected


def test_a_variable_frame_rate_shows_the_frame_that_stood_at_each_time(tmp_path):
    times = [0.0, 0.1, 0.2, 1.0, 1.1, 1.2, 1.9]  # frame 2 stands for 0.8 s, frame 5 for 0.7 s
    path = write_video(tmp_path / "v.mkv", times)
    # snippets of 0.2 s; their middles are 0.1, 0.3, ... 1.9
    assert shown(path, stride=2, fps=10.0) == [1, 2, 2, 2, 2, 4, 5, 5, 5, 6]


def test_a_snippet_may_be_several_frames(tmp_path, encoder):
    path = write_video(tmp_path / "v.mp4", steady(16, 25))
    assert shown(path, stride=8, fps=25.0, each=4) == [1, 3, 5, 7, 9, 11, 13, 15]
    store = FeatureStore(tmp_path / "store")
    extract([video(seconds=16 / 25)], tmp_path, store, encoder, 8, each=4)
    expected = [np.mean([shade(index) for index in part]) for part in ([1, 3, 5, 7], [9, 11, 13, 15])]
    np.testing.assert_allclose(store.read("v")[:, 0], expected, atol=1.0)


def test_temporary_files_of_killed_processes_are_deleted_by_the_next_extraction(tmp_path, encoder):
    write_video(tmp_path / "v.mp4", steady(16, 25))
    store = FeatureStore(tmp_path / "store")
    old, young, of_others = temporary_path(store.folder / "a.npy"), temporary_path(store.folder / "a.npy"), ".a-b.npy"
    for path, time in ((old, 0), (young, None), (store.folder / of_others, 0)):
        path.touch()
        os.utime(path, (time, time) if time is not None else None)
    extract([video(seconds=16 / 25)], tmp_path, store, encoder, 8)
    assert {path.name for path in store.folder.glob(".*")} == {young.name, of_others}


@pytest.mark.parametrize("name", ["video_test_0000946", "v_GGSY1Qvo990"])
def test_the_frames_of_real_clips_are_right(shared_data, name):
    path = shared_data / "clips" / f"{name}.mp4"
    clip = next(c for c in json.loads((path.parent / "clips.json").read_text())["clips"] if c["file"] == path.name)
    with av.open(str(path)) as container:  # times as the container states them, without any decoder
        stream = container.streams.video[0]
        times = sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None)
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == clip["frames"]
    times = np.array(times) - times[0]
    fps, period = clip["fps"], 1 / clip["fps"]
    found = list(snippets(path, 8, fps))
    assert len(found) == -(-clip["frames"] // 8)
    for number, image in enumerate(found):
        middle = min((number + 0.5) * 8 * period, times[-1])
        expected = int(np.searchsorted(times, middle + period / 4, side="right")) - 1
        difference = np.abs(image.astype(int) - images[expected]).mean()
        around = [
            np.abs(image.astype(int) - images[i]).mean()
            for i in range(max(0, expected - 2), min(expected + 3, len(images)))
        ]
        assert difference == min(around), f"{name}, snippet {number}: another frame is closer than frame {expected}"


def test_extraction_resumes_reports_its_progress_and_says_what_it_cannot_renew(tmp_path, encoder, monkeypatch):
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", steady(50, 25))
    store, seen = FeatureStore(tmp_path / "store"), []
    extract([video("a")], tmp_path, store, encoder, 8)
    written = (store.folder / "a.npy").stat().st_mtime_ns
    extract(
        [video(n) for n in "abc"], tmp_path, store, encoder, 8, lambda done, total, text: seen.append((done, total))
    )
    assert seen == [(2, 3), (3, 3)]
    assert (store.folder / "a.npy").stat().st_mtime_ns == written
    record = json.loads((store.folder / "a.json").read_text())
    assert {name: record[name] for name in ("fps", "stride", "snippets")} == {"fps": 25.0, "stride": 8, "snippets": 7}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="store cannot be written, .* first a .duration was 2.0, now 3.0.: make"):
        extract([video("a", 3.0)], tmp_path, store, encoder, 8)


def damaged(folder):
    """Files that are no whole video, by name, and what must be said of each."""
    whole = write_video(folder / "whole.mp4", steady(200, 25)).read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is no video")
    (folder / "wrong.txt").write_bytes(whole)
    write_sound(folder / "sound.mp4")
    part = write_video(folder / "part.mkv", steady(200, 25)).read_bytes()
    (folder / "part.mkv").write_bytes(part[: len(part) // 2])
    return {
        "empty": r"empty.mp4 \(0 bytes\) cannot be decoded",
        "truncated": r"truncated.mp4 \(\d+ bytes\) cannot be decoded",
        "text": r"text.mp4 \(16 bytes\) cannot be decoded",
        "wrong": "no video file for wrong in .*; found only wrong.txt",
        "sound": "sound.mp4 has no picture, only sound",
        "part": r"part.mkv ends after [3-5].\d s, it should last 8.0 s: truncated?",
        "absent": "no video file for absent in .*: expected absent with one of .mp4",
    }


def test_every_broken_video_is_named_or_skipped_by_choice_and_reported(tmp_path, encoder):
    told, store = damaged(tmp_path), FeatureStore(tmp_path / "store")
    with pytest.raises(BrokenVideo, match=told["part"]):
        extract([video("part", 8.0)], tmp_path, store, encoder, 8)
    assert not list(store.folder.glob("*"))
    broken = extract([video(n, 8.0) for n in [*told, "whole"]], tmp_path, store, encoder, 8, missing="skip")
    assert list(broken) == list(told) and all(re.search(told[name], broken[name]) for name in told)
    assert sorted(path.name for path in store.folder.iterdir()) == ["whole.json", "whole.npy"]
    shutil.copy(tmp_path / "whole.mp4", tmp_path / "whole.mkv")  # a second file, and the features are of one of them
    with pytest.raises(BrokenVideo, match="whole.mkv and .*whole.mp4 are both videos of whole: keep one"):
        extract([video("whole", 8.0)], tmp_path, store, encoder, 8)


def test_a_shorter_copy_that_is_whole_is_used_but_not_another_video(tmp_path, encoder):
    write_video(tmp_path / "v.mp4", steady(150, 25))  # 6 s
    store = FeatureStore(tmp_path / "store")
    extract([video(seconds=8.0)], tmp_path, store, encoder, 8)
    assert len(store.read("v")) == 19
    with pytest.raises(BrokenVideo, match="v.mp4 ends after 6.1 s, it should last 12.0 s"):
        extract([video(seconds=12.0)], tmp_path, FeatureStore(tmp_path / "other"), encoder, 8)
    extract([video(seconds=3.0)], tmp_path, longer := FeatureStore(tmp_path / "longer"), encoder, 8)
    assert longer.remarks("v") == ["it lasts 6.1 s, 3.0 s are stated: actions and detections end there"]


def test_features_that_are_not_numbers_are_refused(tmp_path, encoder):
    write_video(tmp_path / "v.mp4", steady(50, 25))
    broken = Encoder("nan", Grey(), lambda image: to_tensor(image) * float("nan"), None, CPU, torch.float32)
    with pytest.raises(ValueError, match="v.mp4: encoder nan gave NaN or infinite features"):
        extract([video()], tmp_path, FeatureStore(tmp_path / "store"), broken, 8)


@pytest.fixture
def one_thread():
    """As extraction encodes: the last bits of a sum depend on how many threads share it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_local_checkpoint_gives_the_features_of_its_model(tmp_path, one_thread):
    write_video(tmp_path / "v.mp4", steady(16, 25))
    model = load_encoder("tad-demo", "", CPU).model
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    encoder = load_encoder("tad-demo", str(tmp_path / "clip.pt"), CPU)
    for each in (encoder, load_encoder("tad-demo", str(tmp_path / "clip.pt"), CPU, torch.bfloat16)):
        store = FeatureStore(store_folder(tmp_path, each.key, 8))
        extract([video(seconds=16 / 25)], tmp_path, store, each, 8)
        frames = list(snippets(tmp_path / "v.mp4", 8, 25.0))
        np.testing.assert_array_equal(store.read("v"), each.encode(torch.stack([*map(each.prepare, frames)])).numpy())
    exact, half = (FeatureStore(path).read("v") for path in sorted((tmp_path / "features").iterdir()))
    cosine = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert (cosine > 0.999).all() and not np.array_equal(exact, half)


EXTRACTION = """
import sys
from pathlib import Path
from tadlib.devices import CPU, peak_memory
from tadlib.data.annotations import Video
from tadlib.data.encoder import load_encoder
from tadlib.data.features import FeatureStore, extract
folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
video, store = Video(name, seconds, 10.0, "val", ()), FeatureStore(folder / "store")
extract([video], folder, store, load_encoder("tad-demo", "", CPU), 8)
print(len(store.read(name)), peak_memory(CPU) / 1000)
"""


@pytest.mark.slow
def test_a_video_of_two_hours_needs_no_more_memory_than_a_short_one(tmp_path):
    used = {}
    for name, seconds, expected in (("short", 60, 75), ("long", 7200, 9000)):
        write_video(tmp_path / f"{name}.mp4", steady(seconds * 10, 10), size=(320, 180))
        command = [sys.executable, "-c", EXTRACTION, str(tmp_path), name, str(seconds)]
        snippets, gigabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        assert int(snippets) == expected
        used[name] = float(gigabytes)
    assert used["long"] < 1.5 and used["long"] - used["short"] < 0.2, used
