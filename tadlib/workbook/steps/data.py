"""What every stage starts from: annotations, class split, features and encoder, gathered from checked parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data import features, leakage
from tadlib.data.annotations import Action, Benchmark, Video, repaired
from tadlib.data.batches import Cut, Extras, WindowSet
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore
from tadlib.data.grid import Grid
from tadlib.data.splits import ClassSplit
from tadlib.data.stores import FolderStore
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import frame_at
from tadlib.detector.proposals import Proposals
from tadlib.evaluation import baselines, protocols
from tadlib.evaluation.scoring import ambiguous_regions
from tadlib.evaluation.thumos import Ambiguous
from tadlib.files import digest
from tadlib.naming import pooling, text, tokens
from tadlib.naming.text import Steps
from tadlib.workbook.params import Params
from tadlib.workbook.steps.held_out import divided
from tadlib.workbook.steps.sources import wording

NO_FRAME = np.full((9, 16, 3), 200, np.uint8)  # what is shown where there are features but no video
# what a video shows when it shows nothing that was asked for: without rivals a single word would name everything
BACKGROUND = ("an empty place", "a person standing", "a person walking", "people waiting", "nothing happens yet")
TRIED = 10  # classes that CLIP alone looks for in a video: those nearest to it
LISTED = 40  # class names in a table; more would bury it
SIDES = {"test": "test, unseen", "training": "learned from, seen"}  # what is scored, by `evaluate_on`


@dataclass(frozen=True)
class Data:
    """Everything a stage starts from: annotations, class split, features, and the encoder that made them."""

    benchmark: Benchmark
    classes: ClassSplit
    store: FeatureStore | FolderStore
    encoder: Encoder
    params: Params
    broken: Mapping[str, str] = field(default_factory=dict)  # what is wrong with the videos that were skipped
    evaluate_on: Literal["test", "training"] = "test"  # whose videos are scored; `on_training` makes the other
    same_as: str = ""  # the fingerprint of the data that `on_training` was given

    @cached_property
    def scored(self) -> tuple[Video, ...]:
        """The videos that are scored under the protocol of the run."""
        return self.scored_under(self.params.protocol)

    def scored_under(self, protocol: str) -> tuple[Video, ...]:
        """The test videos that count under a protocol; with `on_training` the videos that the detector learned from."""
        if self.evaluate_on == "test":
            return protocols.scored_videos(self.benchmark, self.classes.unseen, protocol, self.params.stride)
        learned = {video.id for video in divided(self.training_videos, self.params)[0]}
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
        return protocols.short(self.benchmark, self.params.stride)

    @property
    def training_videos(self) -> tuple[Video, ...]:
        """Training videos with actions of seen classes."""
        return self.benchmark.training_videos(self.classes.seen)

    @cached_property
    def hidden(self) -> dict[str, tuple[Action, ...]]:
        """The actions in each training video that have no label: of unseen classes, and no doubles of seen ones."""
        return leakage.hidden(self.benchmark, self.classes)

    @property
    def occupied(self) -> dict[str, tuple[Action, ...]]:
        """What background keeps clear of in each training video: all that is annotated.

        With `ignore_unseen` nowhere training knows nothing of other classes: the actions of seen ones alone.
        """
        if self.params.ignore_unseen == "nowhere":
            return {video.id: video.actions for video in self.training_videos}
        return self.annotated_in_training

    @cached_property
    def annotated_in_training(self) -> dict[str, tuple[Action, ...]]:
        """All that is annotated in each training video, whatever it is called, moments called ambiguous too."""
        whole = {video.id: video for video in self.benchmark.videos}
        return {video.id: repaired(whole[video.id]).with_ambiguous().actions for video in self.training_videos}

    def training_windows(  # noqa: PLR0913  one word for each choice
        self,
        videos: Sequence[Video] | None = None,
        *,
        window: int = 128,
        overlap: float = 0.5,
        rescale: int = 0,
        integrity: float = 0.75,
        negatives: float = 0.3,
        jitter: bool = True,
        ignore_unseen: str = "negatives",
        labelled: bool = False,
    ) -> WindowSet:
        """The windows a detector learns from: those with an action of a seen class, and `negatives` without anything.

        `videos` are training videos, by default all. With `ignore_unseen` negatives or everywhere, no part of anything
        that is annotated lies in the latter; everywhere, the losses of the former leave out what is annotated there of
        unseen classes, which else is background. With `labelled` a target has its class, else it is any action.
        """
        extras = Extras(
            names=self.classes.seen,
            ignored=self.hidden if ignore_unseen == "everywhere" else None,
            occupied=None if ignore_unseen == "nowhere" else self.annotated_in_training,
            jitter=jitter,
        )
        return WindowSet(
            self.training_videos if videos is None else videos,
            self.store,
            self.params.stride,
            Cut(window, overlap, rescale, integrity),
            self.classes.seen if labelled else None,
            only_with_actions=True,
            negatives=negatives,
            extras=extras,
        )

    def test_windows(
        self, videos: Sequence[Video] | None = None, *, window: int = 128, overlap: float = 0.25, rescale: int = 0
    ) -> WindowSet:
        """Every window of some videos, by default of those that are scored."""
        cut = Cut(window, overlap, rescale)
        return WindowSet(self.scored if videos is None else videos, self.store, self.params.stride, cut)

    @property
    def test_videos(self) -> tuple[Video, ...]:
        """The scored videos with actions of the classes that count: of the test, unless `on_training`."""
        return tuple(video for video in self.scored if video.actions)

    @property
    def competing(self) -> tuple[str, ...]:
        """The classes among which proposals are named: the unseen ones first, then the seen ones if they compete."""
        unseen, rivals = self.classes.unseen, self.params.candidates == "all"
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
        return digest([videos, sides, self.benchmark.tious, made, self.encoder.key, self.params.stride])

    def grid(self, video: Video) -> Grid:
        """Seconds and snippets of a video."""
        return Grid(video.fps, self.params.stride)

    def text(self, classes: Sequence[str]) -> Float[Tensor, "k c"]:
        """Unit-length text embeddings of classes, encoded once."""
        return text.class_embeddings(self.encoder, classes, wording(self.params), self.benchmark.cache)

    def texts(self, classes: Sequence[str]) -> Steps:
        """Embeddings of every text of classes, not normalised."""
        return text.step_embeddings(self.encoder, classes, wording(self.params), self.benchmark.cache)

    @property
    def reads_any_text(self) -> bool:
        """Whether the encoder embeds whatever is said, and not the texts of a table alone."""
        return tokens.reads_any_text(self.encoder)

    def background(self) -> Float[Tensor, "b c"]:
        """Unit-length embeddings of texts of what shows nothing in particular; of an encoder that cannot be asked for
        them those of the seen classes.
        """
        if not self.reads_any_text:
            return self.text(self.classes.seen)
        return functional.normalize(text.embed(self.encoder, BACKGROUND, self.benchmark.cache), dim=1)

    @cached_property
    def groups(self) -> dict[str, Proposals]:
        """CLIP's own groups in the scored videos."""
        return self.groups_in(self.scored)

    def groups_in(self, videos: Sequence[Video]) -> dict[str, Proposals]:
        """What `baselines.training_free` proposes in videos, its similarity to texts of background taken off."""
        classes, texts, background = self.classes.unseen, self.text(self.classes.unseen), self.background()
        found = {}
        for video in videos:
            features, grid = self.store.read(video.id), self.grid(video)
            each = baselines.training_free(
                video, features, texts, classes, grid, background=background, candidates=TRIED
            )
            found[video.id] = Proposals(each.segments.float(), each.scores.clamp(0, 1).float())
        return found

    def pooled(self, video: Video, segments: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
        """CLIP's features under segments of a video; a pooling that makes no feature, only logits, gives the mean."""
        how = self.params.pooling if self.params.pooling in pooling.HOW else "mean"
        return pooling.pool(self.store.read(video.id), segments, self.grid(video), self.params.roi_bins, how)

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

    def frame(self, video: Video, seconds: float) -> np.ndarray:
        """The frame (h, w, 3) shown at a time of a video; a grey one where there are features but no video."""
        try:
            return frame_at(self.file(video), seconds)
        except BrokenVideo:
            return NO_FRAME


def inventory(data: Data) -> list[dict[str, object]]:
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


def class_pictures(data: Data) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cosine (k, k) of the mean feature of each class's true actions with each class's text, and a frame of each.

    A class without actions has a row of NaN.
    """
    classes = data.benchmark.classes
    means, frames = [], []
    for label in classes:
        videos = [video.only([label]) for video in data.benchmark.videos if video.only([label]).actions]
        if not videos:  # listed, but never annotated, or only in videos that were skipped
            means.append(torch.full((data.text([label]).shape[1],), torch.nan))
            frames.append(NO_FRAME)
            continue
        pooled = [data.pooled(video, true_segments(video)) for video in videos]
        means.append(functional.normalize(torch.cat(pooled), dim=1).mean(dim=0))
        action = videos[0].actions[0]
        frames.append(data.frame(videos[0], 0.6 * action.start + 0.4 * action.end))
    return (functional.normalize(torch.stack(means), dim=1) @ data.text(classes).T).numpy(), frames


def true_segments(video: Video) -> Float[Tensor, "n 2"]:
    """The actions of a video (start, end) in seconds."""
    return spans(video.actions)


def spans(actions: Sequence[Action]) -> Float[Tensor, "n 2"]:
    """Actions (start, end) in seconds."""
    return torch.tensor([[action.start, action.end] for action in actions], dtype=torch.float32).reshape(-1, 2)
