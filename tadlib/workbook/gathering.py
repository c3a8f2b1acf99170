"""A task from its parameters: annotations, class split, features and encoder; missing features are made."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tadlib import devices
from tadlib.data import datasets, features, simulate, splits
from tadlib.data.annotations import Benchmark
from tadlib.data.encoder import DEMO_WEIGHTS, UNTRAINED, Encoder, load_encoder, to_download
from tadlib.data.features import FeatureStore
from tadlib.data.stores import FolderStore, UnusableFeatures
from tadlib.data.texts import read_text_features, table_encoder
from tadlib.evaluation.baselines import CLASS_FREE_TEXTS
from tadlib.evaluation.protocols import PROTOCOLS, scored_videos
from tadlib.files import Progress, digest, read_json, silent, write_json
from tadlib.locks import kept_if_possible, locked
from tadlib.naming.text import STYLES, Wording, texts_of
from tadlib.task import BACKGROUND, SIDES, Task
from tadlib.workbook.params import Params
from tadlib.workbook.runs import resolve

LISTED = 40  # class names in a table; more would bury it
Store = FeatureStore | FolderStore
Source = tuple[Benchmark, Store, Encoder, Mapping[str, str]]


def gather(params: Params, progress: Progress = silent) -> Task:
    """Annotations, class split, features and encoder; what is missing of the demo or of the features is made.

    Raises ValueError for a class split that leaves no video to train or none to test, and for a protocol under which
    no action of the test videos counts.
    """
    benchmark = benchmark_of(params, progress)
    classes = splits.of_folder(benchmark.folder, benchmark.classes, params.split, params.split_id)
    benchmark, store, encoder, broken = collect(benchmark, params, progress)
    benchmark, classes = splits.hold_out_classes(benchmark, classes, params.held_out)
    data = Task(benchmark, classes, store, encoder, **task_settings(params), broken=broken)
    if not _has_both_sides(data):
        raise ValueError(_missing_side(data))
    if not data.test_videos:
        raise ValueError(_nothing_counted(data))
    return data


def task_settings(params: Params) -> dict[str, Any]:
    """The arguments of a task that stand in the parameters."""
    names = ("stride", "protocol", "candidates", "ignore_unseen", "validation", "seed")
    return {name: getattr(params, name) for name in names} | {"wording": wording(params)}


def with_texts(data: Task, params: Params) -> Task:
    """The same data with the class texts and the competing classes of some parameters."""
    return replace(data, wording=wording(params), candidates=params.candidates)


def wording(params: Params) -> Wording:
    """Which texts stand for a class."""
    return Wording(params.text, params.lead, str(resolve(params.descriptions)) if params.descriptions else "")


def benchmark_of(params: Params, progress: Progress = silent) -> Benchmark:
    """Annotations and conventions of the data set, at the frame rate that `snippets` asks for; the demo is made."""
    known = params.dataset in datasets.NAMES
    name = params.dataset if known else str(resolve(params.dataset))
    benchmark = datasets.load(name, resolve(params.data_dir), progress, params.demo_seed)
    if not params.snippets:
        return benchmark
    frames = params.snippets * params.stride  # last exactly as long as the video
    counted = tuple(replace(video, fps=frames / video.duration) for video in benchmark.videos)
    return replace(benchmark, videos=counted)


def collect(benchmark: Benchmark, params: Params, progress: Progress) -> Source:
    """The benchmark with the videos that can be used, their features, the encoder of class names, and what was broken.

    What is missing of the features is made. With `missing` "fail" the first unusable video stops the work.
    """
    if params.features == "simulate":
        return _simulated(benchmark, params, progress)
    texts, given = _text_encoder(benchmark, params), _given(benchmark, params)
    if given is not None:
        return _published(benchmark, given, texts or image_encoder(params), params)
    store, encoder = _extraction(benchmark, params)
    broken = {}
    if _to_encode(benchmark, store, encoder, params):
        with locked(store.folder, progress):
            broken = _encode(benchmark, None, store, encoder, params, progress)
    return _without(benchmark, broken, params.missing, store, texts or encoder)


def lacking(params: Params, progress: Progress = silent) -> list[str]:
    """Ids of the videos that `collect` would have to encode; none where features are read or simulated."""
    benchmark = benchmark_of(params, progress)
    if params.features == "simulate" or _given(benchmark, params) is not None:
        return []
    store, encoder = _extraction(benchmark, params)
    return list(_to_encode(benchmark, store, encoder, params))


def _to_encode(benchmark: Benchmark, store: FeatureStore, encoder: Encoder, params: Params) -> dict[str, str]:
    how = (store, encoder, params.stride, params.frames_per_snippet)
    return features.to_encode(benchmark.videos, benchmark.folder / "videos", *how)


def encode(params: Params, names: Collection[str], progress: Progress = silent) -> None:
    """Make features of some videos; a broken one is left to `collect`, which says what is wrong with it."""
    benchmark = benchmark_of(params, progress)
    store, encoder = _extraction(benchmark, params)
    _encode(benchmark, names, store, encoder, params.but(missing="skip"), progress)


def _extraction(benchmark: Benchmark, params: Params) -> tuple[FeatureStore, Encoder]:
    """Where features made here are kept, and the encoder that makes them."""
    encoder = image_encoder(params)
    store = _store(benchmark, encoder.key, params, each=params.frames_per_snippet)
    if benchmark.cache != benchmark.folder and _to_encode(benchmark, store, encoder, params):
        store = FeatureStore(benchmark.cache / "features" / store.key)  # those of a read-only folder are outdated
    return store, encoder


def _store(benchmark: Benchmark, name: str, params: Params, each: int = 1) -> FeatureStore:
    """Where features made here are kept: in a data set's read-only folder if all are there."""
    beside, ours = (
        FeatureStore(features.store_folder(root, name, params.stride, each=each, count=params.snippets))
        for root in (benchmark.folder, benchmark.cache)
    )
    return beside if all(beside.has(video.id) for video in benchmark.videos) else ours


