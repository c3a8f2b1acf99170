"""A video of your own, asked for your own words: the run that answers, what competes, proposals, detections."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices, ideas
from tadlib.data import datasets, features, own
from tadlib.data.annotations import Action, Benchmark, Video
from tadlib.data.encoder import DEMO
from tadlib.data.features import FeatureStore
from tadlib.data.splits import ClassSplit
from tadlib.data.video import Clip, look
from tadlib.detector.proposals import Proposals, predict
from tadlib.files import Progress, silent
from tadlib.ideas import class_targets
from tadlib.naming.fusion import Detections
from tadlib.naming.words import Word, sentence
from tadlib.workbook import checkpoints, runs
from tadlib.workbook.asking import Asking
from tadlib.workbook.execution import execute_notebook
from tadlib.workbook.gathering import image_encoder, task_settings
from tadlib.workbook.inference import by_clip_alone, clip_proposals, frozen_clip, inference_windows, name, propose
from tadlib.workbook.own_video.asked import Asked, rivals
from tadlib.workbook.own_video.own_words import off_for_own_words
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError, resolve

CACHE = "own"  # folder below data_dir for what is made from videos that belong to no data set
CANDIDATES = 100  # proposals of a window that compete, however few detections are asked for


def ask(asking: Asking, progress: Progress = silent) -> Asked:
    """Video, words, features and the run that answers; the demo is made and trained on where there is no run.

    Raises ValueError for a video that cannot be used and RunError for a run that cannot answer, in one sentence.
    """
    clip = look(resolve(asking.video)) if asking.video else None
    words = tuple(asking.words)
    checkpoint = trained_run(asking, progress)
    saved = checkpoints.read(checkpoint, ("network", "params")) if checkpoint else {}
    if checkpoint:
        checkpoints.parameters(saved["params"], checkpoint)
    of_run, about = _of_run(saved.get("params", {}), asking), saved.get("about", {})
    params = _as_asked(of_run, asking)
    data_dir = resolve(asking.data_dir)
    benchmark = _known(params, data_dir)
    clip = clip or look(_example(params, benchmark, asking, progress))
    encoder = image_encoder(params, progress)
    lasts = float(about.get("snippet_seconds") or _lasts(benchmark, clip, params))
    folder = data_dir / CACHE / "features" / f"{encoder.key}_{lasts:.4g}s_mean{params.frames_per_snippet}"
    store, each = FeatureStore(folder), params.frames_per_snippet
    duration = own.encode(clip, store, encoder, lasts, progress, each)
    words = words or tuple(Word(label, (sentence(label),)) for label in about.get("classes") or _labels(benchmark))
    video = Video(clip.key, duration, params.stride / lasts, "test", _truth(clip, _known(params, data_dir)))
    names = tuple(word.name for word in words)
    return Asked(
        benchmark=Benchmark(
            "own", clip.path.parent, (video,), names, "training", "test", (0.5,), made=data_dir / CACHE
        ),
        classes=ClassSplit(0, 0, rivals(words), names),
        store=store,
        encoder=encoder,
        **task_settings(params),
        params=params,
        asking=asking,
        clip=clip,
        words=words,
        about=about,
        checkpoint=checkpoint,
        off={name: getattr(of_run, name) for name in off_for_own_words(of_run)},
    )


def trained_run(asking: Asking, progress: Progress = silent) -> Path | None:
    """The checkpoint that answers: of `run_dir`, else the latest below outputs/, else of a new run on the demo.

    None where no detector is wanted and none was trained.
    """
    if asking.run_dir:
        path = resolve(asking.run_dir) / "checkpoint.pt"
        if not path.is_file():
            raise RunError(
                f"run_dir {resolve(asking.run_dir)} has no checkpoint.pt: run train.ipynb, or leave it empty"
            )
        return path
    found = [path for path in (runs.project_root() / "outputs").glob("**/checkpoint.pt") if path.is_file()]
    if found:
        return max(found, key=lambda path: path.stat().st_mtime)
    return train_on_demo(asking, progress) if asking.detector == "run" else None


def train_on_demo(asking: Asking, progress: Progress = silent) -> Path:
    """The checkpoint of train.ipynb, executed on the demo with its own settings; raises RunError where that fails."""
    folder = runs.project_root() / "outputs" / "adhoc" / runs.new_name("train")
    folder.mkdir(parents=True)
    progress(0, 1, f"training on the demo, in {folder}")
    given = {"data_dir": asking.data_dir, "device": asking.device, "run_dir": str(folder)}
    reason = execute_notebook("train", folder / "train.ipynb", given)
    if reason is not None:
        raise RunError(f"training on the demo failed in {folder / 'train.ipynb'}: {reason}")
    progress(1, 1, f"training on the demo, in {folder}")
    return folder / "checkpoint.pt"


def detect(asked: Asked) -> tuple[Proposals, Detections]:
    """Class-agnostic proposals and what they are called, surest first, as many and as sure as asked for."""
    proposals, detections = by_run(asked) if asked.asking.detector == "run" else by_clip(asked)
    kept = int((detections.scores >= asked.asking.threshold).sum())
    kept = min(kept, asked.asking.top_k)
    labels = detections.labels[:kept]
    return proposals, Detections(detections.segments[:kept].double(), detections.scores[:kept].double(), labels)


def by_run(asked: Asked) -> tuple[Proposals, Detections]:
    """What the run's detector proposes, named by CLIP; raises RunError where the features are none it can read."""
    saved = checkpoints.read(asked.checkpoint, ("network", "params"))
    trained = Params.read(saved["params"])
    model = checkpoints.restore(saved, asked.checkpoint, asked.params)
    if model.channels != asked.store.read(asked.video.id).shape[1]:
        raise RunError(
            f"the detector of {asked.checkpoint.parent.name} reads features of {model.channels} channels, "
            f"{asked.encoder.name} gives {asked.store.read(asked.video.id).shape[1]}: "
            "pass -p run_dir of a run on that encoder, or -p detector none"
        )
    beside, windows = clip_proposals(asked, asked.params), inference_windows(asked.scored, asked, asked.params)
    found = predict(model, windows, texts=_read_by(trained, asked))
    proposals = propose(found, windows, asked.params, beside)
    return proposals[asked.video.id], name(asked, proposals, asked.params)[asked.video.id]


