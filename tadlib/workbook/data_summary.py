"""Overview of a data set beside published counts, proposed settings, and similarity of class images and texts."""

import shlex
from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from tadlib.data.annotations import Video
from tadlib.data.features import FeatureStore, video_files
from tadlib.data.stores import FolderStore
from tadlib.data.windows import spans
from tadlib.foreign import yaml_out
from tadlib.naming import tokens
from tadlib.naming.text import spoken_alike, texts_of
from tadlib.segments import roi_mean
from tadlib.task import NO_FRAME, Task

PUBLISHED = {  # videos and actions of the training and the test subset
    "thumos14": {"training": (200, 3007), "test": (213, 3358)},
    "activitynet13": {"training": (10024, 15410), "test": (4926, 7654)},
}
MAX_LISTED = 5  # videos or texts listed for each kind of problem


def overview(data: Task) -> list[dict[str, object]]:
    """Return rows of the overview: annotations, videos, features and problems found, beside published counts."""
    benchmark, published = data.benchmark, PUBLISHED.get(data.benchmark.name, {})
    source = "/".join(benchmark.source.parts[-2:]) if benchmark.source else "none"
    rows = [("annotations", source, "")]
    for name, subset in (("training", benchmark.train_subset), ("test", benchmark.test_subset)):
        videos = [video for video in benchmark.videos if video.subset == subset]
        published_videos, published_actions = published.get(name, ("", ""))
        rows.append((f"{name} videos ('{subset}')", len(videos), published_videos))
        rows.append((f"{name} actions", sum(len(video.actions) for video in videos), published_actions))
    files = sum(bool(video_files(benchmark.folder / "videos", video.id)) for video in benchmark.videos)
    rows.append(("video files", f"{files} of {len(benchmark.videos)}", "not needed where there are features"))
    rows.append(("features", f"{len(benchmark.videos)} videos, {data.store.key}", ""))
    rows += [(f"skipped: {name}", reason, "") for name, reason in list(data.broken.items())[:MAX_LISTED]]
    rows += _unusual_files(data) + _unclear_texts(data)
    return [{"what": what, "found": str(found), "published, or where from": str(other)} for what, found, other in rows]


def _unusual_files(data: Task) -> list[tuple[str, object, object]]:
    """Return rows about unusual video files, repaired where possible: their number, then the first few."""
    if not isinstance(data.store, FeatureStore):
        return []
    found = {video.id: data.store.remarks(video.id) for video in data.benchmark.videos}
    found = {name: "; ".join(remarks) for name, remarks in found.items() if remarks}
    rows = [("unusual video files", f"{len(found)} of {len(data.benchmark.videos)}", "")] if found else []
    return rows + [(f"unusual: {name}", remarks, "") for name, remarks in list(found.items())[:MAX_LISTED]]


def _unclear_texts(data: Task) -> list[tuple[str, object, object]]:
    """Return rows about class texts that the encoder truncates, and about classes with equal texts."""
    classes = data.benchmark.classes
    class_texts = dict(zip(classes, texts_of(classes, data.wording), strict=True))
    texts = [text for several in class_texts.values() for text in several]
    cut = tokens.cut_texts(data.encoder, texts)
    rows = [("texts that are cut", f"{len(cut)} of {len(texts)}", "")] if cut else []
    rows += [("beware, cut", tokens.describe_cut(*each), "") for each in list(cut.items())[:MAX_LISTED]]
    same = {tuple(name for name in classes if class_texts[name] == several) for several in class_texts.values()}
    alike = sorted({*spoken_alike(classes), *(names for names in same if len(names) > 1)})
    return rows + [("beware, read alike", ", ".join(map(repr, names)), "") for names in alike]


def settings(data: Task, snippets: int = 0) -> dict[str, tuple[int, str]]:
    """Propose stride, window, queries and top_k, each with a reason, from the seen actions of the training videos.

    With a fixed number of `snippets` per video, which replaces the stride, that is repeated.
    """
    frames = np.array([(each.end - each.start) * video.fps for video in data.training_videos for each in video.actions])
    short, middle, long = np.quantile(frames, (0.1, 0.5, 0.95))
    stride = 2 ** int(np.log2(np.clip(min(short / 2, middle / 5), 1, 64)))
    reason = f"the median action has {middle / stride:.1f} snippets, nine of ten have {short / stride:.1f} or more"
    if isinstance(data.store, FolderStore) or snippets:
        stride, reason = data.stride, "that of the precomputed features"
    window = 16 * int(np.ceil(long / stride / 8))
    most = max(_most_at_once(video, window * stride / video.fps) for video in data.training_videos)
    queries = max(16, 8 * int(np.ceil(1.5 * most / 8)))
    fixed = {"snippets": (snippets, "as given: every video has so many, whatever its length")}
    lasts = f"95 % last at most {long / stride:.0f} snippets: twice that contains each at overlap=0.5"
    return (fixed if snippets else {"stride": (stride, reason)}) | {
        "window": (window, lasts),
        "queries": (queries, f"a window overlaps up to {most} actions: at least 1.5 queries for each"),
        "top_k": (max(100, 2 * queries), "two classes for each query, at least the 100 proposals of AR@100"),
    }


def _most_at_once(video: Video, seconds: float) -> int:
    """Return the largest number of actions that overlap a window of `seconds`."""
    starts, ends = np.sort([(each.start, each.end) for each in video.actions], axis=0).T
    return int((np.searchsorted(starts, ends + seconds) - np.searchsorted(ends, ends)).max())


def as_block(found: Mapping[str, tuple[int, str]], dataset: str) -> str:
    """Format proposed settings as Markdown: a parameters file (YAML), and the same as command-line options."""
    width = max(len(f"{name}: {value}") for name, (value, _) in found.items())
    lines = [yaml_out({"dataset": dataset}, allow_unicode=True, width=10**6).strip()]
    lines += [f"{f'{name}: {value}':{width}}  # {reason}" for name, (value, reason) in found.items()]
    words = " ".join(f"-p {name} {value}" for name, (value, _) in found.items())
    return "\n".join(["```yaml", *lines, "```", "", f"`-p dataset {shlex.quote(dataset)} {words}`"])


def class_pictures(data: Task) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return cosines (k, k) of the mean feature of each class's true actions with each class text, and a frame a class.

    A class without actions has a row of NaN.
    """
    classes = data.benchmark.classes
    texts = data.class_embeddings(classes)
    means, frames = torch.full_like(texts, torch.nan), [NO_FRAME] * len(classes)
    for row, label in enumerate(classes):
        videos = [own for video in data.benchmark.videos if (own := video.only([label])).actions]
        if videos:  # otherwise the class has no annotation, or only in skipped videos
            segments_ix = [data.grid(video).snippets(spans(video.actions)) for video in videos]
            pooled = [roi_mean(data.features(video), own) for video, own in zip(videos, segments_ix, strict=True)]
            means[row] = functional.normalize(torch.cat(pooled), dim=1).mean(dim=0)
            action = videos[0].actions[0]
            frames[row] = data.frame(videos[0], 0.6 * action.start + 0.4 * action.end)
    return (functional.normalize(means, dim=1) @ texts.T).numpy(), frames
