"""Annotations and detections of others: what label tools, language models and repositories write, there and back."""

import json
import pickle
from collections import defaultdict

import golden
import numpy as np
import pytest
from standins import write

from tadlib.data import datasets
from tadlib.data.annotations import Action
from tadlib.data.readers import read, read_table
from tadlib.data.stores import FolderStore, UnusableFeatures
from tadlib.evaluation.result_file import evaluate, read_result, read_task
from tadlib.workbook import cli

TRUTH = "video-id,t-start,t-end,label\na,0,10,HighJump\na,20,30,Shotput\nb,0,10,HighJump\n"
FOUND = "video-id,t-start,t-end,label,score\na,0,10,HighJump,0.9\na,20,30,Shotput,0.8\nb,40,50,HighJump,0.7\n"


def task(video, *regions, kind="annotations", **data):
    results = [
        {"type": "timelinelabels", "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}}
        for start, end, label in regions
    ]
    return {"id": 1, "data": {"video": video} | data, kind: [{"was_cancelled": False, "result": results}]}


def tad(*words):
    return cli.main([str(word) for word in words])


TABLES = {  # a label tool's table -> one action of 61.5 to 65 s in the video ann
    "headers in any case": "FileName,START,End,Category\nann.mp4,61.5,65,wave\n",
    "clocks": "video_name,Start Time,End Time,Label\nann,01:01.5,00:01:05.0,wave\n",
    "folders of Windows": "video-path,begin,stop,action\nC:\\clips\\ann.MOV,61.5,65,wave\n",
    "semicolons": "File;Start;End;Tag\nclips/ann.mp4;61,5;65,0;wave\n",
    "tabs": "filename\tT-Start\tT-END\tClass\nann\t0:01:01,5\t65\twave \n",
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_of_a_label_tool_is_a_data_set_of_one_subset(tmp_path, table, encoding):
    (tmp_path / "annotations.csv").write_bytes(table.encode(encoding))
    write(tmp_path, info__json={"ann": {"duration": 90, "fps": "30000/1001"}})
    benchmark = datasets.load(str(tmp_path), tmp_path)
    (video,) = benchmark.videos
    assert (video.id, video.actions) == ("ann", (Action(61.5, 65.0, "wave"),))
    assert video.subset == benchmark.train_subset == benchmark.test_subset
    assert video.fps == pytest.approx(29.97, abs=1e-3)


def labelled(data, *values):
    """A task of which somebody began another annotation."""
    results = [{"value": value} for value in values]
    return {"data": data, "annotations": [{"result": results}, {"was_cancelled": True, "result": []}]}


WAVE = {"ranges": [{"start": 26, "end": 75}], "timelinelabels": ["wave"]}
BOXES = {"labels": ["hand"], "framesCount": 200, "duration": 8.0, "sequence": []}
TASKS = {  # exports of Label Studio with an action of 1 to 3 s in the video ann, of 30 frames per second
    "a rate in the task": task("/data/upload/1/3d3ad63e-ann.mp4", (26, 75, "wave"), fps=25),
    "the video's rate": task("/data/local-files/?d=clips/ann.mp4", (31, 90, "wave")),
    "seconds of sound": labelled({"url": "http://x/ann.mp4?sig=1"}, {"start": 1, "end": 3, "labels": ["wave"]}),
    "boxes beside it": labelled({"video": "ann.mp4", "fps": 25}, BOXES, WAVE),
}


@pytest.mark.parametrize("conventions", ["", "times: frames\n"], ids=["", "frames"])
@pytest.mark.parametrize("exported", TASKS.values(), ids=TASKS)
def test_exports_of_label_studio_are_a_data_set(tmp_path, exported, conventions):
    write(tmp_path, annotations__json=[exported], info__json={"ann": {"duration": 90, "fps": 30}})
    (tmp_path / "benchmark.yaml").write_text(conventions)  # tasks say themselves which times are frames
    (video,) = datasets.load(str(tmp_path), tmp_path).videos
    assert (video.id, video.fps, video.actions) == ("ann", 30, (Action(1.0, 3.0, "wave"),))


def test_annotations_of_two_people_are_asked_about(tmp_path):
    tasks = [task("ann.mp4", (26, 75, "wave"))]
    tasks[0]["annotations"] *= 2
    with pytest.raises(ValueError, match="task 1: video ann cannot be read: it has 2 annotations: mark one"):
        read(write(tmp_path, a__json=tasks) / "a.json")
    tasks[0]["annotations"] = [tasks[0]["annotations"][0], {"ground_truth": True, "result": []}]
    assert read(write(tmp_path, a__json=tasks) / "a.json")["ann"].actions == ()


@pytest.mark.parametrize("layout", ["activitynet", "csv", "label-studio"])
@pytest.mark.parametrize("content", [TRUTH, FOUND], ids=["annotations", "detections"])
def test_what_is_exported_is_read_as_it_was(tmp_path, layout, content, capsys):
    source = write(tmp_path, source__csv=content) / "source.csv"
    target = tmp_path / ("out.csv" if layout == "csv" else "out.json")
    assert tad("export", source, target, "--as", layout, "--fps", "25") == 0
    key = "results" if content == FOUND else "database"
    before, after = (read_table(path, key) for path in (source, target))
    assert [list(map(float, each)) for each in after.segment] == [list(map(float, each)) for each in before.segment]
    assert (after.video, after.label) == (before.video, before.label)
    assert list(map(float, after.score)) == list(map(float, before.score))


def test_an_export_for_fiftyone_is_in_its_layout_of_temporal_detections(tmp_path):
    for name, content in {"truth": TRUTH, "found": FOUND}.items():
        source = write(tmp_path, **{f"{name}__csv": content}) / f"{name}.csv"
        assert tad("export", source, tmp_path / f"{name}.json", "--as", "fiftyone", "--fps", "25") == 0
    truth, found = (golden.read_json(tmp_path / f"{name}.json")["labels"] for name in ("truth", "found"))
    assert truth["b"] == [{"label": "HighJump", "support": [1, 250]}]  # frames from 1, both ends inside
    assert found["a"][1] == {"label": "Shotput", "support": [501, 750], "confidence": 0.8}


def test_an_export_to_frames_asks_for_their_rate_and_overwrites_nothing_that_is_read(tmp_path, capsys):
    source = write(tmp_path, source__csv=FOUND) / "source.csv"
    assert tad("export", source, tmp_path / "out.json", "--as", "label-studio") == 2
    assert "video a has no frame rate: pass --fps" in capsys.readouterr().err
    assert tad("export", source, source, "--as", "csv") == 2 and source.read_text() == FOUND


def test_times_that_look_like_frames_are_asked_about(tmp_path):
    table = "video,start,end,label,duration,fps\na,30,90,wave,10,30\nb,60,240,wave,10,30\n"
    write(tmp_path, annotations__csv=table)
    with pytest.raises(
        ValueError, match=r"annotations.csv cannot be used: times look like frames: 2 .*are they frames"
    ):
        datasets.load(str(tmp_path), tmp_path)
    write(tmp_path, benchmark__yaml="times: frames")
    assert datasets.load(str(tmp_path), tmp_path).videos[0].actions == (Action(1.0, 3.0, "wave"),)
    write(tmp_path, benchmark__yaml="times: seconds")
    assert datasets.load(str(tmp_path), tmp_path).videos[0].actions == (Action(30.0, 90.0, "wave"),)


def as_text(table, scored):
    """THUMOS14's layout: a file for each class."""
    files = defaultdict(str)
    for video, start, end, label, *score in (row.split(",") for row in table.splitlines()[1:]):
        files[f"{label}_test__txt"] += " ".join([video, start, end, *score[:scored]]) + "\n"
    return files


def test_detections_are_scored_in_every_layout(tmp_path):
    numbers = FOUND.replace("HighJump", "40").replace("Shotput", "79").partition("\n")[2].replace(",", " ")
    how, spans = {"kind": "predictions", "fps": 25}, ((1, 250, "HighJump"), (501, 750, "Shotput"))
    predictions = [task("a.mp4", *spans, **how), task("b.mp4", (1001, 1250, "HighJump"), **how)]
    for each in predictions:
        for region, score in zip(each["predictions"][0]["result"], (0.9, 0.8), strict=False):
            region["score"] = score
    answers = "video,start,end,text\na,0,10,a high jump\na,20,30,Shotput\nb,40,50,high jump\n".replace("a high", "high")
    folders = write(tmp_path / "t", **as_text(TRUTH, 0)), write(tmp_path / "f", **as_text(FOUND, 1))
    write(tmp_path, t__csv=TRUTH, f__csv=FOUND, f__txt=numbers, f__json=predictions, v__csv=answers)
    for truth in (tmp_path / "t.csv", folders[0]):
        for found in (*(tmp_path / name for name in ("f.csv", "f.txt", "f.json", "v.csv")), folders[1]):
            result = evaluate(asked := read_task(truth, tious=[0.5]), read_result(asked, found))
            assert result["per_class"] == {"HighJump": [0.5], "Shotput": [1.0]}, (truth, found)
            assert result["counts"]["dropped_detections"] == {}


def test_rows_of_equal_scores_rank_by_their_order_in_the_file_where_videos_alternate(tmp_path):
    head, rows = "video,start,end,", "a,0,10,HighJump,1\nb,0,10,HighJump,1\na,60,70,HighJump,1\n"
    write(tmp_path, t__csv=TRUTH, f__csv=f"{head}label,score\n{rows}", v__csv=f"{head}text\n{rows.replace('p,1', 'p')}")
    asked = read_task(tmp_path / "t.csv", tious=[0.5])
    for name, ties in (("f.csv", "stable"), ("v.csv", "stable"), ("v.csv", "peer")):
        assert evaluate(asked, read_result(asked, tmp_path / name), ties=ties)["per_class"]["HighJump"] == [1.0]


def test_published_splits_are_scored_by_one_command(shared_data, tmp_path, capsys):
    folder = shared_data / "evaluation" / "freezad"
    words = ["--annotations", folder / "75" / "split_*.ground_truth.csv", "--json", tmp_path / "out.json"]
    assert tad("evaluate", "--detections", folder / "75" / "split_*.predictions.csv", *words) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    published = golden.read_json(shared_data / "evaluation" / "golden" / "freezad_splits_0-4.json")["results"]
    expected = {
        name: each["repo_all_videos"]["detection"]["average_mAP"]
        for name, each in published.items()
        if name[:2] == "75"
    }
    for path, split in result["splits"].items():
        name = path.removeprefix(f"{folder}/").removesuffix(".predictions.csv")
        assert split["mAP"] == pytest.approx(expected[name], rel=0, abs=golden.TOLERANCE)
    assert len(result["splits"]) == len(expected) == 5
    spread, values = result["spread"]["mAP"], list(expected.values())
    assert spread["mean"] == pytest.approx(np.mean(values), abs=golden.TOLERANCE)
    assert spread["deviation"] == pytest.approx(np.std(values, ddof=1), abs=golden.TOLERANCE)
    assert spread["low"] < spread["mean"] < spread["high"]
    assert "95 % interval from" in capsys.readouterr().out


def test_each_split_has_its_own_classes(tmp_path, capsys):
    for number, label in enumerate(("HighJump", "Shotput")):
        rows = [row for row in FOUND.splitlines(keepends=True) if label in row or "score" in row]
        write(tmp_path, **{f"found{number}__csv": "".join(rows), f"seen{1 - number}__txt": label})
    truth = write(tmp_path, truth__csv=TRUTH) / "truth.csv"
    words = ["--annotations", truth, "--detections", tmp_path / "found?.csv", "--tiou", 0.5, "--json", tmp_path / "out"]
    assert tad("evaluate", *words) == 0
    result = json.loads((tmp_path / "out").read_text())
    assert [list(each["per_class"]) for each in result["splits"].values()] == [["HighJump"], ["Shotput"]]
    assert result["spread"]["mAP"]["mean"] == 0.75
    assert tad("evaluate", *words, "--seen", tmp_path / "seen?.txt") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "50.00 50.00 0.00 50.00 0.00" in out and "novel harmonic" in out
    assert tad("evaluate", *words, "--classes", tmp_path / "*.csv") == 2
    assert "--classes names 3 files, --detections 2: give one, or one for each" in capsys.readouterr().err


FEATURES = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)


def test_features_in_a_pickle_are_never_opened_and_the_converting_line_converts(tmp_path, monkeypatch):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(FEATURES))
    with pytest.raises(UnusableFeatures, match="v.pkl is a pickle") as error:
        FolderStore(tmp_path, stride=8).read("v")
    exec(str(error.value).split('python -c "')[1].rstrip('"'), {})
    np.testing.assert_array_equal(FolderStore(tmp_path, stride=8).read("v"), FEATURES)
