"""Shortages and damage: file handles, disks that are full or read-only, files that are none of ours."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from detectors import network, windows
from standins import simulated

from tadlib.data.batches import FeatureCache
from tadlib.data.demo.videos import VERSION
from tadlib.data.stores import FolderStore, UnusableFeatures
from tadlib.detector.proposals import Proposals
from tadlib.detector.training import fit
from tadlib.files import named, write_json, write_npy
from tadlib.tensors import write_tensors
from tadlib.workbook.detectors import save_proposals

TRAINING = """
import resource
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from detectors import CHANNELS, SMALL
from tadlib.data.annotations import Action, Video
from tadlib.data.batches import WindowSet, WindowSettings
from tadlib.data.stores import FolderStore
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.training import fit
folder = Path(sys.argv[1])
store = FolderStore(folder, 8)
videos = [Video(name, 8.0, 8.0, "training", (Action(1.0, 5.0, "x"),)) for name in sorted(store.files)]
windows = WindowSet(videos, store, 8, WindowSettings(8), only_with_actions=True)
(row,) = fit(ConditionalDETR(CHANNELS, **SMALL), windows, epochs=1, batch_size=512)
print(int(row["windows"]))
"""


@pytest.mark.long
def test_more_videos_than_file_handles_can_be_trained_on(tmp_path):
    np.save(tmp_path / "v0.npy", np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))
    for number in range(1, 1500):
        os.link(tmp_path / "v0.npy", tmp_path / f"v{number}.npy")
    command = [sys.executable, "-c", TRAINING, str(tmp_path), str(ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1500", done.stderr[-2000:]


def test_maps_are_given_back_and_hold_what_the_files_hold(tmp_path):
    for number in range(6):
        np.save(tmp_path / f"v{number}.npy", np.asfortranarray(np.full((3, 2), number, np.float16)))
    cache = FeatureCache(FolderStore(tmp_path, 8), most=2)
    for number in (0, 1, 2, 3, 4, 5, 0):
        assert cache.read(f"v{number}").tolist() == [[number] * 2] * 3 and len(cache._kept) <= 2


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


READ_ONLY = """
import errno
import os
import sys
from pathlib import Path
folder, tests, runs = sys.argv[1:4]
sys.path.insert(0, tests)
from notebook import run_cells
from standins import SMALL
from tadlib.data import datasets

def refuse(event, words):
    flags = words[2] if event == "open" and isinstance(words[2], int) else 0
    writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or event in ("os.mkdir", "os.rename", "os.remove")
    if writes and str(words[0]).startswith(folder):
        raise OSError(errno.EROFS, "Read-only file system", str(words[0]))

def run(stage, run_dir):
    run_cells(stage, dataset=f"{folder}/own", data_dir=folder, run_dir=f"{runs}/{run_dir}", **SMALL | {"epochs": 1})

run("train", "first")
before = sorted(Path(folder).rglob("*"))
sys.addaudithook(refuse)
may = os.access
os.access = lambda path, mode: may(path, mode) and not (mode & os.W_OK and str(path).startswith(folder))
run("train", "second")
run("evaluate", "second")
assert len(datasets.load("demo", folder).videos) == 2
assert sorted(Path(folder).rglob("*")) == before
try:
    Path(folder, "own", "annotations.json").write_text("")
except OSError:
    print("whole")
"""


@pytest.mark.long
def test_with_read_only_data_and_a_run_dir_elsewhere_every_stage_runs(tmp_path):
    data = tmp_path / "data"
    for name in ("own", "demo/videos"):
        (data / name).mkdir(parents=True)
    simulated(data / "own")
    subsets = {"a": "val", "b": "test"}
    entry = {"duration": 9.0, "fps": 10.0, "annotations": [{"segment": [1.0, 2.0], "label": "Diving"}]}
    database = {name: entry | {"subset": subset} for name, subset in subsets.items()}
    write_json(data / "demo" / "annotations.json", {"database": database})
    write_json(data / "demo" / "demo.json", {"version": VERSION, "seed": 0})
    for name in subsets:
        (data / "demo" / "videos" / f"{name}.mp4").touch()
    words = [sys.executable, "-c", READ_ONLY, str(data), str(ROOT / "tests"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("whole"), done.stderr[-3000:]


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_torch_meets_a_full_disk_as_an_error_of_the_system():
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as handle:
        torch.save(torch.zeros(100_000), handle)


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
