"""Report on the detections in the user's own videos: verdicts, tables, curves, warnings, timeline and files."""

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter

import numpy as np
from IPython.display import HTML
from jaxtyping import Float
from markupsafe import Markup

from tadlib.data.encoder import DEMO
from tadlib.data.streams import BrokenVideo
from tadlib.files import Progress, atomic, silent
from tadlib.naming import tokens
from tadlib.naming.fusion import Detections, write_detections
from tadlib.workbook import display, edits, own_files, own_video, runs
from tadlib.workbook.display import Result, Row, Viewer
from tadlib.workbook.own_video import Answer, Asked, Question, off_for_own_words
from tadlib.workbook.runs import Run

SHOWN = 8  # most words in a figure or a sentence
CALIBRATED = (
    "<p><small>A score is the detector's certainty, relative to its highest in this video, times CLIP's certainty of "
    "the word against {} generic texts; a word is found from a score of {}{}.</small></p>"
)
CHOSEN = " (chosen on names of the demo's seen classes; sentences are missed more often)"
APART = 1.0  # minimum seconds between two frames that are shown
POINTS = 600  # most points of a curve
MAX_ROWS = 16  # of words in a timeline


class Answers(dict[str, Detections]):
    """Detections by name of the video; displayed as a table with a row per word, or of several videos per video."""

    def __init__(self, asked: Asked, answers: Mapping[str, Answer], failed: Mapping[str, str]) -> None:
        super().__init__((name, answer.found) for name, answer in answers.items())
        self.asked, self.answers, self.failed = asked, answers, failed

    @property
    def surest(self) -> Answer:
        """The answer with the highest score, above or below the threshold."""
        return max(self.answers.values(), key=lambda answer: max(answer.considered.scores.tolist(), default=0.0))

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each video: its found words with their verdicts, or the reason of a failure."""
        rows = [{"video": name, "s": "", "verdict": f"FAILED: {reason}"} for name, reason in self.failed.items()]
        for name, answer in self.answers.items():
            found = [f"{word} {verdict}" for word, verdict in verdicts(answer) if word in answer.found.labels]
            seconds = f"{answer.question.video.duration:.1f}"
            rows.append({"video": name, "s": seconds, "verdict": "; ".join(found) or "nothing found"})
        return sorted(rows, key=itemgetter("video"))

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Warnings about all answers, each once, by kind; one that is not about every video names its videos."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, answer in self.answers.items():
            for warning in warnings(answer.question).items():
                found.setdefault(warning, []).append(name)
        part = {each: "" if len(of) == len(self.answers) else f"{display.some(of)}: " for each, of in found.items()}
        return [(kind, videos + text) for (kind, text), videos in part.items()]

    def _told(self) -> display.Listing:
        if len(self.asked.files) > 1:
            return display.Listing(self.rows)
        return display.Listing([{"word": word, "verdict": text} for word, text in verdicts(self.surest)])

    def __repr__(self) -> str:
        return "\n".join([*(f"{kind}: {text}" for kind, text in self.warnings), repr(self._told())])

    def _repr_html_(self) -> str:
        warnings = Markup().join(Markup("<p><b>{}</b>: {}</p>").format(*warning) for warning in self.warnings)
        least = " or ".join(f"{each:g}" for each in sorted({answer.least for answer in self.answers.values()}))
        chosen, rivals = "" if self.asked.given.threshold else CHOSEN, own_video.rivals(self.asked.words)
        return warnings + Markup(self._told()._repr_html_()) + Markup(CALIBRATED).format(len(rivals), least, chosen)


def answers(asked: Asked, progress: Progress = silent) -> Answers:
    """Detect in all videos; the error of an unusable one becomes its row, unless it is the only video.

    Features are cached on disk, so an interrupted call can be repeated and continues.
    """
    found: dict[str, Answer] = {}
    failed: dict[str, str] = {}
    several, names = len(asked.files) > 1, own_files.names(asked.files)
    for place, (path, name) in enumerate(zip(asked.files, names, strict=True), start=1):
        try:
            found[name] = own_video.detect(own_video.ask(asked, path, progress))
        except (OSError, ValueError, BrokenVideo) as error:
            if not several:
                raise
            failed[name] = str(error)
        if several:
            progress(place, len(names), f"videos, {name}")
    if not found:
        raise ValueError(f"none of {len(names)} videos can be used, first: {next(iter(failed.values()))}")
    return Answers(asked, found, failed)


def verdicts(answer: Answer) -> list[tuple[str, str]]:
    """Return words with a verdict each, best first: found and where, or not found and where it was likeliest."""
    considered, found, listed = answer.considered, answer.found, []
    for word in dict.fromkeys(considered.labels):
        place, times = considered.labels.index(word), found.labels.count(word)
        (start, end), score = considered.segments[place].tolist(), float(considered.scores[place])
        where = f"from {start:.1f} to {end:.1f} s (score {score:.2f})"
        often = "" if times == 1 else f" {times} times, the surest"
        listed.append((word, f"found{often} {where}" if times else f"not found; likeliest {where}"))
    names = (word.name for word in answer.question.asked.words)
    return listed + [
        (word, "not found; every proposal is likelier to be another word")
        for word in names
        if word not in considered.labels
    ]


def begin(asked: Asked) -> Run:
    """Start the output folder and its record: the parameters, the requested words and the videos."""
    run = runs.start("detect", asked.params.but(run_dir=asked.given.output_dir))
    if asked.checkpoint:
        print(f"run {asked.checkpoint.parent.name}: {asked.why}")
    words = [word._asdict() for word in asked.words]
    run.record["asked"] = asked.given.model_dump() | {"words": words, "video": list(map(str, asked.files))}
    return run


def detection_rows(answer: Answer) -> list[dict[str, object]]:
    """Return a row for each detection."""
    found = answer.found
    if not len(found.scores):
        return [{"detections": f"nothing found: none scores {answer.least:g} or more"}]
    return [
        {"start (s)": f"{start:.1f}", "end (s)": f"{end:.1f}", "word": label, "score": f"{score:.2f}"}
        for (start, end), score, label in zip(found.segments.tolist(), found.scores.tolist(), found.labels, strict=True)
    ]


def moments(detections: Detections) -> tuple[list[float], list[str]]:
    """Return the middles (seconds) of the best detections and their words; middles less than `APART` apart are one."""
    found: dict[float, dict[str, None]] = {}
    for middle, label in zip(detections.segments.mean(dim=1).tolist(), detections.labels, strict=True):
        near = next((moment for moment in found if abs(moment - middle) < APART), middle)
        found.setdefault(near, {})[label] = None
    return list(found)[:SHOWN], [", ".join(words) for words in found.values()][:SHOWN]


def word_curves(answer: Answer) -> tuple[Float[np.ndarray, " t"], dict[str, np.ndarray]]:
    """Return seconds (t,) and, for at most eight words, cosine similarity (t,) minus the mean of the rivals.

    Detected words come first, then those most similar to the video. Long videos are averaged to `POINTS`.
    """
    question = answer.question
    names = question.classes.unseen
    cosine = question.similarity(question.video, (*names, *question.classes.seen))
    above = cosine[:, : len(names)] - cosine[:, len(names) :].mean(axis=1, keepdims=True)
    order = [names[place] for place in np.argsort(-above.max(axis=0), kind="stable")]
    chosen = list(dict.fromkeys((*answer.found.labels, *order)))[:SHOWN]
    points = min(POINTS, len(above))
    parts = np.array_split(np.arange(len(above)), np.arange(1, points) * len(above) // points)  # evenly long
    seconds = question.seconds(question.video)
    means = np.stack([above[part].mean(axis=0) for part in parts])
    return np.array([seconds[part].mean() for part in parts]), {label: means[:, names.index(label)] for label in chosen}


def notes(question: Question) -> list[dict[str, str]]:
    """Return rows that describe the video, encoder, run, words and parameters behind an answer."""
    asked, clip, video = question.asked, question.clip, question.video
    sound = "with" if clip.sound else "without"
    size = f"{clip.width} x {clip.height}, {clip.fps:.4g} frames/s, {sound} sound"
    rows = {"video": "; ".join((f"{clip.path.name}: {video.duration:.1f} s, {size}", *clip.remarks))}
    rows |= {"encoder": f"{question.encoder.name} ({question.encoder.key})"}
    rows |= {"snippets": f"{len(question.features(video))}, one every {question.grid(video).seconds(1):.3g} s"}
    if asked.given.detector == "none":
        rows["detector"] = "none: CLIP's similarity alone; its scores order detections and are no probabilities"
    else:
        trained = ", ".join(asked.about.get("seen", ())) or "not recorded"
        rows["run"] = f"{asked.checkpoint.parent.name}: {asked.why}"
        rows["detector"] = f"trained on actions of: {trained}"
    rows["words"] = display.some([f"{word.name} (read as: {' / '.join(word.texts)})" for word in asked.words], SHOWN)
    if off := off_for_own_words(asked.trained):
        settings = ", ".join(f"{name}={getattr(asked.trained, name)}" for name in off)
        rows["switched off"] = f"settings of this run that do not apply to your words: {settings}"
    return [{"subject": subject, "details": text} for subject, text in rows.items()]


def warnings(question: Question) -> dict[str, str]:
    """Return warnings about an answer, by kind."""
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
    if clip.duration - video.duration > 1.5 + question.grid(video).seconds(1):  # header and frames may differ
        found["WARNING, length"] = (
            f"the file says that it lasts {clip.duration:.1f} s and could be decoded for {video.duration:.1f} s"
        )
    if remarks := question.store.remarks(clip.key):
        found["WARNING, damage"] = "; ".join(remarks)
    if (snippets := len(question.features(video))) < 4:
        found["WARNING, short"] = f"{snippets} snippets are too few to tell an action from what surrounds it"
    if cut := tokens.cut_texts(question.encoder, [text for word in asked.words for text in word.texts]):
        found["beware, cut"] = display.some([tokens.describe_cut(*each) for each in cut.items()])
    joined = [f"{', '.join(map(repr, word.also))} as {word.name!r}" for word in asked.words if word.also]
    if joined:
        found["beware, read alike"] = f"one word, because they are spoken alike: {'; '.join(joined)}"
    return found


def details(answer: Answer) -> HTML:
    """Return the rows of `notes` and all detections as collapsible tables."""
    form = "<details><summary>{}</summary>{}</details>"
    tables = {"Video and detector": notes(answer.question), "Every detection": detection_rows(answer)}
    return HTML("".join(form.format(name, display.table(rows).to_html()) for name, rows in tables.items()))


def timeline_rows(answer: Answer) -> list[Row]:
    """Return the rows of a timeline: true actions, proposals, detections of the found words (or of all if none is)."""
    video, proposals, detections, rows = answer.question.video, answer.proposals, answer.considered, []
    for label in sorted({action.label for action in video.actions}):
        spans = [(action.start, action.end) for action in video.actions if action.label == label]
        rows.append(Row(f"true: {label}", "truth", spans, [1.0] * len(spans)))
    rows.append(Row("proposals", "proposal", proposals.segments[:40].tolist(), proposals.scores[:40].tolist()))
    labels = np.array(detections.labels)
    words = dict.fromkeys(answer.found.labels or detections.labels)  # best first
    for label in list(words)[:MAX_ROWS]:
        at = np.flatnonzero(labels == label)
        rows.append(Row(label, "detection", detections.segments[at].tolist(), detections.scores[at].tolist()))
    return rows


def answer_viewer(answer: Answer) -> Viewer:
    """Return the interactive timeline of an answer, with a small copy of the video.

    The copy is cached, because finding its frames in a long video takes longer than detection.
    """
    question, video = answer.question, answer.question.video
    content = question.store.record(question.clip.key)["source"]["content"]
    path = question.benchmark.cache / "previews" / f"{content}_{own_files.PREVIEW_WIDTH}.mp4"
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_bytes(own_files.preview(question.clip, video.duration))
    least, title = answer.least / (2 if answer.found.labels else 1), f"{video.id}, {video.duration:.1f} s"
    return Viewer(
        video.duration, timeline_rows(answer), word_curves(answer)[1], path.read_bytes(), title=title, least=least
    )


def finish(answers: Answers, run: Run) -> Result:
    """Write `detections.json` and the requested clips, and finish the record."""
    write_detections(run.target("detections.json"), answers)
    asked, several = answers.asked, len(answers.asked.files) > 1
    for name, answer in answers.answers.items():
        folder = run.dir / "clips" / name if several else run.dir / "clips"
        own_files.cut(answer.question.clip, answer.found.segments[: asked.given.clips].tolist(), folder)
    summary = f"{sum(len(found.scores) for found in answers.values())} detections"
    if several:
        summary += f" in {len(answers)} videos, {len(answers.failed)} failed"
    spent = sum(answer.question.encoding_seconds or 0.0 for answer in answers.answers.values())
    return replace(run.finish(data=", ".join(list(answers)[:SHOWN]), encoding_seconds=round(spent, 1)), found=summary)
