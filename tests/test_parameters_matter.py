"""Every parameter changes something where it is allowed, and is refused where it can change nothing."""

import functools
import json
import tempfile

import pytest
import torch
from conftest import ROOT
from notebook import run_cells
from standins import SMALL

from tadlib import ideas
from tadlib.data.batches import Batch, Target
from tadlib.data.datasets import THUMOS14_CLASSES
from tadlib.detector.additions import Outputs
from tadlib.detector.proposals import Predictions, Proposals, predict
from tadlib.ideas import class_targets
from tadlib.workbook import inference
from tadlib.workbook.gathering import gather
from tadlib.workbook.inference import class_agnostic, inference_windows
from tadlib.workbook.params import Params
from tadlib.workbook.plans import plan
from tadlib.workbook.rules import EFFECTS
from tadlib.workbook.stages import NAMING, STAGES, read_by, reduced

pytestmark = pytest.mark.notebooks
BASE = SMALL | {"epochs": 1, "feature_noise": 0.0, "feature_shift": 0.0, "dropout": 0.0, "top_k": 50}
SEGMENTS = torch.tensor([[3.0, 9.0], [4.0, 11.0], [25.0, 31.0], [0.0, 40.0], [12.0, 14.0], [26.0, 30.0]])


def gathered(params):
    """Videos that count, with their actions, classes and features."""
    data = gather(params)
    return data.scored, data.classes, [data.store.read(video.id).sum() for video in data.scored]


def cells(params, until):
    """What the cells of train.ipynb define up to one with a text."""
    with tempfile.TemporaryDirectory() as place:
        made = run_cells("train", until, **(params.model_dump() | {"run_dir": place}))
        made.run.finish()
    return made


def cut(params):
    """Batches of training windows."""
    windows = cells(params, "data.training_windows").windows
    batches = list(windows.batches(3, torch.Generator().manual_seed(0)))
    return [(batch.windows, batch.targets, batch.features.shape) for batch in batches]


def asked(params):
    """Test windows."""
    data = gather(params)
    return [item.window for item in inference_windows(data.scored, data, params)]


def answered(params):
    """What an untrained network says."""
    made = cells(params, "criterion =")
    windows = inference_windows(made.data.scored, made.data, params)
    found = predict(made.model, windows, texts=ideas.texts(made.data, made.data.competing, params))
    return found.segments_cw, found.scores


def lost(params):
    """The losses of the same predictions to the same actions."""
    draw, padding = torch.Generator().manual_seed(0), torch.zeros(2, 4, dtype=torch.bool)
    targets = [Target(torch.rand(3, 2, generator=draw), torch.zeros(3, dtype=torch.int64)) for _ in range(2)]
    outputs = Outputs(torch.rand(2, 20, 2, generator=draw), torch.randn(2, 20, generator=draw))
    return cells(params, "criterion =").criterion(outputs, Batch(torch.zeros(2, 4, 1), padding, targets, []))


def trained(params):
    """The weights after an epoch."""
    model = cells(params, "trainer.epochs()").model
    return {name: weight.double().abs().sum() for name, weight in model.state_dict().items()}


def proposals_of(params):
    """Proposals from the same predictions of queries."""
    data, draw = gather(params), torch.Generator().manual_seed(0)
    windows = inference_windows(data.scored, data, params)
    cw = torch.rand(len(windows), 60, 2, generator=draw) * torch.tensor([1.0, 0.4])
    predictions = Predictions(cw, torch.rand(len(windows), 60, generator=draw), None, [item.window for item in windows])
    proposals = inference.propose(predictions, windows, params)
    return list(proposals.values()), list(class_agnostic(data, proposals, params).values())


def detections_of(params):
    """Detections from the same proposals."""
    data, draw = gather(params), torch.Generator().manual_seed(0)
    scores, own = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.3, 0.2]), torch.randn(len(SEGMENTS), 512, generator=draw)
    proposals = {video.id: Proposals(SEGMENTS, scores, own) for video in data.scored}
    return list(inference.name(data, proposals, params).values())


