"""Shortages and damage: file handles, disks that are full or read-only, files that are none of ours."""

import errno
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from detectors import network, windows

from tadlib.data.batches import FeatureCache
from tadlib.data.stores import FolderStore, UnusableFeatures
from tadlib.detector.proposals import Proposals
from tadlib.detector.training import fit
from tadlib.files import named, write_json, write_npy
from tadlib.tensors import write_tensors
from tadlib.workbook.detectors import save_proposals


@pytest.fixture
def few_handles():
    """A process that may open 256 files."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


def test_maps_are_given_back_and_need_no_file_handles_and_hold_what_the_files_hold(tmp_path, few_handles):
    for number in range(600):
        made = np.full((3, 2), number, np.float16)
        np.save(tmp_path / f"v{number}.npy", made if number % 2 else np.asfortranarray(made))
    few, many = FeatureCache(FolderStore(tmp_path, 8), most=2), FeatureCache(FolderStore(tmp_path, 8))
    for cache, order in ((few, (0, 1, 2, 3, 4, 5, 0)), (many, range(600))):
        for number in order:
            assert cache.read(f"v{number}").tolist() == [[number] * 2] * 3 and len(cache._kept) <= cache.most


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), OSError(12, "Cannot allocate memory")], ids=str)
def test_a_shortage_is_not_called_damage(error, tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", np.ones((3, 2), np.float32))

    def short(*_, **__):
        raise error

    monkeypatch.setattr(np, "load", short)
    with pytest.raises(OSError, match="Too many|allocate"):
        FolderStore(tmp_path, 8).read("v")
    monkeypatch.setattr(error, "errno", 5)
    with pytest.raises(UnusableFeatures, match="damaged"):
        FolderStore(tmp_path, 8).read("v")


def test_a_file_is_found_by_its_stem_as_soon_as_it_is_there(tmp_path):
    assert named(tmp_path / "none", "a") == named(tmp_path, "a") == []
    for name in ("a.mp4", "a.b.mp4", "a.npy", "ab.mp4", ".a.npy"):
        (tmp_path / name).touch()
        assert tmp_path / name in named(tmp_path, name.rpartition(".")[0])
    assert [path.name for path in named(tmp_path, "a")] == ["a.mp4", "a.npy"]


WRITERS = {
    "json": lambda path: write_json(path, {"a": 1}),
    "array": lambda path: write_npy(path, np.zeros(1000)),
    "tensors": lambda path: write_tensors(path, {"a": torch.zeros(1000)}),
    "proposals": lambda path: save_proposals(path, {"v": Proposals(torch.zeros(1, 2), torch.zeros(1))}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_file_and_its_space_and_leaves_nothing(write, error, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(error, "no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"MB are free and .*file\.xyz") as told:
        write(tmp_path / "file.xyz")
    assert told.value.errno == error and list(tmp_path.iterdir()) == []


DAMAGED = {  # what is no checkpoint -> what makes it
    "module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "weights": lambda path: torch.save(torch.nn.Linear(2, 2).state_dict(), path),
    "cut": lambda path: (DAMAGED["weights"](path), os.truncate(path, 900)),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": Path("x")})),
    "text": lambda path: path.write_text("some words\n"),
    "empty": Path.touch,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_unfinished_training_is_set_aside_and_training_begins_anew(kind, tmp_path):
    path = tmp_path / f"{kind}.pt"
    DAMAGED[kind](path)
    found_in, words = windows(((1, 7),), ((2, 8),)), {"epochs": 1, "batch_size": 2}
    with pytest.warns(UserWarning, match=f"{path.name} .*set aside as {kind}.damaged.pt"):
        history = fit(network(), found_in, checkpoint=path, **words)
    assert len(history) == 1 and path.is_file() and (tmp_path / f"{kind}.damaged.pt").exists()
    assert fit(network(), found_in, checkpoint=path, **words)[0]["loss"] == history[0]["loss"]
