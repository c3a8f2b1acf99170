"""A data set is what it says: its own classes, one of them too, and splits that leave somebody to train and to test."""

import json

import pytest

from tadlib.data import datasets
from tadlib.data.splits import class_split
from tadlib.evaluation.result_file import read_task
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params


def folder_with(path, videos, yaml=""):
    """A data set of videos of a minute: id -> (subset, labels)."""
    database = {
        name: {
            "subset": subset,
            "duration": 60.0,
            "fps": 25,
            "annotations": [
                {"segment": [2.0 + 12 * place, 8.0 + 12 * place], "label": label} for place, label in enumerate(labels)
            ],
        }
        for name, (subset, labels) in videos.items()
    }
    path.mkdir(exist_ok=True)
    (path / "annotations.json").write_text(json.dumps({"database": database}))
    if yaml:
        (path / "benchmark.yaml").write_text(yaml)
    return path


def both_sides(*labels):
    """Videos of which each side has some of every label."""
    return {f"v{place}": (subset, labels) for place, subset in enumerate(["training", "validation"] * 3)}


def gathered(folder, tmp_path, **given):
    return gather(
        Params.check({"dataset": str(folder), "data_dir": str(tmp_path / "data"), "features": "simulate"} | given)
    )


@pytest.mark.parametrize("labels", [("GolfSwing", "TennisSwing"), ("Diving",), datasets.THUMOS14_CLASSES[:19]])
def test_labels_of_a_benchmark_make_no_benchmark(tmp_path, labels):
    folder = folder_with(tmp_path / "own", both_sides(*labels))
    benchmark = datasets.load(str(folder), tmp_path)
    assert benchmark.classes == tuple(sorted(labels)) and benchmark.tious == datasets.ACTIVITYNET_TIOUS
    assert read_task(folder / "annotations.json").tious == datasets.ACTIVITYNET_TIOUS


@pytest.mark.parametrize(
    ("videos", "yaml"),
    [
        (both_sides("Diving"), "benchmark: thumos14"),
        (both_sides(*datasets.THUMOS14_CLASSES), ""),
        ({"video_validation_0000051": ("val", ["Diving"]), "video_test_0000004": ("test", ["Diving"])}, ""),
    ],
    ids=["says so", "all classes", "official ids"],
)
def test_a_folder_that_is_a_benchmark_is_one(tmp_path, videos, yaml):
    folder = folder_with(tmp_path / "copy", videos, yaml)
    benchmark = datasets.load(str(folder), tmp_path)
    assert (benchmark.classes, benchmark.tious) == (datasets.THUMOS14_CLASSES, datasets.THUMOS14_TIOUS)
    assert read_task(folder / "annotations.json").tious == datasets.THUMOS14_TIOUS


def test_own_thresholds_hold_in_training_and_in_the_command(tmp_path):
    folder = folder_with(tmp_path / "own", both_sides("GolfSwing", "TennisSwing"), "tious: [0.3, 0.5]")
    assert datasets.load(str(folder), tmp_path).tious == (0.3, 0.5)
    assert read_task(folder / "annotations.json").tious == (0.3, 0.5)
    assert read_task(folder / "annotations.json", tious=[0.4]).tious == (0.4,)
    (folder / "annotations").mkdir()
    (folder / "annotations.json").rename(folder / "annotations" / "annotations.json")
    assert datasets.load(str(folder), tmp_path).tious == (0.3, 0.5)
    assert read_task(folder / "annotations" / "annotations.json").tious == (0.3, 0.5)


@pytest.mark.parametrize("split", [75, 50])
def test_one_class_is_no_zero_shot_task_and_says_what_to_do(tmp_path, split):
    with pytest.raises(ValueError, match=f"split {split} needs two classes.*'wave': pass -p split 0"):
        class_split(["wave"], split, 0)
    with pytest.raises(ValueError, match="pass -p split 0"):
        gathered(folder_with(tmp_path / "own", both_sides("wave")), tmp_path, split=split)
    assert gathered(tmp_path / "own", tmp_path, split=0).classes.unseen == ("wave",)


@pytest.mark.parametrize("lacking", ["training", "validation"])
def test_a_split_without_videos_of_a_side_is_an_error_and_another_one_is_not(tmp_path, lacking):
    other = {"training": "validation", "validation": "training"}[lacking]
    folder = folder_with(tmp_path / "own", {"v": (lacking, ["a"]), "w": (other, ["a", "b"])})
    good = [number for number in range(10) if ("a" in class_split("ab", 50, number).unseen) == (lacking != "training")]
    bad = next(number for number in range(10) if number not in good)
    assert good
    side = {"training": "training", "validation": "test"}[lacking]
    with pytest.raises(ValueError, match=f"split 50, split_id {bad} has no {side} video .*: pass another split"):
        gathered(folder, tmp_path, split=50, split_id=bad)
    assert gathered(folder, tmp_path, split=50, split_id=good[0]).training_videos


def test_a_data_set_without_test_videos_is_said_in_a_sentence(tmp_path):
    folder = folder_with(tmp_path / "own", {"v": ("training", ["a", "b"])})
    with pytest.raises(ValueError, match="the data set has no test video .* in benchmark.yaml"):
        gathered(folder, tmp_path, split=0)