TEXTS = {"text": "subactions"}
MLP, PAIRS = {"head": "mlp", "head_lr": 0.1}, {"head": "mlp", "head_lr": 0.1, "head_loss": "contrastive"}
STEPS = {"text": "subactions", "text_head": "mlp", "text_lr": 0.1}
MATTERS = {  # parameter -> (another value, what shows it, the other words it is given with)
    "split": (75, gathered, {"split_id": 1}), "split_id": (1, gathered, {}), "world_seed": (1, gathered, {}),
    "held_out": (1, gathered, {}),
    "stride": (16, gathered, {}), "snippets": (50, gathered, {}), "protocol": ("t3al", gathered, {}),
    "window": (16, cut, {}), "overlap": (0.75, cut, {"window": 16}), "integrity": (0.1, cut, {"window": 16}),
    "jitter": (False, cut, {"window": 16}), "negatives": (0.0, cut, {"window": 8}),
    "rescale": (20, cut, {"window": 0}), "validation": (0.3, cut, {}), "batch_size": (2, trained, {}),
    "ignore_unseen": ("everywhere", cut, {"window": 16}), "test_window": (16, asked, {}),
    "test_overlap": (0.5, asked, {"test_window": 16}), "seed": (1, answered, {}), "queries": (7, answered, {}),
    "width": (32, answered, {}), "heads": (4, answered, {}), "encoder_layers": (0, answered, {}),
    "decoder_layers": (3, answered, {}), "conv_layers": (0, answered, {}), "system": ("published", answered, {}),
    "centres": ("drawn", answered, {"system": "published"}), "positions": ("learned", trained, {}),
    "quality": (True, answered, {}), "iterative": (True, answered, {"system": "published"}),
    "target": ("prompt", trained, {}), "refine": ("attention", trained, {}),
    "refine_layers": (2, trained, {"refine": "mean"}), "refine_residual": (False, trained, {"refine": "mean"}),
    "refine_join": ("alone", trained, {"refine": "mean", "refine_residual": False}),
    "fuse_text": (True, trained, {}), "salience": ("bce", trained, {}),
    "loss_salience": (30.0, trained, {"salience": "bce"}), "segmentation": ("memory", trained, {}),
    "loss_segmentation": (10.0, trained, {"segmentation": "memory"}),
    "segmentation_temperature": (1.0, trained, {"segmentation": "memory"}),
    "loss_quality": (40.0, trained, {"quality": True}), "loss_class": (1.0, trained, {}),
    "loss_l1": (1.0, trained, {}), "loss_giou": (20.0, trained, {}), "overlap_loss": ("iou", lost, {}),
    "cost_class": (200.0, lost, {}), "cost_l1": (0.0, lost, {}), "cost_giou": (500.0, lost, {}),
    "aux_loss": (False, trained, {}), "dropout": (0.5, trained, {}), "feature_noise": (1.0, trained, {}),
    "feature_shift": (1.0, trained, {}), "epochs": (2, trained, {}), "accumulate": (2, trained, {"batch_size": 4}),
    "lr": (0.01, trained, {}), "lr_backbone": (0.01, trained, {}), "weight_decay": (0.5, trained, {}),
    "clip_norm": (0.0001, trained, {"weight_decay": 0.0, "schedule": "step"}),
    "schedule": ("step", trained, {"batch_size": 2}), "warm_up": (0.9, trained, {"batch_size": 2}),
    "ema": (True, trained, {"batch_size": 2}), "episodes": (0.5, trained, {}), "nms": ("hard", proposals_of, {}),
    "nms_tiou": (0.1, proposals_of, {}), "nms_per": ("class", proposals_of, {"top_k": 2, "nms": "none"}),
    "filter_threshold": (0.5, proposals_of, {}), "top_k": (3, detections_of, {}),
    "text": ("name", detections_of, {}), "lead": ("name", detections_of, TEXTS),
    "pooling": ("max", detections_of, {}), "roi_bins": (3, detections_of, {}),
    "similarity_at": ("bins", detections_of, {}), "extend": (2.0, detections_of, {}),
    "contrast": (0.5, detections_of, {}), "similarity": ("dot", detections_of, {"logit_scale": "none"}),
    "logit_scale": ("raw", detections_of, {}), "temperature": (3.0, detections_of, {}),
    "probability": ("sigmoid", detections_of, {}), "candidates": ("unseen", detections_of, {}),
    "fusion": ("clip", detections_of, {}), "fusion_weight": (0.1, detections_of, {"fusion": "geometric"}),
    "keep": ("class_one", detections_of, {}), "transfer": ("conse", detections_of, {}),
    "proposed_by": ("snippets", detections_of, {}), "reject": ("proposal", detections_of, {"reject_below": 2.0}),
    "reject_below": (9.0, detections_of, {"reject": "proposal"}), "ensemble": ("geometric", detections_of, MLP),
    "ensemble_weight": (0.1, detections_of, MLP | {"ensemble": "geometric"}), "head": ("mlp", detections_of, {}),
    "text_head": ("mlp", detections_of, TEXTS), "background": ("learned", detections_of, {}),
    "head_residual": (False, detections_of, MLP), "head_loss": ("focal", detections_of, MLP),
    "head_on": ("snippets", detections_of, MLP), "head_epochs": (4, detections_of, MLP),
    "head_lr": (0.01, detections_of, {"head": "mlp"}), "text_lr": (0.01, detections_of, STEPS),
    "head_episodes": (0.5, detections_of, MLP), "hard_negatives": ("region", detections_of, PAIRS),
    "rerank": (0.5, detections_of, PAIRS | {"hard_negatives": "region"}),
}  # fmt: skip
ELSEWHERE = {  # parameter -> (the test file that sees its effect, why it is not seen here)
    "dataset": ("test_datasets.py", "the data themselves"),
    "demo_seed": ("test_demo.py", "needs rendered videos"),
    "features": ("test_sources.py", "a folder, videos or a simulation"),
    "text_features": ("test_sources.py", "a file"),
    "encoder": ("test_encoder.py", "needs a CLIP"),
    "pretrained": ("test_encoder.py", "needs a CLIP"),
    "frames_per_snippet": ("test_sources_change.py", "needs videos"),
    "missing": ("test_sources.py", "needs broken videos"),
    "context": ("test_context.py", "needs a text tower"),
    "context_at": ("test_context.py", "needs a text tower"),
    "agreement": ("test_agreement.py", "needs a text tower"),
    "descriptions": ("test_parameters_matter.py", "a file: the tests below"),
    "ideas": ("test_own_ideas.py", "a file, whose hooks change training, naming and proposals"),
    "select": ("test_detector_steps.py", "several epochs"),
    "curves": ("test_detector_steps.py", "only looked at"),
    "evaluate_on": ("test_training_set.py", "other videos are scored, by what was trained and named alike"),
    "device": ("test_cuda.py", "where a run computes"),
    "precision": ("test_precision.py", "how a run computes"),
    "compile": ("test_precision.py", "the same numbers, faster"),
    "deterministic": ("test_detector_steps.py", "the same numbers on a CPU"),
    "tensorboard": ("test_precision.py", "logs beside the result"),
    "data_dir": ("test_sources.py", "a place"),
    "run_dir": ("test_runs.py", "a place"),
}