def _read_by(trained: Params, asked: Asked) -> Float[Tensor, "k c"] | None:
    """The texts that the run's detector reads; one that classifies tells an action by the classes that it learned, and
    where these are texts by the words as well.
    """
    if trained.target == "foreground":
        return ideas.texts(asked, asked.competing, trained)
    seen = tuple(asked.about.get("seen", ()))  # a checkpoint of long ago does not say
    if trained.target == "none":
        return torch.eye(len(seen))
    return torch.cat([class_targets.texts(asked, seen, trained.target), asked.class_embeddings(asked.classes.unseen)])


def by_clip(asked: Asked) -> tuple[Proposals, Detections]:
    """What CLIP alone finds, without any training."""
    proposals, detections = by_clip_alone(asked, asked.params)
    return proposals[asked.video.id], detections[asked.video.id]


def _of_run(saved: Mapping[str, object], asking: Asking) -> Params:
    """The run's parameters, here; in full precision where the run's own is not to be had."""
    precision = saved.get("precision", "auto")
    if precision == "fp16" and devices.pick(asking.device).type != "cuda":
        precision = "fp32"
    here = {"run_dir": "", "data_dir": asking.data_dir, "device": asking.device, "precision": precision}
    if asking.encoder:
        here |= {"encoder": asking.encoder, "pretrained": asking.pretrained}
    return Params.read({**saved, **here})


def _as_asked(params: Params, asking: Asking) -> Params:
    """The run's parameters as far as they hold for a video and words that its training never met."""
    plain = {"features": "auto", "protocol": "plain", "split": 75} | off_for_own_words(params)
    limits = {"top_k": max(CANDIDATES, asking.top_k), "nms": asking.nms}
    return frozen_clip(params).but(**plain, **limits)


def _known(params: Params, data_dir: Path) -> Benchmark | None:
    """The run's data set where it is here already; nothing is made for it."""
    if params.dataset == "demo" and not (data_dir / "demo" / "annotations.json").is_file():
        return None
    try:
        return datasets.load(params.dataset, data_dir)
    except (FileNotFoundError, ValueError):
        return None


def _example(params: Params, benchmark: Benchmark | None, asking: Asking, progress: Progress) -> Path:
    """A video that no training saw: of the run's data set, or of the demo."""
    if benchmark is None or not (benchmark.folder / "videos").is_dir():
        benchmark = datasets.load(DEMO.removeprefix("tad-"), resolve(asking.data_dir), progress)
    first = next(video for video in benchmark.videos if video.subset == benchmark.test_subset)
    return features.find_video(benchmark.folder / "videos", first.id)


def _labels(benchmark: Benchmark | None) -> Sequence[str]:
    return benchmark.classes if benchmark else datasets.THUMOS14_CLASSES


def _lasts(benchmark: Benchmark | None, clip: Clip, params: Params) -> float:
    """Seconds of a snippet where the checkpoint does not say: as in the run's data set, else by the clip's frames."""
    fps = float(np.median([video.fps for video in benchmark.videos])) if benchmark else clip.fps or 25.0
    return params.stride / fps


def _truth(clip: Clip, benchmark: Benchmark | None) -> tuple[Action, ...]:
    """The annotated actions of a video that belongs to the run's data set."""
    if benchmark is None or clip.path.resolve().parent != (benchmark.folder / "videos").resolve():
        return ()
    return next((video.actions for video in benchmark.videos if video.id == clip.path.stem), ())
