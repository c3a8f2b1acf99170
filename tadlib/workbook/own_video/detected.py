"""What is shown and written of an answer: the table, frames, curves, what can and cannot be known, files."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from tadlib.data import own
from tadlib.data.encoder import DEMO
from tadlib.data.video import frames_at
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import diagnosis
from tadlib.files import atomic
from tadlib.naming import tokens
from tadlib.naming.fusion import Detections, write_detections
from tadlib.workbook import edits, runs, viewer
from tadlib.workbook.own_video.asked import Asked
from tadlib.workbook.own_video.own_words import told
from tadlib.workbook.runs import Result, Run
from tadlib.workbook.viewer import Viewer

SHOWN = 8  # frames and words that a figure has room for
POINTS = 600  # of a curve: more are not seen


def begin(asked: Asked) -> Run:
    """The folder of what is written and its record: the run's parameters, and what was asked of it."""
    run = runs.start("detect", asked.params.but(run_dir=asked.asking.output_dir))
    run.record["asked"] = asked.asking.model_dump() | {"words": [word._asdict() for word in asked.words]}
    return run


def words_found(asked: Asked, detections: Detections) -> list[dict[str, object]]:
    """A row for each detection, the true action it overlaps most where the video is annotated."""
    if not len(detections.scores):
        return [{"detections": f"none scores {asked.asking.threshold:g} or more"}]
    rows = [
        {"start (s)": f"{start:.1f}", "end (s)": f"{end:.1f}", "word": label, "score": f"{score:.3f}"}
        for (start, end), score, label in zip(
            detections.segments.tolist(), detections.scores.tolist(), detections.labels, strict=True
        )
    ]
    if not asked.video.actions:
        return rows
    places, tiou = diagnosis.nearest_actions(asked.video, Proposals(detections.segments, detections.scores))
    true = [asked.video.actions[place].label for place in places]
    return [
        row | {"true action": label if overlap > 0 else "none", "tIoU": f"{overlap:.2f}"}
        for row, label, overlap in zip(rows, true, tiou, strict=True)
    ]


def pictures(asked: Asked, detections: Detections) -> list[tuple[float, str, np.ndarray]]:
    """The middle of each of the surest detections: seconds, word, frame (h, w, 3)."""
    middles = detections.segments[:SHOWN].mean(dim=1).tolist()
    frames = frames_at(asked.clip.path, middles)
    return list(zip(middles, detections.labels[:SHOWN], frames, strict=True))


def word_curves(asked: Asked, detections: Detections) -> tuple[Float[np.ndarray, " t"], dict[str, np.ndarray]]:
    """Seconds (t,) and for each word, at most eight, how much likelier it is than background: cosine (t,) less theirs.

    The words detected come first, then those nearest to the video. Long videos are averaged down.
    """
    names = asked.classes.unseen
    cosine = asked.similarity(asked.video, (*names, *asked.classes.seen))
    above = cosine[:, : len(names)]
    if asked.classes.seen:
        above = above - cosine[:, len(names) :].mean(axis=1, keepdims=True)
    order = [names[place] for place in np.argsort(-above.max(axis=0), kind="stable")]
    chosen = list(dict.fromkeys((*detections.labels, *order)))[:SHOWN]
    parts = np.array_split(np.arange(len(above)), min(POINTS, len(above)))
    seconds = asked.seconds(asked.video)
    means = np.stack([above[part].mean(axis=0) for part in parts])
    return np.array([seconds[part].mean() for part in parts]), {label: means[:, names.index(label)] for label in chosen}


def notes(asked: Asked) -> list[dict[str, str]]:
    """What the answer rests on, and what to beware of."""
    said = {"video": _video(asked), "encoder": f"{asked.encoder.name} ({asked.encoder.key})"}
    said |= {"snippets": f"{len(asked.features(asked.video))}, one every {asked.grid(asked.video).seconds(1):.3g} s"}
    if asked.asking.detector == "none":
        said["detector"] = "none: CLIP's similarity alone; its scores order detections and are no probabilities"
    else:
        seen = asked.about.get("seen")
        trained = ", ".join(seen) if seen else "not recorded"
        said["detector"] = f"{asked.checkpoint.parent.name}, trained on actions of: {trained}"
    said["words"] = "; ".join(f"{word.name} (read as: {' / '.join(word.texts)})" for word in asked.words[:SHOWN])
    said["words"] += f"; and {len(asked.words) - SHOWN} more" if len(asked.words) > SHOWN else ""
    said["competing"] = "; ".join(asked.classes.seen) or "nothing"
    if asked.off:
        said["switched off"] = f"what this run does otherwise and your words cannot have: {told(asked.off)}"
    return [{"what": what, "is": text} for what, text in (said | warnings(asked)).items()]


