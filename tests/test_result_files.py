"""`tad evaluate` on result files: layouts, protocols, and rows that cannot be right."""

import gzip
import json
import shutil

import golden
import numpy as np
import pytest
import reference

from tadlib.data.datasets import THUMOS14_TIOUS
from tadlib.evaluation.protocols import PROTOCOLS
from tadlib.evaluation.result_file import against, read_result, read_task
from tadlib.evaluation.result_file import evaluate as evaluate_task
from tadlib.workbook import cli

TRUTH = "video-id,t-start,t-end,label\na,0,10,Diving\na,20,30,Shotput\nb,0,10,Diving\n"
FOUND = "video-id,t-start,t-end,label,score\na,0,10,Diving,0.9\na,20,30,Shotput,0.8\nb,40,50,Diving,0.7\n"


def evaluate(truth, found, *, drop_bad=False, **options):
    """Numbers of a result file against an annotation file, as the command computes them."""
    task = read_task(truth, drop_bad=drop_bad, **{"tious": THUMOS14_TIOUS} | options)
    return evaluate_task(task, read_result(task, found, drop_bad=drop_bad))


def written(tmp_path, truth=TRUTH, found=FOUND):
    (tmp_path / "truth.csv").write_text(truth)
    (tmp_path / "found.csv").write_text(found)
    return tmp_path / "truth.csv", tmp_path / "found.csv"


def as_json(tmp_path):
    dive, shot = {"segment": [0, 10], "label": "Diving"}, {"segment": [20, 30], "label": "Shotput"}
    subsets, rows = {"a": "test", "b": "test", "c": "val"}, {"a": [dive, shot], "b": [dive], "c": [dive]}
    truth = {video: {"subset": subset, "annotations": rows[video]} for video, subset in subsets.items()}
    found = {"a": [dive | {"score": 0.9}, shot | {"score": 0.8}], "v_b": [dive | {"segment": [40, 50], "score": 0.7}]}
    (tmp_path / "truth.json").write_text(json.dumps({"database": truth}))
    (tmp_path / "found.json.gz").write_bytes(gzip.compress(json.dumps({"results": found}).encode()))
    return tmp_path / "truth.json", tmp_path / "found.json.gz"


def test_a_subset_counts_its_own_videos(tmp_path):
    truth, found = as_json(tmp_path)
    assert evaluate(truth, found)["counts"]["actions"] == 4
    assert evaluate(truth, found, subset="test")["counts"]["actions"] == 3
    with pytest.raises(ValueError, match="no videos of subset 'tset': it has 'test', 'val'"):
        evaluate(truth, found, subset="tset")


def test_only_the_named_classes_count(tmp_path):
    (tmp_path / "classes.txt").write_text("Shotput\nPoleVault\n")
    result = evaluate(*written(tmp_path), classes=tmp_path / "classes.txt")
    assert result["per_class"] == {"Shotput": [1.0] * 5}
    assert result["counts"]["classes_without_actions"] == ["PoleVault"]
    assert (result["counts"]["detections"], result["counts"]["detections_ignored"]) == (1, 2)
    (metrics := tmp_path / "metrics.json").write_text('{"mAP": 1, "unseen": ["Shotput", "PoleVault"]}')
    assert evaluate(*written(tmp_path), classes=metrics) == result
    metrics.write_text('{"loss": 1}')
    with pytest.raises(ValueError, match="metrics.json must name each class once, one a line; got 0 lines"):
        evaluate(*written(tmp_path), classes=metrics)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        *(("a,10,0,Diving,0.5", "end before start"), ("a,nan,1,Diving,0.5", "time is no finite number")),
        *(("a,,1,Diving,0.5", "time is no finite number"), ("a,0,inf,Diving,0.5", "time is no finite number")),
        *(("a,0,1,Diving,nan", "score is no number"), ("a,0,1,Diving,high", "score is no number")),
        *(("a,0,1,Diving,", "score is no number"), ("a,-1,-2,Diving,0.5", "end before start")),
        *(("a,0,1,Dving,0.5", "unknown class"), ("z,0,1,Diving,0.5", "unknown video")),
        ("a,0,1,Diving,1:30", "score is no number"),
    ],
)
def test_a_bad_detection_is_an_error_that_names_it_or_is_dropped_and_counted(tmp_path, row, kind):
    paths = written(tmp_path, found=FOUND + row + "\n")
    with pytest.raises(ValueError, match=f"1 with {kind} \\(line 5: video {row[0]} .*--drop-bad"):
        evaluate(*paths)
    result = evaluate(*paths, drop_bad=True)
    assert result["mAP"] == 0.75 and result["counts"]["dropped_detections"] == {kind: 1}


