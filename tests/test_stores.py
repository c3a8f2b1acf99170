"""Features are read in every layout they come in; a damaged or unfitting file is named with what is wrong."""

import h5py
import numpy as np
import pytest
import torch

from tadlib.data.annotations import Video
from tadlib.data.stores import FolderStore, UnusableFeatures, health, read_text_features

VIDEO = Video("v1", 10.0, 24.0, "test", ())  # 30 snippets of 8 frames
FEATURES = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)


def save_h5(path, array):
    with h5py.File(path, "w") as content:
        content["c3d_features"] = array


def save_h5_of_all(path, array):
    with h5py.File(path.with_name("all.h5"), "w") as content:
        content["v_v1/features"] = array
        content["v_v2/features"] = array


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("suffix", "save"),
    [
        *((".npy", np.save), (".h5", save_h5), (".h5", save_h5_of_all)),
        (".npz", lambda path, array: np.savez(path, features=array, fps=np.array(24.0))),
        (".npy", lambda path, array: np.save(path, array[None])),
        (".npz", lambda path, array: np.savez_compressed(path, anything=np.asfortranarray(array))),
        (".pt", lambda path, array: torch.save(torch.from_numpy(array), path)),
        (".pt", lambda path, array: torch.save({"feats": torch.from_numpy(array), "fps": 24}, path)),
    ],
)
def test_features_are_read_from_every_layout(tmp_path, dtype, suffix, save):
    save(tmp_path / f"v1{suffix}", FEATURES.astype(dtype))
    store = FolderStore(tmp_path, stride=8, width=16)
    read = store.read("v1")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, FEATURES.astype(dtype).astype(np.float32))
    assert store.check([VIDEO]) == {}


def problem(folder, array, **options):
    np.save(folder / "v1.npy", array)
    return FolderStore(folder, stride=8, **options).check([VIDEO])["v1"]


def test_what_does_not_fit_is_said_of_the_file(tmp_path):
    nan = FEATURES.copy()
    nan[7, 3] = np.nan
    assert "v1.npy has NaN or infinite values, or too large ones, first in snippet 7" in problem(tmp_path, nan)
    assert "v1.npy: shape (512, 30) is transposed" in problem(tmp_path, np.ones((512, 30), np.float32))
    assert "v1.npy: has 16 channels, expected 512" in problem(tmp_path, FEATURES, width=512)
    assert "has 30 channels, expected 16 like texts and other videos: transposed" in problem(
        tmp_path, FEATURES.T, width=16
    )
    assert "15 snippets of 8 frames at 24 frames/s last 5.0 s, the video 10.0 s: was the stride 16" in problem(
        tmp_path, FEATURES[::2]
    )
    assert "must hold snippets x channels of floats" in problem(tmp_path, FEATURES[None, None])
    assert "must hold snippets x channels of floats" in problem(tmp_path, FEATURES[:0])
    assert "must hold snippets x channels of floats" in problem(tmp_path, np.ones((30, 16), np.int64))


def test_a_missing_file_is_named_with_what_was_looked_for(tmp_path):
    with pytest.raises(UnusableFeatures, match="no features of v1 in .*: expected v1 with one of .npy, .pt, .npz, .h5"):
        FolderStore(tmp_path, stride=8).read("v1")


def test_text_features_come_in_the_order_of_the_classes(tmp_path):
    np.savez(tmp_path / "t.npz", wave=np.ones(4), clap=np.full((1, 4), 2))
    np.testing.assert_array_equal(read_text_features(tmp_path / "t.npz", ["clap", "wave"]), [[2] * 4, [1] * 4])
    with pytest.raises(ValueError, match="t.npz has no vector of 1 of 2 classes, first 'run'; known: wave, clap"):
        read_text_features(tmp_path / "t.npz", ["clap", "run"])
    np.savez(tmp_path / "t.npz", wave=np.ones(4), clap=np.ones(5), run=np.zeros(4))
    for others, widths in (("clap", "4, 5"), ("run", "4")):
        with pytest.raises(ValueError, match=rf"finite, not zero and of one width, got widths \[{widths}\]"):
            read_text_features(tmp_path / "t.npz", [others, "wave"])


def test_the_health_of_real_clip_features_is_as_published(shared_data, tmp_path):
    features = np.load(shared_data / "features" / "clip_vitb32_video_15x512.npy")
    np.save(tmp_path / "v1.npy", features)
    row = health(FolderStore(tmp_path, stride=2), Video("v1", 30.5, 1.0, "test", ()), stride=2)
    assert (row["snippets"], row["channels"], row["constant"], row["seconds too long"]) == (15, 512, 0.0, -0.5)
    assert 9.6 < row["norm"] < 11.5 and 0.86 < row["neighbours"] < 0.99


def test_features_of_a_slightly_wrong_stride_are_told(tmp_path):
    videos = [Video(f"v{seconds}", float(seconds), 24.0, "test", ()) for seconds in (10, 20, 30, 2)]
    for video in videos:
        np.save(tmp_path / f"{video.id}.npy", np.ones((int(video.duration * 3) - 2, 16), np.float32))  # stride 8
    assert not FolderStore(tmp_path, stride=8).wrong_scale(videos)
    assert "stride=6 or the fps may be wrong; stride 8" in FolderStore(tmp_path, stride=6).wrong_scale(videos)


def test_a_video_in_two_files_is_refused(tmp_path):
    for name in ("flow", "rgb"):
        with h5py.File(tmp_path / f"clip_{name}.h5", "w") as content:
            content["v1"] = FEATURES
    with pytest.raises(UnusableFeatures, match="clip_flow.h5 and .*clip_rgb.h5 are both features of v1"):
        FolderStore(tmp_path, 8).read("v1")
    (tmp_path / "clip_flow.h5").unlink()
    assert FolderStore(tmp_path, 8).read("v1").shape == (30, 16)
    np.save(tmp_path / "v1.npy", FEATURES)
    with pytest.raises(UnusableFeatures, match="are both features of v1: keep one of them"):
        FolderStore(tmp_path, 8).read("v1")