def _encode(
    benchmark: Benchmark,
    names: Collection[str] | None,
    store: FeatureStore,
    encoder: Encoder,
    params: Params,
    progress: Progress,
) -> dict[str, str]:
    """Make features of the named videos (None: all); what is wrong with the broken ones, by video."""
    videos = [video for video in benchmark.videos if names is None or video.id in names]
    how = {"each": params.frames_per_snippet, "missing": params.missing}
    return features.extract(videos, benchmark.folder / "videos", store, encoder, params.stride, progress, **how)


def _given(benchmark: Benchmark, params: Params) -> FolderStore | None:
    """Features that others made; None where ours are wanted."""
    folder = benchmark.folder / "features" if params.features == "auto" else resolve(params.features)
    store = FolderStore(folder, params.stride, videos=benchmark.folder / "videos")
    return store if params.features != "auto" or store.files else None


def _simulated(benchmark: Benchmark, params: Params, progress: Progress) -> Source:
    world = simulate.World(benchmark.classes, params.world_seed)
    name = f"simulated_{digest([world.key, repr(benchmark.videos)])}"
    store = simulate.make(world, benchmark.videos, _store(benchmark, name, params), params.stride, progress)
    no_class = {text: world.text("", text) for text in (*BACKGROUND, *CLASS_FREE_TEXTS)}
    return benchmark, store, table_encoder("simulated", _texts(benchmark.classes, world.text, params) | no_class), {}


def _published(benchmark: Benchmark, store: FolderStore, encoder: Encoder, params: Params) -> Source:
    if not store.files:
        raise UnusableFeatures(f"no features in {store.folder}: expected <video id>.npy, .pt, .npz or .h5 files there")
    (first, *_), *_ = texts_of(benchmark.classes[:1], wording(params))
    store = replace(store, width=encoder.texts([first]).shape[1])
    wrong = _checked(benchmark, store, resolve(params.data_dir)) | store.outdated(benchmark.videos)
    return _without(benchmark, wrong, params.missing, store, encoder)


def _checked(benchmark: Benchmark, store: FolderStore, data_dir: Path) -> dict[str, str]:
    """What is wrong with features, by video; every file is read for it, so the answer is kept until one changes."""
    videos = [(video.id, video.duration, video.fps) for video in benchmark.videos]
    path = data_dir / "checked" / f"{digest([str(store.folder), store.key, videos, store.stride, store.width])}.json"
    if path.is_file():
        return read_json(path)
    found = store.check(benchmark.videos)
    with kept_if_possible():
        write_json(path, found)
    return found


def _without(benchmark: Benchmark, broken: Mapping[str, str], missing: str, store: Store, encoder: Encoder) -> Source:
    """The benchmark without the videos that cannot be used; they count neither in training nor in evaluation."""
    if broken and (missing == "fail" or len(broken) == len(benchmark.videos)):
        first = next(iter(broken.values()))
        raise UnusableFeatures(
            f"{len(broken)} of {len(benchmark.videos)} videos have no usable features, first: {first}. "
            "Repair them, or pass -p missing skip to go on without them"
        )
    videos = tuple(video for video in benchmark.videos if video.id not in broken)
    found = {"video without usable features": len(broken)} if broken else {}
    return replace(benchmark, videos=videos, repairs=benchmark.repairs | found), store, encoder, broken


