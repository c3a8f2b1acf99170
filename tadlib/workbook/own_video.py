"""Detection of the user's own words in their own videos: the choice of a run, its parameters, and the detections.

A word is found where the detector is certain of an action, relative to its greatest certainty in the same video, and
CLIP prefers the word to all others and to generic texts. The threshold was chosen by `tests/benchmarks/verdicts.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices, ideas
from tadlib.data import datasets, features
from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.encoder import DEMO, Encoder, to_download
from tadlib.data.features import FeatureStore
from tadlib.data.lengths import variants
from tadlib.data.splits import ClassSplit
from tadlib.data.video import Clip, probe
from tadlib.detector.proposals import Proposals, predict
from tadlib.evaluation.baselines import CLASS_FREE_TEXTS
from tadlib.files import Progress, silent
from tadlib.ideas.trained_naming import FROZEN
from tadlib.naming import fusion, text
from tadlib.naming.fusion import Detections
from tadlib.naming.words import Word, sentence
from tadlib.task import BACKGROUND, Task
from tadlib.workbook import display, inference, inheritance, own_files, runs
from tadlib.workbook.execution import execute_notebook
from tadlib.workbook.gathering import benchmark_of, image_encoder, task_settings
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError, resolve

CANDIDATES = 100  # minimum of the proposals kept per window, even if fewer detections are requested
FOUND, SURE = 0.3, 0.4  # minimum score of a found word, and of a certainly found one
MOST = 5000  # maximum of the detections considered per video


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What all videos share: the words, the encoder, and the run with its parameters."""

    given: DetectParams
    files: tuple[Path, ...]  # the videos
    params: Params  # in force for these words
    trained: Params  # of the run
    encoder: Encoder
    words: tuple[Word, ...]
    data_set: Benchmark | None  # of the run, if it is on this machine
    about: Mapping[str, Any]  # the training, as recorded in the checkpoint; empty without one
    checkpoint: Path | None
    why: str  # reason for the choice of the run

    @cached_property
    def network(self) -> Any:
        """The run's detector."""
        saved = inheritance.read_checkpoint(self.checkpoint, ("network", "params"))
        return inheritance.load_network(saved, self.checkpoint, self.params)


@dataclass(frozen=True, kw_only=True)
class Question(Task):
    """A data set of one video; `classes.unseen` are the words, `classes.seen` their rivals."""

    asked: Asked
    clip: Clip

    @property
    def video(self) -> Video:
        """The only video."""
        return self.benchmark.videos[0]

    @property
    def familiar(self) -> bool:
        """Whether CLIP was trained on such pictures: the demo's CLIP only knows the demo's drawings."""
        return self.encoder.name != DEMO or bool(self.video.actions)

    def text_embeddings(self, classes: Sequence[str]) -> text.TextEmbeddings:
        """Embeddings of every text of classes, not normalised: a word has its own texts, a rival is its own text."""
        of_words = {word.name: word.texts for word in self.asked.words}
        texts = [of_words.get(label, (label,)) for label in classes]
        rows = text.embed(self.encoder, [each for class_texts in texts for each in class_texts], self.benchmark.cache)
        return text.by_class(rows, list(map(len, texts)))

    def background(self) -> Float[Tensor, "b c"]:
        """Unit-length embeddings of the rivals."""
        return self.class_embeddings(self.classes.seen)

    def file(self, video: Video) -> Path:
        """The file of the video."""
        return self.clip.path


class Answer(NamedTuple):
    """Proposals of a video and all detections considered, best first, including those below the threshold."""

    question: Question
    proposals: Proposals
    considered: Detections

    @property
    def least(self) -> float:
        """Minimum score of a found word."""
        return self.question.asked.given.threshold or (FOUND if self.question.familiar else SURE)

    @property
    def found(self) -> Detections:
        """Detections of the found words with at least half the minimum score of a found word, at most `top_k`."""
        segments, scores, labels = self.considered
        words = set(labels[: int((scores >= self.least).sum())])  # the best come first
        kept = [n for n in range(int((2 * scores >= self.least).sum())) if labels[n] in words]
        kept = kept[: self.question.asked.given.top_k]
        return Detections(segments[kept], scores[kept], tuple(labels[n] for n in kept))


