"""Output of detect.ipynb: verdicts, tables, curves, warnings, viewer and files."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from tadlib.data import own
from tadlib.data.encoder import DEMO
from tadlib.data.streams import BrokenVideo
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis
from tadlib.files import Progress, atomic, silent
from tadlib.naming import tokens
from tadlib.naming.fusion import Detections, write_detections
from tadlib.workbook import display, edits, own_video, runs, viewer
from tadlib.workbook.own_run import some
from tadlib.workbook.own_video import Answer, Asked, Question
from tadlib.workbook.runs import Result, Run
from tadlib.workbook.viewer import Viewer

SHOWN = 8  # words that a figure or a sentence has room for
VERDICTS = 40  # words that a list of verdicts has room for
CALIBRATED = (
    "A score is the detector's certainty, as a share of its greatest in this video, times CLIP's certainty of the word "
    "against {} texts of nothing in particular; from {} on a word is found, with its places from half of it on"
)
CHOSEN = f"{own_video.FOUND:g}, as chosen on names of the demo's seen classes (it misses more of sentences),"
APART = 1.0  # seconds between two frames that are shown
POINTS = 600  # of a curve: more are not seen
LEARNT = "learnt on the run's classes and videos"
READ = "a word is read as you write it"
WHEN = "the detector says only when, CLIP says what, and background competes"
WHY = {"text": READ, "lead": READ, "pooling=ordered": READ, "target": WHEN, "ensemble": WHEN, "candidates": WHEN}
WHY |= {"nms_per": "overlaps are thinned before anything has a name"}
WHY |= {"snippets": "a clip has as many snippets as its length asks for"}


class Answers(dict[str, Detections]):
    """What was found in each video, by its name; shows itself as verdicts on one video, or as a row a video."""

    def __init__(self, asked: Asked, answers: Mapping[str, Answer], failed: Mapping[str, str]) -> None:
        super().__init__((name, answer.found) for name, answer in answers.items())
        self.asked, self.answers, self.failed = asked, answers, failed

    @property
    def surest(self) -> Answer:
        """The answer with the best score, found or not."""
        return max(self.answers.values(), key=lambda answer: max(answer.considered.scores.tolist(), default=0.0))

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each video: what was found, how often and where, or why it could not be asked."""
        found = {
            name: "; ".join(f"{word} {said}" for word, said in verdicts(answer) if word in answer.found.labels)
            for name, answer in self.answers.items()
        }
        lengths = {name: f"{answer.question.video.duration:.1f}" for name, answer in self.answers.items()}
        said = {name: text or "nothing found" for name, text in found.items()}
        said |= {name: f"FAILED: {why}" for name, why in self.failed.items()}
        return [{"video": name, "s": lengths.get(name, ""), "verdict": said[name]} for name in sorted(said)]

    def __repr__(self) -> str:
        if len(self.asked.files) > 1:
            return "\n".join(f"{row['video']}: {row['verdict']}" for row in self.rows)
        return "\n".join(f"{word}: {said}" for word, said in verdicts(self.surest))

    def _repr_html_(self) -> str:
        if len(self.asked.files) > 1:
            return Markup(display.Sortable(self.rows)._repr_html_()) + _calibrated(self.asked)
        item, beware = Markup("<li><b>{}</b> {}</li>"), Markup("<p><b>{}</b>: {}</p>")
        listed = Markup("<ul>{}</ul>").format(_joined(item, verdicts(self.surest)))
        return _joined(beware, warnings(self.surest.question).items()) + listed + _calibrated(self.asked)


def _joined(form: Markup, values: Iterable[tuple[str, str]]) -> Markup:
    return Markup().join(form.format(*each) for each in values)


def _calibrated(asked: Asked) -> Markup:
    """How a score comes about, and from which on a word counts as found."""
    said = CALIBRATED.format(len(own_video.rivals(asked.words)), f"{asked.given.threshold or CHOSEN}")
    return Markup("<p><small>{}.</small></p>").format(said.rstrip(","))


def answers(asked: Asked, progress: Progress = silent) -> Answers:
    """What is found in every video; one that cannot be used is a row that says so, unless it is the only one.

    Features of a video are kept, so that the same call goes on where another was interrupted.
    """
    found: dict[str, Answer] = {}
    failed: dict[str, str] = {}
    several, names = len(asked.files) > 1, own.names(asked.files)
    for place, (path, name) in enumerate(zip(asked.files, names, strict=True)):

        def tell(done: int, total: int, text: str, place: int = place, name: str = name) -> None:
            progress(place, len(names), f"videos, {name}: {100 * done // max(1, total)} %")

        try:
            found[name] = own_video.detect(own_video.ask(asked, path, tell if several else progress))
        except (OSError, ValueError, BrokenVideo) as error:
            if not several:
                raise
            failed[name] = str(error)
        if several:
            progress(place + 1, len(names), f"videos, {name}")
    if not found:
        raise ValueError(f"none of {len(names)} videos can be used, first: {next(iter(failed.values()))}")
    return Answers(asked, found, failed)


