"""Runs compared: grouped into variants, paired, told with intervals; the page, the links, the lab log."""

import re
import shutil

import fabricate
import nbformat
import pandas as pd
import pytest
from conftest import ROOT

from tadlib.evaluation.statistics import compare_splits
from tadlib.files import read_json, write_json
from tadlib.workbook import cli, comparing, figures, finished_runs, lab_log, runs
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.plans import every, question
from tadlib.workbook.variants import story


def mostly_better(given) -> float:
    """Two points from convolutions, splits far apart, a seed that wavers."""
    wavers = 0.004 * ((given["split_id"] + given["seed"]) % 3)
    return 0.3 + 0.05 * given["split_id"] + (0.02 + wavers) * (given["conv_layers"] > 0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with one experiment of two variants, three splits, two seeds."""
    fabricate.project(tmp_path)
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fabricate.experiment(tmp_path / "outputs", "backbone", mostly_better)
    return tmp_path


def compared(*folders, **given) -> comparing.Compared:
    """What a report of some folders compares; without any, of the experiment."""
    folders = ",".join(map(str, folders)) or "outputs/backbone"
    return comparing.compare_runs(ReportParams.check({"experiments": folders} | given))


def logged(home, *folders, **given) -> list[str]:
    """What is done to the lab log when a report of some folders has been made."""
    compared(*folders, run_dir=str(home), **given).save()
    return lab_log.update(home, read_json(home / "report.json"))


def row_of(home, name: str = "backbone") -> str:
    """The line of a question in the lab log."""
    lines = (home / "outputs" / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if f"/{name}.yaml) " in line)
    return line


def version_of(home):
    (version,) = (home / "outputs" / "backbone").iterdir()
    return version


def test_runs_that_differ_in_split_and_seed_alone_are_one_variant_and_differences_are_paired(home):
    (study,) = compared().studies
    assert {label: len(each) for label, each in study.variants.items()} == {"conv_layers=0": 6, "conv_layers=1": 6}
    assert (study.baseline, study.data, study.story.rows) == ("conv_layers=0", "demo", (12,))
    assert study.story.claim == "really effective, later not much use."
    _, told = compared().records
    gains = [sum(mostly_better({"split_id": i, "seed": s, "conv_layers": 1}) for s in (0, 1)) / 2 for i in range(3)]
    wanted = compare_splits(gains, [0.3 + 0.05 * i for i in range(3)])
    assert wanted.verdict == "better" and told["difference"] == pytest.approx(wanted._asdict(), abs=1e-12)
    assert told["basis"] == "3 splits × 2 seeds" and told["values"]["number"] == 6
    assert told["values"]["deviation"] > 5 * (wanted.high - wanted.low) / 2, "pairing takes the splits out"
    ((variant, gained),) = compared().classes().items()
    assert variant == "conv_layers=1" and list(gained) == list(fabricate.CLASSES)
    assert gained["Diving"] == pytest.approx(wanted.difference)


def test_a_file_of_ideas_that_changed_between_runs_is_two_variants(home):
    (home / "mine.py").write_text("def loss(): ...\n")
    for seed, content in enumerate("aab"):
        given, run = {"ideas": "mine.py", "seed": seed}, home / "outputs" / "adhoc" / f"run{seed}"
        fabricate.run(run, given, 0.3, made_from={"file of ideas": content})
    found = {label: len(each) for label, each in compared("outputs/adhoc").studies[0].variants.items()}
    assert found == {"as it is, file of ideas a": 2, "as it is, file of ideas b": 1}


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [("protocol", ["strict", "gap"], "protocol gap"), ("evaluate_on", ["test", "training"], "training videos")],
)
def test_what_was_scored_otherwise_is_never_compared_and_stands_apart_in_the_lab_log(home, name, values, told):
    def score(given) -> float:
        return mostly_better(given) + 0.2 * (given[name] == values[1])

    sweep = {name: values} | fabricate.SWEEP
    fabricate.experiment(home / "outputs", "backbone", score, sweep, version="20260102T000000Z_0000")
    found = compared()
    assert [study.title for study in found.studies] == ["backbone (demo)", f"backbone (demo, {told})"]
    assert [list(study.variants) for study in found.studies] == [["conv_layers=0", "conv_layers=1"]] * 2
    first, second = (each["values"]["mean"] for each in found.records if each["variant"] == "conv_layers=0")
    assert second - first == pytest.approx(0.2), "each reads its own numbers"
    gained = [each["difference"]["difference"] for each in found.records if each["difference"]]
    assert gained == pytest.approx([gained[0]] * 2) and gained[0] < 0.03, "no gap between them is among the gains"
    logged(home, "outputs/backbone")
    assert row_of(home).count(", better") == 2 and row_of(home).count(f"{told}: mAP") == 1


def test_a_name_stands_for_a_variant(home):
    version = version_of(home)
    record = read_json(version / "experiment.json")
    named = {label: "with two" for label in record["runs"] if "conv_layers-1" in label}
    write_json(version / "experiment.json", record | {"names": named})
    found = compared()
    assert list(found.studies[0].variants) == ["conv_layers=0", "with two"]
    assert "with two: +2." in lab_log.measured(found.records)
    for name, labels in (
        ("one name for both", ["one name for both", "one name for both (variant 2)"]),
        ("conv_layers=0", ["conv_layers=0", "conv_layers=0 (variant 2)"]),
    ):
        given = [label for label in record["runs"] if "one" in name or "conv_layers-1" in label]
        write_json(version / "experiment.json", record | {"names": dict.fromkeys(given, name)})
        told = compared().studies[0].variants
        assert {label: len(runs) for label, runs in told.items()} == dict.fromkeys(labels, 6), "no run is lost"


def test_only_shared_samples_are_paired(home):
    shutil.rmtree(version_of(home) / "conv_layers-1_split_id-2_seed-1")
    found = compared()
    assert found.records[1]["basis"] == "3 splits × 2 seeds (5 pairs)"
    assert [row["why"] for row in found.left_out().rows] == ["has not started"]


def test_the_table_is_kept_for_a_paper(home):
    told = compared(run_dir=str(home)).save()
    table = (home / "report.tex").read_text(encoding="utf-8")
    assert "report.tex" in told and r"\toprule" in table and r"95 \% interval" in table and r"conv\_layers=1" in table
    assert pd.read_csv(home / "report.csv")["variant"].tolist() == ["conv_layers=0", "conv_layers=1"]


def test_figures_are_kept_for_a_paper_and_a_page_without_claims_has_no_word_of_the_log(home):
    fabricate.experiment(home / "outputs", "plain", mostly_better, comment="Do convolutions help?")
    found = compared("outputs/plain", run_dir=str(home))
    found.save(effects=(picture := figures.effects(found.questions())))
    starts = {kind: (home / f"report_effects.{kind}").read_bytes()[:5] for kind in ("png", "svg", "pdf")}
    assert starts == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}
    told = [
        found.notes(),
        found.claims(),
        found.table(),
        *(text.get_text() for axes in picture.axes for text in axes.texts),
    ]
    told += [cell.source for cell in nbformat.read(ROOT / "notebooks" / "report.ipynb", 4).cells]
    assert not [each for each in told if "log" in repr(each).lower()]
    assert "research log" in repr(compared().claims())


def test_a_correction_for_the_number_of_differences_is_offered_and_stated(home):
    def score(given) -> float:  # one clear effect, and one that may be chance
        return 0.3 + {0: 0, 1: 0.05, 3: 0.01}[given["conv_layers"]] * (1 + 0.3 * (given["split_id"] - 1))

    fabricate.experiment(home / "outputs", "three", score, {"conv_layers": [0, 1, 3], "split_id": [0, 1, 2]})
    words = {how: compared("outputs/three", correction=how) for how in ("none", "holm")}
    clear, weak = (each["p"] for each in words["none"].records[1:])
    assert clear == pytest.approx(weak) and 0.025 < weak < 0.05, "each alone is told from chance"
    told = {how: [each["difference"]["verdict"] for each in found.records[1:]] for how, found in words.items()}
    assert told == {"none": ["better"] * 2, "holm": ["cannot tell"] * 2}
    assert "2 comparisons: holm" in words["holm"].notes() and "correction=holm" in words["none"].notes()


def test_a_class_split_of_another_world_is_another_one(home):
    worlds = {"conv_layers": [0, 1], "split_id": [0, 1], "demo_seed": [0, 1, 2]}
    fabricate.experiment(home / "outputs", "worlds", lambda given: 0.2 + 0.01 * given["conv_layers"], worlds)
    base, told = compared("outputs/worlds").records
    assert told["basis"] == "6 splits × 1 seed" and "50/1 in world 2" in told["splits"]
    assert "[world 0, world 1, world 2, epochs=40, commit" in lab_log.cell([base, told])
    fabricate.experiment(home / "outputs", "chosen", lambda given: 0.2, {"held_out": [2], "conv_layers": [0, 1]})
    assert compared("outputs/chosen").records[1]["data"] == "demo, held-out classes"


def test_any_variant_may_be_the_baseline_and_any_number_the_metric_and_wrong_ones_are_named(home):
    first, second = compared(baseline="conv_layers=1", metric="mAP@0.5").records
    assert second["difference"] is None and first["difference"]["verdict"] == "worse"
    with pytest.raises(ValueError, match="got 'conv_layer=1'; did you mean 'conv_layers=1'"):
        compared(baseline="conv_layer=1")
    with pytest.raises(ValueError, match="got 'mAP@05'; did you mean 'mAP@0.5'"):
        compared(metric="mAP@05").records  # noqa: B018


def test_the_latest_version_counts_and_an_older_one_if_it_is_asked_for(home):
    base, old = home / "outputs" / "backbone", version_of(home)
    shutil.copytree(old, base / "20270101T000000Z_0000")
    found, _ = finished_runs.read([base, base])
    assert len(found) == 12, "nothing counts twice"
    assert {run.dir.parent.name for run in found} == {"20270101T000000Z_0000"}
    assert {run.dir.parent for run in finished_runs.read([old])[0]} == {old}


def test_versions_that_are_asked_for_are_variants_and_places_are_experiments(home):
    old = version_of(home)
    new = fabricate.experiment(home / "outputs", "backbone", lambda g: mostly_better(g) + 0.1, version="2027")
    found = compared(old, new).records
    assert [each["variant"] for each in found] == [
        f"conv_layers={layers}, version {version.name}" for version in (old, new) for layers in (0, 1)
    ]
    assert found[2]["difference"]["difference"] == pytest.approx(0.1)
    fabricate.experiment(home / "elsewhere", "backbone", lambda given: 0.1)
    studies = compared("outputs/backbone", "elsewhere/backbone", "outputs/../outputs/backbone").studies
    assert [study.name for study in studies] == ["backbone", "elsewhere/backbone"]
    assert [len(study.runs) for study in studies] == [12, 12]


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_run_that_was_made_twice_counts_once_and_the_report_says_so(first, home):
    for name in "ab":
        fabricate.run(home / "outputs" / "adhoc" / name, {}, 0.3 - 0.2 * (name == first), started=f"{name != first}")
    found = compared("outputs/adhoc")
    assert (found.records[0]["values"]["mean"], found.records[0]["values"]["number"]) == (0.3, 1)
    assert found.left_out().rows == [{"run": f"adhoc/{first}", "why": "was made again later, and the last counts"}]


def test_a_later_stage_that_was_refused_takes_nothing_from_a_run(home):
    folder = fabricate.run(home / "outputs" / "adhoc" / "a", {}, 0.1)
    stages = read_json(folder / "run.json")
    refused = stages["train"] | {"status": "failed", "reason": "RunError: no", "files": []}
    refused["parameters"] = refused["parameters"] | {"protocol": "gap"}
    write_json(folder / "run.json", stages | {"classify": refused})
    assert [record["protocol"] for record in compared("outputs/adhoc").records] == ["strict"]
    write_json(folder / "run.json", stages | {"classify": refused | {"files": ["detections.json"]}})
    with pytest.raises(runs.RunError, match="classify failed: RunError: no"):
        compared("outputs/adhoc")


@pytest.mark.parametrize("other", ["train", "evaluate"])
def test_runs_one_of_whose_stages_saw_other_data_are_not_alike(other, home):
    for layers in (0, 1):
        fabricate.run(home / "outputs" / "adhoc" / str(layers), {"conv_layers": layers}, 0.1)
    path = home / "outputs" / "adhoc" / "1" / "run.json"
    stages = read_json(path)
    write_json(path, stages | {"prepare": stages["train"]})
    assert not compared("outputs/adhoc").records[1]["not alike"], "another stage on the same data changes nothing"
    write_json(path, stages | {other: stages[other] | {"data": "d1"}})
    assert compared("outputs/adhoc").records[1]["not alike"] == ["data"]


def test_unfinished_runs_do_not_count_and_no_run_at_all_is_an_error(home):
    folder = fabricate.run(home / "outputs" / "adhoc" / "a", {}, 0.3)
    record = read_json(folder / "run.json")
    write_json(folder / "run.json", record | {"evaluate": record["evaluate"] | {"status": "running"}})
    with pytest.raises(runs.RunError, match=r"no finished run below .*adhoc; 1 do not count, first adhoc/a: "):
        compared("outputs/adhoc")
    with pytest.raises(runs.RunError, match="no folder .*nothing: run an experiment first"):
        compared("outputs/nothing")


@pytest.mark.parametrize(
    ("facts", "mark"),
    [
        ({"device": "a GPU"}, "device"),
        ({"versions": {"torch": "2.12.0"}}, "version of torch"),
        ({"commit": "abc+changes"}, "uncommitted changes"),
        ({"data": "d1"}, "data"),
    ],
)
def test_runs_that_are_not_alike_are_marked(home, facts, mark):
    assert compared().records[1]["not alike"] == []
    given = {"split": 50, "conv_layers": 1, "split_id": 0, "seed": 0}
    fabricate.run(version_of(home) / "conv_layers-1_split_id-0_seed-0", given, 0.3, **facts)
    assert mark in compared().table().rows[1]["not alike"].split(", ")


def test_every_figure_is_drawn_also_of_nothing(home):
    found = compared()
    effects = figures.effects(found.questions())
    for picture in (effects, figures.learning_curves(found.histories()), figures.class_differences(found.classes())):
        assert picture._repr_mimebundle_()[0]["image/png"] and len(picture.alt) > 20
    words = [text.get_text() for axes in effects.axes for text in axes.texts]
    assert any("better" in word for word in words)
    assert figures.effects([]).alt == "no two variants to compare"
    assert figures.learning_curves({}).alt == "no run has a history"
    assert figures.class_differences({}).alt == "no pair of runs with classes in common"


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
    assert "conv_layers=1: +2.0" in line and "(2 splits × 1 seed)" in line and ", better" in line


def test_a_question_of_one_variant_is_told_with_its_spread(home):
    sweep = {"conv_layers": [1], "split_id": [4], "seed": [0, 1]}
    fabricate.experiment(home / "outputs", "seeds", mostly_better, sweep)
    told = lab_log.measured(compared("outputs/seeds").records)
    assert told == "mAP 52.6, s.d. of runs 0.3 (1 split × 2 seeds)"
    logged(home, "outputs/seeds")
    assert "| demo: mAP 52.6, s.d. of runs 0.3 (1 split × 2 seeds) [" in row_of(home, "seeds")


def test_the_lab_log_keeps_better_evidence_and_invents_nothing(home):
    version, places = version_of(home), (home / "outputs" / "README.md", home / "outputs" / "lab_log.json")
    logged(home, version)
    first = [path.read_text() for path in places]
    stories = {path.stem: story(question(path.read_text())) for path in every(home)}
    open_questions = {name for name, each in stories.items() if each.claim and not each.found} - {"backbone"}
    assert first[0].count(" trainings |") == len(open_questions) > 0
    few = sorted(version.glob("*split_id-0_seed-0"))
    fewer = sorted(version.glob("conv_layers-1*"))
    for folders in (few, fewer):  # fewer splits and seeds; as many, but nothing compared
        assert logged(home, *folders) == ["lab log: backbone (demo) keeps its evidence from more runs or variants"]
    for given in ({"metric": "AR@100"}, {"baseline": "conv_layers=1"}, {"correction": "holm"}):
        (line,) = logged(home, version, **given)
        assert line == "lab log: backbone (demo) stays as it is: it holds mAP against the first variant, uncorrected"
    assert lab_log.update(home, []) == []
    assert [path.read_text() for path in places] == first, "what is not measured again stays"


def test_the_lab_log_is_data_of_which_the_table_is_made(home):
    """Words like a verdict in the name of a variant are no verdict."""
    version = version_of(home)
    record = read_json(version / "experiment.json")
    record["names"] = {label: "x, +1, worse - 5" for label in record["runs"] if "conv_layers-1" in label}
    write_json(version / "experiment.json", record)
    logged(home, version)
    first, second = read_json(home / "outputs" / "lab_log.json")["backbone"]["demo"]
    assert (second["variant"], second["difference"]["verdict"], second["pairs"]) == ("x, +1, worse - 5", "better", 6)
    assert (second["splits"], second["seeds"], second["commits"]) == (["50/0", "50/1", "50/2"], [0, 1], ["abc"])
    assert first["difference"] is None and "runs" not in second
    assert row_of(home).split(" | ")[2].startswith("demo: mAP ")
    path = home / "outputs" / "README.md"
    path.write_text(path.read_text().replace(", better", ", nine worse"))
    logged(home, version)
    assert "nine worse" not in path.read_text(), "what is written over the table is no evidence"


def test_the_lab_log_takes_nothing_that_did_not_ask_its_question(home):
    fabricate.run(home / "elsewhere" / "backbone" / "mine", {"conv_layers": 3}, 0.9)
    assert not logged(home, "elsewhere"), "runs of no experiment"
    version = version_of(home)
    record = read_json(version / "experiment.json")
    for asks, taken in (("backbone-splits", 0), ("backbone-quick", 0), ("backbone-demo", 1), ("backbone", 1)):
        write_json(version / "experiment.json", record | {"asks": asks})
        assert len(logged(home, version)) == taken


def test_the_lab_log_reads_files_with_any_name_and_drafts_that_cannot_run(home):
    (home / "params").unlink()
    (home / "params").mkdir()
    comment = "Does it?\n# Log: no.\n# Rows: 1.\n"
    for name in ("my-question", "other"):
        (home / "params" / f"{name}.yaml").write_text(f"# {comment}conv_layers: 1\n")
        fabricate.experiment(home / "outputs", name, mostly_better, comment=comment.replace("\n#", "").strip())
    (home / "params" / "draft.yaml").write_text(f"# {comment}lrr: 0.1\n")
    assert all(len(logged(home, home / "outputs" / name)) == 1 for name in ("my-question", "other"))
    lines = (home / "outputs" / "README.md").read_text().splitlines()
    assert ["mAP" in line for line in lines if "params/" in line] == [True, True, False], "measured first"


def test_a_question_asked_on_another_base_stands_in_its_row_beside_the_demo(home):
    sweep = fabricate.SWEEP | {"seed": [0], "dataset": ["thumos14"], "features": ["simulate"]}
    version = fabricate.experiment(home / "outputs", "backbone-rehearsal", lambda given: 0.2, sweep)
    record = read_json(version / "experiment.json")
    write_json(version / "experiment.json", record | {"asks": "backbone"})
    done = logged(home, "outputs")
    assert [line.split(": mAP")[0] for line in done] == ["lab log: backbone (demo)", "lab log: backbone (rehearsal)"]
    demo, rehearsal = row_of(home).strip("| ").split(" | ")[2].split("; rehearsal: ")
    assert "conv_layers=1: +2" in demo and "mAP 20.0 with conv_layers=0" in rehearsal
    assert ", better" in demo and ", cannot tell" in rehearsal
