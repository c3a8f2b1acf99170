"""Construction of a task from parameters: annotations, class split, features and encoder; extracts missing features."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tadlib import devices
from tadlib.data import datasets, features, simulate, splits
from tadlib.data import encoder as encoders
from tadlib.data.annotations import Benchmark
from tadlib.data.encoder import Encoder, load_encoder, table_encoder, to_download
from tadlib.data.features import FeatureStore
from tadlib.data.stores import FolderStore, UnusableFeatures, read_text_features
from tadlib.evaluation.baselines import CLASS_FREE_TEXTS
from tadlib.evaluation.protocols import PROTOCOLS
from tadlib.files import Progress, digest, read_json, silent, write_json
from tadlib.locks import kept_if_possible, locked
from tadlib.naming.text import STYLES, Wording, texts_of
from tadlib.task import BACKGROUND, SIDES, Task
from tadlib.workbook.params import Params
from tadlib.workbook.runs import resolve

LISTED = 40  # class names in a cell of a table
EXPECTED = "expected <video id>.npy, .pt, .npz or .h5 files there"
Store = FeatureStore | FolderStore
Source = tuple[Benchmark, Store, Encoder, Mapping[str, str]]


def gather(params: Params, progress: Progress = silent) -> Task:
    """Return the task of the parameters; the demo and features are created if missing. Raises as `_check_sides`."""
    benchmark = benchmark_of(params, progress)
    classes = splits.of_folder(benchmark.folder, benchmark.classes, params.split, params.split_id)
    benchmark, store, encoder, broken = collect(benchmark, params, progress)
    benchmark, classes = splits.hold_out_classes(benchmark, classes, params.held_out)
    data = Task(benchmark, classes, store, encoder, **task_settings(params), broken=broken)
    _check_sides(data)
    return data


def task_settings(params: Params) -> dict[str, Any]:
    """Return the arguments of a task that are parameters."""
    names = ("stride", "protocol", "candidates", "ignore_unseen", "validation", "seed")
    return {name: getattr(params, name) for name in names} | {"wording": wording(params)}


def with_texts(data: Task, params: Params) -> Task:
    """Return the task with the class texts and the competing classes of other parameters."""
    return replace(data, wording=wording(params), candidates=params.candidates)


def wording(params: Params) -> Wording:
    """Return the wording of class texts."""
    return Wording(params.text, params.lead, str(resolve(params.descriptions)) if params.descriptions else "")


def benchmark_of(params: Params, progress: Progress = silent) -> Benchmark:
    """Load the data set, with frame rates adapted to `snippets` if given; the demo is created if it is missing."""
    if params.dataset == "demo":
        encoders.with_architecture(params.encoder)  # a wrong name is refused before its videos are drawn
    known = params.dataset in datasets.NAMES
    name = params.dataset if known else str(resolve(params.dataset))
    benchmark = datasets.load(name, resolve(params.data_dir), progress, params.demo_seed)
    if not params.snippets:
        return benchmark
    frames = params.snippets * params.stride  # as many as last as long as the video
    counted = tuple(replace(video, fps=frames / video.duration) for video in benchmark.videos)
    return replace(benchmark, videos=counted)


def collect(benchmark: Benchmark, params: Params, progress: Progress) -> Source:
    """Return the benchmark with usable videos, their features, the text encoder, and the broken videos with reasons.

    Missing features are extracted. With `missing` "fail" the first unusable video is an error.
    """
    if params.features == "simulate":
        return _simulated(benchmark, params, progress)
    texts, published = _text_encoder(benchmark, params), _published_store(benchmark, params)
    if published is not None:
        return _published(benchmark, published, texts or image_encoder(params), params)
    store, encoder, missing = _extraction(benchmark, params)
    broken = {}
    if missing:
        with locked(store.folder, progress):
            broken = _encode(benchmark, store, encoder, params, progress)
    return _without(benchmark, broken, params.missing, store, texts or encoder)


def lacking(params: Params) -> list[str]:
    """Return the ids of the videos that `collect` would encode; none if features are published."""
    benchmark = benchmark_of(params)
    if _published_store(benchmark, params) is not None:
        return []
    return _extraction(benchmark, params)[2]


def encode(params: Params, names: Collection[str]) -> None:
    """Extract features of the named videos; broken videos are skipped, `collect` reports them."""
    benchmark = benchmark_of(params)
    store, encoder, _ = _extraction(benchmark, params)
    named = tuple(video for video in benchmark.videos if video.id in names)
    _encode(replace(benchmark, videos=named), store, encoder, params.but(missing="skip"), silent)


def _extraction(benchmark: Benchmark, params: Params) -> tuple[FeatureStore, Encoder, list[str]]:
    """Return the store of features extracted here, their encoder, and the ids of the videos to encode."""
    encoder = image_encoder(params)
    videos, how = benchmark.folder / "videos", (encoder, params.stride, params.frames_per_snippet)
    store = _store(benchmark, encoder.key, params, each=params.frames_per_snippet)
    missing = features.to_encode(benchmark.videos, videos, store, *how)
    if missing and benchmark.cache != benchmark.folder:
        store = FeatureStore(benchmark.cache / "features" / store.key)  # a read-only folder's features are outdated
        missing = features.to_encode(benchmark.videos, videos, store, *how)
    return store, encoder, list(missing)


def _store(benchmark: Benchmark, name: str, params: Params, each: int = 1) -> FeatureStore:
    """Return the store of features extracted here: in the data set's folder if it has all videos, else in the cache."""
    in_folder, in_cache = (
        FeatureStore(features.store_folder(root, name, params.stride, each=each, count=params.snippets))
        for root in (benchmark.folder, benchmark.cache)
    )
    return in_folder if all(in_folder.has(video.id) for video in benchmark.videos) else in_cache


