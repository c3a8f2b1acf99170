"""Plans: what an experiment file asks for, checked before anything runs."""

import pytest
from conftest import ROOT

from tadlib.workbook.params import Params
from tadlib.workbook.plans import QUICK, every, plan

EXPERIMENTS = every(ROOT)


def write(folder, text: str, name: str = "e.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_sweep_becomes_one_run_per_combination(tmp_path):
    planned = plan(write(tmp_path, "# Why?\nseed: 1\nsweep:\n  split: [50, 75]\n  split_id: [0, 1]\n"))
    assert list(planned.runs) == [
        "split-50_split_id-0", "split-50_split_id-1", "split-75_split_id-0", "split-75_split_id-1",
    ]  # fmt: skip
    assert planned.runs["split-75_split_id-1"] == {"seed": 1, "split": 75, "split_id": 1}
    assert planned.question == "Why?"


def test_a_missing_experiment_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"no experiment file .*querys.yaml; did you mean 'queries'\?$"):
        plan(tmp_path / "querys.yaml")


def test_a_file_of_the_project_goes_by_its_name():
    assert plan("queries").runs == plan(ROOT / "params" / "detector" / "queries.yaml").runs


def test_a_name_of_two_files_is_asked_about(home):
    for chapter in ("one", "two"):
        (home / "params" / chapter).mkdir()
        write(home / "params" / chapter, "split: 50\n")
    with pytest.raises(ValueError, match=r"e is the name of .*one/e.yaml and of .*two/e.yaml: pass one of these paths"):
        plan("e")


def test_a_question_about_one_dataset_is_not_asked_of_another(tmp_path):
    base = write(tmp_path, "dataset: thumos14\nfeatures: simulate\n", "base.yaml")
    own = write(tmp_path, "dataset: demo\nsplit: 50\n")
    with pytest.raises(ValueError, match=r"e.yaml asks about dataset demo, --base .*base.yaml is about thumos14"):
        plan(own, base=base)
    (run,) = plan(write(tmp_path, "dataset: thumos14\nsplit: 75\n"), base=base).runs.values()
    assert (run["split"], run["features"]) == (75, "simulate")


def test_lists_side_by_side_seeds_and_named_runs_are_combined(tmp_path):
    text = "zip: {lr: [0.1, 0.2], epochs: [3, 4]}\nsweep: {seed: [0, 1]}\nruns: [{fusion: clip}, {top_k: 5}]\n"
    found = [dict(run) for run in plan(write(tmp_path, text)).runs.values()]
    assert len(found) == 8 and {"lr": 0.1, "epochs": 3, "fusion": "clip", "seed": 1} in found
    assert not [run for run in found if (run["lr"], run["epochs"]) == (0.1, 4)]


def test_the_name_of_a_run_stands_for_its_parameters(tmp_path):
    path = write(tmp_path, "sweep: {seed: [0, 1]}\nruns: [{name: as published, lr: 0.1, epochs: 3}, {lr: 0.2}]\n")
    planned = plan(path)
    assert set(planned.runs) == {"seed-0_as-published", "seed-1_as-published", "seed-0_lr-0.2", "seed-1_lr-0.2"}
    assert planned.names == {"seed-0_as-published": "as published", "seed-1_as-published": "as published"}
    assert planned.runs["seed-0_as-published"] == {"seed": 0, "lr": 0.1, "epochs": 3}
    assert plan(path, {"width": 128}).names == planned.names
    assert plan(path, {"lr": 0.1, "seed": 0}).names == {"seed-0_as-published": "as published"}
    changed = plan(path, {"lr": [0.3, 0.4]})
    assert len(changed.runs) == 8 and not changed.names, "it is not as published any more"
    with pytest.raises(ValueError, match="unknown parameter 'name'"):
        plan(path, {"name": "b"})


@pytest.mark.parametrize(
    "text, message",
    [
        ("spilt: 50\n", "unknown parameter 'spilt'; did you mean 'split'"),
        ("sweep:\n  split_id: [0, 11]\n", "split_id must be a whole number >= 0 and <= 9; got 11"),
        ("sweep:\n  split: 50\n", "sweep must hold parameters, each with a list of values; got {'split': 50}"),
        ("swep:\n  split: [50]\n", "unknown parameter 'swep'; did you mean 'sweep'"),
        ("zip: {lr: [0.1], epochs: [3, 4]}\n", "as long as each other; got {'lr': 1, 'epochs': 2}"),
        ("runs: {fusion: clip}\n", "runs must be a list of runs"),
        ("zip: {seed: [2]}\nsweep: {seed: [1]}\n", "seed is varied by sweep and by zip"),
        (f"sweep: {{seed: {[*range(1001)]}, split_id: {[*range(10)]}}}\n", "sweep makes 10,010 runs, at most 10,000"),
        (
            f"sweep: {{seed: {[*range(5000)]}}}\nruns: {[{'top_k': 1 + k} for k in range(10)]}\n",
            "the whole plan makes 50,000 runs, at most 10,000",
        ),
        ("runs: [{name: a, lr: 0.1}, {name: b, lr: 0.1}]\n", "two runs are the same: lr-0.1"),
        (
            "runs: [{name: a, lr: 0.1}, {name: a, lr: 0.2}]\n",
            "name must be 1 to 40 letters, digits, spaces or -, each its own",
        ),
        ('runs: [{name: "a\\nb", lr: 0.1}]\n', "name must be 1 to 40 letters"),
        ("runs: [{name: a, lr: 0.1}, {name: b, lr: 0.1}]\nsweep: {dropout: [0.1]}\n", "two runs are the same"),
    ],
)
def test_a_mistake_in_any_run_stops_the_plan_and_names_the_file(text, message, tmp_path):
    with pytest.raises(ValueError, match=rf"e\.yaml: .*{message}"):
        plan(write(tmp_path, text))


