"""Both benchmarks are read from every format in which they are published, and every known error in them is found."""

import csv
import itertools
import json
import shutil
from collections import Counter

import pytest

from tadlib.data import datasets
from tadlib.data.annotations import Action
from tadlib.data.checks import find
from tadlib.data.lengths import other_lengths, read_lengths, stated
from tadlib.data.readers import read
from tadlib.data.splits import class_split
from tadlib.data.windows import Grid, Window, actions_in
from tadlib.evaluation.protocols import scored_videos
from tadlib.files import read_json

# Counts of methods.md 3.2: test videos, actions and share of empty windows (%) of split_id 0..9, unseen classes
VIDEOS = {
    75: [50, 57, 73, 55, 57, 54, 65, 69, 51, 54],
    50: [98, 108, 130, 107, 111, 107, 109, 132, 109, 127],
}
ACTIONS = {
    (75, 8): [778, 570, 848, 578, 1011, 941, 726, 885, 744, 528],
    (75, 16): [776, 561, 826, 556, 1002, 920, 703, 880, 737, 524],
    (50, 8): [1293, 1442, 1308, 1430, 1536, 1897, 1637, 1693, 1429, 1680],
}
EMPTY = {8: [19, 31, 21, 30, 16, 18, 28, 23, 20, 37], 16: [9, 18, 9, 19, 8, 8, 13, 13, 10, 22]}


@pytest.fixture(scope="module")
def thumos14(shared_data):
    return datasets.load(str(shared_data / "thumos14"), shared_data)


