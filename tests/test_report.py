"""Runs compared: grouped into variants, paired, told with intervals; the page, the links, the lab log."""

import re
import shutil
import subprocess

import fabricate
import pytest
from conftest import ROOT

from tadlib.evaluation.statistics import Verdict, compare_splits
from tadlib.files import read_json, write_json
from tadlib.workbook import (
    cli,
    comparing,
    differences,
    display,
    evidence,
    figures,
    lab_log,
    papermill_arguments,
    records,
    runs,
    telling,
)
from tadlib.workbook.report_params import ReportParams


def mostly_better(given) -> float:
    """Two points from convolutions, splits far apart, a seed that wavers."""
    wavers = 0.004 * ((given["split_id"] + given["seed"]) % 3)
    return 0.3 + 0.05 * given["split_id"] + (0.02 + wavers) * (given["conv_layers"] > 0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with one experiment of two variants, three splits, two seeds."""
    fabricate.project(tmp_path, ROOT)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fabricate.experiment(tmp_path / "outputs", "backbone", mostly_better)
    return tmp_path


def compared(**given) -> comparing.Compared:
    return comparing.compare_runs(ReportParams.check(given))


def told_of(rows) -> str:
    """What is said of the rows of one question."""
    return telling.measured(records.records(rows, "mAP"))


def logged(home, *folders, **given) -> list[str]:
    """What is done to the lab log when a report of some folders has been made."""
    found = compared(experiments=[str(folder) for folder in folders], run_dir=str(home), **given)
    found.save()
    return lab_log.update(home, read_json(home / "report.json"))


def test_runs_that_differ_in_split_and_seed_alone_are_one_variant(home):
    (study,) = compared(experiments="outputs/backbone").studies
    assert {label: len(each) for label, each in study.variants.items()} == {"conv_layers=0": 6, "conv_layers=1": 6}
    assert (study.baseline, study.data, study.story.rows) == ("conv_layers=0", "demo", (12,))
    assert study.story.claim == "really effective, later not much use."


def test_a_difference_is_paired_and_its_interval_is_over_splits(home):
    _, row = compared(experiments="outputs/backbone").rows
    gains = [sum(mostly_better({"split_id": i, "seed": s, "conv_layers": 1}) for s in (0, 1)) / 2 for i in range(3)]
    bases = [0.3 + 0.05 * i for i in range(3)]
    assert row.difference == pytest.approx(compare_splits(gains, bases)[:3] + ("better",), abs=1e-12)
    assert row.basis == "3 splits × 2 seeds" and row.values.number == 6
    assert row.values.deviation > 5 * (row.difference.high - row.difference.low) / 2, "pairing takes the splits out"


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [("protocol", ["strict", "gap"], "protocol gap"), ("evaluate_on", ["test", "training"], "training videos")],
)
def test_what_was_scored_otherwise_is_never_compared_and_stands_apart_in_the_lab_log(home, name, values, told):
    def score(given) -> float:
        return mostly_better(given) + 0.2 * (given[name] == values[1])

    sweep = {name: values} | fabricate.SWEEP
    fabricate.experiment(home / "outputs", "backbone", score, sweep, version="20260102T000000Z_0000")
    found = compared(experiments="outputs/backbone")
    assert [study.title for study in found.studies] == ["backbone (demo)", f"backbone (demo, {told})"]
    assert [list(study.variants) for study in found.studies] == [["conv_layers=0", "conv_layers=1"]] * 2
    assert len(compared(experiments="outputs/backbone", together=True).studies) == 2
    first, second = (row.values.mean for row in found.rows if row.variant == "conv_layers=0")
    assert second - first == pytest.approx(0.2), "each reads its own numbers"
    gained = [row.difference.difference for row in found.rows if row.difference]
    assert gained == pytest.approx([gained[0]] * 2) and gained[0] < 0.03, "no gap between them is among the gains"
    logged(home, "outputs/backbone")
    rows = (home / "outputs" / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = (row for row in rows if row.endswith("(../params/backbone.yaml) |"))
    assert row.count("3 splits × 2 seeds") == 2 and row.count(f"{told}: mAP") == 1


def test_a_name_stands_for_a_variant_and_the_report_says_what_it_stands_for(home):
    version = next((home / "outputs" / "backbone").iterdir())
    record = read_json(version / "experiment.json")
    record["names"] = {label: "with two" for label in record["runs"] if "conv_layers-1" in label}
    write_json(version / "experiment.json", record)
    found = compared(experiments="outputs/backbone")
    assert list(found.studies[0].variants) == ["conv_layers=0", "with two"]
    assert "with two: +2." in told_of(found.rows)
    assert found.meanings().rows == [
        {"experiment": "backbone (demo)", "variant": "with two", "stands for": "conv_layers=1"}
    ]
    for name, labels in (
        ("one name for both", ["one name for both, conv_layers=0", "one name for both, conv_layers=1"]),
        ("conv_layers=0", ["conv_layers=0", "conv_layers=0 (variant 2)"]),
    ):
        given = [label for label in record["runs"] if "one" in name or "conv_layers-1" in label]
        write_json(version / "experiment.json", record | {"names": dict.fromkeys(given, name)})
        told = compared(experiments="outputs/backbone").studies[0].variants
        assert {label: len(runs) for label, runs in told.items()} == dict.fromkeys(labels, 6), "no run is lost"


def test_what_is_left_without_splits_that_train_unseen_classes_under_a_seen_name_is_told(home):
    version = next((home / "outputs" / "backbone").iterdir())
    before = compared(experiments="outputs/backbone").renamed()
    assert before.rows == [] and before.empty == "not recorded by runs as old as these"
    for folder in version.glob("*split_id-2*"):
        record = read_json(folder / "metrics.json") | {"renamed": ["CliffDiving is Diving"]}
        write_json(folder / "metrics.json", record)
    first, second = compared(experiments="outputs/backbone").renamed().rows
    assert (first["splits"], first["because"], second["variant"]) == ("50/2", "CliffDiving is Diving", "conv_layers=1")
    assert (first["mean mAP (%)"], first["without them (%)"]) == ("35.0", "32.5")


def test_only_shared_samples_are_paired(home):
    version = next((home / "outputs" / "backbone").iterdir())
    shutil.rmtree(version / "conv_layers-1_split_id-2_seed-1")
    found = compared(experiments="outputs/backbone")
    assert found.rows[1].basis == "3 splits × 2 seeds (5 pairs)"
    assert [row["why"] for row in found.left_out().rows] == ["has not started"]


def test_seeds_of_one_split_are_samples_too(home):
    sweep = {"conv_layers": [0, 1], "split_id": [0], "seed": [0, 1, 2]}
    fabricate.experiment(home / "outputs", "seeds", mostly_better, sweep)
    _, row = compared(experiments="outputs/seeds").rows
    assert row.basis == "1 split × 3 seeds" and row.difference.low > 0


def test_any_variant_may_be_the_baseline_and_a_wrong_one_is_named(home):
    rows = compared(experiments="outputs/backbone", baseline="conv_layers=1").rows
    assert rows[1].difference is None and rows[0].difference.verdict == "worse"
    with pytest.raises(ValueError, match="got 'conv_layer=1'; did you mean 'conv_layers=1'"):
        compared(experiments="outputs/backbone", baseline="conv_layer=1")


def test_a_metric_that_no_run_has_is_named(home):
    with pytest.raises(ValueError, match="got 'mAP@05'; did you mean 'mAP@0.5'"):
        compared(experiments="outputs/backbone", metric="mAP@05").rows  # noqa: B018


def test_experiments_may_be_one_comparison(home):
    fabricate.experiment(home / "outputs", "best", lambda g: 0.4 + 0.05 * g["split_id"], {"split_id": [0, 1, 2]})
    found = compared(
        experiments=["outputs/backbone", "outputs/best"], together=True, baseline="backbone: conv_layers=0"
    )
    assert [row.variant for row in found.rows] == ["backbone: conv_layers=0", "backbone: conv_layers=1", "best"]
    assert found.rows[2].whole.difference == pytest.approx(0.1) and found.rows[2].whole_basis == "3 splits × 1 seed"


def test_the_latest_version_counts_and_an_older_one_if_it_is_asked_for(home):
    base = home / "outputs" / "backbone"
    (old,) = base.iterdir()
    shutil.copytree(old, base / "20270101T000000Z_0000")
    entries = evidence.read([base]).entries
    assert len(entries) == 12 and entries[0].dir.parent.name == "20270101T000000Z_0000"
    assert {entry.dir.parent for entry in evidence.read([old]).entries} == {old}
    assert len(evidence.read([base, base]).entries) == 12, "nothing counts twice"


def test_versions_that_are_asked_for_are_variants_and_places_are_experiments(home):
    (old,) = (home / "outputs" / "backbone").iterdir()
    new = fabricate.experiment(home / "outputs", "backbone", lambda g: mostly_better(g) + 0.1, version="2027")
    found = compared(experiments=f"{old},{new}")
    assert [row.variant for row in found.rows] == [
        f"conv_layers={layers}, version {version.name}" for version in (old, new) for layers in (0, 1)
    ]
    assert [round(row.difference.difference, 2) for row in found.rows[2:3]] == [0.1]
    fabricate.experiment(home / "elsewhere", "backbone", lambda given: 0.1)
    studies = compared(experiments="outputs/backbone,elsewhere/backbone,outputs/../outputs/backbone").studies
    assert [study.name for study in studies] == [f"backbone in {home / place}" for place in ("outputs", "elsewhere")]
    assert [len(runs) for study in studies for runs in study.variants.values()] == [6, 6, 6, 6]


@pytest.mark.parametrize(("data", "told"), [("d0", ""), ("d1", " on other data (d0, then d1)")])
def test_a_run_that_was_made_twice_counts_once_and_the_report_says_so(home, data, told):
    for name, mean, version in (("first", 0.1, "d0"), ("second", 0.3, data)):
        fabricate.run(home / "outputs" / "adhoc" / name, {}, mean, data=version)
    found = compared(experiments="outputs/adhoc")
    assert found.rows[0].values.mean == 0.3 and found.rows[0].values.number == 1
    why = f"was made again later{told}, and the last counts"
    assert found.left_out().rows == [{"run": "adhoc/first", "why": why}]


def test_a_later_stage_that_was_refused_takes_nothing_from_a_run(home):
    folder = fabricate.run(home / "outputs" / "adhoc" / "a", {}, 0.1)
    stages = read_json(folder / "run.json")
    refused = stages["train"] | {"status": "failed", "reason": "RunError: no", "files": []}
    write_json(folder / "run.json", stages | {"classify": refused})
    assert [row.variant for row in compared(experiments="outputs/adhoc").rows]
    write_json(folder / "run.json", stages | {"classify": refused | {"files": ["detections.json"]}})
    with pytest.raises(runs.RunError, match="classify failed: RunError: no"):
        compared(experiments="outputs/adhoc")


@pytest.mark.parametrize("other", ["train", "evaluate"])
def test_runs_one_of_whose_stages_saw_other_data_are_not_alike(other, home):
    for layers in (0, 1):
        fabricate.run(home / "outputs" / "adhoc" / str(layers), {"conv_layers": layers}, 0.1)
    path = home / "outputs" / "adhoc" / "1" / "run.json"
    stages = read_json(path)
    write_json(path, stages | {"prepare": stages["train"]})
    assert not compared(experiments="outputs/adhoc").rows[1].unlike, "another stage on the same data changes nothing"
    write_json(path, stages | {other: stages[other] | {"data": "d1"}})
    assert compared(experiments="outputs/adhoc").rows[1].unlike == ("data",)


def test_what_is_left_of_an_experiment_is_still_called_what_it_is(home):
    version = next((home / "outputs" / "backbone").iterdir())
    for folder in version.glob("conv_layers-0*"):
        shutil.rmtree(folder)
    (row,) = compared(experiments="outputs/backbone").rows
    assert told_of([row]).startswith("mAP 37.4 with conv_layers=1, s.d.")


def test_each_variant_says_over_what_it_was_measured_where_they_differ(home):
    sweep = {"conv_layers": [0, 1, 3], "split_id": [0, 1, 2], "seed": [0]}
    version = fabricate.experiment(home / "outputs", "three", mostly_better, sweep)
    for split_id in (1, 2):
        shutil.rmtree(version / f"conv_layers-1_split_id-{split_id}_seed-0")
    found = compared(experiments="outputs/three")
    told = told_of(found.rows)
    assert "conv_layers=1: +2.0, cannot tell (1 split × 1 seed); conv_layers=3: +2.4" in told
    assert told.endswith("better (3 splits × 1 seed)") and lab_log.samples(found.records) == 4


def test_runs_of_another_age_are_compared_without_their_videos(home):
    for name in ("a", "b"):
        folder = fabricate.run(home / "outputs" / "adhoc" / name, {"conv_layers": int(name == "b")}, 0.3)
        record = read_json(folder / "run.json")
        record["evaluate"]["parameters"]["gone"] = 1
        write_json(folder / "run.json", record)
        write_json(folder / "detections.json", {})
    assert compared(experiments="outputs/adhoc").rows[1].difference.verdict == "cannot tell"


def test_runs_without_an_experiment_file_are_one_experiment_a_folder(home):
    for name, layers in (("a", 0), ("b", 2)):
        fabricate.run(home / "outputs" / "adhoc" / name, {"conv_layers": layers}, 0.3)
    (study,) = compared(experiments="outputs/adhoc").studies
    assert study.name == "adhoc" and list(study.variants) == ["conv_layers=0", "conv_layers=2"]


def test_variants_that_differ_in_many_parameters_are_still_one_each(home):
    words = {"queries": 40, "conv_layers": 0, "schedule": "step", "jitter": False, "salience": "bce"}
    for place, given in enumerate((words, {}, words, {})):
        fabricate.run(home / "outputs" / "many" / f"run-{place}", given | {"split_id": place // 2}, 0.3)
    (study,) = compared(experiments="outputs/many").studies
    assert [len(each) for each in study.variants.values()] == [2, 2]
    assert all(label.endswith(f"and 1 more (variant {place})") for place, label in enumerate(study.variants, start=1))


def test_stages_that_runs_share_are_no_runs(home):
    fabricate.run(home / "outputs" / ".stages" / "train-abc", {}, 0.3)
    assert all(".stages" not in entry.dir.parts for entry in evidence.read([home / "outputs"]).entries)


def test_unfinished_runs_do_not_count_and_no_run_at_all_is_an_error(home):
    folder = fabricate.run(home / "outputs" / "adhoc" / "a", {}, 0.3)
    record = read_json(folder / "run.json")
    write_json(folder / "run.json", record | {"evaluate": record["evaluate"] | {"status": "running"}})
    with pytest.raises(runs.RunError, match=r"no finished run below .*adhoc; 1 do not count, first adhoc/a: "):
        compared(experiments="outputs/adhoc")
    with pytest.raises(runs.RunError, match="no folder .*nothing: run an experiment first"):
        compared(experiments="outputs/nothing")


@pytest.mark.parametrize(
    ("facts", "mark"),
    [
        ({"device": "a GPU"}, "device"),
        ({"threads": 2}, "threads"),
        ({"commit": "def"}, "commit"),
        ({"versions": {"torch": "2.12.0"}}, "version of torch"),
        ({"commit": "abc+changes"}, "uncommitted changes"),
        ({"data": "d1"}, "data"),
    ],
)
def test_runs_that_are_not_alike_are_marked(home, facts, mark):
    _, row = compared(experiments="outputs/backbone").rows
    assert row.unlike == ()
    version = next((home / "outputs" / "backbone").iterdir())
    given = {"split": 50, "conv_layers": 1, "split_id": 0, "seed": 0}
    fabricate.run(version / "conv_layers-1_split_id-0_seed-0", given, 0.3, **facts)
    _, row = compared(experiments="outputs/backbone").rows
    assert mark in row.unlike
    assert mark in telling.table_row(row, "mAP")["not alike"]


def test_a_single_pair_is_told_by_its_videos_where_they_are_known(home):
    fabricate.experiment(home / "outputs", "one", mostly_better, {"conv_layers": [0, 1], "split_id": [0], "seed": [0]})
    (study,) = compared(experiments="outputs/one").studies
    unknown = differences.compare(study, "mAP")[1]
    assert unknown.difference.verdict == "cannot tell" and unknown.difference.low == float("-inf")
    told = differences.compare(study, "mAP", lambda first, second: Verdict(0.02, 0.01, 0.03, "better"))[1]
    assert told.difference.verdict == "better" and told.basis == "1 split × 1 seed, over videos"
    assert records.record(unknown, "mAP")["difference"]["low"] is None, "JSON knows no infinity"


@pytest.mark.notebooks
def test_two_runs_are_paired_over_the_videos_of_their_data_set(tiny, tmp_path, monkeypatch):
    fabricate.project(tmp_path, ROOT)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    database = read_json(f"{tiny['dataset']}/annotations.json")["database"]
    entries = []
    for name, late in (("good", 0.0), ("bad", 30.0)):
        given = {"dataset": str(tiny["dataset"]), "split": 0}
        folder = fabricate.run(tmp_path / "outputs" / "adhoc" / name, given, 1.0 if not late else 0.0)
        results = {
            video: [
                {
                    "segment": [each["segment"][0] + late, each["segment"][1] + late],
                    "score": 1.0,
                    "label": each["label"],
                }
                for each in entry["annotations"]
            ]
            for video, entry in database.items()
        }
        write_json(folder / "detections.json", {"results": results})
        entries += evidence.read([folder]).entries
    good, bad = entries
    assert comparing.by_videos(good, bad).verdict == "better"
    (bad.dir / "detections.json").unlink()
    assert comparing.by_videos(good, bad) is None


def test_classes_are_compared_in_pairs(home):
    (study,) = compared(experiments="outputs/backbone").studies
    ((variant, gained),) = differences.per_class(study).items()
    assert variant == "conv_layers=1" and list(gained) == list(fabricate.CLASSES)
    assert gained["Diving"] == pytest.approx(compared(experiments="outputs/backbone").rows[1].difference.difference)


def test_every_figure_is_drawn_also_of_nothing(home):
    found = compared(experiments="outputs/backbone")
    for picture in (
        figures.effects(found.questions()),
        figures.learning_curves(found.histories()),
        figures.cost(found.costs()),
        figures.class_differences(found.classes()),
    ):
        assert picture._repr_mimebundle_()[0]["image/png"] and len(picture.alt) > 20
    words = [text.get_text() for axes in figures.effects(found.questions()).axes for text in axes.texts]
    assert any("better" in word for word in words) and any(word.startswith("Research log: really") for word in words)
    assert figures.effects([]).alt == "no two variants to compare"
    assert figures.learning_curves({}).alt == "no run has a history"
    assert figures.class_differences({}).alt == "no pair of runs with classes in common"


def test_tables_escape_and_sort_by_value():
    rows = [{"a<b": "+1.0", "to": {"train": "x/train.ipynb"}, "word": "<i>"}]
    shown = display.Sortable(rows)._repr_html_()
    assert "a&lt;b" in shown and "&lt;i&gt;" in shown and re.search(r"<td[^>]* number[^>]*>\+1.0<", shown)
    assert '<a href="x/train.ipynb">train</a>' in shown and "NAME" not in shown
    assert "src=" not in shown and "http" not in shown, "opens without a network"
    assert display.Sortable([], "none")._repr_html_() == "<p>none</p>"


@pytest.mark.notebooks
def test_a_press_on_a_heading_sorts_in_a_browser(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no browser found: expected chromium or google-chrome")
    numbers = ["3", "-20", "", "100"]
    rows = [{"name": f"row{place}", "value": each} for place, each in enumerate(numbers)]
    press = "<script>var b = document.querySelectorAll('th button')[1]; b.click();PRESS</script>"
    for again, order in (("", ["row1", "row0", "row3", "row2"]), ("b.click();", ["row3", "row0", "row1", "row2"])):
        page = tmp_path / "page.html"
        page.write_text("<meta charset='utf-8'>" + display.Sortable(rows)._repr_html_() + press.replace("PRESS", again))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=100)
        assert re.findall(r">(row\d)<", done.stdout) == order


def test_the_report_has_words_of_its_own():
    assert (
        papermill_arguments.vocabulary("report") is ReportParams
        and papermill_arguments.vocabulary("train").__name__ == "Params"
    )
    assert ReportParams.check({"experiments": ["a", "b"]}).folders == ["a", "b"]
    with pytest.raises(ValueError, match="unknown parameter 'base'"):
        ReportParams.check({"base": "x"})
    with pytest.raises(ValueError, match="experiments must be text; got 7"):
        ReportParams.check({"experiments": 7})


@pytest.mark.notebooks
def test_the_command_leaves_a_page_with_links_and_the_lab_log(home, capsys):
    shutil.rmtree(home / "outputs" / "backbone")
    sweep = {"conv_layers": [0, 1], "split_id": [0, 1], "seed": [0]}
    fabricate.experiment(home / "outputs", "backbone", lambda given: 0.3 + 0.02 * given["conv_layers"], sweep)
    (home / "outputs" / "README.md").write_text(f"# Mine\n\nbefore\n\n{lab_log.BEGIN}\n{lab_log.END}\n\nafter\n")
    assert cli.main(["report", "outputs/backbone"]) == 0, capsys.readouterr().err
    page = (home / "outputs" / "backbone" / "report.html").read_text()
    version = next(path for path in (home / "outputs" / "backbone").iterdir() if path.is_dir()).name
    assert f'href="{version}/conv_layers-0_split_id-0_seed-0/evaluate.html"' in page
    assert (home / "outputs" / "backbone" / version / "conv_layers-0_split_id-0_seed-0" / "evaluate.html").is_file()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page), "opens without a network"
    assert len(read_json(home / "outputs" / "backbone" / "report.json")) == 2
    text = (home / "outputs" / "README.md").read_text()
    assert text.startswith("# Mine\n\nbefore\n") and text.endswith("\n\nafter\n")
    (line,) = [line for line in text.splitlines() if "`backbone`" in line]
    assert "conv_layers=1: +2.0" in line and "(2 splits × 1 seed)" in line and "demo: 1 better" in line
    assert cli.main(["report", "outputs/backbone", "--set", "metric=mAP@05"]) == 2
    assert "did you mean 'mAP@0.5'" in capsys.readouterr().err


def test_a_question_of_one_variant_is_told_with_its_spread(home):
    fabricate.experiment(
        home / "outputs", "seeds", mostly_better, {"conv_layers": [1], "split_id": [4], "seed": [0, 1]}
    )
    (row,) = compared(experiments="outputs/seeds").rows
    assert told_of([row]) == "mAP 52.6, s.d. of runs 0.3 (1 split × 2 seeds)"
    logged(home, "outputs/seeds")
    (line,) = [line for line in (home / "outputs" / "README.md").read_text().splitlines() if "`seeds`" in line]
    assert "demo: measured, nothing to compare" in line


def test_the_cost_of_a_run_is_the_memory_of_its_gpu_where_it_had_one(home):
    for name, facts, memory in (("on_cpu", {}, "900"), ("on_gpu", {"peak_gpu_memory_mb": 5400.0}, "5400")):
        fabricate.experiment(
            home / "outputs", name, mostly_better, {"conv_layers": [1], "split_id": [0], "seed": [0]}, **facts
        )
        (row,) = compared(experiments=f"outputs/{name}").rows
        assert telling.table_row(row, "mAP")["memory (MB)"] == memory


def test_the_lab_log_keeps_better_evidence_and_invents_nothing(home):
    (version,) = (home / "outputs" / "backbone").iterdir()
    logged(home, version)
    first, data = ((home / "outputs" / name).read_text() for name in ("README.md", "lab_log.json"))
    assert first.count("| not yet measured | not yet measured | not yet measured |") > 40
    few = sorted(version.glob("*split_id-0_seed-0"))
    fewer = sorted(version.glob("conv_layers-1*"))
    for folders in (few, fewer):  # fewer splits and seeds; as many, but nothing compared
        assert logged(home, *folders) == ["lab log: backbone (demo) keeps what more runs or variants said"]
        assert (home / "outputs" / "README.md").read_text() == first
    for given in ({"metric": "AR@100"}, {"baseline": "conv_layers=1"}):
        (line,) = logged(home, version, **given)
        assert line == "lab log: backbone (demo) stays as it is: it holds mAP, against the first variant"
    assert lab_log.update(home, []) == []
    assert (home / "outputs" / "README.md").read_text() == first, "what is not measured again stays"
    assert (home / "outputs" / "lab_log.json").read_text() == data


def test_the_lab_log_is_data_of_which_the_table_is_made(home):
    """Words like a verdict in the name of a variant are no verdict."""
    (version,) = (home / "outputs" / "backbone").iterdir()
    record = read_json(version / "experiment.json")
    record["names"] = {label: "x, +1, worse - 5" for label in record["runs"] if "conv_layers-1" in label}
    write_json(version / "experiment.json", record)
    logged(home, version)
    first, second = read_json(home / "outputs" / "lab_log.json")["backbone"]["demo"]
    assert (second["variant"], second["difference"]["verdict"], second["pairs"]) == ("x, +1, worse - 5", "better", 6)
    assert (second["splits"], second["seeds"], second["commits"]) == (["50/0", "50/1", "50/2"], [0, 1], ["abc"])
    assert first["difference"] is None and "runs" not in second and second["where"] == f"backbone/{version.name}"
    (line,) = [line for line in (home / "outputs" / "README.md").read_text().splitlines() if "`backbone`" in line]
    assert line.split(" | ")[4] == "demo: 1 better"
    path = home / "outputs" / "README.md"
    path.write_text(path.read_text().replace("1 better", "9 worse"))
    logged(home, version)
    assert "9 worse" not in path.read_text(), "what is written over the table is no evidence"


def test_the_lab_log_takes_nothing_that_did_not_ask_its_question(home):
    fabricate.run(home / "elsewhere" / "backbone" / "mine", {"conv_layers": 3}, 0.9)
    assert not logged(home, "elsewhere"), "runs of no experiment"
    (version,) = (home / "outputs" / "backbone").iterdir()
    record = read_json(version / "experiment.json")
    for asks, taken in (("backbone-best_demo", 0), ("backbone-quick", 0), ("backbone-demo", 1), ("backbone", 1)):
        write_json(version / "experiment.json", record | {"asks": asks})
        assert len(logged(home, version)) == taken


def test_the_lab_log_reads_files_with_any_name_and_drafts_that_cannot_run(tmp_path, monkeypatch):
    for name in ("params", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    comment = "Does it?\n# Log: no.\n# Rows: 1.\n"
    for name in ("my-question", "other"):
        (tmp_path / "params" / f"{name}.yaml").write_text(f"# {comment}conv_layers: 1\n")
        fabricate.experiment(tmp_path / "outputs", name, mostly_better, comment=" ".join(comment.split(chr(10) + "# ")))
    (tmp_path / "params" / "draft.yaml").write_text(f"# {comment}lrr: 0.1\n")
    for name in ("my-question", "other"):
        assert len(logged(tmp_path, tmp_path / "outputs" / name)) == 1
    lines = (tmp_path / "outputs" / "README.md").read_text().splitlines()
    assert ["mAP" in line for line in lines if "params/" in line] == [True, True, False], "measured first"
    assert lab_log.OTHERWISE in lines[-3], "the file asks about no variants"


def test_a_question_asked_on_another_base_stands_in_its_row_beside_the_demo(home):
    sweep = {
        "conv_layers": [0, 1],
        "split_id": [0, 1, 2],
        "dataset": ["thumos14"],
        "features": ["simulate"],
        "seed": [0],
    }
    version = fabricate.experiment(home / "outputs", "backbone-rehearsal", lambda given: 0.2, sweep)
    record = read_json(version / "experiment.json")
    write_json(version / "experiment.json", record | {"asks": "backbone"})
    done = logged(home, "outputs")
    assert [line.split(": mAP")[0] for line in done] == ["lab log: backbone (demo)", "lab log: backbone (rehearsal)"]
    (line,) = [line for line in (home / "outputs" / "README.md").read_text().splitlines() if "`backbone`" in line]
    _, _, demo, rehearsal, verdict, _ = line.strip("| ").split(" | ")
    assert "Runs `backbone/" in demo and "conv_layers=1: +2" in demo
    assert "Runs `backbone-rehearsal/" in rehearsal and "mAP 20.0 with conv_layers=0" in rehearsal
    assert verdict == "demo: 1 better; rehearsal: 1 cannot tell"
