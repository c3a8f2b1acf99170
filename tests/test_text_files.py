"""Files as people save them: byte order marks, UTF-16, letters of a Mac, white space, endings, clocks, semicolons."""

import json
import unicodedata

import numpy as np
import pytest
import yaml
from conftest import ROOT

from tadlib.data import datasets
from tadlib.data.features import find_video
from tadlib.data.lengths import read_lengths
from tadlib.data.readers import read
from tadlib.data.splits import of_folder
from tadlib.data.stores import FolderStore, read_text_features
from tadlib.evaluation.result_file import evaluate, read_classes, read_result, read_task
from tadlib.foreign import yaml_in, yaml_out
from tadlib.naming.descriptions import described
from tadlib.naming.words import read_words
from tadlib.workbook import plans
from tadlib.workbook.papermill_arguments import complete, given_parameters, parse
from tadlib.workbook.result_text import as_text

ENCODINGS = {"plain": "utf-8", "mark": "utf-8-sig", "two bytes": "utf-16"}
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
DESCRIPTIONS = {name: {"Elaboration": {"Description": f"people {name}"}} for name in (DECOMPOSED, "dive")}


def database(label="dive", name="a", **more):
    row = {"subset": "test", "duration": 9, "fps": 5, "annotations": [{"segment": [1, 2], "label": label}]}
    return {"database": {name: row | more}}