def test_a_bad_action_is_an_error_that_names_it_or_is_dropped_and_counted(tmp_path):
    paths = written(tmp_path, truth=TRUTH + "b,9,3,Diving\n")
    with pytest.raises(ValueError, match=r"1 with end before start \(line 5: video b \['9', '3'\] 'Diving'\)"):
        evaluate(*paths)
    assert evaluate(*paths, drop_bad=True)["counts"]["dropped_actions"] == {"end before start": 1}


# Rows that published scorers take: the row more, AP of Diving where two actions are to be found, and why.
TAKEN = {
    "starts before 0": ("a,-0.2,10,Diving,0.95", 0.5, "a second hit on an action found already is a false positive"),
    "a hit from before 0": ("b,-0.2,9.9,Diving,0.2", (1 + 2 / 3) / 2, "a hit at rank 3"),
    "starts and ends before 0": ("a,-5,-1,Diving,0.95", 0.25, "a false positive before the hit"),
    "ends after the video": ("b,0,10.5,Diving,0.2", (1 + 2 / 3) / 2, "a hit at rank 3"),
    "starts after the video": ("b,90,95,Diving,0.95", 0.25, "a false positive before the hit"),
    "no length": ("b,5,5,Diving,0.95", 0.25, "a false positive before the hit"),
    "a score above 1": ("b,0,10,Diving,17", 1.0, "of scores the order alone counts"),
    "an infinite score": ("b,0,10,Diving,inf", 1.0, "of scores the order alone counts"),
    "a score below 0": ("b,0,10,Diving,-3", (1 + 2 / 3) / 2, "a hit at rank 3"),
    "minus infinity": ("b,0,10,Diving,-inf", (1 + 2 / 3) / 2, "a hit at rank 3"),
    "the same row twice": ("a,0,10,Diving,0.9", 0.5, "a second hit on an action found already is a false positive"),
    "whole numbers": ("b,0,10,Diving,1", 1.0, "as any others"),
    "spaces": (" b , 0 , 10 , Diving , 1 ", 1.0, "as any others"),
}


def as_results(found):
    """The rows of a table in ActivityNet's layout, with its numbers as they are written: text."""
    results = {}
    for row in found.splitlines()[1:]:
        video, start, end, label, score = (cell.strip() for cell in row.split(","))
        results.setdefault(video, []).append({"segment": [start, end], "label": label, "score": score})
    return json.dumps({"version": "1.3", "results": results, "external_data": {}})


def timed(tmp_path):
    """The annotations of the tables above, with how long each video lasts."""
    database = {
        "a": [{"segment": [0, 10], "label": "Diving"}, {"segment": [20, 30], "label": "Shotput"}],
        "b": [{"segment": [0, 10], "label": "Diving"}],
    }
    content = {video: {"subset": "test", "duration": d, "annotations": database[video]} for video, d in DURATIONS}
    (tmp_path / "truth.json").write_text(json.dumps({"database": content}))
    return tmp_path / "truth.json"


DURATIONS = (("a", 40.0), ("b", 60.0))


@pytest.mark.parametrize("drop_bad", [False, True])
@pytest.mark.parametrize("layout", [str, as_results], ids=["CSV", "JSON"])
@pytest.mark.parametrize(("row", "diving", "why"), TAKEN.values(), ids=TAKEN)
def test_what_published_scorers_take_is_scored_as_they_score_it(tmp_path, row, diving, why, layout, drop_bad):
    (tmp_path / "found").write_text(layout(FOUND + row + "\n"))
    result = evaluate(timed(tmp_path), tmp_path / "found", drop_bad=drop_bad, tious=(0.5,))
    assert result["per_class"] == {"Diving": [pytest.approx(diving)], "Shotput": [1.0]}, why
    assert result["counts"]["dropped_detections"] == {}
    assert result["counts"]["detections"] == result["counts"]["detections_read"] == 4
    table = [each.split(",") for each in (FOUND + row).splitlines()[1:]]
    predictions = [(v.strip(), float(s), float(e), label.strip(), float(score)) for v, s, e, label, score in table]
    actions = [("a", 0, 10, "Diving"), ("a", 20, 30, "Shotput"), ("b", 0, 10, "Diving")]
    plainly = reference.precision_table(golden.comparison(actions, predictions), (0.5,))
    assert [each for (each,) in plainly] == pytest.approx([diving, 1.0]), "as the published algorithm, in slow loops"


