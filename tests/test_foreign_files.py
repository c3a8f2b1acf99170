"""Damaged files of others: whatever is wrong with one, a sentence names it, nothing hangs and no memory is filled."""

import gzip
import io
import pickle
import signal
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tadlib.data import datasets
from tadlib.data.annotations import Video
from tadlib.data.lengths import read_lengths
from tadlib.data.splits import of_folder
from tadlib.data.stores import FolderStore, read_text_features
from tadlib.evaluation.result_file import evaluate, read_classes, read_result, read_task
from tadlib.naming.descriptions import described
from tadlib.naming.fusion import read_detections
from tadlib.workbook import plans
from tadlib.workbook.inheritance import read_checkpoint

VIDEO = Video("a", 10.0, 24.0, "test", ())  # 30 snippets of 8 frames
FEATURES = np.ones((30, 16), np.float32)
ONE, CHANGED = struct.pack("f", 1), struct.pack("f", 1.5)
ROW = '{"segment": [1, 2], "label": "dive"}'
ENTRY = '{"subset": "test", "duration": 9, "fps": 5, "annotations": [' + ROW + "]}"
TRUTH = '{"database": {"a": ' + ENTRY + "}}"
HEADER = "video,start,end,label,subset,duration,fps\n"


def load(path):
    folder = path.parent / "set"  # the file is the only one there
    folder.mkdir()
    (folder / path.name).symlink_to(path)
    return datasets.load(str(folder), folder)


def score(path):
    truth = path.with_name("truth.json")
    truth.write_text(TRUTH)
    return evaluate(task := read_task(truth), read_result(task, path))


def features(path):
    store = FolderStore(path.parent, 8)
    problems = store.check([VIDEO])  # what `missing` skip goes on with
    store.outdated([VIDEO])
    assert store.key and store.version(["a"])
    raise ValueError(problems["a"])


TEXTS = {  # a file of each text format and what reads it
    "annotations.json": load,
    "annotations.csv": load,
    "truth.csv": read_task,
    "found.json": score,
    "found.csv": score,
    "detections.json": read_detections,
    "info.json": lambda path: read_lengths(path.parent),
    "video_info.csv": lambda path: read_lengths(path.parent),
    "durations_test.txt": lambda path: read_lengths(path.parent),
    "splits.json": lambda path: of_folder(path.parent, ["dive", "jump"], 50, 0),
    "benchmark.yaml": lambda path: datasets.read_conventions(path.parent),
    "params.yaml": plans.plan,
    "texts.json": lambda path: described(["dive"], "description", path),
    "classes.txt": read_classes,
}


def nested(depth, opening, closing="", middle=""):
    return opening * depth + middle + closing * depth


def a_circle(path):
    path.symlink_to(path.name)


