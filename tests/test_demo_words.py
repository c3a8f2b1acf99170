"""Every word that changes the detector or its training works on the demo: two epochs, then answers about all of it."""

import importlib.util
import math

import pytest
import torch
from notebook import run_cells
from standins import WORDS

from tadlib.detector.proposals import answer
from tadlib.workbook import runs, stages, steps
from tadlib.workbook.params import Params
from tadlib.workbook.switches import DetectorSwitches

MORE = {
    "half precision": {"precision": "bf16"},
    "accumulated batches": {"batch_size": 4, "accumulate": 3},
    "an average of weights": {"ema": True},
    "losses of the last layer alone": {"aux_loss": False},
    "no convolutions": {"conv_layers": 0},
    "no encoder": {"encoder_layers": 0},
    "nothing disturbed": {"feature_noise": 0.0, "feature_shift": 0.0, "dropout": 0.0},
    "learning rate in steps, at once": {"schedule": "step", "warm_up": 0.0},
    "gradients as they are": {"clip_norm": 0.0, "weight_decay": 0.0},
    "other weights of losses": {"quality": True, "loss_quality": 1.0, "loss_class": 1.0, "loss_l1": 1.0},
    "other costs": {"cost_class": 1.0, "cost_l1": 1.0},
    "parts of actions": {"integrity": 0.25},
    "whole videos of one length": {"window": 0, "overlap": 0.0, "rescale": 64},
    "queries that learn a prompt": {"target": "prompt"},
    "queries that learn a description": {"target": "description"},
    "segmentation, weighted": {"segmentation": "memory", "loss_segmentation": 0.5},
    "CLIP's own groups, or none": {"agreement": 0.25},
    "logs": {"tensorboard": True},
}
SIZES = {"seed", "epochs", "lr", "lr_backbone", "queries", "width", "heads", "decoder_layers", "loss_giou"}


def test_every_word_of_training_is_among_them_and_so_is_every_switch():
    tried = {name for words in (WORDS | MORE).values() for name in words} | SIZES
    asked = set(stages.read_by("train", Params())) - stages.DATA | set(DetectorSwitches.model_fields)
    assert asked - tried == {"compile"}  # test_switches compiles the network; to compile it for each word takes hours


@pytest.mark.slow
@pytest.mark.parametrize("words", (WORDS | MORE).values(), ids=WORDS | MORE)
def test_a_word_trains_on_the_demo_and_its_run_finishes(words, tmp_path):
    if words.get("tensorboard") and not importlib.util.find_spec("tensorboard"):
        pytest.skip("tensorboard is not installed")
    words = {"dataset": "demo", "split": 50, "epochs": 2, "run_dir": str(tmp_path / "run")} | words
    made = run_cells("train", "proposals = merge", **words)
    params, data, run, history, proposals = made.params, made.data, made.run, made.trainer.history, made.proposals
    assert len(history) == 2 and all(math.isfinite(value) for row in history for value in row.values())
    texts = steps.texts_read(data, params, data.competing)
    again = answer(steps.load_detector(data, params, run), made.test_windows, texts=texts)
    assert torch.equal(again.scores, made.answers.scores)
    assert proposals.keys() == {video.id for video in data.scored}
    assert sum(len(found.scores) for found in proposals.values()) >= len(proposals)
    assert all(found.segments.isfinite().all() and found.scores.isfinite().all() for found in proposals.values())
    detections = steps.name(data, proposals, params)
    result = steps.summarise(data, steps.compare(data, detections, params), proposals, detections, params)
    assert all(math.isfinite(value) for value in result.values() if isinstance(value, float)) and result["AR@100"] > 0
    run.finish(result, data=data.fingerprint)
    assert runs.records(tmp_path / "run")["train"]["status"] == "finished"
