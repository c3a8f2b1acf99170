"""What is shown and written of the answer about a video: table, curves, notes and warnings, viewer, files."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from tadlib.data import own
from tadlib.data.encoder import DEMO
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis
from tadlib.files import NO_LETTER, atomic, tidy
from tadlib.naming import tokens
from tadlib.naming.fusion import Detections, write_detections
from tadlib.workbook import edits, runs, viewer
from tadlib.workbook.own_video import Question
from tadlib.workbook.runs import Result, Run
from tadlib.workbook.viewer import Viewer

SHOWN = 8  # words that a figure or a sentence has room for
POINTS = 600  # of a curve: more are not seen
LEARNT = "learnt on the run's classes and videos"
READ = "a word is read as you write it"
WHEN = "the detector says only when, CLIP says what, and background competes"
WHY = {"text": READ, "lead": READ, "pooling=ordered": READ, "target": WHEN, "ensemble": WHEN, "candidates": WHEN}
WHY |= {"nms_per": "overlaps are thinned before anything has a name"}
WHY |= {"snippets": "a clip has as many snippets as its length asks for"}


def begin(question: Question) -> Run:
    """The folder of what is written and its record: the run's parameters, and what was asked of it."""
    run = runs.start("detect", question.params.but(run_dir=question.detect_params.output_dir))
    words = [word._asdict() for word in question.words]
    run.record["asked"] = question.detect_params.model_dump() | {"words": words}
    return run


def detection_rows(question: Question, detections: Detections) -> list[dict[str, object]]:
    """A row for each detection, the true action it overlaps most where the video is annotated."""
    if not len(detections.scores):
        return [{"detections": f"none scores {question.detect_params.threshold:g} or more"}]
    rows = [
        {"start (s)": f"{start:.1f}", "end (s)": f"{end:.1f}", "word": label, "score": f"{score:.3f}"}
        for (start, end), score, label in zip(
            detections.segments.tolist(), detections.scores.tolist(), detections.labels, strict=True
        )
    ]
    actions = question.video.actions
    if actions:
        nearest = diagnosis.nearest_actions(question.video, Proposals(detections.segments, detections.scores))
        for row, place, tiou in zip(rows, *nearest, strict=True):
            row |= {"true action": actions[place].label if tiou > 0 else "none", "tIoU": f"{tiou:.2f}"}
    return rows


def word_curves(question: Question, detections: Detections) -> tuple[Float[np.ndarray, " t"], dict[str, np.ndarray]]:
    """Seconds (t,) and for each word, at most eight, how much likelier it is than background: cosine (t,) less theirs.

    The words detected come first, then those nearest to the video. Long videos are averaged down.
    """
    names = question.classes.unseen
    cosine = question.similarity(question.video, (*names, *question.classes.seen))
    above = cosine[:, : len(names)]
    if question.classes.seen:
        above = above - cosine[:, len(names) :].mean(axis=1, keepdims=True)
    order = [names[place] for place in np.argsort(-above.max(axis=0), kind="stable")]
    chosen = list(dict.fromkeys((*detections.labels, *order)))[:SHOWN]
    parts = np.array_split(np.arange(len(above)), min(POINTS, len(above)))
    seconds = question.seconds(question.video)
    means = np.stack([above[part].mean(axis=0) for part in parts])
    return np.array([seconds[part].mean() for part in parts]), {label: means[:, names.index(label)] for label in chosen}


def notes(question: Question) -> list[dict[str, str]]:
    """What the answer rests on, and what to beware of."""
    clip, video = question.clip, question.video
    sound = "with" if clip.sound else "without"
    size = f"{clip.width} x {clip.height}, {clip.fps:.4g} frames/s, {sound} sound"
    said = {"video": "; ".join((f"{clip.path.name}: {video.duration:.1f} s, {size}", *clip.remarks))}
    said |= {"encoder": f"{question.encoder.name} ({question.encoder.key})"}
    said |= {"snippets": f"{len(question.features(video))}, one every {question.grid(video).seconds(1):.3g} s"}
    if question.detect_params.detector == "none":
        said["detector"] = "none: CLIP's similarity alone; its scores order detections and are no probabilities"
    else:
        trained = ", ".join(question.about.get("seen", ())) or "not recorded"
        said["detector"] = f"{question.checkpoint.parent.name}, trained on actions of: {trained}"
    said["words"] = _some([f"{word.name} (read as: {' / '.join(word.texts)})" for word in question.words])
    said["competing"] = "; ".join(question.classes.seen) or "nothing"
    if question.off:
        off = settings_off(question.off)
        said["switched off"] = f"settings of this run that do not apply to your words: {off}"
    return [{"what": what, "is": text} for what, text in (said | warnings(question)).items()]


