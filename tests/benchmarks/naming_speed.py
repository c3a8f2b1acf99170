"""How fast proposals get their names: `python tests/benchmarks/naming_speed.py` names a whole simulated test set.

CPU seconds of one thread. Where a summary of bins is all there is to it, a loop over proposals (bins, summary,
similarity of one at a time, features read once a video) is measured on some of the videos in the same run.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from evaluation_speed import cpu_seconds
from torch import Tensor

from tadlib import ideas
from tadlib.data.windows import Grid
from tadlib.detector.proposals import Proposals
from tadlib.ideas import poolings, surroundings
from tadlib.ideas.poolings import SUMMARIES
from tadlib.naming.classifier import Classifier
from tadlib.naming.fusion import Detections, fuse, select
from tadlib.naming.similarity import cosine
from tadlib.naming.text import TextEmbeddings
from tadlib.segments import roi_align

CHANNELS, SCALE = 512, 100.0  # the scale CLIP was trained to
LOOPED = 4  # videos whose proposals are also compared one at a time
GRID = Grid(fps=30.0, stride=8)
WAYS = {
    "mean": {},
    "max": {"pooling": "max"},
    "mean, bins named": {"similarity_at": "bins"},
    "self-attention": {"pooling": "self_attention"},
    "mean, less outside": {"contrast": 0.5},
}
CHANGES = (surroundings.classifier, poolings.pooled)


class Size(NamedTuple):
    """A test set: its videos, proposals and snippets of each, and the candidates."""

    videos: int
    proposals: int
    snippets: int
    classes: int


SIZES = {"THUMOS14 size": Size(213, 200, 750, 20), "with 200 classes": Size(213, 200, 750, 200)}


class Video(NamedTuple):
    """Simulated features of a video and proposals in it."""

    features: np.ndarray
    proposals: Proposals


def simulated(size: Size, seed: int = 0) -> tuple[list[Video], Tensor]:
    """Videos with proposals of all lengths, and the texts' vectors (classes, channels)."""
    draw = np.random.default_rng(seed)
    texts = torch.from_numpy(draw.standard_normal((size.classes, CHANNELS), dtype=np.float32))
    features = draw.standard_normal((size.snippets, CHANNELS), dtype=np.float32)
    videos = []
    for _ in range(size.videos):
        segments = np.sort(draw.uniform(0, GRID.seconds(size.snippets), (size.proposals, 2)), axis=1)
        scores = np.sort(draw.random(size.proposals))[::-1].copy()
        videos.append(Video(features, Proposals(torch.from_numpy(segments).float(), torch.from_numpy(scores).float())))
    return videos, texts


def classifier(texts, scale=1.0, pooling="mean", roi_bins=16, similarity=cosine, **words):
    """A classifier that knows a text a class, with these words of naming."""
    steps = TextEmbeddings(texts[:, None], torch.zeros(len(texts), 1, dtype=torch.bool))
    names = tuple(str(place) for place in range(len(texts)))
    found = Classifier(names, lambda _: texts, lambda _: steps, scale, roi_bins, similarity=similarity)
    asked = {"pooling": pooling, "similarity_at": "pooled", "extend": 1.0, "contrast": 0.0} | words
    for change in CHANGES:
        found = ideas.call(change, SimpleNamespace(**asked), found=found) or found
    return found


def named(videos: Sequence[Video], texts: Tensor, words: Mapping[str, object]) -> list[Detections]:
    """Detections of every video, all of its proposals at once."""
    classify, classes = classifier(texts, SCALE, **words), [str(place) for place in range(len(texts))]
    found = []
    for video in videos:
        logits = classify(torch.from_numpy(video.features), GRID.snippets(video.proposals.segments))
        found.append(select(video.proposals.segments, fuse(video.proposals.scores, logits), classes))
    return found


def looped(videos: Sequence[Video], texts: Tensor, how: str) -> list[list[Tensor]]:
    """Logits of every video, one proposal at a time."""
    classify = classifier(texts, SCALE)

    def logits(snippets: Tensor, segment: Tensor) -> Tensor:
        return classify.compare(SUMMARIES[how](roi_align(snippets, GRID.snippets(segment[None]))))

    return [
        [logits(snippets, segment) for segment in video.proposals.segments]
        for video in videos
        for snippets in [torch.from_numpy(video.features)]
    ]


def measure(size: Size) -> Iterator[str]:
    """A line for each way of pooling."""
    videos, texts = simulated(size)
    for way, words in WAYS.items():
        named(videos[:1], texts, words)  # the first call sets things up
        ours = cpu_seconds(partial(named, videos, texts, words), 1)
        line = f"{way:<20} {ours:6.2f} s"
        if way in SUMMARIES:
            loop = cpu_seconds(partial(looped, videos[:LOOPED], texts, way), 1) * len(videos) / LOOPED
            line += f", one at a time ~{loop:.1f} s, {loop / ours:.1f} times ours"
        yield line


def main() -> None:
    """Print every measurement."""
    torch.set_num_threads(1)
    for title, size in SIZES.items():
        print(f"{title}: {size.videos} videos, {size.proposals} proposals each, {size.classes} classes")
        for line in measure(size):
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