def zipped(name, content):
    """A zip with one member, which may lie."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def npy(shape, content=b"\0" * 64):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + content


def saved(save, *given, **named):
    target = io.BytesIO()
    save(target, *given, **named)
    return target.getvalue()


def torch_bytes(value):
    return saved(lambda target: torch.save(value, target))


def h5(make):
    target = io.BytesIO()
    with h5py.File(target, "w") as content:
        make(content)
    return target.getvalue()


NO_FILES = [  # what, what makes it, what is said
    ("a directory", Path.mkdir, "directory"),
    ("links in a circle", a_circle, "links"),
]
EVERY = {  # what may be wrong with any text file -> what makes it, what is said
    **{what: made for what, *made in NO_FILES},
    "a gzip file cut short": (gzip.compress(b"x" * 10_000)[:-9], "unpacked"),
    "letters of Windows": ("é".encode("latin-1"), "not UTF-8"),
    "zero bytes": (b"a\0b", "not UTF-8"),
    "a pickle": (pickle.dumps({"video-id": ["a"]}), "pickle"),
}
JSON = {
    "nothing": (b"", ""),
    "half of it": (b'{"database": {"a": ', "JSON"),
    "a list of lists": (nested(100_000, "["), "JSON"),
    "a number of 5,000 digits": (b'{"a": ' + b"1" * 5000 + b"}", "JSON"),
    "a list": (b"[1, 2]", ""),
    "null": (b"null", ""),
    "a key twice": (b'{"a": {}, "a": {}}', "twice"),
    "a video that is null": (b'{"a": null}', ""),
}
YAML = {
    "lists in lists": (nested(5_000, "["), "YAML"),
    "a number of 5,000 digits": (b"epochs: " + b"1" * 5000, ""),
    "a key that is a list": (b"? [a]\n: 1", "YAML"),
    "code": (b"epochs: !!python/object/apply:os.system ['true']", "YAML"),
    "a key twice": (b"a: 1\na: 2", "twice"),
    "a list": (b"- 1", "names and values"),
}
SEGMENTS = """"15"|[false, true]|null|[1, 2, 3]|[1, null]|["1_0", 2]|["later", 2]
    |[1, NaN]|[-Infinity, 2]|[5, 2]|[1, MANY]""".replace("MANY", "9" * 400)
LABELS = 'null|["dive"]|{"name": "dive"}|""|true|1.5'
SAID = '{"Elaboration": {"Description": "a leap"}}'
NUMBERS = 'NaN|-3|0|1e308|1e-300|true|[9]|"1_0"|"1/0"|' + "9" * 400
RESULT = '{"results": {"a": [{"segment": [1, 2], "label": "dive", "score": 1}]}}'
RESULTS = ("found.json", "detections.json")
REGION = '{"value": {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["dive"]}}'
TASK = f'[{{"data": {{"video": "a.mp4", "fps": 5}}, "annotations": [{{"result": [{REGION}]}}]}}]'
FIELDS = [  # file, its content, what of it is replaced by each of which values, what is said
    *[("annotations.json", TRUTH, given, NUMBERS, given[1:4]) for given in ('"duration": 9', '"fps": 5')],
    *[(name, TRUTH, "[1, 2]", SEGMENTS, "video a") for name in ("annotations.json", "truth.csv")],
    *[(name, TRUTH, '"dive"', LABELS, "label") for name in ("annotations.json", "truth.csv")],
    ("truth.csv", TRUTH, '"duration": 9', NUMBERS, "duration"),
    ("annotations.json", TRUTH, '"test"', '3|["test"]|true', "subset"),
    *[(name, RESULT, "[1, 2]", SEGMENTS.replace("|[5, 2]", ""), "video a") for name in RESULTS],
    *[(name, RESULT, '"dive"', LABELS, "label") for name in RESULTS],
    *[(name, RESULT, "1}", 'null}|[1]}|"1:30"}|true}|"high"}', "video a") for name in RESULTS],
    *[(name, RESULT, RESULT[13:-2], '{}|""|"rows"|{"b": 1}', "a list") for name in RESULTS],
    ("info.json", '{"a": {"fps": 5}}', "5", '"30:1"', "info.json: video a has fps '30:1': expected"),
    ("info.json", '{"a": {"duration": 9}}', "9", 'NaN|-3|1e999|true|[9]|"long"|' + "9" * 400, "video a"),
]  # fmt: skip
OWN = [  # one reader's own faults: file, what, content, what is said
    *[
        (name, f"{what} {value.strip()}", content.replace(what, what[: what.find(":") + 1] + value.strip()), told)
        for name, content, what, values, told in FIELDS
        for value in values.split("|")
    ],
    ("annotations.json", "annotations null", TRUTH.replace(f"[{ROW}]", "null"), "video a"),
    ("annotations.json", "an action that is a number", TRUTH.replace(ROW, "7"), "video a"),
    ("annotations.json", "a label of 3,000 letters", TRUTH.replace("dive", "d" * 3000), "letters"),
    ("annotations.json", "no actions", TRUTH.replace(ROW, ""), "annotate"),
    ("annotations.json", "frames", TRUTH.replace("[1, 2]", "[20, 40]"), "frame"),
    ("annotations.csv", "a field of 200,000 letters", HEADER + "a,1,2," + "d" * 200_000 + ",test,9,5\n", "line"),
    ("annotations.csv", "a quote that does not end", HEADER + 'a,1,2,"dive,test,9,5\n', "line"),
    ("annotations.csv", "a column twice", "video,start,start,end,label\na,1,5,2,dive\n", "'start' stands twice"),
    ("annotations.csv", "starts twice", "video,start,end,Start Time,label\na,3,6,1,dive\n", "'start' stands twice"),
    ("annotations.csv", "no column of ends", "video,start,label" + "".join(f",c{n}" for n in range(300)), "no column"),
    ("annotations.csv", "a row too short", HEADER + "a,1\n", "line 2"),
    ("annotations.csv", "a row too short below Excel's first", "sep=,\n" + HEADER + "a,1\n", "line 3"),
    ("annotations.csv", "an endless start", HEADER + "a,inf,2,dive,test,9,5\n", "line 2"),
    ("annotations.csv", "a video of nothing", HEADER + ",1,2,dive,test,9,5\n", "video"),
    ("annotations.csv", "only a header", HEADER, "annotate"),
    ("video_info.csv", "a duration that is none", "video,seconds\na,long\n", "video a"),
    ("video_info.csv", "no video", "seconds,fps\n9,5\n", "'video'"),
    ("durations_test.txt", "a number that is none", "a long\n", "video a"),
    ("durations_test.txt", "an odd word", "a 9 b\n", "pairs"),
    *[
        ("benchmark.yaml", content, content, told)
        for content, told in (
            ("test_subest: test", "unknown name 'test_subest'; did you mean 'test_subset'"),
            ("tious: 0.5", "tious must be a list of numbers above 0 and at most 1; got 0.5"),
            ("tious: [50]", "tious must be a list of numbers above 0 and at most 1; got [50]"),
            ("tious: [0.5, 0.5]", "each once, got [0.5, 0.5]"),
            ("benchmark: thumos", "thumos14 or activitynet13; got 'thumos'; did you mean 'thumos14'?"),
            ("stride: 0", "stride must be a whole number from 1 to 100,000; got 0"),
            ("test_subset: 3\ntimes: 7", "in one line; got 3; times must be seconds or frames; got 7"),
        )
    ],
    *[
        ("splits.json", content, content, told)
        for content, told in (
            ('{"50": [{"unseen": ["jump"]}], "80": []}', "'80' must be one of '75', '50'"),
            ('{"50": []}', "has 0 splits of 50 per cent seen, from 0; got split_id 0"),
            ('{"50": [{"unsen": ["jump"]}]}', "split 50, split_id 0 must name its classes as 'unseen'"),
            ('{"50": [{"unseen": ["jumb"]}]}', "unknown class 'jumb'; did you mean 'jump'"),
            ('{"50": [{"seen": ["dive", "jump"], "unseen": ["dive"]}]}', "class 'dive' stands twice"),
            ('{"50": [{"unseen": ["dive", "dive "]}]}', "class 'dive' stands twice"),
            ('{"50": [{"unseen": ["dive", "jump"]}]}', "and some seen"),
        )
    ],
    ("info.json", "two spellings of a video", '{"a": {"fps": 5}, "a.mp4": {"fps": 6}}', "both video 'a'"),
    ("annotations.json", "two spellings of a video", TRUTH[:-2] + f', "a.mp4 ": {ENTRY}}}}}', "are both video 'a'"),
    ("texts.json", "two spellings of a class", f'{{"dive": {SAID}, "dive ": {SAID}}}', "'dive' stands twice"),
    ("splits.json", "classes that are numbers", '{"50": [{"unseen": 3}]}', "unseen"),
    ("splits.json", "seen that is null", '{"50": [{"unseen": ["dive"], "seen": null}]}', "seen"),
    ("texts.json", "a description in a number", '{"dive": {"Elaboration": {"Description": 7}}}', "dive"),
    ("texts.json", "half a letter", '{"dive": {"Elaboration": {"Description": "a\\ud800"}}}', "class 'dive'"),
    ("found.json", "rows in a text", '{"results": {"a": "none"}}', "video a"),
    ("found.csv", "two scores", "video,start,end,label,score,confidence\na,1,2,dive,1,2\n", "'score' stands twice"),
    ("found.csv", "a score column twice", "video,start,end,label,score,score\na,1,2,dive,1,2\n", "twice"),
    *[("found.json", "no score", '{"results": {"a": [{"segment": [1, 2], "label": "dive"}]}}', "video a")],
]  # fmt: skip
ARRAYS = [  # feature files: name, what, content, what is said
    *[(name, "nothing", b"", "damaged") for name in ("a.npy", "a.npz", "a.pt", "a.h5")],
    *[(name, "text", b"this is text", "damaged") for name in ("a.npy", "a.npz", "a.pt", "a.h5")],
    *[(name, *made) for name in ("a.npy", "a.npz", "a.pt", "a.h5") for made in NO_FILES],
    ("a.npy", "cut short", saved(np.save, FEATURES)[:600], "damaged"),
    ("a.npy", "1e12 numbers", npy((10**12, 16)), "damaged"),
    ("a.npy", "a negative number", npy((-1, 16)), "damaged"),
    ("a.npy", "a header in a header", npy("[" * 50), "damaged"),
    ("a.npy", "objects", saved(np.save, np.array([{}, {}])), "damaged"),
    ("a.npy", "one number", saved(np.save, np.float32(3)), "snippets x channels"),
    ("a.npy", "complex numbers", saved(np.save, np.ones((30, 16), complex)), "snippets x channels"),
    ("a.npy", "NaN", saved(np.save, np.full((30, 16), np.nan)), "snippet 0"),
    ("a.npy", "too large for float32", saved(np.save, np.full((30, 16), 1e300)), "snippet 0"),
    ("a.npz", "cut short", saved(np.savez, features=FEATURES)[:700], "damaged"),
    ("a.npz", "a text", zipped("features.txt", b"words"), "snippets x channels"),
    ("a.npz", "two arrays", saved(np.savez, one=FEATURES, two=FEATURES), "no entry"),
    ("a.npz", "a changed byte", CHANGED.join(saved(np.savez, features=FEATURES).split(ONE, 1)), "damaged"),
    ("a.pt", "cut short", torch_bytes(torch.ones(30, 16))[:900], "damaged"),
    ("a.pt", "a changed byte", CHANGED.join(torch_bytes(torch.ones(30, 16)).split(ONE, 1)), "checksum"),
    ("a.pt", "code", torch_bytes({"features": Path("x")}), "damaged"),
    ("a.pt", "a tensor of no memory", torch_bytes(torch.ones(30, 16, device="meta")), "damaged"),
    ("a.pt", "a sparse tensor", torch_bytes(torch.eye(20).to_sparse()), "damaged"),
    ("a.h5", "cut short", h5(lambda file: file.update(a=FEATURES))[:1000], "damaged"),
    ("a.h5", "a link into nothing", h5(lambda file: file.update(a=h5py.SoftLink("/b"))), "damaged"),
    ("a.h5", "nothing in it", h5(lambda file: None), ""),
    ("a.pkl", "a pickle", pickle.dumps(FEATURES), "pickle"),
]
CHECKPOINTS = [
    ("nothing", b"", "cut off after 0 bytes"),
    ("cut short", torch_bytes({"network": torch.ones(99)})[:700], "cut off after 700 bytes"),
    ("a changed byte", CHANGED.join(torch_bytes({"network": torch.ones(99)}).split(ONE, 1)), "is damaged"),
    ("code", torch_bytes({"network": Path("x")}), "objects of another program"),
    ("of another project", torch_bytes({"state_dict": {}}), "has no network"),
    ("a list", torch_bytes([1, 2]), "has no network"),
    *NO_FILES,
]
TEXT_FEATURES = [
    ("letters", saved(np.savez, dive=np.array(["a"])), "dive"),
    ("too large for float32", saved(np.savez, dive=np.full(4, 1e300)), "finite"),
    ("two spellings", saved(np.savez, **{"dive": np.ones(4), "dive ": -np.ones(4)}), "key 'dive' stands twice"),
    ("no zip", b"text", "damaged"),
]
CASES = [
    *[(name, read, what, made, told) for name, read in TEXTS.items() for what, (made, told) in EVERY.items()],
    *[(n, read, w, *made) for n, read in TEXTS.items() if n.endswith(".json") for w, made in JSON.items()],
    *[(n, read, w, *made) for n, read in TEXTS.items() if n.endswith(".yaml") for w, made in YAML.items()],
    *[(name, TEXTS[name], what, made, told) for name, what, made, told in OWN],
    *[(name, features, what, made, told) for name, what, made, told in ARRAYS],
    *[("checkpoint.pt", read_checkpoint, what, made, told) for what, made, told in CHECKPOINTS],
    *[("t.npz", lambda path: read_text_features(path, ["dive"]), *row) for row in TEXT_FEATURES],
]


@pytest.fixture(autouse=True)
def impatient():
    """Whatever waits for ever fails."""

    def stop(*_):
        raise TimeoutError("still reading")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(path, made):
    if callable(made):
        made(path)
    else:
        path.write_bytes(made.encode() if isinstance(made, str) else made)
    return path


@pytest.mark.parametrize(
    ("name", "read", "made", "told"),
    [(name, read, made, told) for name, read, _, made, told in CASES],
    ids=[f"{name}: {what[:40]}" for name, _, what, _, _ in CASES],
)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path, name, read, made, told):
    path = put(tmp_path / name, made)
    with pytest.raises((ValueError, RuntimeError)) as error:
        read(path)
    said = str(error.value)
    assert name in said and told.lower() in said.lower(), said
    assert "weights_only" not in said, "never torch's advice to load without safety"
    assert len(said) < 700 and "\n" not in said and type(error.value) is not RecursionError, said


def checked(path):
    store = FolderStore(path.parent, 8)
    store.check([VIDEO])
    return store.read("a") if store.files else None


FUZZED = {
    "a.npy": (saved(np.save, FEATURES), checked),
    "a.npz": (saved(np.savez_compressed, features=FEATURES), checked),
    "a.pt": (torch_bytes({"features": torch.ones(30, 16)}), checked),
    "a.h5": (h5(lambda file: file.update(a=FEATURES)), checked),
    "checkpoint.pt": (torch_bytes({"network": {"weight": torch.ones(9)}, "params": {}, "about": {}}), read_checkpoint),
    "params.yaml": (b"# asks: this\nepochs: 3\nlr: 1.0e-3\nsweep: {split_id: [0, 1, 2]}\nideas: &a ['']\n", plans.plan),
    "annotations.json": (TRUTH.encode(), datasets.read),
    "truth.csv": ((HEADER + "a,1,2,dive,test,9,5\n").encode(), read_task),
    "lines.txt": (b"a 1 2\nb 3 4\n", read_task),
    "tasks.json": (TASK.encode(), read_task),
    "found.json": (b'{"results": {"a": [{"segment": [1.5, 2], "label": "dive", "score": 0.5}]}}', score),
}


@pytest.mark.parametrize("name", FUZZED)
def test_a_file_with_changed_bytes_is_read_or_named(tmp_path, name):
    (content, read), random = FUZZED[name], np.random.default_rng(0)
    for number in range(60):
        changed = bytearray(content)
        for place in random.integers(0, len(changed), random.integers(1, 4)):
            changed[place] = random.integers(256)
        if number % 3 == 0:
            del changed[random.integers(1, len(changed)) :]
        (tmp_path / name).write_bytes(changed)
        try:
            read(tmp_path / name)
        except (ValueError, RuntimeError) as error:
            assert name in str(error) and not isinstance(error, RecursionError), error
