"""The same evaluation on the videos that the detector learned from: their seen classes alone, beside the test."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from standins import SIMULATED_CLASSES, SMALL, trained

from tadlib import ideas
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation import metrics
from tadlib.evaluation.scoring import class_table
from tadlib.files import read_json
from tadlib.naming.fusion import read_detections
from tadlib.workbook import epoch_metrics, inference, papermill_arguments, results, runs
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

pytestmark = pytest.mark.notebooks


def scored_on(data, params, on):
    """What evaluate.ipynb makes of a run on these videos, and its row of the table beside that of the test."""
    params = params.but(evaluate_on=on)
    run = runs.start("evaluate", params)
    found = results.to_evaluate(data, params, run)
    rows = results.train_and_test(data, *found, params, run)
    scored, proposals, detections = found
    table = results.compare(scored, detections, params)
    run.finish(results.summarise(scored, table, proposals, detections, params))
    return found, rows


@pytest.fixture(scope="module")
def made(simulated_folder, tmp_path_factory):
    """A finished training with curves and videos held out, with the proposals and detections of the test."""
    run = trained(simulated_folder, tmp_path_factory.mktemp("run"), "run.finish", curves=True, validation=0.3)
    params, data, run, history = run.params, run.data, run.run, run.trainer.history
    before = {path.name: path.read_bytes() for path in run.dir.iterdir()}
    assert {"proposals.parquet", "detections.json", "checkpoint.pt"} <= set(before)
    return params, data, run, history, before


def test_training_videos_are_scored_by_seen_classes_as_the_evaluator_scores_them(made, simulated_folder):
    params, data, run, history, before = made
    (scored, proposals, detections), (test, training) = scored_on(data, params, "training")
    database = read_json(simulated_folder / "annotations.json")["database"]
    seen, held = set(data.classes.seen), {video.id for video in data.learned_and_held_out[1]}
    training_videos = {name: video["annotations"] for name, video in database.items() if video["subset"] == "training"}
    learned = {name for name, rows in training_videos.items() if {row["label"] for row in rows} & seen} - held
    assert held and set(detections) == learned == {video.id for video in scored.scored}
    assert {label for found in detections.values() for label in found.labels} <= seen

    videos = [video.only(seen) for video in data.benchmark.videos if video.id in learned]
    others = [action for video in data.benchmark.videos if video.id in learned for action in video.actions]
    assert {action.label for action in others} - seen, "actions of unseen classes are there, and no targets"
    asked, tious = ((detections, data.classes.seen), (proposals, None)), data.benchmark.tious
    named, agnostic = (metrics.means(class_table(videos, *each, tious), tious) for each in asked)
    recall = metrics.average_recall(videos, proposals)["AR@100"]
    written = read_json(run.dir / "metrics_on_training.json")
    for name in named:
        assert written[name] == training[name] == pytest.approx(named[name], abs=1e-9)
    assert written["agnostic_mAP"] == training["mAP of proposals"] == pytest.approx(agnostic["mAP"], abs=1e-9)
    assert written["AR@100"] == training["AR@100"] == pytest.approx(recall, abs=1e-9)
    assert written["seen"] == list(data.classes.seen) and set(written["per_class"]) <= seen and agnostic["mAP"] > 0
    both = detections, read_detections(run.dir / "detections_on_training.json")
    own, again = ({name: found.labels for name, found in each.items() if found.labels} for each in both)
    assert again == own
    kept = {name: (run.dir / name).read_bytes() for name in before}
    assert kept | {"run.json": b""} == before | {"run.json": b""}, "nothing of the test is touched"
    of_test = scored_on(data, params, "test")
    assert of_test[1] == [test] and test["mAP"] == read_json(run.dir / "metrics.json")["mAP"] != training["mAP"]
    assert of_test[0][0] is data
    assert read_json(run.dir / "metrics_on_training.json") == written

    last = history[-1]
    assert last[epoch_metrics.LEARNED] == len(learned)
    for name, value in ((epoch_metrics.TRAINING, agnostic["mAP"]), ("AR@100 of training videos", recall)):
        assert last[name] == pytest.approx(value, abs=1e-6), "the last epoch of the curve is that detector"


def test_a_detector_is_asked_in_windows_as_in_the_test_and_with_the_texts_of_seen_classes(simulated_folder, tmp_path):
    made = trained(simulated_folder, tmp_path / "run", target="name", test_overlap=0.5)
    params = made.params.but(evaluate_on="training")
    scored, proposals, _ = results.to_evaluate(made.data, params, made.run)
    assert scored.competing == made.data.classes.seen
    windows = scored.test_windows(window=32, overlap=0.5)
    predictions = predict(made.model, windows, texts=ideas.texts(scored, scored.classes.seen, params))
    assert predictions.embeddings is not None
    mine = inference.propose(predictions, windows, params)
    assert all(torch.equal(mine[name].segments, found.segments) for name, found in proposals.items())


def test_the_curve_looks_at_a_bounded_number_of_training_videos_the_same_each_time(simulated_folder, monkeypatch):
    monkeypatch.setattr(epoch_metrics, "MAX_TRAINING_VIDEOS", 3)
    data = gather(params := Params.check(SMALL | {"dataset": str(simulated_folder), "curves": True}))
    looks = [epoch_metrics.epoch_windows(data, each, None)[-1] for each in (params, params, params.but(seed=1))]
    videos = [[video.id for video in look.sides[epoch_metrics.TRAINING]] for look in looks]
    assert videos[0] == videos[1] != videos[2] and len(videos[0]) == 3
    assert set(videos[0]) < {video.id for video in data.training_videos}


def test_what_is_found_in_an_ambiguous_region_is_no_mistake_on_any_side(simulated_folder):
    data = gather(params := Params.check(SMALL | {"dataset": str(simulated_folder), "protocol": "thumos-toolkit"}))
    videos = [replace(video, ambiguous=((0.0, 2.0),)) for video in data.training_videos]
    spans = {video.id: torch.tensor([[0.0, 2.0], *((a.start, a.end) for a in video.actions)]) for video in videos}
    found = {name: Proposals(each, torch.linspace(1.0, 0.5, len(each))) for name, each in spans.items()}
    for side in (epoch_metrics.SEEN, epoch_metrics.TRAINING):
        assert epoch_metrics.measured(side, videos, found, data, params)[side] == pytest.approx(1.0)


def test_a_head_is_that_of_the_run_and_not_trained_again(simulated_folder):
    data = gather(params := Params.check(SMALL | {"dataset": str(simulated_folder), "head": "mlp"}))
    ideas.classify(data, params)
    kept = set((data.benchmark.cache / "heads").iterdir())
    ideas.classify(data.on_training(), params)
    assert kept and set((data.benchmark.cache / "heads").iterdir()) == kept


@pytest.mark.parametrize("protocol", ["strict", "gap", "opentad"])
def test_the_protocol_says_which_actions_of_training_videos_count(protocol, simulated_folder):
    data = gather(Params.check(SMALL | {"dataset": str(simulated_folder), "protocol": protocol}))
    first = data.benchmark.videos[0]
    short = replace(first.actions[0], start=30.0, end=30.5)
    twice = replace(first, actions=(*first.actions, first.actions[0], short))
    benchmark = replace(data.benchmark, videos=(twice, *data.benchmark.videos[1:]))
    assert first.actions[0].label == SIMULATED_CLASSES[0]
    classes = replace(data.classes, seen=SIMULATED_CLASSES[:2], unseen=SIMULATED_CLASSES[2:])
    scored = replace(data, benchmark=benchmark, classes=classes).on_training().scored
    assert len(scored[0].actions) == {"strict": 4, "gap": 3, "opentad": 3}[protocol]


def test_a_protocol_that_counts_no_action_of_the_training_videos_is_named(simulated_folder, tmp_path):
    words = {"protocol": "gap", "curves": True, "evaluate_on": "training", "run_dir": str(tmp_path)}
    params = Params.check(SMALL | {"dataset": str(simulated_folder)} | words)
    data = gather(params)
    short = [
        replace(v, actions=tuple(replace(a, end=a.start + 0.5) for a in v.actions)) if v.subset == "training" else v
        for v in data.benchmark.videos
    ]
    data = replace(data, benchmark=replace(data.benchmark, videos=tuple(short)))
    with pytest.raises(ValueError, match="protocol=gap counts no action of a seen class in the training videos"):
        results.to_evaluate(data, params, runs.start("evaluate", params))
    assert not any(epoch_metrics.TRAINING in look.sides for look in epoch_metrics.epoch_windows(data, params, None))


def test_the_second_evaluation_of_a_run_has_a_notebook_of_its_own(tmp_path):
    asked = ["papermill", str(ROOT / "notebooks" / "evaluate.ipynb"), "-p", "run_dir", str(tmp_path)]
    names = [
        Path(papermill_arguments.complete([*asked[1:], *more], lambda text: None)[1]).name
        for more in ([], ["-p", "evaluate_on", "training"])
    ]
    assert names == ["evaluate.ipynb", "evaluate_on_training.ipynb"]
