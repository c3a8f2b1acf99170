"""A folder of features, a simulation or videos: every source gives a data set that the notebooks can work on."""

import json

import numpy as np
import pytest
import torch
from standins import CLASSES, dataset, params, small_clip, with_features, with_videos, write

from tadlib.data import datasets
from tadlib.data.stores import UnusableFeatures
from tadlib.workbook.gathering import gather


def test_a_folder_with_features_and_text_features_is_a_data_set(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    data = gather(params(folder))
    assert (data.classes.seen, data.classes.unseen) == (("clap", "jump", "run"), ("wave",))
    assert [video.id for video in data.test_videos] == ["v7"]
    assert data.similarity(data.test_videos[0], data.classes.unseen).shape == (50, 1)
    np.testing.assert_array_equal(data.class_embeddings(["jump"])[0], np.eye(16, dtype=np.float32)[1])


def test_features_and_text_features_may_lie_elsewhere(tmp_path):
    own, other = dataset(tmp_path / "own"), with_features(dataset(tmp_path / "other"))
    data = gather(params(own, features=str(other / "features"), text_features=str(other / "text_features.npz")))
    assert data.store.read("v0").shape == (50, 16)


def test_an_unusable_file_stops_the_work_or_is_skipped_by_choice(tmp_path):
    folder = with_features(dataset(tmp_path / "own"), v1=np.ones((50, 17)), v6=np.full((50, 16), np.nan))
    with pytest.raises(UnusableFeatures, match=r"2 of 8 videos .*, first: .*v1.npy: has 17 channels.* -p missing skip"):
        gather(params(folder))
    data = gather(params(folder, missing="skip"))
    assert list(data.broken) == ["v1", "v6"] and len(data.benchmark.videos) == 6
    assert data.benchmark.repairs["video without usable features"] == 2
    np.save(folder / "features" / "v6.npy", np.ones((50, 16), np.float32))
    assert list(gather(params(folder, missing="skip")).broken) == ["v1"]


def test_what_does_not_fit_the_features_is_named(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    np.savez(folder / "text_features.npz", **{name: np.ones(32) for name in CLASSES})
    with pytest.raises(UnusableFeatures, match="v0.npy: has 16 channels, expected 32"):
        gather(params(folder))
    short = {f"v{number}": np.ones((40, 16), np.float32) for number in range(5, 8)}
    with pytest.warns(UserWarning, match="last 0.80 times as long .* stride 10 would fit 'validation'"):
        gather(params(with_features(dataset(tmp_path / "other"), **short)))
    write((own := dataset(tmp_path / "hdf5")) / "features", v0__hdf5="")
    with pytest.raises(UnusableFeatures, match="v0.hdf5 is not read: expected <video id>.npy, .* there, or move it"):
        gather(params(own))
    (tmp_path / "none").mkdir()
    with pytest.raises(UnusableFeatures, match="no features in .*none: expected <video id>.npy"):
        gather(params(folder, features=str(tmp_path / "none")))


def test_a_benchmark_is_rehearsed_without_videos_and_weights_in_the_world_of_its_own_seed(tmp_path):
    data = gather(params(dataset(tmp_path / "own"), features="simulate"))
    again = gather(params(tmp_path / "own", features="simulate", seed=1))
    other = gather(params(tmp_path / "own", features="simulate", world_seed=1))
    assert data.fingerprint == again.fingerprint and data.store.folder == again.store.folder
    assert data.fingerprint != other.fingerprint and data.store.folder != other.store.folder
    assert data.store.read("v0").shape == (50, 512), "as many snippets as the video"
    assert data.similarity(data.test_videos[0], CLASSES).shape == (50, 4)


def test_a_folder_that_cannot_be_written_is_only_read(tmp_path, monkeypatch):
    folder = dataset(tmp_path / "own")
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(datasets.os, "access", lambda path, mode: path != folder)
    data = gather(params(folder, features="simulate", data_dir=str(tmp_path / "data")))
    data.class_embeddings(["wave"])
    assert sorted(folder.rglob("*")) == before
    assert data.store.folder.parents[1] == tmp_path / "data" / "made" / "own"


def test_a_fixed_number_of_snippets_spans_every_video(tmp_path):
    data = gather(params(dataset(tmp_path / "own"), features="simulate", snippets=20))
    assert data.store.read("v0").shape == (20, 512)
    video = data.benchmark.videos[0]
    assert data.seconds(video)[[0, -1]] == pytest.approx([0.4, 15.6])
    with_features(data.benchmark.folder)
    with pytest.raises(UnusableFeatures, match="v0.npy: has 50 snippets, expected snippets=48"):
        gather(params(data.benchmark.folder, snippets=48))


def test_videos_are_encoded_with_the_precision_asked_for_and_broken_ones_skipped(tmp_path):
    folder = with_videos(dataset(tmp_path / "own", seconds=2.0))
    (folder / "text_features.npz").unlink()
    (folder / "videos" / "v6.mp4").write_bytes(b"")
    data = gather(params(folder, **small_clip(tmp_path), missing="skip", precision="bf16"))
    assert list(data.broken) == ["v6"] and "v6.mp4 (0 bytes)" in data.broken["v6"]
    assert data.store.read("v0").shape == (7, 128) and data.encoder.dtype == torch.bfloat16
    assert data.class_embeddings(["wave"]).shape == (1, 128)


def test_a_protocol_that_counts_no_test_video_stops_the_work_at_once(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    content = json.loads((folder / "annotations.json").read_text())
    content["database"]["v7"]["annotations"][0]["segment"] = [2.0, 2.2]
    (folder / "annotations.json").write_text(json.dumps(content))
    assert [video.id for video in gather(params(folder)).test_videos] == ["v7"]
    told = r"protocol=gap counts no action of an unseen class in the 1 test videos .*: pass -p protocol plain, strict,"
    with pytest.raises(ValueError, match=told):
        gather(params(folder, protocol="gap"))


def test_features_repaired_between_the_bytes_that_are_hashed_are_looked_at_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tadlib.data.fingerprints.END_BYTES", 64)
    folder = with_features(dataset(tmp_path / "own"))
    path = folder / "features" / "v0.npy"
    features = np.load(path)
    np.save(path, np.where(np.arange(len(features))[:, None] == len(features) // 2, np.nan, features))
    with pytest.raises(UnusableFeatures, match="v0.npy has NaN"):
        gather(params(folder))
    np.save(path, features)
    assert gather(params(folder)).benchmark.videos


def test_classes_that_are_read_alike_keep_their_own_vectors_or_are_refused(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    first, second, *_ = CLASSES
    for path in (folder / "annotations.json", folder / "splits.json"):
        if path.is_file():
            path.write_text(path.read_text().replace(f'"{second}"', f'"{first.title()}"'))
    vectors = {first.title() if name == second else name: np.eye(16)[place] for place, name in enumerate(CLASSES)}
    np.savez(folder / "text_features.npz", **vectors)
    with pytest.raises(ValueError, match="and another class with another vector are both .*: rename one"):
        gather(params(folder))
