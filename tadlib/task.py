"""A zero-shot detection task: annotations, class split, features and the encoder that made them."""

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
from tadlib.data.grid import Grid
from tadlib.data.splits import ClassSplit
from tadlib.data.stores import FolderStore
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import frame_at
from tadlib.data.windows import cover, outside
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import baselines, protocols
from tadlib.evaluation.scoring import ambiguous_regions
from tadlib.evaluation.thumos import Ambiguous
from tadlib.files import digest
from tadlib.naming import text, tokens
from tadlib.naming.text import TextEmbeddings, Wording

NO_FRAME = np.full((9, 16, 3), 200, np.uint8)  # what is shown where there are features but no video
# what a video shows when it shows nothing that was asked for: without rivals a single word would name everything
BACKGROUND = ("an empty place", "a person standing", "a person walking", "people waiting", "nothing happens yet")
SIDES = {"test": "test, unseen", "training": "learned from, seen"}  # what is scored, by `evaluate_on`
MAX_CANDIDATES = 10  # classes that CLIP alone looks for in a video: those nearest to it


@dataclass(frozen=True)
class Task:
    """A data set with the classes that are seen and unseen, its features, their encoder, and what is scored of it."""

    benchmark: Benchmark
    classes: ClassSplit
    store: FeatureStore | FolderStore
    encoder: Encoder
    stride: int = 8  # frames from one snippet to the next
    protocol: str = "strict"  # which videos and actions count
    candidates: str = "all"  # classes that compete for a proposal
    wording: Wording = Wording()  # texts that stand for a class
    ignore_unseen: str = "negatives"  # where what is annotated, but no seen class, is not called background
    validation: float = 0.0  # share of the training videos held out
    seed: int = 0  # by which they are drawn
    broken: Mapping[str, str] = field(default_factory=dict)  # what is wrong with the videos that were skipped
    evaluate_on: Literal["test", "training"] = "test"  # whose videos are scored; `on_training` makes the other
    same_as: str = ""  # the fingerprint of the task that `on_training` was asked of

    @cached_property
    def scored(self) -> tuple[Video, ...]:
        """The videos that are scored under the protocol of the run."""
        return self.scored_under(self.protocol)

    def scored_under(self, protocol: str) -> tuple[Video, ...]:
        """The test videos that count under a protocol; with `on_training` the videos that the detector learned from."""
        if self.evaluate_on == "test":
            return protocols.scored_videos(self.benchmark, self.classes.unseen, protocol, self.stride)
        learned = {video.id for video in self.learned_and_held_out[0]}
        videos = [video for video in self.benchmark.videos if video.id in learned]
        return protocols.chosen(videos, self.classes.unseen, protocol, self.short)

    @cached_property
    def ambiguous(self) -> Ambiguous:
        """Regions of the scored videos that the THUMOS14 toolkit forgives, as the annotations have them."""
        return ambiguous_regions(self.annotated)

    @property
    def annotated(self) -> list[Video]:
        """The scored videos with all that was annotated, actions of other classes and ambiguous regions too."""
        whole = {video.id: video for video in self.benchmark.videos}
        return [whole[video.id].with_ambiguous() for video in self.scored]

    @property
    def short(self) -> int | None:
        """Frames up to which an action is short to a protocol; None where a second decides."""
        return protocols.short(self.benchmark, self.stride)

    @property
    def training_videos(self) -> tuple[Video, ...]:
        """Training videos with actions of seen classes."""
        return self.benchmark.training_videos(self.classes.seen)

    @property
    def learned_and_held_out(self) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
        """Training videos to learn from, and those held out, drawn by the seed: at least one if a share is asked for.

        Raises ValueError where there are too few to hold one out.
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
        """The same task with the videos that the detector learned from in the place of the test videos.

        Seen classes take the place of unseen ones: they alone count and compete, as in a closed set. Held-out videos
        are not among them, and annotations are those of the file. Actions of unseen classes in these videos are no
        targets, and a detection there is false, as it is in the test for those of seen classes.
        """
        classes = replace(self.classes, unseen=self.classes.seen)
        return replace(self, classes=classes, evaluate_on="training", same_as=self.fingerprint)

    @cached_property
    def hidden(self) -> dict[str, tuple[Action, ...]]:
        """The actions in each training video that have no label: of unseen classes, and no doubles of seen ones."""
        return leakage.hidden(self.benchmark, self.classes)

    @property
    def occupied(self) -> dict[str, tuple[Action, ...]]:
        """What background keeps clear of in each training video: all that is annotated.

        With `ignore_unseen` nowhere training knows nothing of other classes: the actions of seen ones alone.
        """
        if self.ignore_unseen == "nowhere":
            return {video.id: video.actions for video in self.training_videos}
        return self.annotated_in_training

    @cached_property
    def annotated_in_training(self) -> dict[str, tuple[Action, ...]]:
        """All that is annotated in each training video, whatever it is called, moments called ambiguous too."""
        whole = {video.id: video for video in self.benchmark.videos}
        return {video.id: repaired(whole[video.id]).with_ambiguous().actions for video in self.training_videos}

    def training_windows(  # noqa: PLR0913  one word for each choice
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
        """The windows a detector learns from: those with an action of a seen class, and `negatives` without anything.

        `videos` are training videos, by default all. Unless the task's `ignore_unseen` is nowhere, nothing that is
        annotated lies in the latter; with everywhere, the losses of the former leave out actions of unseen classes,
        which else are background. With `labelled` a target has its class, else it is any action.
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
        """Every window of some videos, by default of those that are scored."""
        cut = WindowSettings(window, overlap, rescale)
        return WindowSet(self.scored if videos is None else videos, self.store, self.stride, cut)

    @property
    def test_videos(self) -> tuple[Video, ...]:
        """The scored videos with actions of the classes that count: of the test, unless `on_training`."""
        return tuple(video for video in self.scored if video.actions)

    @property
    def competing(self) -> tuple[str, ...]:
        """The classes among which proposals are named: the unseen ones first, then the seen ones if they compete."""
        unseen, rivals = self.classes.unseen, self.candidates == "all"
        return unseen + tuple(label for label in self.classes.seen if rivals and label not in unseen)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve digits that stand for the annotations, what of them trains and measures at which tIoUs, the features
        and what reads class names."""
        if self.same_as:
            return self.same_as
        videos = [asdict(video) for video in self.benchmark.videos]
        sides = [self.benchmark.train_subset, self.benchmark.test_subset, self.classes.seen, self.classes.unseen]
        made = self.store.version(video.id for video in self.benchmark.videos)
        return digest([videos, sides, self.benchmark.tious, made, self.encoder.key, self.stride])

    def grid(self, video: Video) -> Grid:
        """Seconds and snippets of a video."""
        return Grid(video.fps, self.stride)

    def class_embeddings(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Unit-length text embeddings of classes, encoded once."""
        return text.class_embeddings(self.encoder, classes, self.wording, self.benchmark.cache)

    def text_embeddings(self, classes: Sequence[str]) -> TextEmbeddings:
        """Embeddings of every text of classes, not normalised."""
        return text.text_embeddings(self.encoder, classes, self.wording, self.benchmark.cache)

    @property
    def reads_any_text(self) -> bool:
        """Whether the encoder embeds whatever is said, and not the texts of a table alone."""
        return tokens.reads_any_text(self.encoder)

    def background(self) -> Float[Tensor, "b c"]:
        """Unit-length embeddings of texts of what shows nothing in particular; of an encoder that cannot be asked for
        them those of the seen classes.
        """
        if not self.reads_any_text:
            return self.class_embeddings(self.classes.seen)
        return functional.normalize(text.embed(self.encoder, BACKGROUND, self.benchmark.cache), dim=1)

    @cached_property
    def clip_proposals(self) -> dict[str, Proposals]:
        """CLIP's own groups in the scored videos."""
        return self.clip_proposals_in(self.scored)

    def clip_proposals_in(self, videos: Sequence[Video]) -> dict[str, Proposals]:
        """What `baselines.training_free` proposes in videos, its similarity to texts of background taken off."""
        classes, texts, background = self.classes.unseen, self.class_embeddings(self.classes.unseen), self.background()
        found = {}
        for video in videos:
            features, grid = self.store.read(video.id), self.grid(video)
            each = baselines.training_free(
                video, features, texts, classes, grid, background=background, candidates=MAX_CANDIDATES
            )
            found[video.id] = Proposals(each.segments.float(), each.scores.clamp(0, 1).float())
        return found

    def features(self, video: Video) -> Float[Tensor, "t c"]:
        """CLIP's features of a video, a row a snippet."""
        return torch.from_numpy(np.array(self.store.read(video.id), dtype=np.float32))

    def training_snippets(self) -> tuple[Float[Tensor, "t c"], Int[Tensor, " t"]]:
        """Features of the snippets of all training videos, and the place of the seen class in which the middle of each
        lies, -1 for background. Snippets in anything else that `occupied` knows of are left out.
        """
        features, labels, places = [], [], {label: place for place, label in enumerate(self.classes.seen)}
        for video in self.training_videos:
            found, grid = self.features(video), self.grid(video)
            own = torch.full((len(found),), -1)
            for span_ix, action in zip(grid.snippets(true_segments(video)), video.actions, strict=True):
                own[~outside(len(own), span_ix[None])] = places[action.label]
            kept = (own >= 0) | outside(len(own), grid.snippets(spans(self.occupied[video.id])))
            features.append(found[kept])
            labels.append(own[kept])
        return torch.cat(features), torch.cat(labels)

    def kept(self, video_ids: Iterable[str], top_k: int, window: int, overlap: float) -> dict[str, int]:
        """How many proposals, and then detections, are kept of each video: `top_k` for each of its test windows."""
        shelf = FeatureCache(self.store)
        lengths = {video_id: len(shelf.read(video_id)) for video_id in video_ids}
        return {video_id: top_k * len(cover(video_id, length, window, overlap)) for video_id, length in lengths.items()}

    def similarity(self, video: Video, classes: Sequence[str]) -> np.ndarray:
        """Cosine (t, k) of every snippet of a video with the text of every class."""
        snippets = functional.normalize(torch.from_numpy(np.array(self.store.read(video.id))), dim=1)
        return (snippets @ self.class_embeddings(classes).T).numpy()

    def seconds(self, video: Video) -> np.ndarray:
        """The middle of every snippet of a video, in seconds."""
        return self.grid(video).seconds(np.arange(len(self.store.read(video.id))) + 0.5)

    def file(self, video: Video) -> Path:
        """The file of a video."""
        return features.find_video(self.benchmark.folder / "videos", video.id)

    def frame(self, video: Video, seconds: float) -> np.ndarray:
        """The frame (h, w, 3) shown at a time of a video; a grey one where there are features but no video."""
        try:
            return frame_at(self.file(video), seconds)
        except BrokenVideo:
            return NO_FRAME


def true_segments(video: Video) -> Float[Tensor, "n 2"]:
    """The actions of a video (start, end) in seconds."""
    return spans(video.actions)


def spans(actions: Sequence[Action]) -> Float[Tensor, "n 2"]:
    """Actions (start, end) in seconds."""
    return torch.tensor([[action.start, action.end] for action in actions], dtype=torch.float32).reshape(-1, 2)