def _encode(
    benchmark: Benchmark, store: FeatureStore, encoder: Encoder, params: Params, progress: Progress
) -> dict[str, str]:
    """Extract missing features; return the problems of broken videos, by video."""
    videos, folder = benchmark.videos, benchmark.folder / "videos"
    how = {"each": params.frames_per_snippet, "missing": params.missing}
    return features.extract(videos, folder, store, encoder, params.stride, progress, **how)


def _published_store(benchmark: Benchmark, params: Params) -> FolderStore | None:
    """Return the store of features made by others; None if features are extracted here."""
    folder = benchmark.folder / "features" if params.features == "auto" else resolve(params.features)
    store = FolderStore(folder, params.stride, videos=benchmark.folder / "videos", snippets=params.snippets)
    if params.features != "auto" or store.files:
        return store
    passed_over = (*features.STORES, "*.md", "*.txt")  # made here, and notes
    if unread := [path for path in folder.glob("[!.]*") if not any(map(path.match, passed_over))]:
        raise UnusableFeatures(f"{min(unread)} is not read: {EXPECTED}, or move it away to encode the videos")
    return None


def _simulated(benchmark: Benchmark, params: Params, progress: Progress) -> Source:
    world = simulate.World(benchmark.classes, params.world_seed)
    name = f"simulated_{digest([world.key, repr(benchmark.videos)])}"
    store = simulate.make(world, benchmark.videos, _store(benchmark, name, params), params.stride, progress)
    no_class = {text: world.text("", text) for text in (*BACKGROUND, *CLASS_FREE_TEXTS)}
    return benchmark, store, table_encoder("simulated", _texts(benchmark.classes, world.text, params) | no_class), {}


def _published(benchmark: Benchmark, store: FolderStore, encoder: Encoder, params: Params) -> Source:
    if not store.files:
        raise UnusableFeatures(f"no features in {store.folder}: {EXPECTED}")
    (first, *_), *_ = texts_of(benchmark.classes[:1], wording(params))
    store = replace(store, width=encoder.texts([first]).shape[1])
    wrong = _checked(benchmark, store, resolve(params.data_dir)) | store.outdated(benchmark.videos)
    usable = [video for video in benchmark.videos if video.id not in wrong]
    for subset in dict.fromkeys(video.subset for video in usable):  # whose features may have been made apart
        if odd := store.wrong_scale([video for video in usable if video.subset == subset]):
            warnings.warn(odd, stacklevel=2)
    return _without(benchmark, wrong, params.missing, store, encoder)


def _checked(benchmark: Benchmark, store: FolderStore, data_dir: Path) -> dict[str, str]:
    """Return the problems of features, by video; every file is read, so the result is cached until one changes."""
    videos = [(video.id, video.duration, video.fps) for video in benchmark.videos]
    times = sorted({(str(file), file.stat().st_mtime_ns) for file in store.files.values()})
    about = [store.key, times, videos, store.stride, store.width, store.snippets]
    path = data_dir / "checked" / f"{digest(about)}.json"
    if path.is_file():
        return read_json(path)
    found = store.check(benchmark.videos)
    with kept_if_possible():
        write_json(path, found)
    return found