@pytest.fixture(scope="module")
def activitynet13_read(shared_data):
    """The benchmark, and what its annotation file says."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "read", lambda *words: kept.append(read(*words)) or kept[0])
        return datasets.load(str(shared_data / "activitynet13"), shared_data), kept[0]


@pytest.fixture(scope="module")
def activitynet13(activitynet13_read):
    return activitynet13_read[0]


@pytest.fixture(scope="module")
def thumos14_errors(shared_data):
    return json.loads((shared_data / "thumos14" / "known_errors.json").read_text())


@pytest.fixture(scope="module")
def activitynet13_errors(shared_data):
    return json.loads((shared_data / "activitynet13" / "known_errors.json").read_text())


def found(benchmark, kind):
    return [finding for finding in find(benchmark.videos, benchmark.classes) if finding.kind == kind]


def rows(findings):
    return Counter((f.video.id, *rounded((f.action.start, f.action.end)), f.action.label) for f in findings)


def overlap(a, b):
    return min(a.end, b.end) > max(a.start, b.start)


def known(errors):
    return Counter((row["video"], *rounded(row["segment"]), row["label"]) for row in errors)


def rounded(times):
    return tuple(round(time, 8) for time in times)  # known_errors.json states eight decimals


def sorted_actions(video):
    return sorted(video.actions, key=lambda action: (action.start, action.end, action.label))


def test_thumos14_has_its_official_videos_and_actions(thumos14):
    actions = Counter(video.subset for video in thumos14.videos for _ in video.actions)
    assert Counter(video.subset for video in thumos14.videos) == {"val": 200, "test": 213}
    assert actions == {"val": 3007, "test": 3358}
    assert thumos14.repairs == {
        "ambiguous": 89 + 99,
        "starts after the video's end": 30,
        "ends after the video's end": thumos14.repairs["ends after the video's end"],
        "overlaps its own class": 5 + 3,
        "overlaps another class": thumos14.repairs["overlaps another class"],
        "video believed to be annotated wrongly": 2,
        "video without actions": 1,
    }


def test_the_official_text_files_say_the_same(shared_data, thumos14, tmp_path):
    for name in ("video_info_stride8.json", "durations_test.txt", "durations_validation.txt"):
        shutil.copy(shared_data / "thumos14" / name, tmp_path)
    shutil.copytree(shared_data / "thumos14" / "official_txt", tmp_path / "official_txt")
    videos = {video.id: video for video in thumos14.videos}
    with pytest.raises(ValueError, match="official_txt: video video_test_0001292 has no field 'fps'"):
        datasets.load(str(tmp_path), tmp_path)  # GAP's lengths lack this video
    (tmp_path / "info.json").write_text('{"video_test_0001292": {"fps": 30, "duration": 232.5}}')
    text = datasets.load(str(tmp_path), tmp_path)
    assert {video.id for video in text.videos} == set(videos)
    frames_short = Counter()
    for video in text.videos:
        published = videos[video.id]
        assert (video.subset, sorted_actions(video)) == (published.subset, sorted_actions(published)), video.id
        assert sorted(video.ambiguous) == sorted(published.ambiguous)
        assert video.fps == pytest.approx(published.fps, abs=1e-6)
        shorter = (video.duration - published.duration) * video.fps
        if video.id != "video_test_0001292":
            frames_short[round(shorter, 3)] += 1
    assert frames_short == {1.0: 406, 2.0: 6}  # (F - 1) / R in the JSON, mostly


SUBSETS = {
    "OpenTAD": {"val": "training", "test": "validation"},
    "ActionFormer": {"val": "Validation", "test": "Test"},
}


def variant(name, videos):
    """The annotations as a repository writes them."""
    database = {}
    for video in videos:
        kind = str if name == "T3AL" else float
        entry = {"annotations": [{"segment": [kind(a.start), kind(a.end)], "label": a.label} for a in video.actions]}
        if name == "T3AL":
            entry |= {"duration_second": video.duration, "duration_frame": int(video.duration * 10)}
        elif name == "OpenTAD":
            entry |= {"duration": video.duration, "frame": video.duration * video.fps}
        else:
            entry |= {"duration": video.duration, "fps": video.fps}
        if name != "T3AL":
            entry["subset"] = SUBSETS.get(name, {}).get(video.subset, video.subset)
        database[video.id] = entry
    return database if name == "T3AL" else {"version": "1", "database": database}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("OpenTAD", "thumos_14_anno.json"),
        ("ActionFormer", "thumos14.json"),
        ("TadTR", "th14_annotations_with_fps_duration.json"),
        ("GAP", "Thumos14_annotations.json"),
        ("T3AL", "thumos_anno_action.json"),
    ],
)
def test_thumos14_is_read_as_each_repository_writes_it(shared_data, thumos14, tmp_path, name, file):
    folder = tmp_path / "thumos14"
    folder.mkdir()
    (folder / file).write_text(json.dumps(variant(name, thumos14.videos)))
    shutil.copy(shared_data / "thumos14" / "video_info_stride8.json", folder)
    if name == "T3AL":
        (folder / "info.json").write_text('{"video_test_0001292": {"fps": 30, "duration": 232.5}}')
    benchmark = datasets.load("thumos14", tmp_path)
    assert benchmark.source == folder / file
    assert len(benchmark.training_videos(benchmark.classes)) == 200
    for ours, published in zip(benchmark.videos, thumos14.videos, strict=True):
        assert (ours.id, ours.actions) == (published.id, published.actions)
        assert ours.fps == pytest.approx(published.fps, rel=1e-9)


def test_the_ground_truth_of_210_test_videos_has_3311_actions(shared_data):
    entries = read(shared_data / "thumos14" / "thumos_gt_210_test_videos.json.gz")
    test = [entry for entry in entries.values() if entry.subset == "test"]
    assert (len(entries), len(test)) == (410, 210)
    assert sum(action.label != "Ambiguous" for entry in test for action in entry.actions) == 3311


def test_a_csv_of_ground_truth_is_read_by_the_names_of_its_columns(shared_data, thumos14):
    path = shared_data / "evaluation" / "freezad" / "75" / "split_0.ground_truth.csv"
    entries = read(path)
    with open(path) as handle:
        number = sum(1 for _ in csv.DictReader(handle))
    actions = {video.id: set(video.actions) for video in thumos14.videos}
    assert sum(len(entry.actions) for entry in entries.values()) == number > 500
    assert all(set(entry.actions) <= actions[name] for name, entry in entries.items())


def test_every_known_error_of_thumos14_is_found(thumos14, thumos14_errors):
    assert rows(found(thumos14, "starts after the video's end")) == known(thumos14_errors["past_the_end"])
    without = [video.id for video in thumos14.videos if not video.actions]
    assert without == thumos14_errors["only_ambiguous"]
    overlaps = Counter(finding.video.subset for finding in found(thumos14, "overlaps its own class"))
    assert overlaps == thumos14_errors["overlapping_pairs"]["same_class"]
    believed = {finding.video.id for finding in found(thumos14, "video believed to be annotated wrongly")}
    assert believed == set(thumos14_errors["wrong_annotation_believed"])
    different = Counter()
    for video in thumos14.videos:
        for a, b in itertools.combinations(video.actions, 2):
            if a.label != b.label and {a.label, b.label} != {"CliffDiving", "Diving"}:
                different[video.subset] += overlap(a, b)
    assert different == thumos14_errors["overlapping_pairs"]["different_class_without_CliffDiving_Diving"]
    rates = {video.id: video.fps for video in thumos14.videos if abs(video.fps - 30) > 1e-3}
    assert rates == pytest.approx(thumos14_errors["not_30_fps"], abs=1e-5)
    short = {
        (video.id, a.start, a.end, a.label)
        for video in thumos14.videos
        for a in video.actions
        if a.end - a.start <= 8 / video.fps
    }
    assert short == set(known(thumos14_errors["instances_at_most_8_frames_long"]))


@pytest.mark.parametrize("split", [75, 50])
@pytest.mark.parametrize("stride", [8, 16])
def test_videos_and_actions_of_every_split_are_the_published_numbers(thumos14, split, stride):
    videos, actions = [], []
    for split_id in range(10):
        unseen = class_split(thumos14.classes, split, split_id).unseen
        scored = scored_videos(thumos14, unseen, "gap", stride)
        videos.append(len(scored))
        actions.append(sum(len(video.actions) for video in scored))
    assert videos == VIDEOS[split]
    assert actions == ACTIONS.get((split, stride), actions)


@pytest.mark.parametrize("stride", [8, 16])
def test_the_share_of_empty_windows_of_every_split_is_the_published_one(shared_data, thumos14, stride):
    """As GAP cuts: the last window is short, and a window ends where its last snippet starts."""
    lengths = read_json(shared_data / "thumos14" / f"video_info_stride{stride}.json")
    shares = []
    for split_id in range(10):
        unseen = class_split(thumos14.classes, 75, split_id).unseen
        empty = []
        for video in scored_videos(thumos14, unseen, "gap", stride):
            snippets = lengths[video.id]["snippet_length"]
            firsts = [0, *(first for first in range(96, snippets, 96) if first + 32 < snippets)]
            for first in firsts:
                window = Window(video.id, first, min(first + 128, snippets) - 1)
                empty.append(not actions_in(window, video.actions, Grid(video.fps, stride))[1])
        shares.append(round(100 * sum(empty) / len(empty)))
    assert shares == EMPTY[stride]


def test_activitynet13_has_its_official_videos_and_actions(activitynet13):
    actions = Counter(video.subset for video in activitynet13.videos for _ in video.actions)
    assert Counter(video.subset for video in activitynet13.videos) == {"training": 10024, "validation": 4926}
    assert actions == {"training": 15410, "validation": 7654}
    assert activitynet13.repairs["video of another subset"] == 5044
    assert (activitynet13.train_subset, activitynet13.test_subset) == ("training", "validation")


def test_every_known_error_of_activitynet13_is_found(activitynet13, activitynet13_errors, shared_data):
    assert rows(found(activitynet13, "zero length")) == known(activitynet13_errors["zero_length"])
    duplicates = {key[:4] for key in rows(found(activitynet13, "duplicate"))}
    assert duplicates == set(known(activitynet13_errors["exact_duplicates"]))
    past = [f for f in found(activitynet13, "ends after the video's end") if f.action.end > f.video.duration + 0.05]
    assert {(f.video.id, *rounded((f.action.start, f.action.end))) for f in past} == {
        (row["video"], *row["segment"]) for row in activitynet13_errors["end_more_than_0.05_s_past_duration"]
    }
    overlapping = Counter()
    for video in activitynet13.videos:
        overlapping[video.subset] += sum(itertools.starmap(overlap, itertools.combinations(video.actions, 2)))
    assert overlapping == {"training": 318, "validation": 291}
    several = {
        video.id: sorted({a.label for a in video.actions})
        for video in activitynet13.videos
        if len({a.label for a in video.actions}) > 1
    }
    assert several == {name: sorted(labels) for name, labels in activitynet13_errors["more_than_one_class"].items()}
    assert set(activitynet13_errors["misspelt_classes"]) <= set(activitynet13.classes)
    names = (shared_data / "activitynet13" / "action_name.csv").read_text().splitlines()[1:]
    assert list(activitynet13.classes) == sorted(names)


def test_copies_of_another_length_are_found(activitynet13_read, activitynet13_errors, shared_data):
    activitynet13, entries = activitynet13_read
    used = {video.id: entries[video.id] for video in activitynet13.videos}
    found = other_lengths(used, stated(used, shared_data / "activitynet13"))
    known = activitynet13_errors["feature_copy_length_differs_by_more_than_3_s"]
    assert set(found) == set(known) and activitynet13.repairs["copy of another length"] == 14
    for name, row in known.items():
        assert found[name] == pytest.approx(row["copy_s"] - row["official_s"], abs=0.1)


def test_the_validation_videos_that_others_could_not_download_are_known(
    shared_data, activitynet13, activitynet13_errors, tmp_path
):
    shutil.copy(shared_data / "activitynet13" / "video_info_original.csv.gz", tmp_path / "video_info.csv.gz")
    had = read_lengths(tmp_path)
    validation = [video.id for video in activitynet13.videos if video.subset == "validation"]
    missing = {name for name in validation if f"v_{name}" not in had}
    assert missing == set(activitynet13_errors["validation_videos_missing_from_the_BMN_list"])
    assert len(validation) - len(missing) == 4728


@pytest.mark.parametrize(
    ("split", "videos", "actions"), [(75, (1094, 1258), (1665, 1982)), (50, (2265, 2387), (3430, 3721))]
)
def test_videos_and_actions_of_activitynet_splits_are_the_published_ranges(
    activitynet13, activitynet13_errors, split, videos, actions
):
    missing = set(activitynet13_errors["validation_videos_missing_from_the_BMN_list"])
    listed = [v for v in activitynet13.videos if v.subset == "validation" and v.id not in missing]
    numbers = []
    for split_id in range(10):
        unseen = set(class_split(activitynet13.classes, split, split_id).unseen)
        long = [[a for a in video.actions if a.label in unseen and a.end - a.start > 1] for video in listed]
        numbers.append((sum(map(bool, long)), sum(map(len, long))))
    assert (min(n for n, _ in numbers), max(n for n, _ in numbers)) == videos
    assert (min(n for _, n in numbers), max(n for _, n in numbers)) == actions


def test_the_validation_videos_that_are_blocked_are_known(shared_data, activitynet13):
    """The official scorer left out 986 videos that can no longer be had; 7,220 validation actions are then left."""
    blocked = set(read_json(shared_data / "activitynet13" / "blocked_videos.json"))
    validation = [video for video in activitynet13.videos if video.subset == "validation"]
    left = [video for video in validation if video.id not in blocked]
    assert (len(blocked), len(validation) - len(left)) == (986, 246)
    assert sum(len(video.actions) for video in left) == 7220


@pytest.mark.parametrize(("stride", "short"), [(8, 1), (16, 39)])
def test_very_short_actions_are_scored_unless_the_protocol_removes_them(thumos14, stride, short):
    numbers = {}
    for protocol in ("strict", "gap"):
        scored = scored_videos(thumos14, thumos14.classes, protocol, stride)
        numbers[protocol] = sum(a.end - a.start <= stride / v.fps for v in scored for a in v.actions)
    assert numbers == {"strict": short, "gap": 0}


def test_activitynet13_frame_rates_come_from_the_info_files(activitynet13):
    videos = {video.id: video for video in activitynet13.videos}
    assert videos["cByxAZfw_hM"].fps == 25.0
    assert all(5 < video.fps < 121 for video in activitynet13.videos)


def test_an_edited_activitynet_class_is_refused(shared_data, tmp_path):
    folder = tmp_path / "activitynet13"
    folder.mkdir()
    database = read_json(shared_data / "activitynet13" / "activity_net.v1-3.rebuilt.json.gz")["database"]
    used = {row["label"]: video for video, entry in database.items() for row in entry["annotations"]}
    few = json.dumps({"database": {video: database[video] for video in used.values()}})  # one of each class
    (folder / "activity_net.v1-3.min.json").write_text(few.replace("Plataform", "Platform"))
    shutil.copy(shared_data / "activitynet13" / "video_info_stride16.json.gz", folder)
    with pytest.raises(ValueError, match="has 200 classes, not ActivityNet-1.3's 200 .spelt as published"):
        datasets.load("activitynet13", tmp_path)


def test_two_videos_with_another_spelling_of_their_id_find_their_length(shared_data, tmp_path):
    (tmp_path / "annotations.csv").write_text("video-id,t-start,t-end,label,subset\nGGSY1Qvo990,1,2,lift,training\n")
    (tmp_path / "info.json").write_text('{"v_GGSY1Qvo990": {"frames": 355, "fps": 20}}')
    (video,) = datasets.load(str(tmp_path), tmp_path).videos
    assert (video.duration, video.fps, video.actions) == (17.75, 20.0, (Action(1.0, 2.0, "lift"),))


def test_a_length_that_nobody_states_is_measured_on_the_video(shared_data, tmp_path):
    (tmp_path / "annotations.csv").write_text("video-id,t-start,t-end,label,subset\nGGSY1Qvo990,1,2,lift,training\n")
    (tmp_path / "videos").mkdir()
    shutil.copy(shared_data / "clips" / "v_GGSY1Qvo990.mp4", tmp_path / "videos")
    (video,) = datasets.load(str(tmp_path), tmp_path).videos
    assert video.duration == pytest.approx(18.04, abs=0.1) and video.fps == pytest.approx(355 / 18.04, abs=0.5)