def warnings(asked: Asked) -> dict[str, str]:
    """What may spoil the answer, by kind; nothing where nothing is known to."""
    found = {}
    made = str(asked.about.get("features", ""))
    if asked.asking.detector == "run" and not made.startswith(asked.encoder.key):
        found["WARNING, encoder"] = (
            f"the detector was trained on features {made or 'that its checkpoint does not name'}, this video has those "
            f"of {asked.encoder.key}: its segments mean little unless both come from one model"
        )
    if asked.asking.detector == "run" and (edited := list(edits.lines(runs.records(asked.checkpoint.parent)))):
        found["beware, edited"] = "; ".join(edited)
    if asked.encoder.name == DEMO and not asked.video.actions:
        found["WARNING, pictures"] = (
            f"{DEMO} has seen nothing but drawings of twenty sports, with captions about them: of a filmed video, "
            "or for words that no caption has, what it answers is a guess. Pass -p run_dir of a run on a real CLIP, or "
            "-p detector none -p encoder ViT-B-16 -p pretrained openai"
        )
    if asked.clip.duration - asked.video.duration > _slack(asked):
        found["WARNING, length"] = (
            f"the file says that it lasts {asked.clip.duration:.1f} s and could be decoded for "
            f"{asked.video.duration:.1f} s"
        )
    if remarks := asked.store.remarks(asked.clip.key):
        found["WARNING, damage"] = "; ".join(remarks)
    if len(asked.features(asked.video)) < 4:
        found["WARNING, short"] = (
            f"{len(asked.features(asked.video))} snippets are too few to tell an action from what surrounds it"
        )
    cut = tokens.cut_texts(asked.encoder, [text for word in asked.words for text in word.texts])
    if cut:
        found["beware, cut"] = "; ".join(tokens.told_cut(*each) for each in list(cut.items())[:SHOWN])
        found["beware, cut"] += f"; and {len(cut) - SHOWN} more" if len(cut) > SHOWN else ""
    joined = [f"{', '.join(map(repr, word.also))} as {word.name!r}" for word in asked.words if word.also]
    if joined:
        found["beware, read alike"] = f"one word, because they are spoken alike: {'; '.join(joined)}"
    unusual = [word.name for word in asked.words if not all(text.isascii() for text in word.texts)]
    if unusual:
        found["beware, alphabet"] = f"CLIP was trained on English; what it makes of {unusual[0]!r} is a guess"
    return found


def _slack(asked: Asked) -> float:
    """Seconds that header and frames of a whole file may differ by."""
    return 1.5 + asked.grid(asked.video).seconds(1)


def _video(asked: Asked) -> str:
    clip = asked.clip
    sound = "with" if clip.sound else "without"
    size = f"{clip.width} x {clip.height}"
    said = f"{clip.path.name}: {asked.video.duration:.1f} s, {size}, {clip.fps:.4g} frames/s, {sound} sound"
    return "; ".join((said, *clip.remarks))


def answer_viewer(asked: Asked, proposals: Proposals, detections: Detections) -> Viewer:
    """The whole answer on a timeline to move in, with a small copy of the video."""
    _, curves = word_curves(asked, detections)
    return viewer.of_answer(asked.video, proposals, detections, curves, _preview(asked))


def _preview(asked: Asked) -> bytes:
    """The small copy; made once, because looking up its frames in a long video takes longer than the answer."""
    path = asked.benchmark.cache / "previews" / f"{asked.clip.key}.mp4"
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_bytes(own.preview(asked.clip, asked.video.duration))
    return path.read_bytes()


def finish(asked: Asked, detections: Detections, run: Run) -> Result:
    """Write `detections.json` and the clips that were asked for; close the record."""
    write_detections(run.target("detections.json"), {asked.clip.path.stem: detections})
    wanted = detections.segments[: asked.asking.clips].tolist()
    if wanted:
        own.cut(asked.clip, wanted, run.path("clips"))
    surest = ""
    if len(detections.scores):
        start, end = detections.segments[0].tolist()
        surest = f", the surest {detections.labels[0]!r} from {start:.1f} to {end:.1f} s"
    return replace(run.finish(data=asked.video.id), found=f"{len(detections.scores)} detections{surest}")