@pytest.fixture(scope="module")
def look(simulated_folder):
    """What shows parameters as text, every number of it; each asked once."""

    @functools.cache
    def shown(how, words):
        params = Params.read(BASE | {"dataset": str(simulated_folder)} | json.loads(words))
        found = how(params)
        torch.set_printoptions(threshold=10**9, precision=9)
        try:
            return repr(found)
        finally:
            torch.set_printoptions("default")

    return lambda how, words: shown(how, json.dumps(words, sort_keys=True))


def test_every_parameter_is_varied_or_says_where():
    assert MATTERS.keys() | ELSEWHERE.keys() == Params.model_fields.keys() and not MATTERS.keys() & ELSEWHERE.keys()
    for name, (file, _) in ELSEWHERE.items():
        assert name in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{name} is not in {file}"


@pytest.mark.parametrize("name", MATTERS)
def test_a_parameter_changes_something_where_it_is_allowed(name, look):
    value, how, words = MATTERS[name]
    Params.check(BASE | {"dataset": "my/own"} | words | {name: value})
    assert look(how, words | {name: value}) != look(how, words)


PROMPT = {"target": "prompt", "agreement": 0.0}
ENSEMBLE = PROMPT | {"ensemble": "geometric"}
SIMULATED, CLOSED, WHOLE = {"features": "simulate"}, {"split": 0}, {"window": 0}
LESSON = {"head_loss": "focal", "head_on": "snippets", "head_episodes": 0.3, "head_epochs": 3}
READ_BY_NAMING = (NAMING | {"target", "agreement"}) - {"context", "descriptions"}
PLAIN = {"head_epochs": 2}
IDLE = [  # words, others with which they can have no effect, others with which they can
    ({"split_id": 3, "held_out": 1, "candidates": "unseen", "ignore_unseen": "everywhere"}, CLOSED, {"split": 50}),
    ({"demo_seed": 1}, {"dataset": "my/own"}, {"dataset": "demo"}),
    ({"world_seed": 3}, {}, SIMULATED),
    ({"encoder": "ViT-B-32", "pretrained": "openai", "frames_per_snippet": 2, "missing": "skip"}, SIMULATED, {}),
    ({"text_features": "x.npz"}, SIMULATED, {"features": "folder"}), ({"stride": 8}, {"snippets": 64}, {}),
    ({"overlap": 0.75, "jitter": False, "negatives": 0.0}, WHOLE, {"test_window": 0}),
    ({"test_overlap": 0.5}, WHOLE, WHOLE | {"test_window": 64}), ({"test_overlap": 0.5}, {"test_window": 0}, {}),
    ({"refine_layers": 2, "refine_residual": False, "refine_join": "alone"}, {}, {"refine": "mean"}),
    ({"lr_backbone": 0.5}, {"conv_layers": 0}, {}),
    ({"aux_loss": False}, {"decoder_layers": 1}, {"decoder_layers": 1, "refine": "max"}),
    ({"overlap_loss": "iou"}, {"loss_giou": 0.0}, {}), ({"loss_salience": 1.0}, {}, {"salience": "ce"}),
    ({"salience": "ce"}, {"loss_salience": 0.0}, {}), ({"loss_quality": 1.0}, {}, {"quality": True}),
    ({"loss_segmentation": 2.0, "segmentation_temperature": 1.0}, {}, {"segmentation": "memory"}),
    ({"segmentation": "memory", "segmentation_temperature": 1.0}, {"loss_segmentation": 0.0}, {}),
    ({"select": "validation"}, {"validation": 0.2, "epochs": 1}, {"validation": 0.2}),
    ({"nms_tiou": 0.1}, {"nms": "none"}, {"nms": "hard"}),
    ({"nms_per": "class"}, {"nms": "none"}, {"nms": "none", "top_k": 5}),
    ({"pooling": "max", "similarity_at": "bins", "extend": 2.0, "contrast": 0.5}, PROMPT, ENSEMBLE),
    ({"pooling": "max", "extend": 2.0}, PROMPT, PROMPT | {"reject": "proposal"}),
    ({"pooling": "matching_fixed"}, PROMPT, PROMPT | {"keep": "class_video", "context": 4}),
    ({"roi_bins": 4}, PROMPT, ENSEMBLE), ({"transfer": "map"}, PROMPT, PROMPT | {"keep": "class_video"}),
    ({"head": "mlp", "background": "learned"}, PROMPT, ENSEMBLE),
    ({"head": "mlp"} | LESSON, PROMPT | {"keep": "class_video"}, ENSEMBLE),
    ({"head_lr": 0.1, "head_residual": False} | LESSON, PROMPT | {"head": "mlp"}, ENSEMBLE | {"head": "mlp"}),
    ({"text_head": "mlp", "context": 4}, PROMPT, PROMPT | {"reject": "video"}),
    ({"text_lr": 0.1}, PROMPT | {"text_head": "mlp"}, PROMPT | {"text_head": "mlp", "keep": "class_video"}),
    (
        {"hard_negatives": "region"},
        PROMPT | {"head": "mlp", "head_loss": "contrastive"},
        PROMPT | {"head": "mlp", "head_loss": "contrastive", "rerank": 0.5},
    ),
    ({"text": "name"}, PROMPT, PROMPT | {"fuse_text": True}),
    ({"text": "name"}, PROMPT, {"target": "prompt", "agreement": 0.5}),
    ({"text": "name"}, ENSEMBLE | {"ensemble_weight": 0.0}, ENSEMBLE),
    ({"text": "subactions", "lead": "name"}, PROMPT, PROMPT | {"segmentation": "memory"}),
    ({"descriptions": "x.json"}, {}, {"text": "description"}),
    ({"descriptions": "x.json"}, PROMPT, {"target": "description"}),
    ({"text": "name"}, {"text_features": "x.npz"}, {"text_features": "x.npz", "text_head": "mlp"}),
    ({"text": "subactions", "lead": "name", "descriptions": "x.json"}, {"text_features": "x.npz"}, {}),
    ({"ensemble": "arithmetic"}, {}, {"background": "learned"}), ({"ensemble_weight": 0.1}, {}, ENSEMBLE),
    ({"pooling": "max"}, {"roi_bins": 1}, {"roi_bins": 2}),
    ({"pooling": "sparse"}, {"roi_bins": 4}, {"roi_bins": 8}),
    ({"roi_bins": 4}, {"pooling": "centre_snippet"}, {"pooling": "centre_snippet", "contrast": 0.5}),
    ({"similarity_at": "bins"}, {"pooling": "text_attention"}, {"pooling": "max"}),
    ({"similarity_at": "bins"}, {"similarity": "dot", "logit_scale": "none"}, {"roi_bins": 2}),
    ({"extend": 2.0}, {"pooling": "centre_snippet"}, {"pooling": "centre_snippet", "contrast": 0.5}),
    (LESSON | {"background": "soft", "head_lr": 0.1}, {}, {"head": "mlp"}),
    ({"head_lr": 0.1}, {"text_head": "mlp"}, {"pooling": "mask"}),
    ({"text_lr": 0.1}, {"head": "mlp"}, {"context": 4}),
    ({"head_residual": False}, {"head": "adapter"}, {"text_head": "mlp"}),
    ({"context_at": "around"}, {"context": 1}, {"context": 2}),
    ({"fusion_weight": 0.7}, {}, {"fusion": "geometric"}),
    ({"rerank": 0.5}, PAIRS | {"hard_negatives": "region", "fusion": "clip"}, PAIRS | {"hard_negatives": "region"}),
    ({"probability": "sigmoid"}, {"fusion": "detector"}, {"fusion": "detector", "proposed_by": "both"}),
    ({"temperature": 2.0, "logit_scale": "none"}, {"fusion": "detector"}, {"fusion": "detector", "transfer": "map"}),
    ({"reject_below": 1.0}, {}, {"reject": "video"}), ({"keep": "class_specific"}, {"fusion": "detector"}, {}),
]  # fmt: skip
EACH = pytest.mark.parametrize(("words", "without", "with_it"), IDLE, ids=str)


