"""Values that were chosen on some class splits are never reported over them as if those were held out."""

import shutil

import fabricate
import pytest
from conftest import ROOT

from tadlib.evaluation.statistics import compare_splits
from tadlib.files import read_json
from tadlib.workbook import batch, comparing, lab_log
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.params import Params
from tadlib.workbook.plans import Choice, every, plan, read
from tadlib.workbook.variants import had_part

CLAIM = "# Does it help?\n# Log: yes.\n# Rows: 1.\n"
ON = "chosen_on: {values: {top_k: 50}, dataset: demo, split: 50, split_id: [0, 1]}\n"
SWEEP = {"top_k": [100, 50], "split_id": [0, 1, 2, 3], "seed": [0, 1]}
GAIN = {0: 0.06, 1: 0.05, 2: 0.01, 3: -0.008}  # what was chosen is worth most where it was chosen


def gained(given) -> float:
    return 0.3 + 0.05 * given["split_id"] + 0.001 * given["seed"] + GAIN[given["split_id"]] * (given["top_k"] == 50)


@pytest.fixture
def home(home):
    """A project with one question, whose value was chosen on two of four class splits, and its runs."""
    (home / "params" / "q.yaml").write_text(CLAIM + ON + "split: 50\nsweep: {top_k: [100, 50]}\n")
    fabricate.experiment(home / "outputs", "q", gained, SWEEP, "Does it help? Log: yes. Rows: 1.")
    return home


def compared(home, **given):
    found = comparing.compare_runs(ReportParams.check({"experiments": "outputs", "run_dir": str(home)} | given))
    found.save()
    return found, read_json(home / "report.json")


def test_a_verdict_is_that_of_the_class_splits_that_had_no_part(home):
    found, (base, told) = compared(home)
    held = compare_splits([GAIN[2], GAIN[3]], [0.0, 0.0])
    assert told["difference"] == pytest.approx(held._asdict()) and held.verdict == "cannot tell" and told["held out"]
    assert (told["basis"], told["pairs"]) == ("2 splits × 2 seeds", 8)
    assert (told["apart"], told["chosen on"]["splits"]) == (["top_k"], ["50/0", "50/1"])
    assert told["chosen on"]["rest"]["mean"] == pytest.approx(sum(0.3005 + 0.05 * i + GAIN[i] for i in (2, 3)) / 2)
    assert base["chosen on"] is None
    shown = found.table().rows[1]
    assert shown["verdict"] == "cannot tell" and shown["held out (%)"] == "42.7"
    assert shown["chosen on"] == "top_k on 50/0 and 50/1" and "no part in choosing top_k" in shown["over"]
    assert found.questions()[0]["variants"][0]["difference"] == told["difference"]


def test_the_lab_log_gives_the_figure_that_is_held_out(home):
    (line,) = lab_log.update(home, compared(home)[1])
    held = " [{:+.1f}, {:+.1f}]".format(*(100 * each for each in compare_splits([GAIN[2], GAIN[3]], [0.0] * 2)[1:3]))
    assert f"+0.1{held}, cannot tell (2 splits × 2 seeds, that had no part in choosing top_k)" in line
    row = next(row for row in (home / "outputs" / "README.md").read_text().splitlines() if "`q`" in row)
    assert ", cannot tell" in row


def test_where_no_class_split_is_held_out_that_is_said(home):
    (home / "params" / "q.yaml").write_text(CLAIM + ON.replace("[0, 1]", "[0, 1, 2, 3]") + "split: 50\n")
    found, told = compared(home)
    assert not told[1]["held out"]
    assert found.table().rows[1]["held out (%)"] == "none"
    assert found.questions()[0]["variants"][0]["verdict"] == "cannot tell, not held out"
    lab_log.update(home, told)
    row = next(row for row in (home / "outputs" / "README.md").read_text().splitlines() if "`q`" in row)
    assert "not held out: some had part in choosing top_k" in row