def verdicts(answer: Answer) -> list[tuple[str, str]]:
    """Each word with a sentence: found and where, or not and where it was likeliest; the surest first."""
    considered, found, said = answer.considered, answer.found, []
    for word in dict.fromkeys(considered.labels):
        place, times = considered.labels.index(word), found.labels.count(word)
        (start, end), score = considered.segments[place].tolist(), float(considered.scores[place])
        where = f"from {start:.1f} to {end:.1f} s (score {score:.2f})"
        sure = "found" if score >= own_video.SURE else "probably found"
        often = "" if times == 1 else f" {times} times, the surest"
        missed = "not found; likeliest" if score < own_video.FOUND else "cannot tell; perhaps"
        said.append((word, f"{sure}{often} {where}" if times else f"{missed} {where}"))
    names = [word.name for word in answer.question.asked.words]
    said += [(word, "not found; everywhere another word is likelier") for word in names if word not in dict(said)]
    more = len(said) - VERDICTS
    return said if more <= 0 else [*said[:VERDICTS], (f"{more} more words", "not found")]


def begin(asked: Asked) -> Run:
    """The folder of what is written and its record: the run's parameters, and what was asked of it."""
    run = runs.start("detect", asked.params.but(run_dir=asked.given.output_dir))
    if asked.checkpoint:
        sys.stdout.write(f"run {asked.checkpoint.parent.name}: {asked.why}\n")
    words = [word._asdict() for word in asked.words]
    run.record["asked"] = asked.given.model_dump() | {"words": words, "video": list(map(str, asked.files))}
    return run


def detection_rows(answer: Answer) -> list[dict[str, object]]:
    """A row for each detection, the true action it overlaps most where the video is annotated."""
    found, video = answer.found, answer.question.video
    if not len(found.scores):
        return [{"detections": f"nothing found: none scores {answer.least:g} or more"}]
    rows = [
        {"start (s)": f"{start:.1f}", "end (s)": f"{end:.1f}", "word": label, "score": f"{score:.2f}"}
        for (start, end), score, label in zip(found.segments.tolist(), found.scores.tolist(), found.labels, strict=True)
    ]
    if video.actions:
        nearest = diagnosis.nearest_actions(video, Proposals(found.segments, found.scores))
        for row, place, tiou in zip(rows, *nearest, strict=True):
            row |= {"true action": video.actions[place].label if tiou > 0 else "none", "tIoU": f"{tiou:.2f}"}
    return rows


def moments(detections: Detections) -> tuple[list[float], list[str]]:
    """Middles of the surest detections, in seconds, and what is found there; no moment twice."""
    found: dict[float, dict[str, None]] = {}
    for middle, label in zip(detections.segments.mean(dim=1).tolist(), detections.labels, strict=True):
        near = next((each for each in found if abs(each - middle) < APART), middle)
        found.setdefault(near, {})[label] = None
    return list(found)[:SHOWN], [", ".join(words) for words in found.values()][:SHOWN]


def word_curves(answer: Answer) -> tuple[Float[np.ndarray, " t"], dict[str, np.ndarray]]:
    """Seconds (t,) and for each word, at most eight, how much likelier it is than background: cosine (t,) less theirs.

    The words detected come first, then those nearest to the video. Long videos are averaged down.
    """
    question = answer.question
    names = question.classes.unseen
    cosine = question.similarity(question.video, (*names, *question.classes.seen))
    above = cosine[:, : len(names)]
    if question.classes.seen:
        above = above - cosine[:, len(names) :].mean(axis=1, keepdims=True)
    order = [names[place] for place in np.argsort(-above.max(axis=0), kind="stable")]
    chosen = list(dict.fromkeys((*answer.found.labels, *order)))[:SHOWN]
    parts = np.array_split(np.arange(len(above)), min(POINTS, len(above)))
    seconds = question.seconds(question.video)
    means = np.stack([above[part].mean(axis=0) for part in parts])
    return np.array([seconds[part].mean() for part in parts]), {label: means[:, names.index(label)] for label in chosen}


