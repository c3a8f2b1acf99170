"""What prepare.ipynb shows of the data themselves: what is there, is it sound, what does the class split leak."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data import checks, leakage, stores
from tadlib.data.annotations import Video
from tadlib.data.features import FeatureStore
from tadlib.data.streams import BrokenVideo
from tadlib.data.video import frames_at
from tadlib.files import Progress, silent
from tadlib.naming import tokens
from tadlib.naming.text import spoken_alike, texts_of
from tadlib.segments import roi_mean
from tadlib.task import NO_FRAME, Task, true_segments
from tadlib.workbook.params import Params

PUBLISHED = {  # videos and actions of the training and the test subset
    "thumos14": {"training": (200, 3007), "test": (213, 3358)},
    "activitynet13": {"training": (10024, 15410), "test": (4926, 7654)},
}
NAMED = 5  # videos in a table of what is wrong
ORIGINS = {  # where a benchmark comes from, and what it may be used for
    "demo": "rendered here; free",
    "thumos14": "crcv.ucf.edu/THUMOS14; videos belong to who uploaded them, research only",
    "activitynet13": "activity-net.org; videos belong to who uploaded them, research only",
}


def overview(data: Task) -> list[dict[str, object]]:
    """What was found where, beside the published numbers; a row each."""
    benchmark, known = data.benchmark, PUBLISHED.get(data.benchmark.name, {})
    rows = [_row("annotations", _short(benchmark.source), ORIGINS.get(data.benchmark.name, "your own"))]
    for name, subset in (("training", benchmark.train_subset), ("test", benchmark.test_subset)):
        videos = [video for video in benchmark.videos if video.subset == subset]
        actions = sum(len(video.actions) for video in videos)
        published = known.get(name, ("", ""))
        rows.append(_row(f"{name} videos ('{subset}')", len(videos), published[0]))
        rows.append(_row(f"{name} actions", actions, published[1]))
    files = sum(_has_file(data, video) for video in benchmark.videos)
    rows.append(_row("video files", f"{files} of {len(benchmark.videos)}", "not needed where there are features"))
    rows.append(_row("features", f"{len(benchmark.videos)} videos, {data.store.key}", ""))
    rows += [_row(f"skipped: {name}", reason, "") for name, reason in list(data.broken.items())[:NAMED]]
    return rows + _unusual(data) + _misread(data)


def _misread(data: Task) -> list[dict[str, object]]:
    """The texts of classes that the encoder does not read to their end, and classes that it cannot tell apart."""
    classes = data.benchmark.classes
    said = dict(zip(classes, texts_of(classes, data.wording), strict=True))
    texts = [text for several in said.values() for text in several]
    cut = tokens.cut_texts(data.encoder, texts)
    rows = [_row("texts that are cut", f"{len(cut)} of {len(texts)}", "")] if cut else []
    rows += [_row("beware, cut", tokens.told_cut(*each), "") for each in list(cut.items())[:NAMED]]
    same = {tuple(name for name in classes if said[name] == several) for several in said.values()}
    alike = sorted({*spoken_alike(classes), *(names for names in same if len(names) > 1)})
    return rows + [_row("beware, read alike", ", ".join(map(repr, names)), "") for names in alike]


def _unusual(data: Task) -> list[dict[str, object]]:
    """What was unusual about video files, and repaired where that was possible: how many there are, the first named."""
    if not isinstance(data.store, FeatureStore):
        return []
    said = {video.id: data.store.remarks(video.id) for video in data.benchmark.videos}
    said = {name: remarks for name, remarks in said.items() if remarks}
    rows = [_row("unusual video files", f"{len(said)} of {len(data.benchmark.videos)}", "")] if said else []
    return rows + [_row(f"unusual: {name}", "; ".join(remarks), "") for name, remarks in list(said.items())[:NAMED]]


def _row(what: str, found: object, published: object) -> dict[str, object]:
    return {"what": what, "found": str(found), "published, or where from": str(published)}


def _short(path) -> str:
    return "/".join(path.parts[-2:]) if path else "none"


def _has_file(data: Task, video: Video) -> bool:
    try:
        return data.file(video).is_file()
    except BrokenVideo:
        return False


def findings(data: Task) -> list[dict[str, object]]:
    """Every kind of oddity in the annotations, and what training and evaluation do about it."""
    nothing = {"found": "nothing odd", "number": 0, "training": "", "evaluation": ""}
    return checks.table(data.benchmark.repairs) or [nothing]


def frames(data: Task, video: Video, count: int = 9) -> list[tuple[float, np.ndarray]]:
    """Frames spread over a video, each with its time in seconds; grey ones where there are features but no video."""
    times = [(place + 0.5) * video.duration / count for place in range(count)]
    if _has_file(data, video):
        return list(zip(times, frames_at(data.file(video), times), strict=True))
    return [(time, NO_FRAME) for time in times]


def feature_health(data: Task, progress: Progress = silent) -> list[dict[str, object]]:
    """What the features of every video look like."""
    rows = []
    for done, video in enumerate(data.benchmark.videos, start=1):
        rows.append(stores.health(data.store, video, data.stride))
        progress(done, len(data.benchmark.videos), "looking at features")
    return rows


def leaks(data: Task, health: Sequence[dict[str, object]], params: Params) -> list[dict[str, object]]:
    """What the class split leaks; windows are those of the test videos."""
    snippets = {row["video"]: row["snippets"] for row in health}
    return leakage.report(
        data.benchmark,
        data.classes,
        snippets,
        params.stride,
        length=params.inference_window,
        overlap=params.test_overlap,
    )


def class_pictures(data: Task) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cosine (k, k) of the mean feature of each class's true actions with each class's text, and a frame of each.

    A class without actions has a row of NaN.
    """
    classes = data.benchmark.classes
    means, frames = [], []
    for label in classes:
        videos = [video.only([label]) for video in data.benchmark.videos if video.only([label]).actions]
        if not videos:  # listed, but never annotated, or only in videos that were skipped
            means.append(torch.full((data.class_embeddings([label]).shape[1],), torch.nan))
            frames.append(NO_FRAME)
            continue
        pooled = [_under_actions(data, video) for video in videos]
        means.append(functional.normalize(torch.cat(pooled), dim=1).mean(dim=0))
        action = videos[0].actions[0]
        frames.append(data.frame(videos[0], 0.6 * action.start + 0.4 * action.end))
    return (functional.normalize(torch.stack(means), dim=1) @ data.class_embeddings(classes).T).numpy(), frames


def _under_actions(data: Task, video: Video) -> Float[Tensor, "n c"]:
    """The mean of CLIP's features under each action of a video."""
    return roi_mean(data.features(video), data.grid(video).snippets(true_segments(video)))
