"""Every switch of the detector is one word of a run: it trains, is saved, read again, and answers."""

import json
import math

import pytest
import standins
import torch
from notebook import run_cells
from standins import SMALL

from tadlib import ideas
from tadlib.data.windows import cover, spans
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation import baselines
from tadlib.workbook import detectors, epoch_metrics, inference, results, runs
from tadlib.workbook.gathering import gather
from tadlib.workbook.inference import class_agnostic, inference_windows
from tadlib.workbook.params import Params

pytestmark = pytest.mark.notebooks


def cells(simulated_folder, until, **words):
    """What the cells of train.ipynb define up to one with a text."""
    return run_cells("train", until, **(SMALL | {"dataset": str(simulated_folder)} | words))


def trained(simulated_folder, tmp_path, **words):
    """A run with these words: its parameters, data, run, model and history."""
    made = standins.trained(simulated_folder, tmp_path / "run", **words)
    return made.params, made.data, made.run, made.model, made.trainer.history


def answered(model, data, params):
    """Predictions and windows of the scored videos."""
    windows = inference_windows(data.scored, data, params)
    return predict(model, windows, texts=ideas.texts(data, data.competing, params)), windows


WORDS = {
    "parts, watched": {"salience": "ce", "loss_salience": 2.0, "quality": True, "positions": "learned"}
    | {"refine": "attention", "refine_layers": 2, "refine_residual": False, "refine_join": "first_half"}
    | {"iterative": True, "validation": 0.3, "select": "validation", "curves": True, "ema": True}
    | {"deterministic": True},
    "published, drawn centres": {"system": "published", "refine": "attention", "refine_residual": False}
    | {"salience": "bce", "centres": "drawn"},
    "texts, half precision": {"target": "name", "fuse_text": True, "segmentation": "memory", "precision": "bf16"}
    | {"segmentation_temperature": 1.0, "episodes": 0.3},
    "classes by number, whole videos": {"target": "none", "split": 0, "refine": "mean", "quality": True, "window": 0}
    | {"filter_threshold": 0.001, "overlap_loss": "diou", "cost_giou": 1.0},
    "windows, nothing found": {"jitter": True, "negatives": 0.3, "ignore_unseen": "everywhere", "salience": "mask"}
    | {"filter_threshold": 0.95},
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_every_cell_of_every_stage_runs(words, simulated_folder, tmp_path, capsys):
    made = cells(simulated_folder, "", run_dir=str(tmp_path / "run"), **words)
    history, data = made.trainer.history, made.data
    assert len(history) == 2 and all(math.isfinite(value) for row in history for value in row.values())
    assert all(0 <= row["query of action 1"] < 6 for row in history), "the matches of one window"
    weights = detectors.attention(made.model, made.example, made.texts)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))
    again = detectors.load_detector(data, made.params, made.run)
    assert torch.equal(made.predictions.scores, answered(again, data, made.params)[0].scores)
    assert made.proposals.keys() == {video.id for video in data.scored}
    assert {label for found in made.detections.values() for label in found.labels} <= set(data.classes.unseen)
    for stage in ("classify", "evaluate"):
        cell = run_cells(stage, run_dir=str(made.run.dir))
    shown = {action.label for video in data.test_videos for action in video.actions}
    assert f"AP over {len(shown)} classes with actions" in capsys.readouterr().out and shown == set(cell.precision)
    assert runs.records(made.run.dir)["evaluate"]["status"] == "finished"


def test_videos_held_out_are_not_trained_on_and_are_measured(simulated_folder, tmp_path):
    params, data, _, _, history = trained(simulated_folder, tmp_path, validation=0.3)
    learned, held = data.learned_and_held_out
    assert len(held) == round(0.3 * len(data.training_videos)) and not {v.id for v in learned} & {v.id for v in held}
    windows = cells(simulated_folder, "data.training_windows", validation=0.3).windows
    assert set(windows.durations) == {video.id for video in learned}
    assert all(0 <= row[epoch_metrics.SEEN] <= 1 for row in history)
    assert {action.label for video in held for action in video.actions} <= set(data.classes.seen)


@pytest.mark.parametrize("words", [{"fuse_text": True, "ema": True}, {"protocol": "gap"}])
def test_the_last_epoch_of_the_curves_is_the_result(words, simulated_folder, tmp_path):
    params, data, _, model, history = trained(simulated_folder, tmp_path, curves=True, **words)
    proposals = inference.propose(*answered(model, data, params), params)
    detections = inference.name(data, proposals, params)
    result = results.summarise(data, results.compare(data, detections, params), proposals, detections, params)
    of_curves = [history[-1][name] for name in (epoch_metrics.UNSEEN, epoch_metrics.NAMED, "AR@100 of unseen classes")]
    assert of_curves == pytest.approx([result["agnostic_mAP"], result["mAP"], result["AR@100"]], abs=1e-6)
    assert of_curves[0] > 0


def test_where_actions_are_is_measured_beside_what_blind_windows_reach(simulated_folder):
    params = Params.check(SMALL | {"dataset": str(simulated_folder)})
    data = gather(params)
    blind = {name: Proposals(*found[:2]) for name, found in baselines.blind(data.test_videos, params.seed).items()}
    true = {v.id: Proposals(spans(v.actions), torch.ones(len(v.actions))) for v in data.test_videos}
    floor, ceiling = (
        results.summarise(data, [{"role": "ours", "mAP": 0.0}], found, {}, params) for found in (blind, true)
    )
    assert ceiling["agnostic_mAP"] == pytest.approx(1.0) and ceiling["AR@100"] == pytest.approx(1.0)
    for name in ("agnostic_mAP", "AR@100"):
        assert floor[name] == floor[f"blind_{name}"] == ceiling[f"blind_{name}"] < 0.5, name
    assert floor["blind_AR@100"] == pytest.approx(0.4), "4 of 6 seconds of every action: tIoU 0.5 to 0.65 of ten"