@EACH
def test_a_word_is_refused_where_it_can_have_no_effect_and_there_alone(words, without, with_it):
    with pytest.raises(ValueError) as error:
        Params.check(words | without)
    told = str(error.value).split("; ")
    assert {name for name in words if any(each.startswith(f"{name}=") for each in told)} == words.keys()
    assert all(": it needs " in each for each in told)
    Params.check(words | with_it)


def test_every_need_has_a_case_that_it_alone_refuses():
    every = [Params.read(words | without) for words, without, _ in IDLE]
    for need in EFFECTS:
        for name in need.names.split():
            cases = zip(every, IDLE, strict=True)
            assert any(name in words and not need.holds(params.facts()) for params, (words, *_) in cases), (
                name,
                need.says,
            )


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (words, without)
        for words, without, _ in IDLE
        if words.keys() | without.keys() <= READ_BY_NAMING and without.get("similarity") != "dot"  # it has, in rounding
    ],
    ids=str,
)
def test_a_word_that_is_refused_has_no_effect_on_detections(words, without, look):
    assert look(detections_of, PLAIN | without | words) == look(detections_of, PLAIN | without)


@EACH
def test_what_a_run_has_already_is_not_refused(words, without, with_it):
    params = Params.read(words | without)
    assert Params.check({"protocol": "plain"}, params.model_dump()).protocol == "plain"
    assert Params.check(words | without, params.model_dump()) == params
    for stage in STAGES:
        Params.check(reduced(stage, words | with_it))
    kept = Params.read(reduced("train", words | with_it))
    assert read_by("train", kept) == read_by("train", Params.read(words | with_it)), "as a later stage will expect it"


