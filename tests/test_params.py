"""The vocabulary refuses what is misspelt or impossible, and says what would be right."""

import inspect

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tadlib.data.batches import WindowSettings
from tadlib.detector.additions import Addition
from tadlib.detector.losses import DetectionLoss
from tadlib.detector.matching import detection_cost
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import to_proposals
from tadlib.detector.training import Trainer
from tadlib.ideas.head_training import HeadTraining
from tadlib.ideas.quality import Quality
from tadlib.ideas.segmentation import Segmentation
from tadlib.naming.fusion import fuse, select, to_detections
from tadlib.naming.text import Wording
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import RECIPES, Params
from tadlib.workbook.rules import CONFLICTS
from tadlib.workbook.vocabulary import allowed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spilt": 50}, "unknown parameter 'spilt'; did you mean 'split'?"),
        ({"learning_rate": 1e-3}, "unknown parameter 'learning_rate'; did you mean 'lr' or 'head_lr' or 'text_lr'?"),
        ({"split": 60}, "split must be one of 75, 50, 0; got 60"),
        ({"split": False}, "split must be no yes or no; got False"),
        ({"split_id": 10}, "split_id must be a whole number >= 0 and <= 9; got 10"),
        ({"lr": "fast"}, "lr must be a number > 0; got 'fast'"),
        ({"lr": float("nan")}, "lr must be a number > 0; got nan"),
        ({"ema": "perhaps"}, "ema must be true or false; got 'perhaps'"),
        ({"nms": "sofft"}, "nms must be one of hard, soft, none; got 'sofft'; did you mean 'soft'?"),
        ({"epochs": 2.5}, "epochs must be a whole number >= 1 and <= 1000000; got 2.5"),
        ({"nms": None}, "nms must be one of hard, soft, none; got None"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, mps; got 'gpu'; did you mean 'cuda'?"),
        ({"fusion_weight": 1.5}, "fusion_weight must be a number >= 0 and <= 1; got 1.5"),
        ({"head_episodes": 1.0}, "head_episodes must be a number >= 0 and < 1; got 1.0"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(given, message):
    with pytest.raises(ValueError) as error:
        Params.check(given)
    assert str(error.value) == message


CONTRARY = [  # what contradicts itself, and how the sentence begins
    ({"encoder": "ViT-B-16", "pretrained": ""}, "pretrained= leaves encoder without weights: pass a tag or a file"),
    ({"width": 100}, "width=100 must be a multiple of twice heads, got heads=8"),
    ({"rescale": 300, "window": 0, "test_window": 64}, "rescale=300 resamples whole videos: it needs window=0 and"),
    ({"refine": "mean", "refine_join": "alone"}, "refine_join=alone leaves no residual of the self-attention"),
    (
        {"target": "none"},
        "target=none trains without class texts: it needs split=0, fuse_text=false and segmentation=none, got",
    ),
    ({"held_out": 3, "protocol": "t3al"}, "held_out=3 needs another protocol than t3al"),
    ({"select": "validation"}, "select=validation needs videos held out: validation > 0, got validation=0.0"),
    ({"proposed_by": "both", "target": "name"}, "proposed_by=both gives proposals that CLIP alone can classify: it"),
    ({"pooling": "ordered"}, "pooling=ordered needs text=subactions, lead=none and another background than learned"),
    (
        {"similarity": "dot", "logit_scale": "none", "pooling": "matching_fixed"},
        "pooling=matching_fixed compares cosines: it needs similarity=cosine, got similarity=dot",
    ),
    ({"lead": "name"}, "lead=name is the text before subactions: it needs text=subactions, got text=prompt"),
    ({"similarity": "dot"}, "similarity=dot needs logit_scale=none"),
    ({"transfer": "map", "background": "learned"}, "transfer=map reads one embedding for each class: it needs"),
    ({"text_head": "cross"}, "text_head=cross uses class names as its queries: it needs lead=name"),
    ({"head_loss": "grounding"}, "head_loss=grounding needs something to train: head, text_head or context, got"),
    ({"hard_negatives": "region"}, "hard_negatives=region needs head_loss=contrastive or grounding, got"),
    (
        {"hard_negatives": "region", "head_loss": "contrastive", "head": "mlp", "head_on": "snippets"},
        "hard_negatives=region takes regions adjacent to segments: it needs head_on=segments, got head_on=snippets",
    ),
    (
        {"hard_negatives": "order", "head_loss": "contrastive", "head": "mlp"},
        "hard_negatives=order permutes the steps of a class: it needs text=subactions and text_head=composition",
    ),
    (
        {"rerank": 0.5},
        "rerank=0.5 needs something to compare proposals with: hard_negatives=order, region or all, got hard",
    ),
]


@pytest.mark.parametrize(("given", "message"), CONTRARY)
def test_parameters_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ValueError) as error:
        Params.check(given)
    assert str(error.value).startswith(message)


def test_every_contradiction_has_a_case():
    assert len(CONTRARY) == len(CONFLICTS)


@pytest.mark.parametrize("more", [{}, {"dataset": "mine"}, {"dataset": "mine", "stride": 4}])
def test_the_demos_encoder_needs_no_weights_on_any_data(more):
    assert Params.check({"encoder": "tad-demo"} | more).pretrained == ""


def test_a_value_in_a_condition_is_not_taken_for_a_parameter():
    with pytest.raises(ValueError, match="got fusion=detector, proposed_by=detector$"):
        Params.check({"fusion": "detector", "probability": "sigmoid"})


def test_what_papermill_and_yaml_turn_into_text_is_repaired():
    params = Params.check({"lr": "1e-4", "ema": "true", "split": "50", "dataset": 7})
    assert (params.lr, params.ema, params.split, params.dataset) == (1e-4, True, 50, "7")


def test_recipe_fills_what_is_not_given_and_yields_to_what_is():
    for given in ({}, {"queries": None}):
        assert Params.check(given).queries == RECIPES["demo"]["queries"]
    assert Params.check({"queries": 30}).queries == 30
    for dataset, recipe in RECIPES.items():
        assert Params.check(recipe | {"dataset": dataset}).queries == Params.check({"dataset": dataset}).queries


TAGGED = "split: int = 75  # per cent\nlr: float = None\nepochs: int = None  # passes\nseed: int = 0\n"


def ran(*cells: str) -> dict:
    """The names of a notebook after its cells ran one after the other, as a kernel has them."""
    shell = InteractiveShell()
    for cell in cells:
        shell.run_cell(cell, store_history=True)
    return shell.user_ns


@pytest.mark.parametrize(
    "cell",
    [
        *("epochs = 2 * 10", "epochs: int = 2 * 10", "import math\nepochs = int(math.sqrt(400))"),
        *("%precision 3\nepochs = 20", "%%time\nepochs = 20", "print('mine')\nepochs = 20"),
        *("if True:\n    epochs = 20\nelse:\n    epochs = 3", "epochs = (\n    20\n)", "epochs, seed = 20, 0"),
        *("epochs = seed = 20", "epochs = 10\nepochs *= 2", "base = 10\nepochs = base * 2", "_mine = 10\nepochs = 20"),
        *("def twice(k):\n    lr = 2 * k\n    return lr\n\nepochs = twice(10)", "for k in range(21):\n    epochs = k"),
        *("epochs = len([lr for lr in range(20)])", "!true\nepochs = 20"),
    ],
)
def test_a_parameters_cell_sets_what_it_leaves_whatever_is_written_in_it(cell):
    for tagged in (cell, f"{TAGGED}{cell}" if not cell.startswith("%%") else cell):
        assert Params.from_notebook(ran("k = 5", tagged, "k = 6")).epochs == 20


def test_the_readers_other_cells_set_nothing_and_stop_nothing():
    scratch = (
        "k = 5",
        "window = object()",
        "split = 'mine'",
        "epochs: list = [3]",
        "width: list = [3]",
        "# Notes\nheads = 3",
        "x =",
        "x: int = 2",
    )
    namespace = ran("k = 5", "seed = 'early'", TAGGED, "# Parameters\nqueries = 30\nlr = 0.5\n", *scratch)
    with pytest.warns(UserWarning, match="^heads, split without effect, given in a cell of your own"):
        assert Params.from_notebook(namespace) == Params.check({"queries": 30, "lr": 0.5})


def test_a_kernel_that_has_not_run_the_parameters_cell_uses_no_defaults():
    with pytest.raises(ValueError, match="the parameters cell has not run in this kernel: run it first"):
        Params.from_notebook(ran("from tadlib import ideas", "k = 5"))


def test_a_parameter_that_another_cell_overwrote_is_not_guessed():
    namespace = ran(f"{TAGGED}queries = 2 * 10", "queries = 3")
    with pytest.raises(ValueError, match="queries of the parameters cell was set again .* reads 3: run the parameters"):
        Params.from_notebook(namespace)


def test_of_a_cell_that_was_edited_and_run_again_the_last_version_counts():
    first = f"{TAGGED}spilt = 50\nqueries = 9\n"
    assert Params.from_notebook(ran(first, "k = 5", TAGGED.replace("75", "50"))) == Params.check({"split": 50})
    injected = "# Parameters\nqueries = 30\nwidth = 64\n"
    again = Params.from_notebook(ran(injected, TAGGED, injected.replace("30", "31")))
    assert again == Params.check({"queries": 31, "width": 64})


def test_given_is_what_papermill_passes_or_the_reader_changes():
    namespace = ran(TAGGED.replace("None  # passes", "2 * 5"), "# Parameters\nsplit = 75\nwidth = None\n", "k = 3")
    assert Params.given_in(namespace) == {"epochs": 10, "split": 75}
    assert DetectParams.given_in(ran("video: str = None\ndetector: str = None\n")) == {"detector": None}


@pytest.mark.parametrize(
    "cell", [f"{TAGGED}spilt = 2 * 25", f"{TAGGED}print(1)\nspilt: int = 50", "# Parameters\nspilt = 50\n"]
)
def test_a_misspelt_name_in_the_parameters_cell_or_from_papermill_stops_the_notebook(cell):
    with pytest.raises(ValueError, match="unknown parameter 'spilt'; did you mean 'split'?"):
        Params.from_notebook(ran(cell))


def test_parameters_show_what_was_changed_and_fold_the_rest_away():
    shown, folded = Params.check({"dataset": "activitynet13", "queries": 30})._repr_html_().split("<details>")
    assert "<code>queries</code> = 30" in shown and "<code>dataset</code> = &#39;activitynet13&#39;" in shown
    assert all(f"<code>{name}</code>" in folded for name in set(Params.model_fields) - {"queries", "dataset"})


@pytest.mark.parametrize("name", Params.model_fields)
def test_every_parameter_says_what_it_means_and_what_it_may_be(name):
    assert Params.model_fields[name].description
    assert allowed(name, Params)


LIKE_PARAMETERS = [Trainer, DetectionLoss, detection_cost, WindowSettings, ConditionalDETR, Quality, Segmentation]
LIKE_PARAMETERS += [to_proposals, Wording, HeadTraining, to_detections, fuse, select]


@pytest.mark.parametrize("told", LIKE_PARAMETERS)
def test_arguments_called_like_parameters_have_their_defaults(told):
    fields, same = Params.model_fields, inspect.signature(told).parameters.values()
    ours = {each.name: each.default for each in same if each.name in fields and each.default is not each.empty}
    ours |= {name: value for name, value in vars(told).items() if name in fields and issubclass(told, Addition)}
    assert ours and ours == {name: fields[name].default for name in ours} | {
        name: value
        for name, value in ours.items()
        if name in ("descriptions", "device")  # a file that is read, a word that is resolved
    }


@pytest.mark.parametrize("name", [name for name, field in Params.model_fields.items() if field.annotation is int])
def test_every_whole_number_has_a_largest_value_which_a_larger_one_is_told(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a whole number >= -?\d+ and <= \d+; got 10{{23}}$"):
        Params.check({name: 10**23})
