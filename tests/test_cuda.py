"""On a CUDA device: the numbers of the CPU, every switch, both half precisions, resuming, and the notebooks."""

from functools import partial

import numpy as np
import pytest
import torch
from detectors import (
    EACH,
    QUICK,
    TEXTS,
    check_resuming,
    features,
    learnable,
    lively,
    network,
    padded,
    some,
    trained,
    valid,
)
from standins import execute
from videos import steady, write_video

from tadlib import segments
from tadlib.data.annotations import Video
from tadlib.data.encoder import load_encoder
from tadlib.data.features import FeatureStore, extract
from tadlib.detector.training import fit
from tadlib.devices import CPU
from tadlib.files import read_json

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
CUDA = torch.device("cuda")


def on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.to(device) for tensor in tensors]


def agree(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.cpu(), theirs.cpu(), atol=tolerance, rtol=tolerance)


def test_thinning_is_that_of_the_cpu():
    spans, scores, groups = torch.rand(200, 2).sort(-1).values, torch.rand(200), torch.arange(200) % 7
    agree(
        segments.soft_nms_of_groups(*on(CUDA, spans, scores, groups)),
        segments.soft_nms_of_groups(spans, scores, groups),
    )
    agree(segments.nms(*on(CUDA, spans, scores, groups), 0.4), segments.nms(spans, scores, groups, 0.4))


@EACH
def test_a_network_answers_as_on_the_cpu(words):
    model, x, lengths = lively(**words), features(3, 9), [9, 5, 1]
    with torch.no_grad():
        theirs = valid(model(x, padded(lengths), TEXTS), lengths)
        there = valid(model.to(CUDA)(*on(CUDA, x, padded(lengths), TEXTS)), lengths)
    for ours, other in zip(there, theirs, strict=True):
        agree(ours, other, 1e-4)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_two_windows_are_learned_in_every_precision(words, dtype):
    model = network(**({"width": 64, "queries": 10, "dropout": 0.0} | words))
    history = fit(model, learnable(), epochs=60, batch_size=2, lr=2e-3, texts=TEXTS, device=CUDA, dtype=dtype)
    assert history[-1]["loss"] < history[0]["loss"] / 1.5 and history[-1]["memory"] > 0


def test_losses_are_those_of_the_cpu():
    same = {"epochs": 3, "batch_size": 2, "lr": 1e-3}
    rows = [fit(network(dropout=0.0), some(5), **same, device=device) for device in (CPU, CUDA)]
    for theirs, ours in zip(*rows, strict=True):
        for name in ("loss", "loss_class", "loss_l1", "loss_giou", "matched_tiou"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_what_was_interrupted_goes_on_to_the_same_numbers(dtype, tmp_path):
    words = {"device": CUDA, "dtype": dtype, "deterministic": True}
    check_resuming(partial(trained, **words), tmp_path / "state.pt", 2)


def test_compiled_it_learns_the_same_within_rounding(unchecked):
    def losses(compiled: bool) -> list[float]:
        words = QUICK | {"compile": compiled, "lr": 1e-3, "device": CUDA}
        return [row["loss"] for row in fit(network(dropout=0.0), some(5), **words)]

    assert losses(True) == pytest.approx(losses(False), rel=0.01)


def test_what_a_recorded_network_answered_stays(unchecked):
    model, given = lively(dropout=0.0).to(CUDA).train(), on(CUDA, features(2, 9), padded([9, 9]))
    model.compile_training()
    with torch.no_grad():
        first = model(*given)
        before = first.segments_cw.clone()
        model(given[0] + 1, given[1])
    assert torch.equal(first.segments_cw, before)


@pytest.mark.parametrize(
    ("dtype", "least"), [(torch.float32, 0.99999), (torch.bfloat16, 0.99), (torch.float16, 0.999)], ids=str
)
def test_videos_become_the_features_of_the_cpu(dtype, least, tmp_path):
    torch.manual_seed(0)
    state = load_encoder("tad-demo", "", CPU).model.state_dict()
    torch.save(state, tmp_path / "clip.pt")
    write_video(tmp_path / "v.mp4", steady(100, 25))
    found = []
    for folder, device, kind in (("cpu", CPU, torch.float32), ("cuda", CUDA, dtype)):
        store = FeatureStore(tmp_path / folder)
        encoder = load_encoder("tad-demo", str(tmp_path / "clip.pt"), device, kind)
        extract([Video("v", 4.0, 25.0, "val", ())], tmp_path, store, encoder, 8)
        found.append(torch.from_numpy(np.array(store.read("v"))))
    assert found[0].shape == found[1].shape
    assert torch.cosine_similarity(*found).min() > least
    read = [load_encoder("tad-demo", str(tmp_path / "clip.pt"), CPU).texts(["a dive"]), encoder.texts(["a dive"])]
    assert torch.cosine_similarity(*read).min() > least


@pytest.mark.parametrize(
    "words",
    [{}, {"precision": "fp16", "compile": True}, {"target": "prompt", "salience": "bce", "refine": "attention"}],
    ids=str,
)
def test_every_notebook_runs_there(words, tiny, tmp_path):
    for stage in ("prepare", "train", "classify", "evaluate"):
        done = execute(stage, tmp_path, tiny | words | {"device": "cuda"})
        assert done.returncode == 0, done.stderr[-3000:]
    records = read_json(tmp_path / "run.json")
    assert {records[stage]["status"] for stage in ("prepare", "train", "classify", "evaluate")} == {"finished"}
    assert torch.cuda.get_device_name() in str(records["train"]), "the device is on record"
    assert 0 <= read_json(tmp_path / "metrics.json")["mAP"] <= 1