def save(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def lengths(path):
    return read_lengths(path.parent)


def split(path):
    return of_folder(path.parent, ["dive", "jump"], 50, 0)


def conventions(path):
    return datasets.read_conventions(path.parent)


def texts(path):
    return described(["dive"], "description", path)


def scored(tmp_path, **options):
    """The result of one hit on one of two classes."""
    table = "video-id,t-start,t-end,label\na,0,4,dive\na,5,9,jump\n"
    save(tmp_path / "truth.csv", table)
    save(tmp_path / "found.csv", "video-id,t-start,t-end,label,score\na,5,9,jump,0.9\n")
    return evaluate(task := read_task(tmp_path / "truth.csv", **options), read_result(task, tmp_path / "found.csv"))


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_a_class_list_means_the_same_however_it_was_saved(tmp_path, encoding):
    assert read_classes(path := save(tmp_path / "classes.txt", "dive\r\njump\r\n", encoding)) == ("dive", "jump")
    assert scored(tmp_path, seen=save(path, "dive\r\n", encoding))["per_class"].keys() == {"jump"}
    spelt = {"classes": save(path, "DIVE\njump\n", encoding)}, {"seen": save(tmp_path / "seen.txt", "Dive", encoding)}
    for mean, how in zip((0.5, 1.0), spelt, strict=True):
        result = scored(tmp_path, **how)
        assert (result["mAP"], result["counts"]["tidied_annotations"]) == (mean, {"class spelt otherwise": 1})
    assert read_classes(save(path, "jump\n\ufeffdive\u200b\n", encoding)) == ("jump", "dive"), "joined or pasted lists"


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(
    ("name", "content", "read_it", "expected"),
    [
        ("annotations.json", json.dumps(database()), lambda path: list(read(path)), ["a"]),
        ("annotations.csv", "video,start,end,label\r\na,1,2,dive\r\n", lambda path: list(read(path)), ["a"]),
        ("info.json", '{"a": {"fps": 5}}', lambda path: lengths(path)["a"].fps, 5.0),
        ("annotations.csv", "sep=;\r\nvideo;start;end;label\r\na;1,5;2;dive\r\n", lambda path: list(read(path)), ["a"]),
        ("video_info.csv", "video,fps\r\na,5\r\n", lambda path: lengths(path)["a"].fps, 5.0),
        ("durations_test.txt", "a.mp4\r\n5.0\r\n", lambda path: lengths(path)["a"].duration, 5.0),
        ("splits.json", '{"50": [{"unseen": ["dive"]}]}', lambda path: split(path).unseen, ("dive",)),
        ("benchmark.yaml", "stride: 4\r\n", lambda path: conventions(path).stride, 4),
        ("texts.json", json.dumps(DESCRIPTIONS), texts, [("people dive",)]),
        ("words.txt", "dive\r\njump\r\n", lambda path: [w.name for w in read_words(str(path))], ["dive", "jump"]),
        ("words.json", '["dive", "jump"]', lambda path: [w.name for w in read_words(str(path))], ["dive", "jump"]),
        ("params.yaml", "epochs: 3\r\n", lambda path: plans.plan(path).common["epochs"], 3),
        ("given.yaml", "epochs: 3\r\n", lambda path: given_parameters(parse(["-f", str(path)]))["epochs"], 3),
    ],
)
def test_every_text_file_is_read_however_it_was_saved(tmp_path, name, content, read_it, expected, encoding):
    path = save(tmp_path / name, content, encoding)
    assert read_it(path) == expected
    path.write_bytes(content.encode() + "é".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{name} is not UTF-8 text.*save it as UTF-8"):
        read_it(path)


def test_a_parameter_file_of_two_bytes_a_letter_reaches_the_notebook(tmp_path):
    path = save(tmp_path / "given.yaml", "epochs: 3\nsplit: 50\n", "utf-16")
    words = [str(ROOT / "notebooks" / "train.ipynb"), str(tmp_path / "out.ipynb"), "-f", str(path)]
    words = complete(words, print)
    assert "-f" not in words and yaml.safe_load(words[words.index("-y") + 1]) == {"epochs": 3, "split": 50}


YAML = {"010": 10, "-08": -8, "0x1F": 31, "0o17": 15, "1e-3": 1e-3, "1.": 1.0, "true": True, "~": None, "": None}
TEXTS = ("2024_11_30", "2024-11-30", "1:30", "1:30.5", "yes", "off", "1_0.5", "1e")


@pytest.mark.parametrize(
    ("written", "value"), [*YAML.items(), *((f"'{text}'", text) for text in YAML), *((text, text) for text in TEXTS)]
)
def test_a_value_in_yaml_is_that_of_version_1_2_also_where_papermill_reads_1_1(written, value):
    read = yaml_in(f"x: {written}", "a file")["x"]
    again = yaml_in(yaml_out({"x": read}), "-y")["x"], yaml.safe_load(yaml_out({"x": read}))["x"]
    assert [(each, type(each)) for each in (read, *again)] == [(value, type(value))] * 3


def test_a_file_of_conventions_that_would_not_be_read_is_named(tmp_path):
    save(tmp_path / "benchmark.yml", "tious: [0.5]")
    with pytest.raises(ValueError, match=r"benchmark.yml is not read: rename it to benchmark.yaml"):
        datasets.read_conventions(tmp_path)


@pytest.mark.parametrize(
    ("column", "values"), [("subset", ("test", "train")), ("duration", ("9", "8")), ("fps", ("5", "6"))]
)
def test_rows_of_a_table_that_disagree_about_their_video_are_named(tmp_path, column, values):
    first, second = values
    path = save(tmp_path / "truth.csv", f"video,start,end,label,{column}\na,1,2,dive,{first}\na,3,4,dive,\n")
    assert len(read(path)["a"].actions) == 2, "a row need not repeat what another says"
    path = save(path, f"video,start,end,label,{column}\na,1,2,dive,{first}\na,3,4,dive,{second}\n")
    with pytest.raises(ValueError, match=rf"truth.csv, line 3: video a has {column} .*in an earlier row"):
        read(path)


def test_a_video_of_two_subsets_is_named(tmp_path):
    for subset in ("val", "test"):
        save(tmp_path / f"Diving_{subset}.txt", "a 1 2\n")
    with pytest.raises(
        ValueError, match=r"Diving_test.txt, line 1: video a has subset 'test', in an earlier row 'val'"
    ):
        read(tmp_path)


def test_letters_that_a_mac_decomposes_are_the_same_letters(tmp_path):
    (tmp_path / "features").mkdir()
    content = database(label=DECOMPOSED, name=DECOMPOSED, subset="validation")
    content["database"]["b"] = content["database"][DECOMPOSED] | {"subset": "training"}
    save(tmp_path / "annotations.json", json.dumps(content, ensure_ascii=False))
    benchmark = datasets.load(str(tmp_path), tmp_path)
    assert benchmark.classes == (COMPOSED,) and benchmark.videos[0].id == COMPOSED
    assert benchmark.repairs["name with white space or decomposed letters"] == 3
    save(tmp_path / "splits.json", json.dumps({"50": [{"unseen": [DECOMPOSED]}]}))
    assert of_folder(tmp_path, [COMPOSED, "dive"], 50, 0).unseen == (COMPOSED,)
    texts = save(tmp_path / "texts.json", json.dumps(DESCRIPTIONS))
    assert described([COMPOSED], "description", texts) == [(f"people {DECOMPOSED}",)]
    assert read_classes(save(tmp_path / "classes.txt", DECOMPOSED)) == (COMPOSED,)
    assert read_words([DECOMPOSED])[0].name == COMPOSED
    np.savez(tmp_path / "text_features.npz", **{DECOMPOSED: np.ones(4)})
    assert read_text_features(tmp_path / "text_features.npz", [COMPOSED]).shape == (1, 4)
    np.save(tmp_path / "features" / f"{DECOMPOSED}.npy", np.ones((9, 4), np.float32))
    assert FolderStore(tmp_path / "features", 5).read(COMPOSED).shape == (9, 4)
    (tmp_path / f"{DECOMPOSED}.mp4").touch()
    assert find_video(tmp_path, COMPOSED).is_file()


def test_a_result_with_decomposed_letters_scores_as_one_with_composed_ones(tmp_path):
    truth = save(tmp_path / "truth.json", json.dumps(database(label=COMPOSED)))
    row = {"segment": [1, 2], "label": f" {DECOMPOSED} ", "score": 1.0}
    found = save(tmp_path / "found.json", json.dumps({"results": {"a.mp4": [row]}}))
    result = evaluate(task := read_task(truth), read_result(task, found))
    assert result["mAP"] == 1.0
    tidied = "name with white space or decomposed letters"
    assert result["counts"]["tidied_detections"] == {tidied: 1, "video named with the ending of its file": 1}
    assert any(line.startswith("tidied detections: ") and tidied in line for line in as_text(result))
