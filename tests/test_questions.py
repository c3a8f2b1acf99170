"""The log as parameters files: each says what it asks, what the log said and where, and can be run."""

import functools
import shutil

import fabricate
import pytest
from conftest import ROOT
from notebook import run_cells

from tadlib import ideas
from tadlib.data.demo import timelines
from tadlib.detector.proposals import predict
from tadlib.workbook import inference, lab_log, plans, results, stages, variants
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params
from tadlib.workbook.plans import every, find
from tadlib.workbook.variants import story

FILES = every(ROOT)
BASES = {"demo", "rehearsal", "thumos14_75", "thumos14_50", "activitynet13_75", "activitynet13_50"}
BASES |= {"published_thumos14", "published_activitynet13"}
FEWER_SAMPLES = {"closed_set", "seeds"}  # without a class split, and of one
LAST_ROW = 85
# Rows of the log that are no experiments: repairs, insights, decisions, facts, clean-up.
NO_EXPERIMENT = {1, 2, 23, 27, 30, 51, 71, 75, 76}
EXPERIMENTS = set(range(1, LAST_ROW + 1)) - NO_EXPERIMENT
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
plan = functools.cache(plans.plan)


def swept(planned: plans.Experiment) -> dict[str, set]:
    """Parameter -> its values, of those that differ between the runs of an experiment."""
    names = dict.fromkeys(name for given in planned.runs.values() for name in given)
    values = {name: {repr(given.get(name)) for given in planned.runs.values()} for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


@EACH
def test_a_file_says_what_it_asks_and_what_the_log_said(path):
    said = story(plan(path).question)
    assert said.question.endswith("?") and said.claim.endswith(".")
    assert said.rows and list(said.rows) == sorted(set(said.rows)) and said.rows[-1] <= LAST_ROW


@EACH
def test_a_question_compares_variants_over_splits_and_seeds(path):
    found = swept(plan(path))
    if path.stem in BASES | {"seeds", "splits", "worlds"}:
        assert not set(found) - variants.SAMPLE
        return
    assert set(found) - variants.SAMPLE, "nothing to compare"
    if path.stem not in FEWER_SAMPLES:
        assert len(found["split_id"]) >= 5 and len(found["seed"]) >= 2


@EACH
def test_a_file_that_says_naming_only_needs_one_training(path):
    planned = plan(path)
    trainings = set()
    for given in planned.runs.values():
        trained = stages.read_by("train", Params.check(given))
        trainings.add(repr([value for name, value in sorted(trained.items()) if name not in variants.SAMPLE]))
    one = "One training serves all." in planned.question or path.stem in BASES | {"seeds", "splits", "worlds"}
    assert (len(trainings) == 1) == one


def test_every_experiment_of_the_log_has_its_file():
    covered = {row for path in FILES for row in story(plan(path).question).rows}
    assert covered == EXPERIMENTS, f"missing {EXPERIMENTS - covered}, too many {covered - EXPERIMENTS}"


def test_the_published_configurations_are_those_of_the_published_commands():
    thumos, anet = (
        Params.check(next(iter(plan(find(f"published_{dataset}")).runs.values())))
        for dataset in ("thumos14", "activitynet13")
    )
    assert (thumos.queries, thumos.encoder_layers, thumos.decoder_layers, thumos.stride) == (40, 2, 5, 8)
    assert (anet.queries, anet.encoder_layers, anet.decoder_layers, anet.rescale) == (30, 2, 2, 300)
    assert (thumos.lr, anet.lr, anet.conv_layers, anet.lr_backbone) == (1e-4, 5e-5, 1, 1e-2)
    assert not (thumos.jitter or thumos.negatives or anet.window), "whole videos have neither"
    both = {"feature_noise": 0.0, "feature_shift": 0.0, "schedule": "step", "warm_up": 0.0, "aux_loss": False}
    both |= {"overlap_loss": "iou", "salience": "bce", "refine": "attention"}
    both |= {"system": "published", "refine_residual": False, "refine_join": "sum", "centres": "learned"}
    both |= {"candidates": "unseen", "fusion": "after_softmax", "protocol": "gap"}
    for params in (thumos, anet):
        assert {name: getattr(params, name) for name in both} == both


def test_the_configuration_that_was_found_is_the_default():
    planned = plan(find("tuning"))
    label = next(label for label, name in planned.names.items() if name == "found")
    found = {name: value for name, value in planned.runs[label].items() if name not in variants.SAMPLE}
    assert len(found) > 12
    for where in ("demo", "thumos14", "activitynet13", "my/own"):
        params = Params.check({"dataset": where}).model_dump()
        assert {name: params[name] for name in found} == found, where


def test_no_whole_video_of_the_demo_lacks_queries_or_detections():
    most = max(len(line.actions()) for line in timelines.benchmark())
    planned = [(path.stem, Params.check(given)) for path in FILES for given in plan(path).runs.values()]
    for stem, params in planned:
        if params.dataset == "demo":
            assert params.window or params.queries > most, stem
            assert params.inference_window or params.top_k > most, stem


def test_the_table_of_the_lab_log_is_what_its_data_say(tmp_path):
    """Byte by byte."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    before = (ROOT / "outputs" / "README.md").read_text(encoding="utf-8")
    begin, end = (before.index(mark) for mark in (lab_log.BEGIN, lab_log.END))
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "README.md").write_text(before[:begin] + lab_log.BEGIN + before[end:], encoding="utf-8")
    kept = lab_log.read(ROOT)
    lab_log.write_table(tmp_path, kept)
    assert (tmp_path / "outputs" / "README.md").read_text(encoding="utf-8") == before


@pytest.mark.slow
@EACH
def test_a_tiny_version_of_every_variant_runs(path, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TAD_ROOT", str(fabricate.project(tmp_path)))
    small = {"dataset": tiny["dataset"], "encoder": "tad-demo", "pretrained": tiny["pretrained"], "features": "auto"}
    small |= {"width": 32, "epochs": 1, "head_epochs": 1, "split_id": 0, "seed": 0}
    wanted = {}
    for label, given in plan(path).runs.items():
        given = dict(tiny) | given | small
        given = {name: each for name, each in given.items() if name not in Params.idle(given)}
        key = repr(sorted((name, each) for name, each in given.items() if name not in variants.SAMPLE))
        wanted.setdefault(key, (label, given))
    trained = {}
    for label, given in wanted.values():
        params = Params.check(given | {"run_dir": str(tmp_path / "outputs" / label)})
        data, key = gather(params), repr(stages.read_by("train", params))
        if key not in trained:
            trained[key] = run_cells("train", "trainer.epochs()", **params.model_dump()).model
        windows = inference.inference_windows(data.scored, data, params)
        answered = predict(trained[key], windows, texts=ideas.texts(data, data.competing, params))
        proposals = inference.propose(answered, windows, params)
        detections = inference.name(data, proposals, params)
        table = results.compare(data, detections, params)
        metrics = results.summarise(data, table, proposals, detections, params)
        assert 0 <= metrics["mAP"] <= 1
