"""A video of your own, asked for your own words: the run that answers, its settings, proposals and detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib import devices, ideas
from tadlib.data import datasets, features, own
from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.features import FeatureStore
from tadlib.data.lengths import variants
from tadlib.data.splits import ClassSplit
from tadlib.data.video import Clip, probe
from tadlib.detector.proposals import Proposals, predict
from tadlib.files import Progress, silent
from tadlib.ideas import class_targets
from tadlib.ideas.trained_naming import FROZEN
from tadlib.naming import text
from tadlib.naming.fusion import Detections
from tadlib.naming.words import Word, sentence
from tadlib.task import BACKGROUND, Task
from tadlib.workbook import inference, inheritance, runs
from tadlib.workbook.execution import execute_notebook
from tadlib.workbook.gathering import image_encoder, task_settings
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError, resolve

CACHE = "own"  # folder below data_dir for what is made from videos that belong to no data set
CANDIDATES = 100  # proposals of a window that compete, however few detections are asked for


@dataclass(frozen=True, kw_only=True)
class Question(Task):
    """A video and words as a data set of its own; `classes.unseen` are the words, `classes.seen` their rivals."""

    params: Params
    detect_params: DetectParams
    clip: Clip
    words: tuple[Word, ...]
    about: Mapping[str, object]  # what the checkpoint says of its training; nothing where there is none
    checkpoint: Path | None
    off: Mapping[str, object]  # settings of the run that do not hold for these words, as they are in the run

    @property
    def video(self) -> Video:
        """The video that is asked about."""
        return self.benchmark.videos[0]

    def text_embeddings(self, classes: Sequence[str]) -> text.TextEmbeddings:
        """Embeddings of every text of classes, not normalised: the words' own texts, or what a name is read as."""
        said = {word.name: word.texts for word in self.words}
        texts = [said.get(label, (label,)) for label in classes]
        rows = text.embed(self.encoder, [each for several in texts for each in several], self.benchmark.cache)
        return text.by_class(rows, list(map(len, texts)))

    def class_embeddings(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Unit-length embeddings of classes; of several texts the normalised mean."""
        unit = functional.normalize(self.text_embeddings(classes).embeddings, dim=-1)
        return functional.normalize(unit.sum(dim=1), dim=1)

    def background(self) -> Float[Tensor, "b c"]:
        """Unit-length embeddings of the rivals."""
        return self.class_embeddings(self.classes.seen)

    def file(self, video: Video) -> Path:
        """The file of the video."""
        return self.clip.path


def ask(given: DetectParams, progress: Progress = silent) -> Question:
    """Video, words, features and the run that answers; the demo is made and trained on where there is no run.

    Raises ValueError for a video that cannot be used and RunError for a run that cannot answer, in one sentence.
    """
    clip = probe(resolve(given.video)) if given.video else None
    checkpoint = trained_run(given, progress)
    saved = inheritance.read_checkpoint(checkpoint, ("network", "params")) if checkpoint else {}
    of_run = _here(inheritance.stored_parameters(saved["params"], checkpoint) if saved else Params.read({}), given)
    off, about = off_for_own_words(of_run), saved.get("about", {})
    limits = {"top_k": max(CANDIDATES, given.top_k), "nms": given.nms}
    plain = {"features": "auto", "protocol": "plain", "split": 75}
    params = inference.frozen_clip(of_run).but(**plain, **off, **limits)
    data_dir = resolve(given.data_dir)
    benchmark = _data_set(params, data_dir)
    clip = clip or probe(_example(benchmark, given, progress))
    encoder = image_encoder(params)
    fps = float(np.median([video.fps for video in benchmark.videos])) if benchmark else clip.fps or 25.0
    lasts = float(about.get("snippet_seconds") or params.stride / fps)
    each = params.frames_per_snippet
    store = FeatureStore(data_dir / CACHE / "features" / f"{encoder.key}_{lasts:.4g}s_mean{each}")
    duration = own.encode(clip, store, encoder, lasts, progress, each)
    labels = about.get("classes") or (benchmark.classes if benchmark else datasets.THUMOS14_CLASSES)
    words = tuple(given.words) or tuple(Word(label, (sentence(label),)) for label in labels)
    names = tuple(word.name for word in words)
    actions = _annotated(clip, _data_set(params, data_dir))  # the example may have made the data set
    video = Video(clip.key, duration, params.stride / lasts, "test", actions)
    made = data_dir / CACHE
    return Question(
        benchmark=Benchmark("own", clip.path.parent, (video,), names, "training", "test", (0.5,), made=made),
        classes=ClassSplit(0, 0, rivals(words), names),
        store=store,
        encoder=encoder,
        **task_settings(params),
        params=params,
        detect_params=given,
        clip=clip,
        words=words,
        about=about,
        checkpoint=checkpoint,
        off={name: getattr(of_run, name) for name in off},
    )


def trained_run(detect_params: DetectParams, progress: Progress = silent) -> Path | None:
    """The checkpoint that answers: of `run_dir`, else the latest below outputs/, else of a new run on the demo.

    None where no detector is wanted and none was trained. Raises RunError where there is none, or training fails.
    """
    if detect_params.run_dir:
        folder = resolve(detect_params.run_dir)
        if not (folder / "checkpoint.pt").is_file():
            raise RunError(f"run_dir {folder} has no checkpoint.pt: run train.ipynb, or leave it empty")
        return folder / "checkpoint.pt"
    found = [path for path in (runs.project_root() / "outputs").glob("**/checkpoint.pt") if path.is_file()]
    if found or detect_params.detector == "none":
        return max(found, key=lambda path: path.stat().st_mtime, default=None)
    folder = runs.project_root() / "outputs" / "adhoc" / runs.new_name("train")
    folder.mkdir(parents=True)
    progress(0, 1, f"training on the demo, in {folder}")
    given = {"data_dir": detect_params.data_dir, "device": detect_params.device, "run_dir": str(folder)}
    reason = execute_notebook("train", folder / "train.ipynb", given)
    if reason is not None:
        raise RunError(f"training on the demo failed in {folder / 'train.ipynb'}: {reason}")
    progress(1, 1, f"training on the demo, in {folder}")
    return folder / "checkpoint.pt"


def _here(params: Params, detect_params: DetectParams) -> Params:
    """A run's parameters on this machine; in full precision where the run's own is not to be had."""
    here = {"run_dir": "", "data_dir": detect_params.data_dir, "device": detect_params.device}
    if params.precision == "fp16" and devices.pick(detect_params.device).type != "cuda":
        here["precision"] = "fp32"
    if detect_params.encoder:
        here |= {"encoder": detect_params.encoder, "pretrained": detect_params.pretrained}
    return params.but(**here)


def off_for_own_words(params: Params) -> dict[str, object]:
    """The settings of a run that do not hold for somebody's own words, with the values that hold instead."""
    plain = {name: value for name, value in (FROZEN | inference.CLIP_ALONE).items() if name != "proposed_by"}
    plain |= {"text": "prompt", "lead": "none", "candidates": "all", "snippets": 0}
    pooling = inference.frozen_clip(params).pooling
    plain |= {"pooling": "mean" if pooling == "ordered" else pooling}
    return {name: value for name, value in plain.items() if getattr(params, name) != value}


def rivals(words: Sequence[Word]) -> tuple[str, ...]:
    """Texts of what shows none of the words; what was asked for itself is no rival."""
    asked = {said.casefold() for word in words for said in (word.name, *word.texts)}
    return tuple(said for said in BACKGROUND if said not in asked and sentence(said) not in asked)


def _data_set(params: Params, data_dir: Path) -> Benchmark | None:
    """The run's data set where it is here already; nothing is made for it."""
    folder = datasets.folder_of(params.dataset, data_dir, params.demo_seed)
    if params.dataset == "demo" and not (folder / "annotations.json").is_file():
        return None
    try:
        return datasets.load(params.dataset, data_dir, demo_seed=params.demo_seed)
    except (FileNotFoundError, ValueError):
        return None


def _example(benchmark: Benchmark | None, detect_params: DetectParams, progress: Progress) -> Path:
    """A video that no training saw: of the run's data set, or of the demo."""
    if benchmark is None or not (benchmark.folder / "videos").is_dir():
        benchmark = datasets.load("demo", resolve(detect_params.data_dir), progress)
    first = next(video for video in benchmark.videos if video.subset == benchmark.test_subset)
    return features.find_video(benchmark.folder / "videos", first.id)


def _annotated(clip: Clip, benchmark: Benchmark | None) -> tuple[Action, ...]:
    """The actions of a video that belongs to the run's data set."""
    if benchmark is None or clip.path.resolve().parent != (benchmark.folder / "videos").resolve():
        return ()
    return next((video.actions for video in benchmark.videos if clip.path.stem in variants(video.id)), ())


def detect(question: Question) -> tuple[Proposals, Detections]:
    """Class-agnostic proposals and what they are called, surest first, as many and as sure as asked for.

    Raises RunError where the run's detector cannot read the features.
    """
    by_run = question.detect_params.detector == "run"
    found = _by_detector(question) if by_run else inference.by_clip_alone(question, question.params)
    proposals, detections = (each[question.video.id] for each in found)
    kept = min(int((detections.scores >= question.detect_params.threshold).sum()), question.detect_params.top_k)
    segments, scores = detections.segments[:kept].double(), detections.scores[:kept].double()
    return proposals, Detections(segments, scores, detections.labels[:kept])


def _by_detector(question: Question) -> tuple[dict[str, Proposals], dict[str, Detections]]:
    """What the run's detector proposes, named by CLIP."""
    params, saved = question.params, inheritance.read_checkpoint(question.checkpoint, ("network", "params"))
    model = inheritance.load_network(saved, question.checkpoint, params)
    channels = question.features(question.video).shape[1]
    if model.channels != channels:
        raise RunError(
            f"the detector of {question.checkpoint.parent.name} reads features of {model.channels} channels, "
            f"{question.encoder.name} gives {channels}: pass -p run_dir of a run on that encoder, or -p detector none"
        )
    of_clip = inference.clip_proposals(question, params)
    windows = inference.inference_windows(question.scored, question, params)
    predictions = predict(model, windows, texts=_detector_texts(Params.read(saved["params"]), question))
    proposals = inference.propose(predictions, windows, params, of_clip)
    return proposals, inference.name(question, proposals, params)


def _detector_texts(trained: Params, question: Question) -> Float[Tensor, "k c"] | None:
    """The texts that the run's detector reads; one that classifies tells an action by the classes that it learned, and
    where these are texts by the words as well.
    """
    if trained.target == "foreground":
        return ideas.texts(question, question.competing, trained)
    seen = tuple(question.about.get("seen", ()))  # a checkpoint of long ago does not say
    if trained.target == "none":
        return torch.eye(len(seen))
    words = question.class_embeddings(question.classes.unseen)
    return torch.cat([class_targets.texts(question, seen, trained.target), words])