def chosen_run(given: DetectParams, progress: Progress = silent) -> tuple[Path | None, str]:
    """Return the checkpoint of `run_dir`, else the latest usable one, else a new one on the demo, and the reason."""
    if given.run_dir:
        folder = resolve(given.run_dir)
        if not (folder / "checkpoint.pt").is_file():
            raise RunError(f"run_dir {folder} has no checkpoint.pt: run train.ipynb, or leave it empty")
        return folder / "checkpoint.pt", "run_dir names it"
    found, unusable = runs.written("checkpoint.pt"), []
    for path in found:
        if not (reason := cannot(path, given)):
            told = display.some(unusable)
            later = f", after {len(unusable)} later ones that cannot answer ({told})" if told else ""
            return path, f"the latest of {len(found)} runs below outputs/{later}"
        unusable.append(f"{path.parent.name}: {reason}")
    why = f"none of {len(found)} runs below outputs/ can answer" + (f" ({display.some(unusable)})" if unusable else "")
    if given.detector == "none":
        return None, why
    if given.encoder:
        raise RunError(f"{why}: pass -p detector none, or -p run_dir of a run on {given.encoder}")
    folder = runs.project_root() / "outputs" / "adhoc" / runs.new_name("train")
    folder.mkdir(parents=True)
    progress(0, 1, f"training on 75 % of the demo's classes (split), because {why}; in {folder}")
    parameters = {"data_dir": given.data_dir, "device": given.device, "run_dir": str(folder)}
    if reason := execute_notebook("train", folder / "train.ipynb", parameters):
        raise RunError(f"training on the demo failed in {folder / 'train.ipynb'}: {reason}")
    return folder / "checkpoint.pt", f"new, on the demo: {why}"


def cannot(path: Path, given: DetectParams) -> str:
    """Return why the run of a checkpoint cannot be used here; empty if it can."""
    try:
        saved = inheritance.read_checkpoint(path, ("network", "params"))
        params = parameters_here(saved, path, given)
        if given.detector == "run":
            inheritance.load_network(saved, path, params)
    except (RunError, ValueError) as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ")
    of_run = Params.read(saved["params"])
    other = (params.encoder, params.pretrained) != (of_run.encoder, of_run.pretrained) or of_run.features != "auto"
    if given.detector == "run" and other:
        return f"its detector has learnt from features of {of_run.encoder} (features={of_run.features})"
    return to_download(params.encoder, params.pretrained)


def parameters_here(saved: Mapping[str, Any], path: Path | None, given: DetectParams) -> Params:
    """Return a run's parameters for this machine, or the defaults; fp32 if the device does not support its fp16."""
    params = inheritance.stored_parameters(saved["params"], path) if path else Params.read({})
    if given.detector == "run" and params.target != "foreground":
        raise RunError(f"{path} is of a detector that names its own classes (target={params.target}), not your words")
    here = {"run_dir": "", "data_dir": given.data_dir, "device": given.device}
    if params.precision == "fp16" and devices.pick(given.device).type != "cuda":
        here["precision"] = "fp32"
    if given.encoder:
        here |= {"encoder": given.encoder, "pretrained": given.pretrained}
    return params.but(**here)


def off_for_own_words(params: Params) -> dict[str, object]:
    """Return the parameters of a run that do not apply to the user's own words, with the values that replace them."""
    plain = {name: value for name, value in (FROZEN | inference.CLIP_ALONE).items() if name != "proposed_by"}
    plain |= {"text": "prompt", "lead": "none", "candidates": "all", "snippets": 0}
    plain |= {"similarity": "cosine", "logit_scale": "exp", "temperature": 1.0}  # comparable scores of all runs
    pooling = inference.frozen_clip(params).pooling
    plain |= {"pooling": "mean" if pooling == "ordered" else pooling}
    return {name: value for name, value in plain.items() if getattr(params, name) != value}


def prepare(given: DetectParams, progress: Progress = silent) -> Asked:
    """Load what all videos share; without a usable run, make the demo and train on it; RunError if that fails."""
    files = own_files.video_files(given.video, resolve(""))
    checkpoint, why = chosen_run(given, progress)
    saved = inheritance.read_checkpoint(checkpoint, ("network", "params")) if checkpoint else {}
    of_run, about = parameters_here(saved, checkpoint, given), saved.get("about", {})
    limits = {"top_k": max(CANDIDATES, given.top_k), "nms": given.nms}
    plain = {"features": "auto", "protocol": "plain", "split": 75}
    params = inference.frozen_clip(of_run).but(**plain, **off_for_own_words(of_run), **limits)
    benchmark = _data_set(params)
    labels = about.get("classes") or (benchmark.classes if benchmark else datasets.THUMOS14_CLASSES)
    return Asked(
        given=given,
        files=files or (_example(benchmark, given, progress),),
        params=params,
        trained=of_run,
        encoder=image_encoder(params),
        words=tuple(given.words) or tuple(Word(label, (sentence(label),)) for label in labels),
        data_set=benchmark,
        about=about,
        checkpoint=checkpoint,
        why=why,
    )


