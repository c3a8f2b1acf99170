"""Every parameter changes something where it is allowed, and is refused where it can change nothing."""

import functools
import json

import pytest
import torch
from conftest import ROOT
from test_detector_steps import SMALL, folder  # noqa: F401  the same twelve simulated videos

from tadlib.detector.proposals import Answers, Proposals
from tadlib.workbook import steps
from tadlib.workbook.params import Params
from tadlib.workbook.steps.answers import target_texts, windows_of, without_names
from tadlib.workbook.steps.detector import fit, network

BASE = SMALL | {"epochs": 1, "feature_noise": 0.0, "feature_shift": 0.0, "dropout": 0.0, "top_k": 50}
SEGMENTS = torch.tensor([[3.0, 9.0], [4.0, 11.0], [25.0, 31.0], [0.0, 40.0], [12.0, 14.0], [26.0, 30.0]])


def gathered(params):
    """Videos that count, with their actions, classes and features."""
    data = steps.gather(params)
    return data.scored, data.classes, [data.store.read(video.id).sum() for video in data.scored]


def cut(params):
    """Batches of training windows."""
    windows = steps.training_windows(steps.gather(params), params)
    batches = list(windows.batches(3, torch.Generator().manual_seed(0)))
    return [(batch.windows, batch.targets, batch.features.shape) for batch in batches]


def asked(params):
    """Test windows."""
    data = steps.gather(params)
    return [item.window for item in windows_of(data.scored, data, params)]


def answered(params):
    """What an untrained network says."""
    data = steps.gather(params)
    found, _ = steps.answer(network(512, params, len(data.classes.seen)).eval(), data, params)
    return found.segments_cw, found.scores


def trained(params, place):
    """The weights after an epoch."""
    data = steps.gather(params)
    return fit(data, steps.training_windows(data, params), params, place / "none.pt")[0].state_dict()


def proposed(params):
    """Proposals from the same answers of queries."""
    data, draw = steps.gather(params), torch.Generator().manual_seed(0)
    windows = windows_of(data.scored, data, params)
    cw = torch.rand(len(windows), 60, 2, generator=draw) * torch.tensor([1.0, 0.4])
    answers = Answers(cw, torch.rand(len(windows), 60, generator=draw), None, [item.window for item in windows])
    proposals = steps.propose(answers, windows, params)
    return [(each.segments, each.scores) for each in (proposals | without_names(data, proposals, params)).values()]


def named(params):
    """Detections from the same proposals."""
    data, draw = steps.gather(params), torch.Generator().manual_seed(0)
    scores, own = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.3, 0.2]), torch.randn(len(SEGMENTS), 512, generator=draw)
    proposals = {video.id: Proposals(SEGMENTS, scores, own) for video in data.scored}
    return list(steps.name(data, proposals, params).values())


def read(params):
    """The texts that a classifying detector is trained on."""
    data = steps.gather(params)
    return target_texts(data, params, data.classes.seen)


