"""Any video and any words get an answer or one sentence that says why not: by a run's detector, and by CLIP alone."""

import math
import os
import shutil
import unicodedata
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from videos import steady, turned, write_video

import tadlib as tad
from tadlib import ideas
from tadlib.data import encoder, features, fingerprints
from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.encoder import DEMO, load_encoder
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import probe, snippets
from tadlib.data.windows import Grid
from tadlib.detector.network import ConditionalDETR
from tadlib.evaluation import baselines
from tadlib.files import read_json
from tadlib.naming.fusion import Detections, certainty, read_detections, without_nested
from tadlib.workbook import own_files, own_video, runs
from tadlib.workbook import own_video_report as report
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError

SMALL = {"encoder": DEMO, "dataset": "nowhere", "stride": 4, "width": 16, "heads": 2, "queries": 6, "window": 16}
SMALL |= {"encoder_layers": 1, "decoder_layers": 1}
ADDRESS = {"hf_hub": "nobody/here/"}


def network(params, channels=128):
    """An untrained detector."""
    sizes = ("width", "heads", "queries", "encoder_layers", "decoder_layers")
    sizes = {name: getattr(params, name) for name in sizes}
    return ConditionalDETR(channels, additions=ideas.additions(params), **sizes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose detector and small CLIP have learnt nothing, with what a checkpoint says of itself."""
    folder = tmp_path_factory.mktemp("run")
    clip = load_encoder(DEMO, "", torch.device("cpu"))
    torch.save(clip.model.state_dict(), folder / "clip.pt")
    params = Params.check(SMALL | {"pretrained": str(folder / "clip.pt")})
    about = {"classes": ["Diving", "GolfSwing"], "seen": ["Diving"], "snippet_seconds": 0.25}
    about["features"] = f"{load_encoder(DEMO, params.pretrained, torch.device('cpu')).key}_stride4"
    model = network(params)
    torch.save({"network": model.saved(), "params": params.model_dump(), "about": about}, folder / "checkpoint.pt")
    return folder


@pytest.fixture
def saved(run):
    """What the run's checkpoint holds."""
    return torch.load(run / "checkpoint.pt", weights_only=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Six seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", steady(60, 10.0))


def asked(run, video, cache, **words):
    """What is asked of a video, cached where the run is unless told otherwise."""
    given = {"video": str(video), "classes": ["diving", "a golf swing"], "run_dir": str(run)} | words
    every = own_video.prepare(DetectParams.check(given | {"data_dir": cache}))
    return own_video.ask(every, every.files[0])


def check(question):
    """The answer, which is whole: inside the video, finite, sorted, about the words, nothing within another."""
    answer = own_video.detect(question)
    segments, scores, labels = answer.considered
    assert len(scores) == len(labels) == len(segments) and len(answer.found.scores) <= 100
    assert set(labels) <= {word.name for word in question.asked.words}
    assert torch.isfinite(segments).all() and ((scores >= 0) & (scores <= 1)).all()
    assert (segments[:, 0] < segments[:, 1]).all() and (scores.diff() <= 0).all()
    assert segments.numel() == 0 or float(segments.max()) <= question.video.duration + 1e-4
    assert len(answer.proposals.scores) == len(answer.proposals.segments)
    return answer


@pytest.mark.parametrize("how", ["run", "none"])
def test_a_video_gets_an_answer_that_is_shown_and_written(how, run, video, tmp_path):
    given = {"video": str(video), "classes": ["diving", "a golf swing"], "run_dir": str(run), "data_dir": str(tmp_path)}
    given |= {"detector": how, "clips": 2, "output_dir": str(tmp_path / "out"), "threshold": 1e-9}
    every = own_video.prepare(DetectParams.check(given))
    record, answers = report.begin(every), report.answers(every)
    answer = answers.surest
    question = check(answer.question).question
    assert len(question.features(question.video)) == 24 and math.isclose(question.video.duration, 6.0, abs_tol=0.1)
    seconds, curves = report.word_curves(answer)
    assert set(curves) == {"diving", "a golf swing"} and all(len(values) == len(seconds) for values in curves.values())
    assert report.answer_viewer(answer).svg().startswith("<svg")
    report.finish(answers, record)
    written = read_detections(tmp_path / "out" / "detections.json")["clip"]
    assert written.labels == answers["clip"].labels and len(written.labels)
    assert len(list((tmp_path / "out" / "clips").glob("*.mp4"))) == min(2, len(written.scores))
    assert read_json(tmp_path / "out" / "run.json")["detect"]["status"] == "finished"


@pytest.mark.parametrize("name", ["\u6f22" * 78, "-x", "a\nb", "$\\frac$ <b>'", "caf\u00e9"], ids=range(5))
def test_a_video_file_of_any_name_is_answered_and_keeps_its_annotations(name, run, video, tmp_path):
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / f"{unicodedata.normalize('NFD', name)}.mp4"  # as a Mac writes it
    shutil.copy(video, path)
    out = tmp_path / "out"
    given = {"run_dir": str(run), "data_dir": str(tmp_path / "made"), "output_dir": str(out), "clips": 1}
    answers = tad.detect([path.with_name(f"{name}.mp4")], "diving", threshold=1e-9, **given)
    question = answers.surest.question
    assert report.answer_viewer(answers.surest).preview
    report.finish(answers, report.begin(answers.asked))
    assert list(read_detections(out / "detections.json")) == [name.replace("\n", " ")]
    assert len(list(out.glob("clips/*.mp4"))) == 1
    told = Video(name, 6.0, 10.0, "test", (Action(1.0, 2.0, "Diving"),))
    known = Benchmark("x", tmp_path, (told,), ("Diving",), "val", "test", (0.5,))
    assert own_video._annotated(question.clip, known) == told.actions


def test_a_run_that_reads_texts_answers_with_the_words(run, saved, video, tmp_path):
    params = Params.check(saved["params"] | {"fuse_text": True})
    torch.manual_seed(0)
    saved |= {"params": params.model_dump(), "network": network(params).saved()}
    torch.save(saved, tmp_path / "checkpoint.pt")
    words = [f"word {n}" for n in range(50)]
    few, many = (
        own_video.detect(asked(tmp_path, video, run, classes=some, top_k=50)).proposals.scores
        for some in (words[:1], words)
    )
    assert len(few) == len(many) > 0
    classifying = Params.check(saved["params"] | {"fuse_text": False, "target": "name"})
    torch.save(saved | {"params": classifying.model_dump()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match=r"names its own classes \(target=name\), not your words"):
        asked(tmp_path, video, run)


def test_the_second_time_nothing_is_decoded_wherever_the_file_is(run, video, tmp_path, monkeypatch):
    first = asked(run, video, tmp_path)
    shown = report.answer_viewer(own_video.detect(first)).preview
    copy = tmp_path / "elsewhere" / "clip.mp4"
    copy.parent.mkdir()
    copy.write_bytes(video.read_bytes())
    monkeypatch.setattr(features, "snippets", None)
    again = asked(run, copy, tmp_path)
    assert np.array_equal(again.features(again.video), first.features(first.video))
    assert report.answer_viewer(own_video.detect(again)).preview == shown and len(shown) > 500


def test_a_video_that_was_changed_in_the_middle_has_a_new_preview(run, video, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "END_BYTES", 16)
    monkeypatch.setattr(own_files, "preview", lambda clip, duration: clip.path.read_bytes())
    path = tmp_path / "clip.mp4"
    for filling in (b"a", b"b"):
        path.write_bytes(video.read_bytes() + b"\0\0\0\x40free" + 40 * filling + bytes(16))
        assert report.answer_viewer(own_video.detect(asked(run, path, tmp_path))).preview == path.read_bytes()


def test_threshold_and_top_k_limit_what_is_found(run, video, tmp_path):
    every = own_video.detect(asked(run, video, tmp_path, threshold=1e-9))
    assert len(own_video.detect(asked(run, video, tmp_path, threshold=1e-9, top_k=1)).found.scores) == 1
    top = float(every.considered.scores.max())
    surest = own_video.detect(asked(run, video, tmp_path, threshold=top)).found
    assert set(surest.labels) == {every.considered.labels[0]}, "one word is found"
    assert surest.scores[0] == top and float(surest.scores.min()) >= top / 2, "and with it its weaker places"
    nothing = own_video.detect(asked(run, video, tmp_path, threshold=1.0))
    assert report.detection_rows(nothing) == [{"detections": "nothing found: none scores 1 or more"}]
    assert all(said.startswith("not found") for _, said in report.verdicts(nothing))
    assert {word for word, _ in report.verdicts(nothing)} == {"diving", "a golf swing"}


@pytest.mark.parametrize(
    ("classes", "how"),
    [([f"word {n}" for n in range(500)], "run"), (["跳水", 'the "dive"', "a\nb"], "none"), ("", "run")],
)
def test_any_number_of_words_in_any_alphabet(classes, how, run, video, tmp_path_factory):
    question = asked(run, video, tmp_path_factory.getbasetemp() / "cache", classes=classes, detector=how)
    check(question)
    if not classes:
        assert [word.name for word in question.asked.words] == ["Diving", "GolfSwing"], "the run's classes"


TENTHS = steady(10, 10.0)
ODD = [  # videos that many programs stumble over: name, times of the frames, size, seconds
    ("one frame", [0.0], (64, 48), 0.04),
    ("portrait", TENTHS, (48, 96), 1.0),
    ("variable", [0.0, 0.04, 0.5, 0.52, 1.9, 2.0, 2.04], (64, 48), 2.1),
]


@pytest.mark.parametrize(("name", "times", "size", "seconds"), ODD, ids=[name for name, *_ in ODD])
def test_odd_videos_are_answered(name, times, size, seconds, run, tmp_path):
    question = asked(run, write_video(tmp_path / f"{name}.mp4", times, size), tmp_path)
    found = check(question)
    assert ("WARNING, short" in report.warnings(question)) == (name == "one frame")
    assert report.answer_viewer(found).svg().startswith("<svg")
    assert question.video.duration == pytest.approx(seconds, abs=0.25)


def test_a_file_that_breaks_off_is_used_as_far_as_it_goes_with_a_warning(run, tmp_path):
    whole, path = write_video(tmp_path / "whole.mkv", steady(400, 10.0), (320, 240)), tmp_path / "cut.mkv"
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    question = asked(run, path, tmp_path)
    check(question)
    assert question.video.duration < 35 and "WARNING, length" in report.warnings(question)


def test_what_is_no_video_is_refused_in_one_sentence(run, tmp_path):
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    for name, message in (
        ("text", r"text\.mp4 \(8 bytes\) cannot be decoded"),
        ("missing", r"no video file .*missing\.mp4; known: text\.mp4"),
    ):
        with pytest.raises(BrokenVideo, match=message):
            asked(run, tmp_path / f"{name}.mp4", tmp_path)


@pytest.fixture
def folder(video, tmp_path):
    """Two videos of one name in two folders, one that is none, and something else."""
    for name in ("a/clip.mp4", "b/clip.mp4", "b/text.mp4", "notes.txt", ".hidden/clip.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        text = name.startswith(("b/t", "n"))
        (tmp_path / "videos" / name).write_bytes(b"no video" if text else video.read_bytes() + name.encode())
    return tmp_path / "videos"


def test_a_folder_is_a_row_a_video_and_goes_on_where_it_was_killed(run, folder, tmp_path, monkeypatch):
    ask, encoded = own_video.ask, []

    def killed(asked, path, progress):
        if len(encoded) == 1:
            raise KeyboardInterrupt
        encoded.append(path)
        return ask(asked, path, progress)

    given = {"run_dir": str(run), "data_dir": str(tmp_path), "threshold": 1e-9, "output_dir": str(tmp_path / "out")}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(own_video, "ask", killed)
        tad.detect(folder, "diving", **given)
    told, decoded, snippets = [], [], features.snippets
    monkeypatch.setattr(features, "snippets", lambda path, *how: decoded.append(path) or snippets(path, *how))
    found = tad.detect(str(folder), "diving", progress=lambda *each: told.append(each), **given)
    assert encoded == [folder / "a" / "clip.mp4"] and decoded == [folder / "b" / "clip.mp4"]
    assert list(found) == ["a_clip_mp4", "b_clip_mp4"] and told[-1][:2] == (3, 3)
    rows = {row["video"]: row["verdict"] for row in found.rows}
    assert "diving" in rows["a_clip_mp4"] and rows["b_text_mp4"].startswith("FAILED: ") and len(rows) == 3
    assert "text.mp4" in repr(found) and "cannot be decoded" in (page := found._repr_html_()) and "</td>" in page
    assert page.count("nothing but drawings") == repr(found).count("nothing but drawings") == 1
    monkeypatch.setattr(report, "warnings", lambda question: {"odd": question.clip.path.parent.name})
    assert found.warnings == [("odd", "a_clip_mp4: a"), ("odd", "b_clip_mp4: b")]
    result = report.finish(found, report.begin(found.asked))
    assert set(read_detections(tmp_path / "out" / "detections.json")) == set(found) and "1 failed" in result.headline


def test_videos_are_named_by_folder_pattern_or_list(folder):
    every = (folder / "a" / "clip.mp4", folder / "b" / "clip.mp4", folder / "b" / "text.mp4")
    assert own_files.video_files("videos", folder.parent) == own_files.video_files("**/*.mp4", folder) == every
    for several in (["a/clip.mp4", "b"], '["a/clip.mp4", "b"]', "a/clip.mp4,b", ["a", folder / "b", "a"]):
        assert own_files.video_files(several, folder) == every
    assert own_files.names(every) == ["a_clip_mp4", "b_clip_mp4", "b_text_mp4"] and own_files.names(every[1:]) == [
        "clip",
        "text",
    ]
    assert own_files.video_files("", folder) == () and own_files.video_files(["missing.mp4"], folder) == (
        folder / "missing.mp4",
    )
    with pytest.raises(BrokenVideo, match=r"no video file .*missing\.mp4"):
        own_files.video_files("missing.mp4", folder)
    for nothing in ("*.avi", ".hidden/empty"):
        (folder / ".hidden" / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"video=.* names no video file: expected \.mp4, "):
            own_files.video_files(nothing, folder)


def test_an_answer_shows_itself_as_a_sentence_a_word(run, video, tmp_path):
    found = tad.detect(video, ["<b>diving</b>", "a golf swing"], run_dir=run, data_dir=tmp_path, detector="none")
    assert list(found) == ["clip"] and found["clip"].segments.shape == (len(found["clip"].labels), 2)
    page = found._repr_html_()
    assert page.count("<tr>") == 3 and "<b>diving" not in page and "&lt;b&gt;diving" in page
    assert len(repr(found).splitlines()) == 3 + len(found.warnings) and "generic texts" in page
    assert found.surest.least == own_video.SURE and f"from a score of {own_video.SURE:g} (chosen" in page
    with pytest.raises(ValueError, match="unknown parameter 'treshold'; did you mean 'threshold'"):
        tad.detect(video, "diving", treshold=1)


def test_a_word_is_certain_beside_texts_of_nothing_whatever_other_words_there_are():
    actionness, logits = torch.tensor([0.8, 0.4, 0.4]), torch.tensor([[5.0, 1, 0, 0], [1, 5, 0, 0], [0, 0, 5, 5]])
    scores, places = certainty(actionness, logits, 2)
    assert places.tolist() == [0, 1, 0] and scores[0] == pytest.approx(2 * scores[1]) and scores[2] < 0.01
    assert certainty(actionness, logits[:, [0, 2, 3]], 1)[0][0] == scores[0], "asked alone it is as certain"
    assert float(certainty(actionness / 100, logits, 2)[0].max()) < 0.1, "nothing in the video is an action"


def test_of_detections_within_each_other_the_surest_is_left():
    segments = torch.tensor([[0.0, 10.0], [2.0, 4.0], [9.0, 13.0], [2.0, 4.0], [20.0, 21.0]])
    found = Detections(segments, torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), ("a", "a", "a", "b", "a"))
    left = without_nested(found)
    assert left.scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5]) and left.labels == ("a", "a", "b", "a")


def test_preview_and_pieces_of_a_video_that_a_phone_turned_are_upright(run, tmp_path):
    """What is left in the file is on top in a player: a half turn the wrong way would show it at the bottom."""
    path = turned(write_video(tmp_path / "turned.mp4", steady(20, 10.0), lit="left"))
    clip = probe(path)
    (tmp_path / "small.mp4").write_bytes(own_files.preview(clip, 2.0))
    (piece,) = own_files.cut(clip, [(0.5, 1.5)], tmp_path)
    for each in (tmp_path / "small.mp4", piece):
        frame = next(snippets(each, 1, 10.0))
        assert frame.shape == (64, 48, 3) and frame[:20].mean() > 10 + frame[-20:].mean()
    assert "turned by 270 degrees" in report.notes(asked(run, path, tmp_path))[0]["details"]


def test_the_small_clip_is_said_to_know_drawings_only_unless_it_is_asked_about_them(run, video, tmp_path):
    question = asked(run, video, tmp_path)
    assert "nothing but drawings" in report.warnings(question)["WARNING, pictures"]
    drawn = replace(question.video, actions=(Action(1.0, 2.0, "Diving"),))
    question = replace(question, benchmark=replace(question.benchmark, videos=(drawn,)))
    assert "WARNING, pictures" not in report.warnings(question)


def test_another_encoder_is_said_and_another_width_refused(run, saved, video, tmp_path):
    other = saved | {"about": saved["about"] | {"features": "abc_stride4"}}
    torch.save(other, tmp_path / "checkpoint.pt")
    question = asked(tmp_path, video, tmp_path)
    assert "WARNING, encoder" in report.warnings(question)
    assert "WARNING, encoder" not in report.warnings(asked(run, video, tmp_path))
    wide = network(Params.check(saved["params"]), 64)
    torch.save(other | {"network": wide.saved()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="reads features of 64 channels, tad-demo gives 128"):
        own_video.detect(question)


# settings that need the run's own classes or training videos
NOT_MINE = [
    {"text": "subactions", "pooling": "ordered"},
    {"text_head": "mlp", "context": 2},
    {"head": "mlp", "head_loss": "contrastive", "hard_negatives": "region", "rerank": 0.5},
    {"pooling": "matching_learned"},
    {"pooling": "mask", "background": "learned", "reject": "video"},
    {"transfer": "conse", "candidates": "unseen"},
]


@pytest.mark.parametrize("settings", NOT_MINE, ids=[next(iter(each)) for each in NOT_MINE])
def test_settings_that_own_words_cannot_have_are_off_and_named(settings, run, saved, video, tmp_path):
    torch.save(saved | {"params": saved["params"] | settings}, tmp_path / "checkpoint.pt")
    question = asked(tmp_path, video, run.parent / "cache")
    check(question)
    notes = {row["subject"]: row["details"] for row in report.notes(question)}
    of_training = ("head_loss", "hard_negatives")
    assert all(f"{name}=" in notes["switched off"] for name in settings if name not in of_training)


def test_a_folder_without_a_detector_or_with_part_of_one_is_named(run, saved, video, tmp_path):
    with pytest.raises(RunError, match=r"has no checkpoint\.pt: run train\.ipynb, or leave it empty"):
        asked(tmp_path, video, tmp_path)
    torch.save({name: value for name, value in saved.items() if name != "network"}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError, match="checkpoint.pt has no network.*: train again in another run_dir, or go on with"):
        asked(tmp_path, video, run)


def test_calibration_takes_off_what_every_text_sees():
    """One snippet resembles everything, the next only the word: calibrated, the word is found in the second."""
    features = torch.tensor([[0.0, 0.0, 1.0]]).repeat(40, 1)
    features[5:15] = torch.tensor([0.9, 0.9, 0.1])  # scene: near the word and near background
    features[25:35] = torch.tensor([0.7, 0.0, 0.7])  # action
    word, background = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])
    ask = (Video("v", 40.0, 1.0, "test", ()), features, word, ["word"], Grid(1.0, 1))
    plain, calibrated = (baselines.training_free(*ask, background=given) for given in (None, background))
    best = [found.segments[0].mean() for found in (plain, calibrated)]
    assert 25 <= best[1] <= 35 and float(calibrated.scores[0]) > 0
    assert any(5 <= segment.mean() <= 15 for segment in plain.segments)
    assert not any(5 <= segment.mean() <= 15 and segment.diff() < 12 for segment in calibrated.segments[:3])