def test_what_a_question_declares_holds_for_the_runs_of_every_other_one(home):
    """Of what two variants have in common their difference says nothing; what one is worth is not held out."""
    sweep = {"lr": [0.1, 0.2], "top_k": [50], "split_id": [0, 1, 2, 3], "seed": [0]}
    fabricate.experiment(home / "outputs", "other", lambda g: gained(g) + g["lr"] / 10, sweep)
    first, second = compared(home, experiments="outputs/other")[1]
    assert first["chosen on"]["parameters"] == second["chosen on"]["parameters"] == ["top_k"]
    assert second["held out"] and second["basis"] == "4 splits × 1 seed"
    told = lab_log.measured([first, second])
    assert told.startswith("mAP 41.3 with lr=0.1, s.d. of runs ") and "; lr=0.2: +1.0" in told
    assert ", not held out: top_k chosen on 50/0 and 50/1, 43.6 on the others" in told


@pytest.mark.parametrize(
    "given", [{"dataset": "thumos14"}, {"features": "simulate"}, {"split": 75}, {"split_id": 2}, {"top_k": 49}], ids=str
)
def test_other_data_splits_and_values_had_no_part(given):
    choice = Choice({"top_k": 50}, {"dataset": ["demo"], "split": [50], "split_id": [0, 1]})
    run = {"dataset": "demo", "features": "auto", "split": 50, "split_id": 1, "top_k": 50}
    assert had_part([choice], run) == {"top_k"} and not had_part([choice], run | given)
    anywhere = Choice({"top_k": 50}, {"dataset": ["demo", "thumos14"]})
    assert bool(had_part([anywhere], run | given)) == (given.keys() <= {"dataset", "split", "split_id"})


def test_an_experiment_remembers_what_its_file_and_its_base_declared(home):
    path = home / "elsewhere.yaml"
    path.write_text("# Q?\nchosen_on: [{dataset: demo, split_id: 3}]\nlr: 0.1\nsweep: {top_k: [100, 50]}\n")
    planned = plan(path, base=home / "params" / "q.yaml")
    assert planned.chosen == (
        Choice({"lr": 0.1}, {"dataset": ["demo"], "split_id": [3]}),
        Choice({"top_k": 50}, {"dataset": ["demo"], "split": [50], "split_id": [0, 1]}),
    )
    assert all("chosen_on" not in given for given in planned.runs.values())
    folder = batch.version_dir(planned)
    kept = read_json(folder / "experiment.json")["chosen"]
    assert kept[0] == {"values": {"lr": 0.1}, "where": {"dataset": ["demo"], "split_id": [3]}}
    label, given = next(iter(planned.runs.items()))
    fabricate.run(folder / label, given | {"split": 50, "split_id": 3}, 0.3)
    path.unlink()
    (told,) = compared(home, experiments=str(folder))[1]
    assert told["chosen on"]["parameters"] == ["lr"]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{values: {top_k: 50}}", "chosen_on: it must say on which dataset"),
        ("{dataset: demo, split_ids: [0]}", "chosen_on: unknown field 'split_ids'; did you mean 'split_id'?"),
        (
            "{dataset: demo, split_id: 11, values: {top_k: 5}}",
            "chosen_on: split_id must be a whole number >= 0 and <= 9; got 11",
        ),
        ("{dataset: demo, values: {topk: 5}}", "chosen_on: unknown parameter 'topk'; did you mean 'top_k'?"),
        ("{dataset: demo, values: {top_k: many}}", "chosen_on: top_k must be .*got 'many'"),
        ("{dataset: demo, values: {stride: 4}}", "chosen_on: stride says what a run is about"),
        ("{dataset: demo}", "chosen_on: values must hold parameters"),
    ],
)
def test_a_declaration_that_cannot_be_is_named_with_its_file(block, message, tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(f"chosen_on: {block}\nsplit: 50\n")
    with pytest.raises(ValueError, match=f"e.yaml: {message}"):
        plan(path)


def test_the_project_says_where_the_recipe_of_the_demo_was_chosen():
    choices = [choice for path in every(ROOT) for choice in read(path).chosen]
    for split_id in range(10):
        run = Params.check({"dataset": "demo", "split": 50, "split_id": split_id}).model_dump()
        names = had_part(choices, run)
        assert ({"queries", "conv_layers", "overlap", "negatives"} <= names) == (split_id == 0)
    assert not had_part(choices, Params.check({"dataset": "thumos14", "split": 50}).model_dump())


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