TEXTS, OTHER = {"text": "subactions"}, {"split": 75}
MLP, PAIRS = {"head": "mlp", "head_lr": 0.1}, {"head": "mlp", "head_lr": 0.1, "head_loss": "contrastive"}
STEPS = {"text": "subactions", "text_head": "mlp", "text_lr": 0.1}
MATTERS = {  # parameter -> (another value, what shows it, the other words it is given with)
    "split": (75, gathered, {}),
    "split_id": (1, gathered, {}),
    "world_seed": (1, gathered, {}),
    "stride": (16, gathered, {}),
    "snippets": (50, gathered, {}),
    "protocol": ("t3al", gathered, {}),
    "window": (16, cut, {}),
    "overlap": (0.75, cut, {"window": 16}),
    "integrity": (0.1, cut, {"window": 16}),
    "jitter": (False, cut, {"window": 16}),
    "negatives": (0.0, cut, {"window": 8}),
    "rescale": (20, cut, {"window": 0}),
    "validation": (0.3, cut, {}),
    "batch_size": (2, trained, {}),
    "ignore_unseen": ("everywhere", cut, {"window": 16}),
    "test_window": (16, asked, {}),
    "test_overlap": (0.5, asked, {"test_window": 16}),
    "seed": (1, answered, {}),
    "queries": (7, answered, {}),
    "width": (32, answered, {}),
    "heads": (4, answered, {}),
    "encoder_layers": (0, answered, {}),
    "decoder_layers": (3, answered, {}),
    "conv_layers": (0, answered, {}),
    "system": ("published", answered, {}),
    "centres": ("drawn", answered, {"system": "published"}),
    "positions": ("learned", trained, {}),
    "quality": (True, answered, {}),
    "iterative": (True, answered, {"system": "published"}),
    "target": ("prompt", trained, {}),
    "refine": ("attention", trained, {}),
    "refine_layers": (2, trained, {"refine": "mean"}),
    "refine_residual": (False, trained, {"refine": "mean"}),
    "refine_join": ("alone", trained, {"refine": "mean", "refine_residual": False}),
    "fuse_text": (True, trained, {}),
    "salience": ("bce", trained, {}),
    "loss_salience": (30.0, trained, {"salience": "bce"}),
    "segmentation": ("memory", trained, {}),
    "loss_segmentation": (10.0, trained, {"segmentation": "memory"}),
    "segmentation_temperature": (1.0, trained, {"segmentation": "memory"}),
    "loss_quality": (40.0, trained, {"quality": True}),
    "loss_class": (1.0, trained, {}),
    "loss_l1": (1.0, trained, {}),
    "loss_giou": (20.0, trained, {}),
    "overlap_loss": ("iou", trained, {}),
    "cost_class": (200.0, trained, {}),
    "cost_l1": (500.0, trained, {}),
    "cost_giou": (500.0, trained, {}),
    "aux_loss": (False, trained, {}),
    "dropout": (0.5, trained, {}),
    "feature_noise": (1.0, trained, {}),
    "feature_shift": (1.0, trained, {}),
    "epochs": (2, trained, {}),
    "accumulate": (2, trained, {"batch_size": 4}),
    "lr": (0.01, trained, {}),
    "lr_backbone": (0.01, trained, {}),
    "weight_decay": (0.5, trained, {}),
    "clip_norm": (0.0001, trained, {"weight_decay": 0.0, "schedule": "step"}),
    "schedule": ("step", trained, {"batch_size": 2}),
    "warm_up": (0.9, trained, {"batch_size": 2}),
    "ema": (True, trained, {"batch_size": 2}),
    "episodes": (0.5, trained, {}),
    "nms": ("hard", proposed, {}),
    "nms_tiou": (0.1, proposed, {}),
    "nms_per": ("class", proposed, {"top_k": 2, "nms": "none"}),
    "filter_threshold": (0.5, proposed, {}),
    "top_k": (3, named, {}),
    "text": ("name", named, {}),
    "lead": ("name", named, TEXTS),
    "pooling": ("max", named, {}),
    "roi_bins": (3, named, {}),
    "similarity_at": ("bins", named, {}),
    "extend": (2.0, named, {}),
    "contrast": (0.5, named, {}),
    "similarity": ("dot", named, {"logit_scale": "none"}),
    "logit_scale": ("raw", named, {}),
    "temperature": (3.0, named, {}),
    "probability": ("sigmoid", named, {}),
    "candidates": ("unseen", named, {}),
    "fusion": ("clip", named, {}),
    "fusion_weight": (0.1, named, {"fusion": "geometric"}),
    "keep": ("class_one", named, {}),
    "transfer": ("conse", named, {}),
    "proposed_by": ("snippets", named, {}),
    "reject": ("proposal", named, {"reject_below": 2.0}),
    "reject_below": (9.0, named, {"reject": "proposal"}),
    "ensemble": ("geometric", named, MLP),
    "ensemble_weight": (0.1, named, MLP | {"ensemble": "geometric"}),
    "head": ("mlp", named, {}),
    "text_head": ("mlp", named, {"text": "subactions"}),
    "background": ("learned", named, {}),
    "head_residual": (False, named, MLP),
    "head_loss": ("focal", named, MLP),
    "head_on": ("snippets", named, MLP),
    "head_epochs": (4, named, MLP),
    "head_lr": (0.01, named, {"head": "mlp"}),
    "text_lr": (0.01, named, STEPS),
    "head_episodes": (0.5, named, MLP),
    "hard_negatives": ("region", named, PAIRS),
    "rerank": (0.5, named, PAIRS | {"hard_negatives": "region"}),
}
ELSEWHERE = {  # parameter -> (the test file that sees its effect, why it is not seen here)
    "dataset": ("test_datasets.py", "the data themselves"),
    "features": ("test_sources.py", "a folder, videos or a simulation"),
    "text_features": ("test_sources.py", "a file"),
    "encoder": ("test_encoder.py", "needs a CLIP"),
    "pretrained": ("test_encoder.py", "needs a CLIP"),
    "frames_per_snippet": ("test_extraction.py", "needs videos"),
    "missing": ("test_sources.py", "needs broken videos"),
    "context": ("test_context.py", "needs a text tower"),
    "context_at": ("test_context.py", "needs a text tower"),
    "agreement": ("test_agreement.py", "needs a text tower"),
    "descriptions": ("test_parameters_matter.py", "a file: the tests below"),
    "select": ("test_detector_steps.py", "several epochs"),
    "curves": ("test_detector_steps.py", "only looked at"),
    "device": ("test_cuda.py", "where a run computes"),
    "precision": ("test_precision.py", "how a run computes"),
    "compile": ("test_precision.py", "the same numbers, faster"),
    "deterministic": ("test_detector_steps.py", "the same numbers on a CPU"),
    "tensorboard": ("test_training.py", "logs beside the result"),
    "data_dir": ("test_sources.py", "a place"),
    "run_dir": ("test_runs.py", "a place"),
}


@pytest.fixture(scope="module")
def look(folder):  # noqa: F811
    """What shows parameters as text, every number of it; each asked once."""

    @functools.cache
    def shown(how, words):
        params = Params.read(BASE | {"dataset": str(folder)} | json.loads(words))
        found = how(params, folder) if how is trained else how(params)
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
    Params.check(words | {name: value})
    assert look(how, words | {name: value}) != look(how, words)
