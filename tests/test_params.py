"""The vocabulary refuses what is misspelt or impossible, and says what would be right."""

import pytest

from tadlib.workbook.params import Params, allowed
from tadlib.workbook.recipes import RECIPES

PARAMETERS_CELL = "split: int = 75  # per cent\nlr: float = 1e-4\nepochs: int | None = None\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spilt": 50}, "unknown parameter 'spilt'; did you mean 'split'?"),
        ({"learning_rate": 1e-3}, "unknown parameter 'learning_rate'; did you mean 'lr' or 'head_lr' or 'text_lr'?"),
        ({"split": 60}, "split must be one of 75, 50, 0; got 60"),
        ({"split_id": 10}, "split_id must be a whole number >= 0 and <= 9; got 10"),
        ({"lr": "fast"}, "lr must be a number > 0; got 'fast'"),
        ({"lr": float("nan")}, "lr must be a number > 0; got nan"),
        ({"ema": "perhaps"}, "ema must be true or false; got 'perhaps'"),
        ({"nms": "sofft"}, "nms must be one of hard, soft, none; got 'sofft'; did you mean 'soft'?"),
        ({"epochs": 2.5}, "epochs must be a whole number >= 1; got 2.5"),
        ({"width": 100}, "width must be a multiple of twice heads (16), got width=100"),
        ({"rescale": 300}, "rescale=300 resamples whole videos: it needs window=0, got 64"),
        (
            {"rescale": 300, "window": 0, "test_window": 64},
            "rescale=300 resamples whole videos: it needs test_window=-1 or 0, got 64",
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(given, message):
    with pytest.raises(ValueError) as error:
        Params.check(given)
    assert str(error.value) == message


def test_two_mistakes_are_both_named():
    with pytest.raises(ValueError, match=r"split must be .*; queries must be a whole number >= 1; got 0"):
        Params.check({"split": 60, "queries": 0})


def test_what_papermill_and_yaml_turn_into_text_is_repaired():
    params = Params.check({"lr": "1e-4", "ema": "true", "split": "50", "dataset": 7})
    assert (params.lr, params.ema, params.split, params.dataset) == (1e-4, True, 50, "7")


def test_recipe_fills_what_is_not_given_and_yields_to_what_is():
    assert Params.check({}).width == RECIPES["demo"]["width"]
    assert Params.check({"width": 256}).width == 256
    assert Params.check({"width": None}).width == RECIPES["demo"]["width"]
    assert Params.check({"dataset": "thumos14"}).width == 512


def test_every_recipe_is_itself_allowed():
    for dataset, recipe in RECIPES.items():
        Params.check(recipe | {"dataset": dataset})


def test_notebook_parameters_come_from_the_cells_that_only_assign():
    namespace = {
        "In": [
            "",
            PARAMETERS_CELL,
            "# Parameters\nsplit = 50\nqueries = 30\n",
            "window = load(3)",
            "%matplotlib inline",
        ],
        "split": 50,
        "lr": 1e-4,
        "epochs": None,
        "queries": 30,
        "window": object(),  # a variable of a later cell, not a parameter
    }
    params = Params.from_notebook(namespace)
    assert (params.split, params.queries, params.lr, params.window) == (50, 30, 1e-4, 64)
    assert params.epochs == RECIPES["demo"]["epochs"]


def test_a_name_that_papermill_injects_but_nobody_knows_stops_the_notebook():
    with pytest.raises(ValueError, match="unknown parameter 'spilt'; did you mean 'split'?"):
        Params.from_notebook({"In": ["# Parameters\nspilt = 50\n"], "spilt": 50})


def test_parameters_show_what_was_changed_and_fold_the_rest_away():
    shown, folded = Params.check({"dataset": "activitynet13", "queries": 30})._repr_html_().split("<details>")
    assert "<code>queries</code> = 30" in shown and "<code>dataset</code> = &#x27;activitynet13&#x27;" in shown
    assert all(f"<code>{name}</code>" in folded for name in set(Params.model_fields) - {"queries", "dataset"})


@pytest.mark.parametrize("name", Params.model_fields)
def test_every_parameter_says_what_it_means_and_what_it_may_be(name):
    assert Params.model_fields[name].description
    assert allowed(name)