def ask(asked: Asked, path: Path, progress: Progress = silent) -> Question:
    """Return a video with its features, computed if they are missing; raises ValueError for an unusable video."""
    params, benchmark, clip = asked.params, asked.data_set, probe(path)
    fps = float(np.median([video.fps for video in benchmark.videos])) if benchmark else clip.fps or 25.0
    spacing = float(asked.about.get("snippet_seconds") or params.stride / fps)
    frames, made = params.frames_per_snippet, resolve(asked.given.data_dir) / "own"
    store = FeatureStore(made / "features" / f"{asked.encoder.key}_{spacing:.4g}s_mean{frames}")
    duration = own_files.encode(clip, store, asked.encoder, spacing, progress, frames)
    names = tuple(word.name for word in asked.words)
    video = Video(clip.key, duration, params.stride / spacing, "test", _annotated(clip, benchmark))
    return Question(
        benchmark=Benchmark("own", clip.path.parent, (video,), names, "training", "test", (0.5,), made=made),
        classes=ClassSplit(0, 0, rivals(asked.words), names),
        store=store,
        encoder=asked.encoder,
        **task_settings(params),
        asked=asked,
        clip=clip,
    )


def rivals(words: Sequence[Word]) -> tuple[str, ...]:
    """Return the fixed texts that compete with the words, without those that are requested as words themselves."""
    requested = {each.casefold() for word in words for each in (word.name, *word.texts)}
    texts = dict.fromkeys((*BACKGROUND, *CLASS_FREE_TEXTS))
    return tuple(each for each in texts if each not in requested and sentence(each) not in requested)


def _data_set(params: Params) -> Benchmark | None:
    """Load the run's data set if it is on this machine; the demo is not made for it."""
    folder = datasets.folder_of(params.dataset, resolve(params.data_dir), params.demo_seed)
    if params.dataset == "demo" and not (folder / "annotations.json").is_file():
        return None
    try:
        return benchmark_of(params)
    except (FileNotFoundError, ValueError):
        return None


def _example(benchmark: Benchmark | None, given: DetectParams, progress: Progress) -> Path:
    """Return the first test video of the run's data set, or of the demo if that has no videos."""
    if benchmark is None or not (benchmark.folder / "videos").is_dir():
        benchmark = datasets.load("demo", resolve(given.data_dir), progress)
    first = next(video for video in benchmark.videos if video.subset == benchmark.test_subset)
    return features.find_video(benchmark.folder / "videos", first.id)


def _annotated(clip: Clip, benchmark: Benchmark | None) -> tuple[Action, ...]:
    """Return the annotated actions if the file is a video of the run's data set or a copy of one, else none."""
    for video in benchmark.videos if benchmark else ():
        if clip.path.stem in variants(video.id):
            own = benchmark.folder / "videos" / clip.path.name
            return video.actions if own.is_file() and probe(own).key == clip.key else ()
    return ()


def detect(question: Question) -> Answer:
    """Return class-agnostic proposals, and for each the word that CLIP prefers, scored by the certainty of both."""
    params = question.asked.params
    if question.asked.given.detector == "run":
        proposals = _by_detector(question)
    else:
        proposals = inference.after_nms(question, question.clip_proposals, params)
    proposals = ideas.proposals(proposals, question, params)
    (found,), (logits,) = proposals.values(), inference.class_logits(question, proposals, params).values()
    if not len(found.scores):
        return Answer(question, found, Detections(torch.zeros(0, 2), torch.zeros(0), ()))
    scores, places = fusion.certainty(found.scores, logits, len(question.asked.words))
    order = scores.argsort(descending=True, stable=True)[:MOST]
    labels = tuple(question.classes.unseen[place] for place in places[order].tolist())
    ranked = Detections(found.segments[order].double(), scores[order].double(), labels)
    return Answer(question, found, fusion.without_nested(ranked))


def _by_detector(question: Question) -> dict[str, Proposals]:
    asked, params, model = question.asked, question.asked.params, question.asked.network
    channels = question.features(question.video).shape[1]
    if model.channels != channels:
        raise RunError(
            f"the detector of {asked.checkpoint.parent.name} reads features of {model.channels} channels, "
            f"{question.encoder.name} gives {channels}: pass -p run_dir of a run on that encoder, or -p detector none"
        )
    of_clip = inference.clip_proposals(question, params)
    windows = inference.inference_windows(question.scored, question, params)
    texts = ideas.texts(question, (*question.classes.unseen, *BACKGROUND), asked.trained)
    return inference.propose(predict(model, windows, texts=texts), windows, params, of_clip)