def test_the_latest_run_that_can_answer_is_taken_and_the_reason_said(tmp_path, monkeypatch, saved):
    monkeypatch.setattr(runs, "project_root", lambda *_: tmp_path)
    called = []
    monkeypatch.setattr(own_video, "execute_notebook", lambda stage, *_: called.append(stage) or "no time")
    there = SimpleNamespace(get_pretrained_cfg=lambda *_: ADDRESS, get_model_config=lambda _: {})
    monkeypatch.setattr(encoder, "import_open_clip", lambda: there)
    with pytest.raises(RunError, match="training on the demo failed in .*train.ipynb: no time"):
        own_video.chosen_run(DetectParams.check({}), lambda done, total, text: called.append(text[:16]))
    assert called == ["training on 75 %", "train"]
    assert own_video.chosen_run(DetectParams.check({"detector": "none"}))[0] is None
    broken = {"good": {}, "old": {"no such": 1}, "far": {"encoder": "ViT-B-16", "pretrained": "openai"}}
    broken |= {"simulated": {"features": "simulate"}, "torn": None}
    for age, (name, changed) in enumerate(broken.items()):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        path = tmp_path / "outputs" / name / "checkpoint.pt"
        torch.save(saved | {"params": saved["params"] | changed}, path) if changed is not None else path.touch()
        os.utime(path, (1e9 + age, 1e9 + age))
    path, why = own_video.chosen_run(DetectParams.check({}))
    assert path.parent.name == "good" and why.startswith("the latest of 5 runs below outputs/, after 4 later ones")
    for part in ("torn: is cut off", "features=simulate", "far: it needs the weights 'openai' of ViT-B-16", "and 1"):
        assert part in why
    other = {"encoder": "ViT-B-32", "pretrained": "openai"}
    with pytest.raises(RunError, match="none of 5 runs .* can answer .*its detector has learnt from features of"):
        own_video.chosen_run(DetectParams.check(other))
    assert own_video.chosen_run(DetectParams.check(other | {"detector": "none"}))[0] is None, "nothing is waited for"


def test_a_description_that_is_not_read_to_its_end_says_where_it_is_cut(run, video, tmp_path):
    same = " ".join(f"somebody in shirt number {n}" for n in range(20))
    words = {"walk": f"{same} slowly", "run": f"{same} fast", "dive": "a leap into water"}
    found = report.warnings(asked(run, video, tmp_path, classes=words))["beware, cut"]
    assert "slowly" not in found.split("not ")[0] and found.count("read up to") == 2
    assert "beware, cut" not in report.warnings(asked(run, video, tmp_path))


def test_words_that_are_spoken_alike_are_one_and_say_so(run, video, tmp_path):
    question = asked(run, video, tmp_path, classes=["golf_swing", "GolfSwing", "diving"])
    assert [word.name for word in question.asked.words] == ["golf_swing", "diving"]
    assert "'GolfSwing' as 'golf_swing'" in report.warnings(question)["beware, read alike"]
