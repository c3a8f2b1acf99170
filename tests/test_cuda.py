"""On a CUDA device: the numbers of the CPU, every switch, both half precisions, resuming, and the notebooks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from standins import (
    EACH,
    QUICK,
    TEXTS,
    Stopped,
    execute,
    features,
    learnable,
    network,
    padded,
    parameters,
    recipe,
    some,
    stop_after,
    switched,
    trained,
    valid,
    without_clock,
)
from videos import steady, write_video

from tadlib import segments
from tadlib.data.annotations import Video
from tadlib.data.encoder import load_encoder
from tadlib.data.features import FeatureStore, extract
from tadlib.detector.matching import match
from tadlib.detector.network import Outputs, Switches
from tadlib.detector.proposals import answer
from tadlib.detector.training import Recipe, fit
from tadlib.devices import CPU
from tadlib.files import read_json

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
CUDA = torch.device("cuda")


def on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.to(device) for tensor in tensors]


def agree(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.cpu(), theirs.cpu(), atol=tolerance, rtol=tolerance)


def back(outputs: Outputs) -> Outputs:
    """The same answers on the CPU."""
    there = {name: value for name, value in outputs._asdict().items() if value is not None}
    return outputs._replace(
        **{name: tuple(map(back, value)) if name == "earlier" else value.cpu() for name, value in there.items()}
    )


@pytest.mark.parametrize("name", ["roi_align", "roi_mean"])
def test_regions_are_cut_out_as_on_the_cpu(name):
    x, spans = torch.randn(30, 8), (torch.rand(20, 2) * 34 - 2).sort(-1).values
    agree(getattr(segments, name)(*on(CUDA, x, spans)), getattr(segments, name)(x, spans))


@pytest.mark.parametrize("name", ["roi_align_windows", "roi_mean_windows"])
def test_regions_of_windows_are_cut_out_as_on_the_cpu(name):
    x, spans, lengths = torch.randn(3, 30, 8), (torch.rand(3, 20, 2) * 34 - 2).sort(-1).values, torch.tensor([30, 7, 1])
    cut = getattr(segments, name)
    agree(cut(*on(CUDA, x, spans, lengths)), cut(x, spans, lengths))


def test_thinning_is_that_of_the_cpu():
    spans, scores, groups = torch.rand(200, 2).sort(-1).values, torch.rand(200), torch.arange(200) % 7
    agree(
        segments.soft_nms_of_groups(*on(CUDA, spans, scores, groups)),
        segments.soft_nms_of_groups(spans, scores, groups),
    )
    agree(segments.nms(*on(CUDA, spans, scores, groups), 0.4), segments.nms(spans, scores, groups, 0.4))


def test_matching_is_that_of_the_cpu():
    targets = [item.target for item in some(9)]
    answers = torch.rand(9, 5, 2), torch.randn(9, 5, 1)
    for ours, theirs in zip(match(*on(CUDA, *answers), targets), match(*answers, targets), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@EACH
def test_a_network_answers_as_on_the_cpu(switches):
    model, x, lengths = switched(switches), features(3, 9), [9, 5, 1]
    with torch.no_grad():
        theirs = valid(model(x, padded(lengths), TEXTS), lengths)
        there = model.to(CUDA)(*on(CUDA, x, padded(lengths), TEXTS))
    for ours, other in zip(valid(back(there), lengths), theirs, strict=True):
        agree(ours, other, 1e-4)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_two_windows_are_learned_in_every_precision(switches, dtype):
    model = network(width=64, queries=10, dropout=0.0, switches=switches)
    history = fit(model, learnable(), recipe(switches, 60), texts=TEXTS, device=CUDA, dtype=dtype)
    assert history[-1]["loss"] < history[0]["loss"] / 1.5 and history[-1]["memory"] > 0


def test_losses_are_those_of_the_cpu():
    same = Recipe(epochs=3, batch_size=2, lr=1e-3)
    rows = [fit(network(dropout=0.0), some(5), same, device=device) for device in (CPU, CUDA)]
    for theirs, ours in zip(*rows, strict=True):
        for name in ("loss", "loss_class", "loss_l1", "loss_giou", "matched_tiou"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3)


@pytest.mark.parametrize("words", [{"episodes": 0.3}, {"ema": True}, {"accumulate": 2}, {"aux_loss": False}], ids=str)
def test_what_a_recipe_adds_runs_there(words):
    history = fit(network(text_dim=6), learnable(), Recipe(epochs=2, batch_size=2, **words), texts=TEXTS, device=CUDA)
    assert np.isfinite([row["loss"] for row in history]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_what_was_interrupted_goes_on_to_the_same_numbers(dtype, tmp_path):
    words = {"device": CUDA, "dtype": dtype, "checkpoint": tmp_path / "state.pt"}
    exact = replace(QUICK, deterministic=True)
    whole, history = trained(exact, device=CUDA, dtype=dtype)
    with pytest.raises(Stopped):
        trained(exact, progress=stop_after(2), **words)
    resumed, went_on = trained(exact, **words)
    assert torch.equal(parameters(whole), parameters(resumed))
    assert without_clock(went_on) == without_clock(history)


def test_compiled_it_learns_the_same_within_rounding(unchecked):
    def losses(compiled: bool) -> list[float]:
        recipe = replace(QUICK, compile=compiled, lr=1e-3)
        return [row["loss"] for row in fit(network(dropout=0.0), some(5), recipe, device=CUDA)]

    assert losses(True) == pytest.approx(losses(False), rel=0.01)


def test_what_a_recorded_network_answered_stays(unchecked):
    model, given = switched(Switches()).to(CUDA), on(CUDA, features(2, 9), padded([9, 9]))
    compiled = model.compiled()
    with torch.no_grad():
        first = compiled(*given)
        before = first.segments_cw.clone()
        compiled(given[0] + 1, given[1])
    assert torch.equal(first.segments_cw, before)


def test_answers_come_back_as_those_of_the_cpu():
    model, _ = trained()
    theirs, ours = (answer(model, some(5), device=device) for device in (CPU, CUDA))
    agree(ours.segments_cw, theirs.segments_cw, 1e-4)
    agree(ours.scores, theirs.scores, 1e-4)


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
