"""Where parameters meet the science: each step of the pipeline as one call of a notebook.

A step takes the checked parameters apart into plain arguments and calls the rooms of the science wing; it computes
nothing itself.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib import devices
from tadlib.data import datasets, features, splits
from tadlib.data.annotations import Benchmark, Video
from tadlib.data.batches import Cut, WindowSet
from tadlib.data.demo import clip as demo_clip
from tadlib.data.encoder import DEMO, Encoder, load_encoder
from tadlib.data.features import FeatureStore
from tadlib.data.grid import Grid
from tadlib.data.splits import ClassSplit
from tadlib.detector import proposals as proposing
from tadlib.detector import training
from tadlib.detector.network import ConditionalDetr
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import baselines, diagnosis, metrics, protocols
from tadlib.evaluation.rows import compare as compare_rows
from tadlib.evaluation.scoring import ambiguous_regions, as_annotated, recalls
from tadlib.evaluation.thumos import Ambiguous
from tadlib.files import Progress, atomic, digest, locked, silent
from tadlib.naming import fusion, pooling, text
from tadlib.naming.fusion import Detections, Naming
from tadlib.workbook.params import Params
from tadlib.workbook.runs import Run, resolve


@dataclass(frozen=True)
class Data:
    """Everything a stage starts from: annotations, class split, features, and the encoder that made them."""

    benchmark: Benchmark
    classes: ClassSplit
    store: FeatureStore
    encoder: Encoder
    params: Params

    @cached_property
    def scored(self) -> tuple[Video, ...]:
        """The test videos that count under the protocol."""
        return protocols.scored_videos(self.benchmark, self.classes.unseen, self.params.protocol, self.params.stride)

    @cached_property
    def ambiguous(self) -> Ambiguous:
        """Regions of the scored videos that the THUMOS14 toolkit forgives, as the annotations have them."""
        return ambiguous_regions(as_annotated(self.benchmark.folder / "annotations.json", self.scored))

    @property
    def training_videos(self) -> tuple[Video, ...]:
        """Training videos with actions of seen classes."""
        return self.benchmark.training_videos(self.classes.seen)

    @property
    def test_videos(self) -> tuple[Video, ...]:
        """The scored videos with actions of unseen classes."""
        return tuple(video for video in self.scored if video.actions)

    @property
    def fingerprint(self) -> str:
        """Twelve digits that stand for the annotations and what made the features."""
        return digest([[asdict(video) for video in self.benchmark.videos], self.encoder.key, self.params.stride])

    def grid(self, video: Video) -> Grid:
        """Seconds and snippets of a video."""
        return Grid(video.fps, self.params.stride)

    def text(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Unit-length text embeddings of classes, encoded once."""
        return text.class_embeddings(self.encoder, classes, self.params.text, self.benchmark.folder)

    def pooled(self, video: Video, segments: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
        """CLIP's features under segments of a video."""
        params = self.params
        return pooling.pool(self.store.read(video.id), segments, self.grid(video), params.roi_bins, params.pooling)

    def similarity(self, video: Video, classes: Sequence[str]) -> np.ndarray:
        """Cosine (t, k) of every snippet of a video with the text of every class."""
        snippets = functional.normalize(torch.from_numpy(np.array(self.store.read(video.id))), dim=1)
        return (snippets @ self.text(classes).T).numpy()

    def seconds(self, video: Video) -> np.ndarray:
        """The middle of every snippet of a video, in seconds."""
        return self.grid(video).seconds(np.arange(len(self.store.read(video.id))) + 0.5)

    def file(self, video: Video) -> Path:
        """The file of a video."""
        return features.find_video(self.benchmark.folder / "videos", video.id)


def gather(params: Params, progress: Progress = silent) -> Data:
    """Annotations, class split, features and encoder; what is missing of the demo or of the features is made."""
    data_dir = resolve(params.data_dir)
    benchmark = datasets.load(params.dataset, data_dir, progress)
    pretrained = params.pretrained
    if params.encoder == DEMO and not pretrained:
        with locked(data_dir / "demo" / "clip", progress):
            pretrained = str(demo_clip.make(data_dir / "demo", progress=progress))
    elif pretrained and resolve(pretrained).is_file():
        pretrained = str(resolve(pretrained))
    device = devices.pick(params.device)
    # the store is keyed by what made it; the device does not belong to that, so features are made in one precision
    encoder = load_encoder(params.encoder, pretrained, device)
    store = FeatureStore(features.store_folder(benchmark.folder, encoder.key, params.stride))
    with locked(store.folder, progress):
        features.extract(benchmark.videos, benchmark.folder / "videos", store, encoder, params.stride, progress)
    classes = splits.class_split(benchmark.classes, params.split, params.split_id)
    return Data(benchmark, classes, store, encoder, params)


def inventory(data: Data) -> list[dict[str, object]]:
    """What each side of the class split has."""
    return [
        {
            "side": side,
            "videos": len(videos),
            "hours": round(sum(video.duration for video in videos) / 3600, 2),
            "actions": sum(len(video.actions) for video in videos),
            "classes": ", ".join(names),
        }
        for side, videos, names in (
            ("training, seen", data.training_videos, data.classes.seen),
            ("test, unseen", data.test_videos, data.classes.unseen),
        )
    ]


def class_pictures(data: Data) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cosine (k, k) of the mean feature of each class's true actions with each class's text, and a frame of each."""
    classes = data.benchmark.classes
    means, frames = [], []
    for label in classes:
        videos = [video.only([label]) for video in data.benchmark.videos if video.only([label]).actions]
        pooled = [data.pooled(video, _true_segments(video)) for video in videos]
        means.append(functional.normalize(torch.cat(pooled), dim=1).mean(dim=0))
        action = videos[0].actions[0]
        frames.append(features.frame_at(data.file(videos[0]), 0.6 * action.start + 0.4 * action.end))
    return (functional.normalize(torch.stack(means), dim=1) @ data.text(classes).T).numpy(), frames


def _true_segments(video: Video) -> Float[Tensor, "n 2"]:
    return torch.tensor([[action.start, action.end] for action in video.actions], dtype=torch.float32)


def training_windows(data: Data, params: Params) -> WindowSet:
    """The windows the detector learns from: those with an action of a seen class."""
    classes = None if params.target == "foreground" else data.classes.seen
    cut = Cut(params.window, params.overlap, params.rescale)
    return WindowSet(data.training_videos, data.store, params.stride, cut, classes, only_with_actions=True)


def test_windows(data: Data, params: Params) -> WindowSet:
    """Every window of the scored videos."""
    cut = Cut(params.window, params.test_overlap, params.rescale)
    return WindowSet(data.scored, data.store, params.stride, cut)


def train(
    data: Data, windows: WindowSet, params: Params, run: Run, progress: Progress = silent
) -> tuple[ConditionalDetr, list[dict[str, float]]]:
    """A trained detector and its history; interrupted training goes on where it stopped. Writes `checkpoint.pt`."""
    model = _network(windows.channels, params)
    recipe = training.Recipe(
        **{
            name: getattr(params, name)
            for name in (
                "epochs", "batch_size", "accumulate", "lr", "lr_backbone", "weight_decay", "clip_norm", "schedule",
                "ema", "aux_loss",
            )
        },
        weights={name: getattr(params, name) for name in ("loss_class", "loss_l1", "loss_giou")},
    )  # fmt: skip
    key = {"parameters": _training_parameters(params), "data": data.fingerprint, "torch": torch.__version__}
    with run.unfinished(key) as checkpoint:
        history = training.fit(
            model,
            windows,
            recipe,
            texts=None if params.target == "foreground" else _target_texts(data, params),
            seed=params.seed,
            device=devices.pick(params.device),
            dtype=devices.precision_dtype(params.precision, devices.pick(params.device)),
            checkpoint=checkpoint,
            progress=progress,
        )
        with atomic(run.path("checkpoint.pt")) as temporary:
            torch.save({"model": model.state_dict(), "params": params.model_dump()}, temporary)
    return model, history


def _network(channels: int, params: Params) -> ConditionalDetr:
    devices.seed_all(params.seed)
    sizes = ("queries", "width", "heads", "encoder_layers", "decoder_layers", "conv_layers", "dropout")
    sizes += ("feature_noise", "feature_shift")
    text_dim = None if params.target == "foreground" else channels
    return ConditionalDetr(channels, text_dim=text_dim, **{name: getattr(params, name) for name in sizes})


def _training_parameters(params: Params) -> dict[str, object]:
    naming = {"run_dir", "text", "pooling", "roi_bins", "logit_scale", "fusion", "keep", "top_k", "nms", "nms_tiou"}
    return {name: value for name, value in params.model_dump().items() if name not in naming | {"protocol"}}


def _target_texts(data: Data, params: Params, classes: Sequence[str] | None = None) -> Float[Tensor, "k c"]:
    names = data.classes.seen if classes is None else classes
    return text.class_embeddings(data.encoder, names, params.target, data.benchmark.folder)


def load_detector(data: Data, params: Params, run: Run) -> ConditionalDetr:
    """The detector of an earlier stage; its own parameters decide its shape."""
    saved = torch.load(run.require("checkpoint.pt", "train"), map_location="cpu", weights_only=True)
    trained = Params.check(saved["params"])
    model = _network(data.store.read(data.scored[0].id).shape[1], trained)
    model.load_state_dict(saved["model"])
    return model


def answer(model: ConditionalDetr, data: Data, params: Params) -> tuple[proposing.Answers, WindowSet]:
    """What every query says about every window of the scored videos."""
    windows = test_windows(data, params)
    device = devices.pick(params.device)
    dtype = devices.precision_dtype(params.precision, device)
    return proposing.answer(model, windows, device=device, dtype=dtype), windows


def propose(answers: proposing.Answers, windows: WindowSet, params: Params) -> dict[str, Proposals]:
    """Proposals of every scored video, merged once."""
    return proposing.merge(answers, windows, how=params.nms, threshold=params.nms_tiou, top_k=params.top_k)


def name(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Detections]:
    """Detections: proposals named by CLIP, or by the detector itself if it was trained to classify with text."""
    options = Naming(params.logit_scale, params.fusion, params.keep, params.top_k)
    logits = class_logits(data, proposals, params)
    return {
        video_id: fusion.name(found, logits[video_id], data.classes.unseen, options)
        for video_id, found in proposals.items()
    }


def class_logits(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, Float[Tensor, "n k"]]:
    """Scaled similarity of every proposal with every unseen class."""
    scale = fusion.scale_of(data.encoder.logit_scale, params.logit_scale)
    own = params.target != "foreground"
    texts = _target_texts(data, params, data.classes.unseen) if own else data.text(data.classes.unseen)
    videos = {video.id: video for video in data.scored}
    return {
        video_id: fusion.similarity(
            found.embeddings if own else data.pooled(videos[video_id], found.segments), texts, scale
        )
        for video_id, found in proposals.items()
    }


def named_segments(data: Data, proposals: Mapping[str, Proposals] | None = None) -> dict[str, np.ndarray]:
    """CLIP's verdict on segments of unseen actions, flat over videos: `true` and `named` class, and `tiou`.

    Without proposals the segments are the true ones; with proposals each is compared with the action it overlaps
    most, and those that overlap none are left out (their number is `without`).
    """
    classes = data.classes.unseen
    texts = data.text(classes)
    true, named, overlap, without = [], [], [], 0
    for video in data.test_videos:
        if proposals is None:
            segments, nearest = _true_segments(video), np.arange(len(video.actions))
            tiou = np.ones(len(nearest))
        else:
            segments = proposals[video.id].segments
            nearest, tiou = diagnosis.nearest_actions(video, proposals[video.id])
        best = fusion.similarity(data.pooled(video, segments), texts, 1.0).argmax(dim=1).numpy()
        for place in np.flatnonzero(tiou > 0):
            action = video.actions[nearest[place]]
            same = {a.label for a in video.actions if (a.start, a.end) == (action.start, action.end)}
            answer = classes[best[place]]
            true.append(classes.index(answer if answer in same else action.label))
            named.append(best[place])
            overlap.append(tiou[place])
        without += int((tiou <= 0).sum())
    return {"true": np.array(true), "named": np.array(named), "tiou": np.array(overlap), "without": np.array(without)}


def confusion(data: Data, verdicts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Counts (true, named) of unseen classes."""
    return diagnosis.confusion(verdicts["true"], verdicts["named"], len(data.classes.unseen))


def compare(
    data: Data, proposals: Mapping[str, Proposals], detections: Mapping[str, Detections], params: Params
) -> list[dict[str, object]]:
    """mAP of the floor, the training-free baseline, this run and both ceilings, a row each."""
    shown = compared(data, proposals, detections, params)
    classes = data.classes.unseen
    return diagnosis.rows(data.scored, shown, classes, data.benchmark.tious, params.protocol, data.ambiguous)


def compared(
    data: Data, proposals: Mapping[str, Proposals], detections: Mapping[str, Detections], params: Params
) -> dict[str, tuple[str, Mapping[str, Detections]]]:
    """Role and detections of the floor, the training-free baseline, this run and both ceilings, by name."""
    classes, texts = data.classes.unseen, data.text(data.classes.unseen)
    options = Naming(params.logit_scale, "clip", params.keep, params.top_k)
    oracle = {video.id: Proposals(_true_segments(video), torch.ones(len(video.actions))) for video in data.test_videos}
    free = {
        video.id: baselines.training_free(video, data.store.read(video.id), texts, classes, data.grid(video))
        for video in data.scored
    }
    logits = class_logits(data, oracle, params.model_copy(update={"target": "foreground"}))
    return {
        "blind windows, true label (floor)": ("floor", baselines.blind(data.test_videos, params.seed)),
        "CLIP alone, training-free": ("baseline", free),
        "this run": ("ours", detections),
        "our segments, true label": ("ceiling", diagnosis.oracle_label(data.scored, proposals)),
        "true segments, CLIP's label": (
            "ceiling",
            {video_id: fusion.name(found, logits[video_id], classes, options) for video_id, found in oracle.items()},
        ),
    }


def recall_curves(data: Data, proposals: Mapping[str, Proposals], params: Params) -> dict[str, list[float]]:
    """AR@AN of this run's proposals and of blind windows."""
    blind = baselines.blind(data.test_videos, params.seed)
    return {
        name: list(metrics.average_recall(data.test_videos, found).values())
        for name, found in (("proposals", proposals), ("blind windows", blind))
    }


def class_precision(data: Data, detections: Mapping[str, Detections]) -> dict[str, float]:
    """AP of each unseen class that has actions, mean over tIoU."""
    table = diagnosis.class_table(
        data.scored, detections, data.classes.unseen, data.benchmark.tious, data.params.protocol, data.ambiguous
    )
    return {
        label: float(row.mean())
        for label, row in zip(data.classes.unseen, table, strict=True)
        if not np.isnan(row).any()
    }


def actions_per_class(data: Data) -> dict[str, int]:
    """Test actions of each unseen class."""
    labels = [action.label for video in data.test_videos for action in video.actions]
    return {label: labels.count(label) for label in data.classes.unseen}


def best_and_worst(data: Data, detections: Mapping[str, Detections], each: int = 2) -> tuple[list[Video], dict]:
    """The videos with the highest and the lowest own mAP, and the mAP of every video."""
    scores = diagnosis.video_precision(data.test_videos, detections, data.classes.unseen, data.benchmark.tious)
    ordered = sorted(data.test_videos, key=lambda video: -scores[video.id])
    return ordered[:each] + ordered[-each:], scores


def summarise(
    data: Data,
    table: Sequence[Mapping[str, object]],
    proposals: Mapping[str, Proposals],
    detections: Mapping[str, Detections],
    params: Params,
) -> dict[str, object]:
    """What metrics.json holds: flat names and fractions, the rows compared with, the protocol and its counts."""
    ours = next(row for row in table if row["role"] == "ours")
    flat = {name: value for name, value in ours.items() if name.startswith("mAP")}
    flat |= {f"agnostic_{name}": value for name, value in _agnostic(data, proposals).items()}
    flat |= recalls(compare_rows(data.test_videos, proposals))
    return flat | {
        "per_class": class_precision(data, detections),
        "rows": [dict(row) for row in table],
        "protocol": params.protocol,
        "counts": protocols.counts(data.scored, list(detections)),
        "unseen": list(data.classes.unseen),
    }


def _agnostic(data: Data, proposals: Mapping[str, Proposals]) -> dict[str, float]:
    tious = data.benchmark.tious
    table = diagnosis.class_table(data.scored, proposals, None, tious, data.params.protocol, data.ambiguous)
    return metrics.means(table, tious)


def save_proposals(path: Path, proposals: Mapping[str, Proposals]) -> None:
    """Proposals as a parquet table: video, start, end (s), score."""
    frame = pd.concat(
        pd.DataFrame(found.segments.numpy(), columns=["start", "end"]).assign(
            video=video_id, score=found.scores.numpy()
        )
        for video_id, found in proposals.items()
    )
    content = io.BytesIO()
    frame[["video", "start", "end", "score"]].to_parquet(content, index=False)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


def compare_fusions(data: Data, proposals: Mapping[str, Proposals], params: Params) -> list[dict[str, object]]:
    """mAP of every way of fusing the detector's and CLIP's opinions, on the same proposals."""
    return [
        {"fusion": how}
        | metrics.mean_average_precision(
            data.scored,
            name(data, proposals, params.model_copy(update={"fusion": how})),
            data.classes.unseen,
            data.benchmark.tious,
        )
        for how in ("after_softmax", "before_softmax", "detector", "clip")
    ]


def best_detections(data: Data, detections: Mapping[str, Detections], number: int = 12) -> list[dict[str, object]]:
    """The surest detections of all videos, and the true action each overlaps most."""
    rows = [
        {"video": video_id, "start (s)": start, "end (s)": end, "class": label, "score": round(score, 3)}
        for video_id, found in detections.items()
        for (start, end), score, label in zip(
            found.segments.round(decimals=1).tolist(), found.scores.tolist(), found.labels, strict=True
        )
    ]
    return sorted(rows, key=lambda row: -row["score"])[:number]


def true_label_precision(data: Data, proposals: Mapping[str, Proposals]) -> dict[str, float]:
    """AP of each unseen class if our segments had their true labels."""
    return class_precision(data, diagnosis.oracle_label(data.scored, proposals))