def test_defaults_and_recipes_are_not_refused_and_repeating_them_asks_for_nothing():
    for words, without, _ in IDLE:
        assert not words.keys() & Params.idle(
            without | {name: Params.read(without).model_dump()[name] for name in words}
        )


def test_a_plan_leaves_a_common_word_out_of_the_runs_in_which_it_has_no_effect(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("# Why?\nhead_residual: false\nsweep: {head: [none, mlp]}\n")
    none, mlp = plan(path).runs.values()
    assert none == {"head": "none"} and mlp == {"head": "mlp", "head_residual": False}
    path.write_text("# Why?\nhead_residual: false\nsweep: {head: [none, adapter]}\n")
    with pytest.raises(ValueError, match="e.yaml: head_residual=false has no effect: it needs another head"):
        plan(path)


def test_a_detector_of_descriptions_reads_those_of_your_file(simulated_folder, tmp_path):
    said = {name: {"Elaboration": {"Description": f"my words for {name}"}} for name in THUMOS14_CLASSES}
    (tmp_path / "own.json").write_text(json.dumps(said))
    found = []
    for given in ({}, {"descriptions": str(tmp_path / "own.json")}):
        params = Params.check(BASE | {"dataset": str(simulated_folder), "target": "description"} | given)
        data = gather(params)
        found.append(class_targets.texts(data, data.classes.seen, params.target))
        assert ("descriptions" in read_by("train", params)) and "descriptions" not in read_by("train", Params.check({}))
    assert found[0].shape == found[1].shape and not torch.allclose(*found)