def test_detections_outside_their_videos_are_counted_and_told_and_so_are_actions(tmp_path, capsys):
    rows = "b,-0.2,9.9,Diving,0.95\nb,55,61,Diving,0.1\nb,-1,100,Diving,0.1\na,30,40,Shotput,0.1\n"
    (tmp_path / "found.csv").write_text(FOUND + rows)
    found = str(tmp_path / "found.csv")
    (tmp_path / "truth.json").write_text(timed(tmp_path).read_text().replace("[20, 30]", "[-0.5, 41.5]"))
    for words in ([], ["--drop-bad"]):
        assert cli.main(["evaluate", "--annotations", str(tmp_path / "truth.json"), "--detections", found, *words]) == 0
        told = capsys.readouterr().out
        assert "\ndetections outside video: 2 with start before 0, 2 with end after the video\n" in told
        assert "\nactions outside video: 1 with start before 0, 1 with end after the video\n" in told
    counts = evaluate(written(tmp_path)[0], tmp_path / "found.csv")["counts"]
    assert counts["detections_outside_video"] == {}, "a table does not say how long a video lasts"


@pytest.mark.parametrize("name", ["v_a", "a.mp4"])
def test_two_spellings_of_a_video_among_detections_are_named(tmp_path, name):
    rows = {video: [{"segment": [0, 10], "label": "Diving", "score": 0.9}] for video in (name, "a")}
    with pytest.raises(ValueError, match=rf"found.csv: .*{name}.* both video 'a'"):
        evaluate(*written(tmp_path, found=json.dumps({"results": rows})))


def test_seen_classes_that_are_annotated_nowhere_and_classes_that_differ_in_spelling_are_told(tmp_path, capsys):
    truth, found = written(tmp_path, truth=TRUTH + "b,3,9,diving\n")
    (tmp_path / "seen.txt").write_text("Shotput\nBilliards\n")
    (tmp_path / f"2{found.name}").write_bytes(found.read_bytes())
    for result in (tmp_path / f"*{found.name}", found):
        words = ["--annotations", str(truth), "--detections", str(result), "--seen", str(tmp_path / "seen.txt")]
        assert cli.main(["evaluate", *words]) == 0
        assert "seen classes without actions: Billiards" in (printed := capsys.readouterr().out)
    assert "classes read alike: 'Diving' = 'diving'" in printed


@pytest.mark.parametrize("found", ["video-id,t-start,t-end,label,score\n", '{"results": {}}'])
def test_no_detections_score_zero(tmp_path, found):
    result = evaluate(*written(tmp_path, found=found))
    assert (result["mAP"], result["AR@100"], result["AUC"]) == (0.0, 0.0, 0.0)
    assert result["counts"]["videos_without_detections"] == 2