def test_the_best_epoch_on_held_out_videos_is_kept(simulated_folder, tmp_path, monkeypatch):
    def with_precisions(*values, **words):
        of_epochs = iter(values)
        monkeypatch.setattr(epoch_metrics, "measured", lambda *_: {epoch_metrics.SEEN: next(of_epochs)})
        return trained(simulated_folder, tmp_path / str(values), validation=0.3, epochs=3, **words)[3]

    last = with_precisions(0.0, 0.0, 0.0)
    assert not torch.equal(
        with_precisions(0.3, 0.9, 0.1, select="validation").queries.embedding, last.queries.embedding
    )
    assert torch.equal(with_precisions(0.1, 0.3, 0.9, select="validation").queries.embedding, last.queries.embedding)


def negatives_of(simulated_folder, **words):
    """Windows without anything to find, as five epochs draw them: seconds of each, and what is annotated there."""
    made = cells(simulated_folder, "data.training_windows", **({"window": 8, "negatives": 0.6} | words))
    data, windows, whole = made.data, made.windows, {video.id: video for video in made.data.benchmark.videos}
    generator, held = torch.Generator().manual_seed(0), []
    for _ in range(5):
        for batch in windows.batches(4, generator):
            for window, target in zip(batch.windows, batch.targets, strict=True):
                if len(target.labels_ix):
                    continue
                start, end = data.grid(whole[window.video_id]).seconds(torch.tensor([window.first, window.stop]))
                held.append([a for a in whole[window.video_id].actions if a.start < end and a.end > start])
    return data, windows, held


@pytest.mark.parametrize("jitter", [False, True])
def test_windows_that_teach_background_hold_nothing_that_is_annotated(jitter, simulated_folder):
    held = negatives_of(simulated_folder, jitter=jitter)[2]
    assert len(held) > 20 and not any(held)


def test_training_can_know_nothing_of_unseen_classes_and_then_learns_background_from_them(simulated_folder):
    data, windows, held = negatives_of(simulated_folder, ignore_unseen="nowhere", jitter=False)
    assert windows.left_out == 0
    assert any(action.label in data.classes.unseen for actions in held for action in actions)


def test_windows_that_are_left_out_are_counted(simulated_folder):
    for length, mixes in ((8, False), (32, True)):
        data, windows, _ = negatives_of(simulated_folder, negatives=0.95, jitter=False, window=length)
        with_seen, mixed, empty, more, left_out = (row["number"] for row in detectors.window_counts(data, windows))
        assert with_seen + empty == len(windows) and (mixed > 0) == mixes and mixed < with_seen
        assert with_seen + empty + left_out == sum(len(cover(v.id, 40, length, 0.5)) for v in data.training_videos)
        assert more > 0 and (empty + more) / (with_seen + empty + more) == pytest.approx(0.95, abs=1 / with_seen)


def test_the_richest_video_keeps_a_detection_for_each_of_its_actions(tmp_path):
    video, places = {"duration": 600.0, "fps": 8.0}, [[4.0 * n, 4.0 * n + 2] for n in range(150)]
    labels = {"training": "Shotput", "validation": "HighJump"}
    database = {
        name: {"subset": name, "annotations": [{"segment": place, "label": label} for place in places]} | video
        for name, label in labels.items()
    }
    (tmp_path / "annotations.json").write_text(json.dumps({"database": database}), encoding="utf-8")
    params = Params.check(SMALL | {"dataset": str(tmp_path), "split_id": 1})
    data = gather(params)
    (rich,) = data.test_videos
    found = {rich.id: Proposals(spans(rich.actions), torch.linspace(1.0, 0.5, 150))}
    assert len(rich.actions) == 150 > params.top_k
    for how in ({}, {"nms_per": "class"}):
        params = params.model_copy(update=how)
        kept = inference.name(data, found, params)[rich.id]
        assert {(start, end) for start, end in kept.segments.tolist()} == {(a.start, a.end) for a in rich.actions}
        predictions, windows = answered(ConditionalDETR(512, width=16, heads=2), data, params)
        assert len(class_agnostic(data, inference.propose(predictions, windows, params), params)[rich.id].scores) > 100
    few = params.model_copy(update={"nms_per": "video", "top_k": 2})
    most = 2 * len(cover("v", 600, 32, 0.25))
    assert len(inference.name(data, found, few)[rich.id].labels) == 2 * len(windows) == most


@pytest.mark.parametrize(("asked", "lengths"), [(-1, {32}), (0, {40}), (20, {20})])
def test_a_detector_can_be_asked_about_other_windows_than_it_learned_on(asked, lengths, simulated_folder):
    data = gather(params := Params.check(SMALL | {"dataset": str(simulated_folder), "test_window": asked}))
    predictions, windows = answered(ConditionalDETR(512, width=16, heads=2), data, params)
    assert {item.window.stop - item.window.first for item in windows} == lengths
    assert {video.id for video in data.scored} == inference.propose(predictions, windows, params).keys()
    windows = cells(simulated_folder, "data.training_windows", window=32, test_window=asked).windows
    assert {len(features) for features, *_ in windows} == {32}