def notes(question: Question) -> list[dict[str, str]]:
    """What the answer rests on."""
    asked, clip, video = question.asked, question.clip, question.video
    sound = "with" if clip.sound else "without"
    size = f"{clip.width} x {clip.height}, {clip.fps:.4g} frames/s, {sound} sound"
    said = {"video": "; ".join((f"{clip.path.name}: {video.duration:.1f} s, {size}", *clip.remarks))}
    said |= {"encoder": f"{question.encoder.name} ({question.encoder.key})"}
    said |= {"snippets": f"{len(question.features(video))}, one every {question.grid(video).seconds(1):.3g} s"}
    if asked.given.detector == "none":
        said["detector"] = "none: CLIP's similarity alone; its scores order detections and are no probabilities"
    else:
        trained = ", ".join(asked.about.get("seen", ())) or "not recorded"
        said["run"] = f"{asked.checkpoint.parent.name}: {asked.why}"
        said["detector"] = f"trained on actions of: {trained}"
    said["words"] = some([f"{word.name} (read as: {' / '.join(word.texts)})" for word in asked.words], SHOWN)
    said["competing"] = "; ".join(question.classes.seen) or "nothing"
    if asked.off:
        off = settings_off(asked.off)
        said["switched off"] = f"settings of this run that do not apply to your words: {off}"
    return [{"what": what, "is": text} for what, text in said.items()]


def settings_off(off: Mapping[str, object]) -> str:
    """Settings that do not hold for these words, as they are in the run, in one sentence a reason."""
    reasons: dict[str, list[str]] = {}
    for name, value in off.items():
        setting = f"{name}={value}"
        reasons.setdefault(WHY.get(setting, WHY.get(name, LEARNT)), []).append(setting)
    return "; ".join(f"{', '.join(settings)} ({why})" for why, settings in reasons.items())


def warnings(question: Question) -> dict[str, str]:
    """What may spoil the answer, by kind; nothing where nothing is known to."""
    found, asked, clip, video = {}, question.asked, question.clip, question.video
    by_run, made = asked.given.detector == "run", str(asked.about.get("features", ""))
    if by_run and not made.startswith(question.encoder.key):
        found["WARNING, encoder"] = (
            f"the detector was trained on features {made or 'that its checkpoint does not name'}, this video has those "
            f"of {question.encoder.key}: its segments mean little unless both come from one model"
        )
    if by_run and (edited := list(edits.lines(runs.records(asked.checkpoint.parent)))):
        found["beware, edited"] = "; ".join(edited)
    if not question.familiar:
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
    if cut := tokens.cut_texts(question.encoder, [text for word in asked.words for text in word.texts]):
        found["beware, cut"] = some([tokens.describe_cut(*each) for each in cut.items()])
    joined = [f"{', '.join(map(repr, word.also))} as {word.name!r}" for word in asked.words if word.also]
    if joined:
        found["beware, read alike"] = f"one word, because they are spoken alike: {'; '.join(joined)}"
    unusual = [word.name for word in asked.words if not all(text.isascii() for text in word.texts)]
    if unusual:
        found["beware, alphabet"] = f"CLIP was trained on English; what it makes of {unusual[0]!r} is a guess"
    return found


def details(answer: Answer) -> display.Folded:
    """What the answer rests on, and every detection, folded."""
    return display.Folded({"What this rests on": notes(answer.question), "Every detection": detection_rows(answer)})


def answer_viewer(answer: Answer) -> Viewer:
    """The whole answer on a timeline to move in, with a small copy of the video.

    The copy is made once, because looking up its frames in a long video takes longer than the answer.
    """
    question = answer.question
    path = question.benchmark.cache / "previews" / f"{question.clip.key}_{own.PREVIEW_WIDTH}.mp4"
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_bytes(own.preview(question.clip, question.video.duration))
    _, curves = word_curves(answer)
    found, least = set(answer.found.labels), answer.least / (2 if answer.found.labels else 1)
    return viewer.of_answer(
        question.video, answer.proposals, answer.considered, curves, path.read_bytes(), least, found
    )


def finish(answers: Answers, run: Run) -> Result:
    """Write `detections.json` and the clips that were asked for; close the record."""
    write_detections(run.target("detections.json"), answers)
    several, asked = len(asked_files := answers.asked.files) > 1, answers.asked
    for name, answer in answers.answers.items():
        folder = run.path("clips") / name if several else run.path("clips")
        own.cut(answer.question.clip, answer.found.segments[: asked.given.clips].tolist(), folder)
    number = sum(len(found.scores) for found in answers.values())
    with_any = sum(bool(found.labels) for found in answers.values())
    told = f"{number} detections" + (f" in {with_any} of {len(asked_files)} videos" if several else "")
    if answers.failed:
        told += f", {len(answers.failed)} failed"
    spent = sum(answer.question.encoding_seconds or 0.0 for answer in answers.answers.values())
    return replace(run.finish(data=", ".join(list(answers)[:SHOWN]), encoding_seconds=round(spent, 1)), found=told)