def settings_off(off: Mapping[str, object]) -> str:
    """Settings that do not hold for these words, as they are in the run, in one sentence a reason."""
    reasons: dict[str, list[str]] = {}
    for name, value in off.items():
        setting = f"{name}={value}"
        reasons.setdefault(WHY.get(setting, WHY.get(name, LEARNT)), []).append(setting)
    return "; ".join(f"{', '.join(settings)} ({why})" for why, settings in reasons.items())


def _some(texts: list[str]) -> str:
    """The first of several texts, and how many more there are."""
    return "; ".join([*texts[:SHOWN], *([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])])


def warnings(question: Question) -> dict[str, str]:
    """What may spoil the answer, by kind; nothing where nothing is known to."""
    found, clip, video = {}, question.clip, question.video
    by_run, made = question.detect_params.detector == "run", str(question.about.get("features", ""))
    if by_run and not made.startswith(question.encoder.key):
        found["WARNING, encoder"] = (
            f"the detector was trained on features {made or 'that its checkpoint does not name'}, this video has those "
            f"of {question.encoder.key}: its segments mean little unless both come from one model"
        )
    if by_run and (edited := list(edits.lines(runs.records(question.checkpoint.parent)))):
        found["beware, edited"] = "; ".join(edited)
    if question.encoder.name == DEMO and not video.actions:
        found["WARNING, pictures"] = (
            f"{DEMO} has seen nothing but drawings of twenty sports, with captions about them: of a filmed video, "
            "or for words that no caption has, what it answers is a guess. Pass -p run_dir of a run on a real CLIP, or "
            "-p detector none -p encoder ViT-B-16 -p pretrained openai"
        )
    if clip.duration - video.duration > 1.5 + question.grid(video).seconds(1):  # as header and frames may differ
        found["WARNING, length"] = (
            f"the file says that it lasts {clip.duration:.1f} s and could be decoded for {video.duration:.1f} s"
        )
    if remarks := question.store.remarks(clip.key):
        found["WARNING, damage"] = "; ".join(remarks)
    if (snippets := len(question.features(video))) < 4:
        found["WARNING, short"] = f"{snippets} snippets are too few to tell an action from what surrounds it"
    if cut := tokens.cut_texts(question.encoder, [text for word in question.words for text in word.texts]):
        found["beware, cut"] = _some([tokens.describe_cut(*each) for each in cut.items()])
    joined = [f"{', '.join(map(repr, word.also))} as {word.name!r}" for word in question.words if word.also]
    if joined:
        found["beware, read alike"] = f"one word, because they are spoken alike: {'; '.join(joined)}"
    unusual = [word.name for word in question.words if not all(text.isascii() for text in word.texts)]
    if unusual:
        found["beware, alphabet"] = f"CLIP was trained on English; what it makes of {unusual[0]!r} is a guess"
    return found


def answer_viewer(question: Question, proposals: Proposals, detections: Detections) -> Viewer:
    """The whole answer on a timeline to move in, with a small copy of the video.

    The copy is made once, because looking up its frames in a long video takes longer than the answer.
    """
    path = question.benchmark.cache / "previews" / f"{question.clip.key}.mp4"
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_bytes(own.preview(question.clip, question.video.duration))
    _, curves = word_curves(question, detections)
    return viewer.of_answer(question.video, proposals, detections, curves, path.read_bytes())


def finish(question: Question, detections: Detections, run: Run) -> Result:
    """Write `detections.json` and the clips that were asked for; close the record."""
    name = tidy(NO_LETTER.sub(" ", question.clip.path.stem))  # as it can be read again
    write_detections(run.target("detections.json"), {name: detections})
    own.cut(question.clip, detections.segments[: question.detect_params.clips].tolist(), run.path("clips"))
    surest = ""
    if len(detections.scores):
        start, end = detections.segments[0].tolist()
        surest = f", the surest {detections.labels[0]!r} from {start:.1f} to {end:.1f} s"
    return replace(run.finish(data=question.video.id), found=f"{len(detections.scores)} detections{surest}")