def _text_encoder(benchmark: Benchmark, params: Params) -> Encoder | None:
    """What answers with the vectors of `text_features`, or of the data set's own file; None where there is neither."""
    path = resolve(params.text_features) if params.text_features else benchmark.folder / "text_features.npz"
    if not params.text_features and not path.is_file():
        return None
    vectors = dict(zip(benchmark.classes, read_text_features(path, benchmark.classes), strict=True))
    return table_encoder(path.name, _texts(benchmark.classes, lambda label, text: vectors[label], params))


def _texts(classes: Sequence[str], vector: Callable[[str, str], np.ndarray], params: Params) -> dict[str, np.ndarray]:
    """Embeddings, made by `vector`, of every text of every class in the styles that may be asked for."""
    styles = [*map(Wording, STYLES), wording(params)]
    if params.target == "description":  # what a detector that classifies is trained on
        styles.append(replace(wording(params), text=params.target, lead="none"))
    return {
        text: vector(label, text)
        for style in styles
        for label, several in zip(classes, texts_of(list(classes), style), strict=True)
        for text in several
    }


def image_encoder(params: Params) -> Encoder:
    """The open_clip model; half precision only where it is asked for, because the features depend on it.

    One without training has that in its name, and the same weights every time.
    """
    pretrained = params.pretrained or str(DEMO_WEIGHTS)  # other encoders are refused without weights
    if resolve(pretrained).is_file():
        pretrained = str(resolve(pretrained))
    if told := to_download(params.encoder, pretrained):
        sys.stdout.write(f"encoder {params.encoder}: {told}\n")
        sys.stdout.flush()
    device = devices.pick(params.device)
    dtype = devices.precision_dtype(params.precision, device)
    if pretrained != UNTRAINED:
        return load_encoder(params.encoder, pretrained, device, dtype)
    with devices.seeded(0):
        return replace(load_encoder(params.encoder, "", device, dtype), name=f"untrained {params.encoder}")


def inventory(data: Task) -> list[dict[str, object]]:
    """What each side of the class split has: videos with actions of its classes, and how many count in the scores."""
    return [
        {
            "side": side,
            "videos with such actions": len(videos),
            "videos scored": scored,
            "hours": round(sum(video.duration for video in videos) / 3600, 2),
            "actions": sum(len(video.actions) for video in videos),
            "classes": ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else ""),
        }
        for side, videos, scored, names in (
            ("training, seen", data.training_videos, "", data.classes.seen),
            (SIDES[data.evaluate_on], data.test_videos, len(data.scored), data.classes.unseen),
        )
    ]


def _has_both_sides(data: Task) -> bool:
    """Whether there are videos to train on and videos to test; whether or not the protocol counts them."""
    return bool(data.training_videos and data.benchmark.test_videos(data.classes.unseen))


def _missing_side(data: Task) -> str:
    """What a class split without training or without test videos lacks, and which others lack nothing."""
    classes, benchmark = data.classes, data.benchmark
    side, subset, names = "test", benchmark.test_subset, classes.unseen
    if not data.training_videos:
        side, subset, names = "training", benchmark.train_subset, classes.seen
    told = f"split {classes.split}, split_id {classes.split_id}" if classes.split else "the data set"
    said = f"{told} has no {side} video (subset {subset!r}) with an action of {', '.join(names[:LISTED])}"
    if not classes.split:
        return f"{said}: annotate some, or say by train_subset and test_subset in benchmark.yaml which is which"
    others = splits.all_of_folder(benchmark.folder, benchmark.classes, classes.split)
    if work := [str(other.split_id) for other in others if _has_both_sides(replace(data, classes=other))]:
        return f"{said}; both sides have videos with -p split_id {', '.join(work)}"
    return f"{said}, and no other split_id has both sides: pass another split, or write one into splits.json"


def _nothing_counted(data: Task) -> str:
    """That a protocol leaves out all test videos, and which protocols do not."""
    unseen = data.classes.unseen
    others = [
        other
        for other in PROTOCOLS
        if any(video.actions for video in scored_videos(data.benchmark, unseen, other, data.stride))
    ]
    number = len(data.benchmark.test_videos(unseen))
    said = f"protocol={data.protocol} counts no action of an unseen class in the {number} test videos that have one"
    return said + (f": pass -p protocol {', '.join(others)}" if others else "")
