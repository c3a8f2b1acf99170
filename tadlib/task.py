"""A zero-shot detection task: annotations, class split, features and their encoder."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tadlib.data import features, leakage
from tadlib.data.annotations import Action, Benchmark, Video, repaired
from tadlib.data.batches import FeatureCache, TrainingExtras, WindowSet, WindowSettings
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore
from tadlib.data.splits import ClassSplit
from tadlib.data.stores import FolderStore
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import frames_at
from tadlib.data.windows import Grid, cover, outside, spans
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import baselines, protocols
from tadlib.files import digest
from tadlib.naming import text, tokens
from tadlib.naming.text import TextEmbeddings, Wording

NO_FRAME = np.full((9, 16, 3), 200, np.uint8)  # placeholder image where there is no video
# texts of background: without them a single class would get every proposal
BACKGROUND = ("an empty place", "a person standing", "a person walking", "people waiting", "nothing happens yet")
SIDES = {"test": "test, unseen", "training": "learned from, seen"}  # evaluated videos and classes, by `evaluate_on`
MAX_CANDIDATES = 10  # classes per video that `clip_proposals` considers: those nearest to the video


@dataclass(frozen=True, repr=False)
class Task:
    """A data set with its class split, features, encoder and evaluation settings."""

    benchmark: Benchmark
    classes: ClassSplit
    store: FeatureStore | FolderStore
    encoder: Encoder
    stride: int = 8  # frames from one snippet to the next
    protocol: str = "strict"  # evaluation protocol
    candidates: str = "all"  # classes that compete: all, or unseen only
    wording: Wording = Wording()  # choice of class texts
    ignore_unseen: str = "negatives"  # where annotations of unseen classes are not treated as background
    validation: float = 0.0  # share of the training videos held out
    seed: int = 0  # seed of the held-out videos
    broken: Mapping[str, str] = field(default_factory=dict)  # problems of the skipped videos
    evaluate_on: Literal["test", "training"] = "test"  # evaluated videos; `on_training` sets "training"
    same_as: str = ""  # fingerprint of the task that `on_training` was called on

    def __repr__(self) -> str:
        sides = f"{len(self.classes.seen)} seen and {len(self.classes.unseen)} unseen classes"
        return f"Task({self.benchmark.name}, {len(self.benchmark.videos)} videos, {sides}, {self.encoder.name})"

    @cached_property
    def scored(self) -> tuple[Video, ...]:
        """The evaluated videos under the run's protocol."""
        return self.scored_under(self.protocol)

    def scored_under(self, protocol: str) -> tuple[Video, ...]:
        """Return the evaluated videos under a protocol: test videos, or with `on_training` those used in training."""
        if self.evaluate_on == "test":
            return protocols.scored_videos(self.benchmark, self.classes.unseen, protocol, self.stride)
        learned = {video.id for video in self.learned_and_held_out[0]}
        videos = [video for video in self.benchmark.videos if video.id in learned]
        return protocols.chosen(videos, self.classes.unseen, protocol, self.short)

    @property
    def annotated(self) -> list[Video]:
        """The evaluated videos with all annotations, other classes included."""
        whole = {video.id: video for video in self.benchmark.videos}
        return [whole[video.id] for video in self.scored]

    @property
    def short(self) -> int | None:
        """Largest number of frames of a short action in a protocol; None for one second."""
        return protocols.short(self.benchmark, self.stride)

    @property
    def training_videos(self) -> tuple[Video, ...]:
        """Training videos with actions of seen classes."""
        return self.benchmark.training_videos(self.classes.seen)

    @property
    def learned_and_held_out(self) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
        """Training videos to learn from and held-out ones, drawn by the seed (at least one if `validation` is set).

        Raises ValueError if there are too few videos.
        """
        videos = self.training_videos
        if not self.validation:
            return videos, ()
        if len(videos) < 2:
            raise ValueError(f"validation={self.validation} holds out training videos: it needs two, got {len(videos)}")
        number = min(max(1, round(self.validation * len(videos))), len(videos) - 1)
        held = set(random.Random(self.seed).sample(videos, number))
        return tuple(video for video in videos if video not in held), tuple(video for video in videos if video in held)

    def on_training(self) -> "Task":
        """Return this task with training videos and seen classes in place of test videos and unseen classes.

        Only seen classes count and compete, as in a closed set. Held-out videos are not included. Annotations are
        unchanged; actions of unseen classes are no targets, and a detection there is a false positive.
        """
        classes = replace(self.classes, unseen=self.classes.seen)
        return replace(self, classes=classes, evaluate_on="training", same_as=self.fingerprint)

    @cached_property
    def hidden(self) -> dict[str, tuple[Action, ...]]:
        """Unlabelled actions in each training video: those of unseen classes that coincide with no seen action."""
        return leakage.hidden(self.benchmark, self.classes)

    @cached_property
    def occupied(self) -> dict[str, tuple[Action, ...]]:
        """Segments of each training video that background must not overlap: all annotations.

        With `ignore_unseen` nowhere, which hides other classes from training, only seen actions.
        """
        if self.ignore_unseen == "nowhere":
            return {video.id: video.actions for video in self.training_videos}
        return self.annotated_in_training

    @cached_property
    def annotated_in_training(self) -> dict[str, tuple[Action, ...]]:
        """All annotations of each training video, of any class and ambiguous regions."""
        whole = {video.id: video for video in self.benchmark.videos}
        return {video.id: repaired(whole[video.id]).with_ambiguous().actions for video in self.training_videos}

    def training_windows(  # noqa: PLR0913  one argument for each option
        self,
        window: int = 128,
        *,
        videos: Sequence[Video] | None = None,
        overlap: float = 0.5,
        rescale: int = 0,
        integrity: float = 0.75,
        negatives: float = 0.3,
        jitter: bool = True,
        labelled: bool = False,
    ) -> WindowSet:
        """Return training windows: those with an action of a seen class, and a share of `negatives` without any.

        `videos` are training videos, by default all. Negatives overlap no annotation, unless `ignore_unseen` is
        nowhere. With everywhere, actions of unseen classes are left out of the loss; otherwise they are background.
        With `labelled` targets have classes.
        """
        extras = TrainingExtras(
            names=self.classes.seen,
            ignored=self.hidden if self.ignore_unseen == "everywhere" else None,
            occupied=None if self.ignore_unseen == "nowhere" else self.annotated_in_training,
            jitter=jitter,
        )
        return WindowSet(
            self.training_videos if videos is None else videos,
            self.store,
            self.stride,
            WindowSettings(window, overlap, rescale, integrity),
            self.classes.seen if labelled else None,
            only_with_actions=True,
            negatives=negatives,
            extras=extras,
        )

    def test_windows(
        self, window: int = 128, *, videos: Sequence[Video] | None = None, overlap: float = 0.25, rescale: int = 0
    ) -> WindowSet:
        """Return all windows of some videos, by default of the evaluated ones."""
        cut = WindowSettings(window, overlap, rescale)
        return WindowSet(self.scored if videos is None else videos, self.store, self.stride, cut)

    @property
    def test_videos(self) -> tuple[Video, ...]:
        """The evaluated videos with actions of the evaluated classes."""
        return tuple(video for video in self.scored if video.actions)

    @property
    def competing(self) -> tuple[str, ...]:
        """Candidate classes: the unseen ones first, then the seen ones if they compete."""
        unseen, rivals = self.classes.unseen, self.candidates == "all"
        return unseen + tuple(label for label in self.classes.seen if rivals and label not in unseen)

    @cached_property
    def fingerprint(self) -> str:
        """Hash (12 digits) of annotations, subsets, classes, tIoUs, features and encoder."""
        if self.same_as:
            return self.same_as
        videos = [asdict(video) for video in self.benchmark.videos]
        sides = [self.benchmark.train_subset, self.benchmark.test_subset, self.classes.seen, self.classes.unseen]
        made = self.store.version(video.id for video in self.benchmark.videos)
        return digest([videos, sides, self.benchmark.tious, made, self.encoder.key, self.stride])

    @property
    def encoding_seconds(self) -> float | None:
        """Seconds spent on encoding, summed over videos and processes; None for published features."""
        ours = isinstance(self.store, FeatureStore)
        return self.store.seconds(video.id for video in self.benchmark.videos) if ours else None

    def grid(self, video: Video) -> Grid:
        """Return the conversion between seconds and snippets of a video."""
        return Grid(video.fps, self.stride)

    def class_embeddings(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Return unit-length text embeddings of classes, cached."""
        return text.mean_of_texts(*self.text_embeddings(classes))

    def text_embeddings(self, classes: Sequence[str]) -> TextEmbeddings:
        """Return the embeddings of every text of classes, not normalised."""
        return text.text_embeddings(self.encoder, classes, self.wording, self.benchmark.cache)

    def reads(self, texts: Iterable[str]) -> bool:
        """Whether the encoder embeds these texts; a table of embeddings only has its own texts."""
        return tokens.reads_any_text(self.encoder) or self.encoder.model.texts.issuperset(texts)

    def background(self) -> Float[Tensor, "b c"]:
        """Return unit-length embeddings of background texts, or of seen classes if the encoder cannot read these."""
        if not self.reads(BACKGROUND):
            return self.class_embeddings(self.classes.seen)
        return functional.normalize(text.embed(self.encoder, BACKGROUND, self.benchmark.cache), dim=1)

    @cached_property
    def clip_proposals(self) -> dict[str, Proposals]:
        """Proposals by CLIP alone in the evaluated videos."""
        return self.clip_proposals_in(self.scored)

    def clip_proposals_in(self, videos: Sequence[Video]) -> dict[str, Proposals]:
        """Return proposals of `baselines.training_free` in videos, calibrated by background texts."""
        classes, texts, background = self.classes.unseen, self.class_embeddings(self.classes.unseen), self.background()
        calibrated, found = {"background": background, "candidates": MAX_CANDIDATES}, {}
        for video in videos:
            own = self.features(video), texts, classes, self.grid(video)
            each = baselines.training_free(video, *own, **calibrated)
            found[video.id] = Proposals(each.segments.float(), each.scores.clamp(0, 1).float())
        return found

    def features(self, video: Video) -> Float[Tensor, "t c"]:
        """Return the CLIP features of a video, one row per snippet."""
        return torch.from_numpy(np.array(self.store.read(video.id), dtype=np.float32))

    def training_snippets(self) -> tuple[Float[Tensor, "t c"], Int[Tensor, " t"]]:
        """Return the snippet features of all training videos and the index of their seen class, -1 for background.

        Snippets in other segments of `occupied` are left out.
        """
        features, labels, places = [], [], {label: place for place, label in enumerate(self.classes.seen)}
        for video in self.training_videos:
            snippets, grid = self.features(video), self.grid(video)
            own = torch.full((len(snippets),), -1)
            for span_ix, action in zip(grid.snippets(spans(video.actions)), video.actions, strict=True):
                own[~outside(len(own), span_ix[None])] = places[action.label]
            kept = (own >= 0) | outside(len(own), grid.snippets(spans(self.occupied[video.id])))
            features.append(snippets[kept])
            labels.append(own[kept])
        return torch.cat(features), torch.cat(labels)

    def max_detections(self, video_ids: Iterable[str], top_k: int, window: int, overlap: float) -> dict[str, int]:
        """Return the most proposals and detections of each video: `top_k` times its number of test windows."""
        cache = FeatureCache(self.store)
        lengths = {video_id: len(cache.read(video_id)) for video_id in video_ids}
        return {video_id: top_k * len(cover(video_id, length, window, overlap)) for video_id, length in lengths.items()}

    def similarity(self, video: Video, classes: Sequence[str]) -> np.ndarray:
        """Return the cosine (t, k) of every snippet of a video with the text of every class."""
        return (functional.normalize(self.features(video), dim=1) @ self.class_embeddings(classes).T).numpy()

    def seconds(self, video: Video) -> np.ndarray:
        """Return the middle of every snippet of a video, in seconds."""
        return self.grid(video).seconds(np.arange(len(self.store.read(video.id))) + 0.5)

    def file(self, video: Video) -> Path:
        """Return the file of a video."""
        return features.find_video(self.benchmark.folder / "videos", video.id)

    def frame(self, video: Video, seconds: float) -> np.ndarray:
        """Return the frame (h, w, 3) at a time of a video, or a grey image if there is no video."""
        try:
            return next(frames_at(self.file(video), [seconds]))
        except BrokenVideo:
            return NO_FRAME