def test_the_command_prints_a_table_and_writes_every_number(tmp_path, capsys):
    truth, found = written(tmp_path)
    words = ["evaluate", "--annotations", str(truth), "--detections", str(found), "--tiou=0.5", "--tiou=0.75"]
    (tmp_path / "metrics.json").write_text('{"protocol": "strict"}')  # of a run beside the detections
    assert cli.main([*words, "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "Diving                     50.00   50.00   50.00" in printed and "\nprotocol plain\n" in printed
    assert f"\nprotocol plain here, strict in the run {tmp_path}: pass --protocol strict to compare" in printed
    result = json.loads((tmp_path / "out.json").read_text())
    numbers = {"mAP", "mAP@0.5", "mAP@0.75", "agnostic_mAP", "agnostic_mAP@0.5", "AUC"}
    assert numbers | {f"AR@{n}" for n in (1, 5, 10, 25, 50, 100)} | {"per_class", "counts", "protocol"} <= set(result)


def filmed(tmp_path, label, *spans):
    """Actions of one class in a video of 30 frames per second, and a detection of it."""
    actions = [{"segment": list(span), "label": label} for span in spans]
    video = {"subset": "test", "duration": 50, "fps": 30, "annotations": actions}
    (tmp_path / "truth.json").write_text(json.dumps({"database": {"video_test_0000001": video}}))
    row = f"video_test_0000001,0,10,{label},0.9"
    (tmp_path / "found.csv").write_text(f"video-id,t-start,t-end,label,score\n{row}\n")
    return tmp_path / "truth.json", tmp_path / "found.csv"


def test_short_actions_of_other_classes_are_those_of_a_second(tmp_path):
    truth, found = filmed(tmp_path, "wave", (0, 0.9), (10, 11.1))
    assert evaluate(truth, found, protocol="gap")["counts"]["actions"] == 1
    assert evaluate(truth, found, protocol="gap", stride=16)["counts"]["actions"] == 2
    truth.write_text(truth.read_text().replace('"fps": 30, ', ""))
    with pytest.raises(ValueError, match="of at most 16 frames: give the fps of video_test_0000001, there or"):
        evaluate(truth, found, protocol="gap", stride=16)
    (tmp_path / "info.json").write_text('{"video_test_0000001": {"fps": 30}}')
    assert evaluate(truth, found, protocol="gap", stride=16)["counts"]["actions"] == 2
    with pytest.raises(ValueError, match="stride must be a whole number of frames, at least 1; got 0"):
        read_task(truth, stride=0)
    with pytest.raises(ValueError, match="stride=16 has no effect: it needs protocol=gap, got protocol=plain"):
        read_task(truth, stride=16)


@pytest.mark.parametrize("protocol", ["gap", "thumos-toolkit"])
@pytest.mark.parametrize("number", [0, 3])
def test_published_detections_score_the_same_from_the_files_alone(shared_data, number, protocol):
    evaluation = shared_data / "evaluation"
    golden_values = golden.read_json(evaluation / "golden" / "freezad_splits_0-4.json")["results"]
    expected = golden_values[f"75/split_{number}"]
    result = evaluate(
        shared_data / "thumos14" / "annotations.json",
        evaluation / "freezad" / "75" / f"split_{number}.predictions.csv",
        subset="test",
        classes=shared_data / "splits" / "train_75_test_25" / "THUMOS14" / "test" / f"split_{number}.list",
        protocol=protocol,
    )
    official = expected["official_thumos14_toolkit"]["test"]
    detection = expected["gap_protocol"]["detection"] if protocol == "gap" else official
    measured = [result[f"mAP@{tiou}"] for tiou in golden.TIOUS]
    assert measured == pytest.approx(detection["mAP_per_tiou"], rel=0, abs=golden.TOLERANCE)
    for label, row in result["per_class"].items():
        assert row == pytest.approx(detection["AP_per_class"][label], rel=0, abs=golden.TOLERANCE)
    if protocol == "gap":
        agnostic = expected["gap_protocol"]["class_agnostic_detection"]["average_mAP"]
        assert result["agnostic_mAP"] == pytest.approx(agnostic, rel=0, abs=golden.TOLERANCE)
        assert result["AUC"] == pytest.approx(expected["gap_protocol"]["proposal"]["AUC"], rel=0, abs=golden.TOLERANCE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_seen_and_unseen_classes_compete_under_the_protocol(protocol, tmp_path):
    (tmp_path / "seen.txt").write_text("Diving\n")
    files = written(tmp_path, found=f"{FOUND}a,20,28,Shotput,0.95\n")  # the THUMOS14 toolkit takes the tighter of two
    result, novel = evaluate(*files, seen=tmp_path / "seen.txt", protocol=protocol), 1 - 0.5 * ("thumos" in protocol)
    assert result["per_class"] == {"Shotput": [novel] * 5}
    assert (result["base"], result["novel"]) == (0.5, novel) and result["harmonic"] == novel / (0.5 + novel)


def test_a_result_is_compared_with_another(tmp_path, capsys):
    names = [f"v{number}" for number in range(30)]
    rows = "".join(f"{name},0,10,Diving\n" for name in names)
    good = "".join(f"{name},0,10,Diving,0.{50 + place}\n" for place, name in enumerate(names))
    bad = good.replace(",0,10,", ",50,60,", 20)
    truth, first = written(tmp_path, "video-id,t-start,t-end,label\n" + rows, FOUND.splitlines()[0] + "\n" + good)
    (tmp_path / "other.csv").write_text(FOUND.splitlines()[0] + "\n" + bad)
    told = against(task := read_task(truth), *(read_result(task, each) for each in (first, tmp_path / "other.csv")))
    assert told.verdict == "better" and told.low > 0
    words = ["evaluate", "--annotations", str(truth), "--detections", str(tmp_path / "other.csv")]
    assert cli.main([*words, "--against", str(first)]) == 0
    assert capsys.readouterr().out.endswith(", worse\n")
    for split in range(3):  # pairs of splits, of which each scores the classes that it has
        shutil.copy(first, tmp_path / f"ours_{split}.csv")
        worse = good.replace(",0,10,", ",50,60,", 20 - split)
        (tmp_path / f"theirs_{split}.csv").write_text(FOUND.splitlines()[0] + "\n" + worse)
    patterns = ["--detections", str(tmp_path / "ours_*.csv"), "--against", str(tmp_path / "theirs_*.csv")]
    assert cli.main(["evaluate", "--annotations", str(truth), *patterns, "--json", str(tmp_path / "all.json")]) == 0
    assert "theirs_2.csv: +" in (said := capsys.readouterr().out) and said.endswith(", better\n")
    result = golden.read_json(tmp_path / "all.json")
    alone = [each["against"]["difference"] for each in result["splits"].values()]
    assert result["against"]["difference"] == pytest.approx(sum(alone) / 3) and alone[0] == told.difference


@pytest.mark.parametrize("option", ["annotations", "detections", "classes", "seen", "against"])
def test_a_file_that_is_not_there_is_named_with_its_option(option, tmp_path, capsys):
    truth, found = written(tmp_path)
    given = {"annotations": str(truth), "detections": str(found)} | {option: str(tmp_path / "nope")}
    assert cli.main(["evaluate", *(word for name, value in given.items() for word in (f"--{name}", value))]) == 2
    assert f"Invalid value for '--{option}': Path '{tmp_path / 'nope'}' does not exist" in capsys.readouterr().err


ODD = {
    "detections given twice: 3": FOUND + FOUND.partition("\n")[2],
    "are both in seconds: actions from 0 to 30 s, detections from 2000 to 9000 s": "a,2000,9000,Diving,1\n",
    "dropped detections: 1 with unknown class": FOUND + "a,0,10,Dving,0.5\n",
}


@pytest.mark.parametrize("told", ODD)
def test_what_is_odd_about_a_file_is_told_of_the_other_too(told, tmp_path, capsys):
    truth, found = written(tmp_path)
    (tmp_path / "odd.csv").write_text(ODD[told] if "video" in ODD[told] else FOUND.split("\n")[0] + "\n" + ODD[told])
    words = ["evaluate", "--annotations", str(truth), "--drop-bad", "--detections"]
    assert cli.main([*words, str(tmp_path / "odd.csv")]) == 0 and told in capsys.readouterr().out
    assert cli.main([*words, str(found), "--against", str(tmp_path / "odd.csv")]) == 0
    assert any(told in line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path)))


def test_no_input_is_overwritten_and_classes_that_nothing_has_are_told(tmp_path, capsys):
    truth, found = written(tmp_path)
    before = [path.read_bytes() for path in (truth, found)]
    words = ["evaluate", "--annotations", str(truth), "--detections", str(found)]
    for target in (truth, found):
        assert cli.main([*words, "--json", str(target)]) == 2
        assert "is one of the files that are read" in capsys.readouterr().err
    assert [path.read_bytes() for path in (truth, found)] == before
    (tmp_path / "names.txt").write_text("divign\n")
    for option in ("classes", "seen"):
        assert cli.main([*words, f"--{option}", str(tmp_path / "names.txt")]) == 2
        assert "is annotated in" in (told := capsys.readouterr().err) and "'divign'; did you mean 'Diving'?" in told


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_difference_from_another_result_is_that_of_their_scores(protocol, tmp_path):
    """Under every protocol, also where videos without detections do not count or actions take their detections."""
    rng = np.random.default_rng(0)
    truth, ours, theirs = (["video-id,t-start,t-end,label" + ",score" * scored] for scored in (False, True, True))
    for video in range(12):
        for start in (0, 20, 40):
            label = "Diving" if rng.random() < 0.5 else "Shotput"
            truth.append(f"v{video},{start},{start + 10},{label}")
            for rows, spread in ((ours, 2), (theirs, 4)):
                for _ in range(3 if rows is ours or video % 3 else 0):
                    first, last = np.sort(np.clip(rng.normal([start, start + 10], spread), 0, 60))
                    rows.append(f"v{video},{first},{last},{label},{rng.random()}")
    (tmp_path / "theirs.csv").write_text("\n".join(theirs))
    files = [*written(tmp_path, "\n".join(truth), "\n".join(ours)), tmp_path / "theirs.csv"]
    task = read_task(files[0], protocol=protocol, tious=(0.3, 0.5, 0.7))
    found = [read_result(task, path) for path in files[1:]]
    first, second = (evaluate_task(task, each)["mAP"] for each in found)
    assert abs(first - second) > 0.02
    rounding = 1e-3 if PROTOCOLS[protocol].rounded else 1e-9
    assert against(task, *found).difference == pytest.approx(first - second, abs=rounding)


def test_videos_of_one_name_in_two_folders_are_told_apart_or_refused(tmp_path, capsys):
    truth = "video,start,end,label\nday1/cam.mp4,0,4,dive\nday2/cam.mp4,10,14,dive\n"
    words = [str(path) for path in written(tmp_path, truth, "video,start,end,label,score\nday1/cam.mp4,10,14,dive,1\n")]
    assert cli.main(["evaluate", "--annotations", words[0], "--detections", words[1]]) == 2
    assert "'day1/cam.mp4' and 'day2/cam.mp4' are both video 'cam': rename one" in capsys.readouterr().err


def test_several_splits_are_given_by_repetition_or_by_a_pattern_in_the_order_of_their_numbers(tmp_path, capsys):
    truth, _ = written(tmp_path, TRUTH + "".join(f"c,{10 * n},{10 * n + 5},class{n}\n" for n in (2, 10)))
    for number in (2, 10):
        row = f"c,{10 * number},{10 * number + 5},class{number},1\n"
        (tmp_path / f"found_{number}.csv").write_text(FOUND.splitlines()[0] + "\n" + row)
        (tmp_path / f"classes_{number:02}.txt").write_text(f"class{number}\n")
    words = "--detections {0}/found_{1}.csv --classes {0}/classes_{1:02}.txt"
    both = [words.format(tmp_path, number).split() for number in (10, 2)]
    pattern = ["--detections", str(tmp_path / "found_*.csv"), "--classes", str(tmp_path / "classes_*.txt")]
    for words in ([*both[0], *both[1]], pattern):
        assert cli.main(["evaluate", "--annotations", str(truth), *words, "--json", str(tmp_path / "all.json")]) == 0
        assert [each["mAP"] for each in golden.read_json(tmp_path / "all.json")["splits"].values()] == [1.0, 1.0]
        (tmp_path / "all.json").unlink()
    assert cli.main(["evaluate", "--annotations", str(truth), *both[0], *both[0]]) == 2
    assert "names a file twice" in capsys.readouterr().err


def test_frames_that_benchmark_yaml_states_are_frames_here_too(tmp_path, capsys):
    truth, found = written(
        tmp_path, "video,start,end,label,fps\na,25,100,dive,25\n", "video,start,end,label,score\na,1,4,dive,1\n"
    )
    (tmp_path / "benchmark.yaml").write_text("times: frames\n")
    assert evaluate(truth, found)["mAP"] == 1
    assert cli.main(["export", str(truth), str(tmp_path / "s.csv"), "--as", "csv"]) == 0
    assert "a,1.0,4.0,dive" in (tmp_path / "s.csv").read_text()
    truth.write_text("video,start,end,label\na,25,100,dive\n")
    with pytest.raises(ValueError, match="times are frames .*give the fps of a"):
        evaluate(truth, found)


def test_numbers_of_classes_are_thumos14_s_only_where_no_class_has_that_number_as_its_name(tmp_path):
    for name, rows in (("truth.txt", "cam 0 4 7\ncam 8 9 8\n"), ("found.txt", "cam 0 4 7 0.9\n")):
        (tmp_path / name).write_text(rows)
    assert evaluate(tmp_path / "truth.txt", tmp_path / "found.txt")["per_class"].keys() == {"7", "8"}