def _without(benchmark: Benchmark, broken: Mapping[str, str], missing: str, store: Store, encoder: Encoder) -> Source:
    """Remove the broken videos from the benchmark: they count neither in training nor in evaluation."""
    if broken and (missing == "fail" or len(broken) == len(benchmark.videos)):
        first = next(iter(broken.values()))
        lack = f"{len(broken)} of {len(benchmark.videos)} videos have no usable features, first: {first}"
        raise UnusableFeatures(f"{lack}. Repair them, or pass -p missing skip to go on without them")
    videos = tuple(video for video in benchmark.videos if video.id not in broken)
    found = {"video without usable features": len(broken)} if broken else {}
    return replace(benchmark, videos=videos, repairs=benchmark.repairs | found), store, encoder, broken


def _text_encoder(benchmark: Benchmark, params: Params) -> Encoder | None:
    """Return an encoder that looks texts up in `text_features` or the data set's own file; None if there is neither."""
    path = resolve(params.text_features) if params.text_features else benchmark.folder / "text_features.npz"
    if not params.text_features and not path.is_file():
        return None
    vectors = dict(zip(benchmark.classes, read_text_features(path, benchmark.classes), strict=True))
    return table_encoder(path.name, _texts(benchmark.classes, lambda label, text: vectors[label], params))


def _texts(classes: Sequence[str], vector: Callable[[str, str], np.ndarray], params: Params) -> dict[str, np.ndarray]:
    """Return embeddings, computed by `vector`, of all texts of all classes in all styles that a notebook may use."""
    styles = [*map(Wording, STYLES), wording(params)]
    if params.target == "description":  # training texts of a detector that classifies
        styles.append(replace(wording(params), text=params.target, lead="none"))
    found: dict[str, np.ndarray] = {}
    for style in styles:
        for label, several in zip(classes, texts_of(list(classes), style), strict=True):
            for text in several:
                own = vector(label, text)
                if not np.array_equal(found.setdefault(text, own), own) and style.text in STYLES:
                    raise ValueError(f"{label!r} and another class with another vector are both {text!r}: rename one")
    return found


def image_encoder(params: Params) -> Encoder:
    """Load the open_clip model, in half precision only on request, because features depend on the precision.

    An untrained model is named so, and has the same weights every time.
    """
    pretrained = params.pretrained or str(encoders.DEMO_WEIGHTS)  # other encoders are refused without weights
    if resolve(pretrained).is_file():
        pretrained = str(resolve(pretrained))
    if download := to_download(params.encoder, pretrained):
        print(f"encoder {params.encoder}: {download}", flush=True)
    device = devices.pick(params.device)
    dtype = devices.precision_dtype(params.precision, device)
    if pretrained != encoders.UNTRAINED:
        return load_encoder(params.encoder, pretrained, device, dtype)
    with devices.random_kept(0):
        return replace(load_encoder(params.encoder, "", device, dtype), name=f"untrained {params.encoder}")


def inventory(data: Task) -> list[dict[str, object]]:
    """Return rows that count videos, scored videos, hours and actions on each side of the class split."""
    return [
        {
            "side": side,
            "videos with such actions": len(videos),
            "videos scored": scored,
            "hours": float(f"{sum(video.duration for video in videos) / 3600:.2g}"),
            "actions": sum(len(video.actions) for video in videos),
            "classes": ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else ""),
        }
        for side, videos, scored, names in (
            ("training, seen", data.training_videos, "", data.classes.seen),
            (SIDES[data.evaluate_on], data.test_videos, len(data.scored), data.classes.unseen),
        )
    ]


def _check_sides(data: Task) -> None:
    """Raise ValueError without a training or a test video, or if the protocol counts no action of the test videos."""
    classes, benchmark = data.classes, data.benchmark
    tested = benchmark.test_videos(classes.unseen)  # even those that the protocol excludes
    for side, subset, names, videos in (
        ("training", benchmark.train_subset, classes.seen, data.training_videos),
        ("test", benchmark.test_subset, classes.unseen, tested),
    ):
        if not videos:
            split = f"split {classes.split}, split_id {classes.split_id}" if classes.split else "the data set"
            raise ValueError(
                f"{split} has no {side} video (subset {subset!r}) with an action of {', '.join(names[:LISTED])}: "
                "pass another split or split_id, annotate some, or name the subsets in benchmark.yaml"
            )
    if not data.test_videos:
        others = [other for other in PROTOCOLS if any(video.actions for video in data.scored_under(other))]
        none = f"protocol={data.protocol} counts no action of an unseen class in the {len(tested)} test videos with one"
        raise ValueError(f"{none}: pass -p protocol {', '.join(others)}")
