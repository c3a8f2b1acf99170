"""Arithmetic and speed of training: half precision, compilation, determinism, logs; and who looks on."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectors import Stopped, network, parameters, some, stop_after, trained

from tadlib import devices
from tadlib.detector.training import fit
from tadlib.workbook.runs import Run


def test_half_precision_is_for_cuda():
    with pytest.raises(ValueError, match="precision 'fp16' needs device 'cuda', got 'cpu'; use bf16 or fp32 there"):
        devices.precision_dtype("fp16", devices.CPU)
    assert devices.precision_dtype("fp16", torch.device("cuda")) == torch.float16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_the_losses_of_full_precision_within_two_per_cent(dtype):
    (model, half), (_, full) = (trained(lr=1e-3, dtype=each) for each in (dtype, torch.float32))
    half, full = ([row["loss"] for row in rows] for rows in (half, full))
    assert half == pytest.approx(full, rel=0.02) and half != full and half[-1] < half[0]
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_a_compiled_network_trains_the_same_parameters(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda compute, **_: compiled.append(compute) or compute)
    model, _ = trained(compile=True)
    assert compiled == [model.compute] and torch.equal(parameters(model), parameters(trained()[0]))


def test_deterministic_mode_holds_during_training_only_and_ends_with_an_error_too():
    seen = []
    trained(epochs=1, deterministic=True, progress=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), devices.only_deterministic():
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_device_of_cuda_has_the_number_of_this_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert devices.pick() == torch.device("cuda", 3) and devices.pick("cpu") == devices.CPU


def test_observers_change_no_number_and_their_numbers_join_the_row():
    rows = []

    def watch(model):
        devices.seed_all(5)
        return {"queries": float(len(model.eval().queries.embedding)), "drawn": float(torch.rand(1))}

    model, history = trained(watch=watch, log=rows.append)
    assert torch.equal(parameters(model), parameters(trained()[0]))
    assert rows == history and history[0]["queries"] == 5.0


@pytest.mark.parametrize("ema", [False, True])
def test_the_best_epoch_is_kept_even_after_an_interruption(ema, tmp_path):
    values = [0.1, 0.5, 0.2, 0.4, 0.3]
    seen = []

    def run(**words):
        rows = []
        watch = lambda m: seen.append(parameters(m)) or {"value": values[len(rows)]}  # noqa: E731
        return trained(ema=ema, select="value", watch=watch, log=rows.append, **words)[0]

    best = run()
    assert torch.equal(parameters(best), seen[1])
    with pytest.raises(Stopped):
        run(checkpoint=tmp_path / "state.pt", progress=stop_after(3))
    values[:] = [0.4, 0.3]
    assert torch.equal(parameters(run(checkpoint=tmp_path / "state.pt")), seen[1])


def test_selecting_by_a_number_that_nobody_gives_is_refused():
    with pytest.raises(ValueError, match="select='mAP' is no number of an epoch; there are .*loss"):
        fit(network(), some(2), select="mAP")


def logs(folder: Path):
    """What writes the TensorBoard logs of a run into this folder."""
    return Run.tensorboard(SimpleNamespace(dir=folder))


def test_without_tensorboard_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"tensorboard=true needs TensorBoard, got none: pip install 'tadlib\[logs\]'"):
        logs(tmp_path)


def test_tensorboard_gets_every_number_of_every_epoch(monkeypatch, tmp_path):
    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, *what):
            written.append(what)

        def flush(self):
            written.append("flushed")

    written = []
    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    logs(tmp_path)({"epoch": 3, "mAP of seen classes": 0.5})
    assert written == [str(tmp_path / "tensorboard"), ("epoch", 3, 3), ("mAP_of_seen_classes", 0.5, 3), "flushed"]


@pytest.mark.long
@pytest.mark.skipif(not devices._STATUS.is_file(), reason="elsewhere than on Linux a process inherits the peak")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    held = torch.ones(250_000_000)
    code = "from tadlib import devices; print(devices.peak_memory(devices.CPU))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(told) < held.nbytes / 1e6 < devices.peak_memory(devices.CPU)
