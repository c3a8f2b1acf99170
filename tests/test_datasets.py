"""A folder is a data set: its layouts and conventions are found, and a mistake in them is named."""

import gzip
import json

import pytest
from standins import write

from tadlib.data import datasets
from tadlib.data.annotations import Action
from tadlib.data.readers import read
from tadlib.workbook.params import Params

TABLE = "video-id,t-start,t-end,label,subset,duration,fps\n"
ROWS = "a,1,2,wave,training,10,25\na,3,4.5,clap,training,10,25\nb,0,1,wave,validation,8,25\n"


def test_conventions_come_from_the_yaml(tmp_path):
    yaml = "train_subset: validation\ntest_subset: training\ntious: [0.1, 0.5]\nstride: 16\n"
    benchmark = datasets.load(str(write(tmp_path, annotations__csv=TABLE + ROWS, benchmark__yaml=yaml)), tmp_path)
    assert (benchmark.train_subset, benchmark.test_subset) == ("validation", "training")
    assert benchmark.tious == (0.1, 0.5)
    assert Params.check({"dataset": str(tmp_path)}).stride == 16  # a default, which another value beats
    assert Params.check({"dataset": str(tmp_path), "stride": 4}).stride == 4
    write(tmp_path, benchmark__yaml="test_subset: validations")
    with pytest.raises(ValueError, match="no video has test_subset 'validations'; did you mean 'validation'"):
        datasets.load(str(tmp_path), tmp_path)


def test_packed_annotations_are_read(tmp_path):
    row = {"subset": "test", "duration": 9, "fps": 5, "annotations": [{"segment": [1, 2], "label": "Diving"}]}
    (tmp_path / "annotations.json.gz").write_bytes(gzip.compress(json.dumps({"database": {"v": row}}).encode()))
    assert datasets.load(str(tmp_path), tmp_path).videos[0].actions == (Action(1, 2, "Diving"),)
    write(tmp_path, annotations__csv=TABLE + ROWS)
    with pytest.raises(ValueError, match="annotations.json.gz and .*annotations.csv are both annotations of .*: keep"):
        datasets.load(str(tmp_path), tmp_path)


def test_text_files_that_lack_something_are_named(tmp_path):
    with pytest.raises(ValueError, match="is a directory without rows: expected files like Diving_val.txt"):
        read(tmp_path)
    (tmp_path / "Diving_val.txt").write_text("video_validation_0000001 1.0 2.0\nvideo_validation_0000001 3.0\n")
    with pytest.raises(ValueError, match="Diving_val.txt, line 2: expected 'video start end' in seconds"):
        read(tmp_path)


def test_a_subset_that_only_some_videos_have_is_asked_for(tmp_path):
    table = "video,start,end,label,duration,fps\na,1,2,wave,10,25\nb,1,2,wave,10,25\n"
    path = write(tmp_path, annotations__csv=table)
    benchmark = datasets.load(str(path), tmp_path)
    assert {video.subset for video in benchmark.videos} == {benchmark.train_subset} == {benchmark.test_subset}
    (path / "info.json").write_text('{"b": {"subset": "test"}}')
    with pytest.raises(ValueError, match="annotations.csv: video a has no field 'subset': give it there"):
        datasets.load(str(write(tmp_path, annotations__csv=table)), tmp_path)


def test_training_videos_are_those_called_train_also_beside_others_for_validation(tmp_path):
    rows = [f"{name}{place},1,2,wave,{name},9,25\n" for name in ("train", "val", "test") for place in range(2)]
    benchmark = datasets.load(str(write(tmp_path, annotations__csv=TABLE + "".join(rows))), tmp_path)
    assert (benchmark.train_subset, benchmark.test_subset) == ("train", "test")
    again = write(tmp_path / "other", annotations__csv=TABLE + "".join(rows) + "x,1,2,wave,Train,9,25\n")
    with pytest.raises(ValueError, match="has subsets 'Train' and 'train': spell them alike"):
        datasets.load(str(again), tmp_path)


def test_the_length_of_an_action_is_no_duration_of_its_video(tmp_path):
    rows = "a,1,3,wave,train,2,25\na,5,7,wave,train,2,25\nb,0,2,wave,test,2,25\n"
    with pytest.raises(ValueError, match="annotations.csv: the duration of each video is the length of its action"):
        datasets.load(str(write(tmp_path, annotations__csv=TABLE + rows)), tmp_path)
