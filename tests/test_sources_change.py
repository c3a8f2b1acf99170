"""Stored things notice that what they were made from has changed: they are made anew, or refused, and said."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
import torch
from standins import CLASSES, Grey, dataset, params, small_clip, to_tensor, video, with_features, with_videos
from videos import shade, steady, write_video

from tadlib.data import fingerprints
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore, extract
from tadlib.data.stores import FolderStore, UnusableFeatures
from tadlib.data.video import probe
from tadlib.workbook import own_files, stages
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params


def anew(folder, given, encoder, stride=8, **more):
    """Whether features are made anew, which a warning says."""
    store = FeatureStore(folder / "store")
    path = store.folder / f"{given.id}.npy"
    before = path.stat().st_ino
    extract([given], folder, store, encoder, stride, **more)
    return path.stat().st_ino != before


@pytest.fixture
def made(tmp_path, encoder):
    """A video and its features."""
    path = write_video(tmp_path / "v.mp4", steady(50, 25))
    extract([video()], tmp_path, FeatureStore(tmp_path / "store"), encoder, 8)
    return path


def test_a_replaced_video_is_encoded_anew_and_that_is_said(tmp_path, encoder, made):
    assert not anew(tmp_path, video(), encoder)
    before = FeatureStore(tmp_path / "store").read("v").copy()
    write_video(made, [time for time in steady(50, 25) if time != 0.04])
    with pytest.warns(UserWarning, match=r"made anew of 1 videos: v \(.*v.mp4 is another file"):
        assert anew(tmp_path, video(), encoder)
    assert not np.array_equal(FeatureStore(tmp_path / "store").read("v"), before)
    assert not anew(tmp_path, video(), encoder)


def test_the_same_size_and_time_do_not_hide_another_content(tmp_path, encoder, made):
    stat = made.stat()
    content = bytearray(made.read_bytes())
    content[-20] ^= 1
    made.write_bytes(content)
    os.utime(made, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.warns(UserWarning, match="another file"):
        assert anew(tmp_path, video(), encoder)


def test_a_copy_under_another_time_is_the_same_video(tmp_path, encoder, made):
    os.utime(made, (1, 1))
    assert not anew(tmp_path, video(), encoder)
    made.unlink()
    assert not anew(tmp_path, video(), encoder), "a video may be deleted once it is encoded"


@pytest.mark.parametrize(
    ("given", "stride", "more", "told"),
    [
        (video(fps=24.0), 8, {}, "fps was 25.0, now 24.0"),
        (video(seconds=1.9), 8, {}, "duration was 2.0, now 1.9"),
        (video(), 4, {}, "stride was 8, now 4"),
        (video(), 8, {"each": 2}, "frames_per_snippet was 1, now 2"),
    ],
)
def test_what_made_features_is_compared_at_every_use(tmp_path, encoder, made, given, stride, more, told):
    with pytest.warns(UserWarning, match=told):
        assert anew(tmp_path, given, encoder, stride, **more)


def test_another_encoder_or_decoder_makes_anew(tmp_path, encoder, made, monkeypatch):
    other = Encoder("other", Grey(), to_tensor, None, torch.device("cpu"), torch.float32)
    with pytest.warns(UserWarning, match="encoder was"):
        assert anew(tmp_path, video(), other)
    monkeypatch.setattr(fingerprints, "DECODER", fingerprints.DECODER + 1)
    with pytest.warns(UserWarning, match="decoder was"):
        assert anew(tmp_path, video(), other)


def test_features_of_an_older_version_or_overwritten_by_somebody_are_made_anew(tmp_path, encoder, made):
    note = tmp_path / "store" / "v.json"
    note.write_text('{"fps": 25.0, "stride": 8, "snippets": 7}')
    with pytest.warns(UserWarning, match="its record does not say"):
        assert anew(tmp_path, video(), encoder)
    np.save(tmp_path / "store" / "v.npy", np.zeros((7, 2), np.float32))
    with pytest.warns(UserWarning, match="is not the file that was written"):
        assert anew(tmp_path, video(), encoder)
    assert FeatureStore(tmp_path / "store").read("v").max() > shade(0) - 2


@pytest.fixture
def filmed(tmp_path):
    """A data set of videos, and the parameters that read it."""
    folder = with_videos(dataset(tmp_path / "own", seconds=2.0))
    (folder / "text_features.npz").unlink()
    return params(folder, **small_clip(tmp_path))


def test_the_fingerprint_and_the_stages_follow_a_replaced_video(tmp_path, filmed):
    before, key = gather(filmed), stages.data_version(filmed)
    assert gather(filmed).fingerprint == before.fingerprint
    write_video(tmp_path / "own" / "videos" / "v1.mp4", [time for time in steady(50, 25) if time != 0.04])
    with pytest.warns(UserWarning, match=r"made anew of 1 videos: v1 "):
        after = gather(filmed)
    assert after.fingerprint != before.fingerprint and stages.data_version(filmed) != key


def test_the_fingerprint_of_a_copy_is_the_same(tmp_path, filmed):
    before = gather(filmed)
    shutil.copytree(tmp_path / "own", tmp_path / "copy", copy_function=shutil.copy)
    copy = gather(filmed.model_copy(update={"dataset": str(tmp_path / "copy")}))
    assert copy.fingerprint == before.fingerprint


def test_our_own_features_taken_for_another_data_set_are_refused(tmp_path, filmed):
    store = gather(filmed).store
    given = {"features": str(store.folder), **filmed.model_dump(include={"encoder", "pretrained"})}
    folder = tmp_path / "own"
    assert gather(params(folder, **given)).store.read("v1").shape == (7, 128)
    write_video(folder / "videos" / "v1.mp4", [time for time in steady(50, 25) if time != 0.04])
    with pytest.raises(UnusableFeatures, match=r"v1.npy: .*v1.mp4 is another file than it was made from: extract it"):
        gather(params(folder, **given))


def test_an_own_video_is_encoded_anew_by_another_decoder(tmp_path, encoder, made, monkeypatch):
    clip, store = probe(made), FeatureStore(tmp_path / "own")
    own_files.encode(clip, store, encoder, 0.32)
    written = (tmp_path / "own" / f"{clip.key}.npy").stat().st_ino
    own_files.encode(clip, store, encoder, 0.32)
    assert (tmp_path / "own" / f"{clip.key}.npy").stat().st_ino == written
    monkeypatch.setattr(fingerprints, "DECODER", fingerprints.DECODER + 1)
    own_files.encode(clip, store, encoder, 0.32)
    assert (tmp_path / "own" / f"{clip.key}.npy").stat().st_ino != written


def save_h5(path, array):
    with h5py.File(path.with_name("all.h5"), "w") as content:
        content["v0"], content["v1"] = np.ones((50, 16), np.float32), array


@pytest.mark.parametrize(
    ("name", "save"), [("v1.npy", np.save), ("v1.pt", lambda p, a: torch.save(torch.tensor(a), p)), ("v1.h5", save_h5)]
)
def test_other_features_of_the_same_shape_have_another_key(tmp_path, name, save):
    array = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    save(tmp_path / name, array)
    times = [path.stat() for path in tmp_path.iterdir()]
    before = FolderStore(tmp_path, 8).key
    save(tmp_path / name, array)
    assert FolderStore(tmp_path, 8).key == before
    save(tmp_path / name, array[::-1].copy())
    for path, stat in zip(tmp_path.iterdir(), times, strict=True):
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FolderStore(tmp_path, 8).key != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("benchmark.yaml", "tious: [0.3]"),
        ("benchmark.yaml", "train_subset: validation\ntest_subset: training"),
        ("splits.json", '{"75": [{"unseen": ["jump"]}]}'),
        ("splits.json", '{"75": [{"seen": ["run", "clap"], "unseen": ["wave"]}]}'),
    ],
)
def test_the_fingerprint_follows_what_is_measured_and_on_what(tmp_path, name, content):
    folder = with_features(dataset(tmp_path / "own"))
    before = gather(params(folder)).fingerprint
    (folder / name).write_text(content)
    assert gather(params(folder)).fingerprint != before


@pytest.mark.parametrize(
    "name", ["text_features.npz", "splits.json", "benchmark.yaml", "annotations.json", "said.json", "info.json"]
)
def test_an_edit_of_the_same_length_at_the_same_time_changes_the_stages_that_read_it(tmp_path, name):
    folder = with_features(dataset(tmp_path / "own"))
    (folder / "benchmark.yaml").write_text("stride: 8")
    (folder / "info.json").write_text("{}\n")
    said = {label: {"Elaboration": {"Description": f"people {label}"}} for label in CLASSES}
    (folder / "said.json").write_text(json.dumps(said))
    given = params(folder, text="description", descriptions=str(folder / "said.json")).model_dump(exclude_defaults=True)
    before = stages.key("classify", given)
    path = folder / name
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert stages.key("classify", given) != before


def test_text_vectors_that_changed_are_embedded_anew(tmp_path):
    folder = with_features(dataset(tmp_path / "own"))
    before = gather(params(folder)).class_embeddings(["jump"]).clone()
    np.savez(folder / "text_features.npz", **{name: np.eye(16)[place + 5] for place, name in enumerate(CLASSES)})
    assert not torch.equal(gather(params(folder)).class_embeddings(["jump"]), before)


def test_descriptions_that_changed_are_embedded_anew(tmp_path, filmed):
    said = tmp_path / "said.json"
    asked = Params.check(filmed.model_dump(exclude_defaults=True) | {"text": "description", "descriptions": str(said)})
    found = []
    for what in ("people", "horses"):
        texts = {label: {"Elaboration": {"Description": f"{what} {label}"}} for label in CLASSES}
        said.write_text(json.dumps(texts))
        found.append(gather(asked).class_embeddings(["jump"]))
    assert not torch.equal(*found)