SWEPT = "sweep: {lr: [0.1, 0.2], split_id: [0, 1, 2]}\n"


@pytest.mark.parametrize(
    "text, changes, labels",
    [
        (SWEPT, {"split_id": 2}, ["lr-0.1_split_id-2", "lr-0.2_split_id-2"]),
        ("sweep: {seed: [0, 1, 2]}\n", {"seed": 5}, ["seed-5"]),
        ("zip: {lr: [0.1, 0.2, 0.3], epochs: [3, 4, 4]}\n", {"lr": 0.5}, ["lr-0.5_epochs-3", "lr-0.5_epochs-4"]),
        (
            "runs: [{fusion: clip}, {top_k: 5}]\n",
            {"fusion": "geometric"},
            ["fusion-geometric", "top_k-5_fusion-geometric"],
        ),
        ("sweep: {seed: [0, 1]}\n", {"seed": [4, 7, 4]}, ["seed-4", "seed-7"]),
        (
            "sweep: {seed: [0, 1]}\n",
            {"nms": ["hard", "none"]},
            ["seed-0_nms-hard", "seed-0_nms-none", "seed-1_nms-hard", "seed-1_nms-none"],
        ),
    ],
)
def test_a_change_beats_what_a_block_varies_and_what_becomes_alike_is_one_run(text, changes, labels, tmp_path):
    assert list(plan(write(tmp_path, text), changes).runs) == labels


def test_a_base_gives_what_the_question_leaves_open_and_not_its_own_sweep(tmp_path):
    base = tmp_path / "small.yaml"
    base.write_text("# Base.\nepochs: 3\nsplit: 75\nlr: 0.3\nwidth: 64\nsweep: {seed: [0, 1]}\n")
    path = write(tmp_path, "# Why?\nsplit: 50\nsweep: {lr: [0.1, 0.2]}\n")
    planned = plan(path, {"width": 128}, base=base)
    assert (planned.name, planned.asks, planned.question) == ("e-small", "e-small-changed", "Why?")
    assert plan(path, base=base).asks == "e-small"
    common = {"epochs": 3, "split": 50, "width": 128}
    assert list(planned.runs.values()) == [common | {"lr": 0.1}, common | {"lr": 0.2}]
    assert planned.common == common
    quick = plan(path, quick=True, base=base)
    assert (quick.name, quick.asks) == ("e-small-quick", "e-small-quick"), "no evidence for the question itself"


@pytest.mark.parametrize(
    "text, message",
    [
        ("epoch: 3\n", r"small\.yaml: unknown parameter 'epoch'; did you mean 'epochs'"),
        ("width: 100\n", r"e\.yaml with --base .*small\.yaml: width=100 must be a multiple"),
    ],
)
def test_a_mistake_in_a_base_names_it(text, message, tmp_path):
    (tmp_path / "small.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        plan(write(tmp_path, "split: 50\n"), base=tmp_path / "small.yaml")


def test_any_question_that_names_no_dataset_can_be_asked_on_any_base():
    for path in (path for path in EXPERIMENTS if "\ndataset: " not in path.read_text()):
        planned = plan(path, base=ROOT / "params" / "benchmarks" / "rehearsal.yaml")
        assert planned.name == planned.asks == f"{path.stem}-rehearsal"


def test_labels_are_names_of_folders(tmp_path):
    planned = plan(write(tmp_path, "sweep: {dataset: [a/b, 'c d'], pretrained: [" + "x" * 300 + "]}\n"))
    assert all("/" not in label and " " not in label and len(label) <= 100 for label in planned.runs)
    assert len(planned.runs) == 2
    planned = plan(write(tmp_path, f"sweep: {{dataset: [{'漢' * 90}, b]}}\n"))
    assert all(len(label.encode()) <= 100 for label in planned.runs)


def test_quick_cuts_every_run_and_leaves_one_of_each_question(tmp_path):
    text = "epochs: 30\nhead: mlp\nsweep: {split_id: [0, 1], lr: [0.1, 0.2], head_epochs: [1, 5], seed: [0, 1]}\n"
    planned = plan(write(tmp_path, text), quick=True)
    assert planned.name == "e-quick" and len(planned.runs) == 4
    assert {(run["epochs"], run["head_epochs"]) for run in planned.runs.values()} == {
        (QUICK["epochs"], 1), (QUICK["epochs"], QUICK["head_epochs"]),
    }  # fmt: skip
    assert all(Params.check(run) for run in planned.runs.values())


def test_a_changed_question_is_another_one(tmp_path):
    (tmp_path / "e.yaml").write_text("# Why?\nsplit: 50\nsweep: {lr: [0.1, 0.2], split_id: [0, 1]}\n")
    for changes in ({"split_id": 0}, {"seed": 1}, {"device": "cpu"}, {}):
        assert plan(tmp_path / "e.yaml", changes).asks == "e"
    for changes in ({"epochs": 2}, {"split": 75}, {"lr": [0.1, 0.3]}):
        changed = plan(tmp_path / "e.yaml", changes)
        assert (changed.name, changed.asks) == ("e", "e-changed"), "no evidence for the question itself"
