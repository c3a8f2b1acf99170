"""Annotations, class split, features and encoder gathered from checked parameters, with videos on both sides."""

from dataclasses import replace

from tadlib.data import splits
from tadlib.files import Progress, silent
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import LISTED, Data
from tadlib.workbook.steps.sources import benchmark_of, collect


def gather(params: Params, progress: Progress = silent) -> Data:
    """Annotations, class split, features and encoder; what is missing of the demo or of the features is made.

    Raises ValueError for a class split that leaves no video to train or none to test.
    """
    benchmark = benchmark_of(params, progress)
    classes = splits.of_folder(benchmark.folder, benchmark.classes, params.split, params.split_id)
    benchmark, store, encoder, broken = collect(benchmark, params, progress)
    data = Data(benchmark, classes, store, encoder, params, broken)
    if not _has_both(data):
        raise ValueError(_one_sided(data))
    return data


def _has_both(data: Data) -> bool:
    """Whether there are videos to train on and videos to test; which of these a protocol counts is its own matter."""
    return bool(data.training_videos and data.benchmark.test_videos(data.classes.unseen))


def _one_sided(data: Data) -> str:
    """What a class split without training or without test videos lacks, and which others lack nothing."""
    split, split_id = data.params.split, data.params.split_id
    side, subset, kind, names = "test", data.benchmark.test_subset, "unseen", data.classes.unseen
    if not data.training_videos:
        side, subset, kind, names = "training", data.benchmark.train_subset, "seen", data.classes.seen
    told = f"split {split}, split_id {split_id}" if split else "the data set"
    kind = f"{kind} class" if split else "class"
    listed = ", ".join(names[:LISTED])
    said = f"{told} has no {side} video (subset {subset!r}) with an action of any {kind} ({listed})"
    if not split:
        return f"{said}: annotate some, or say by train_subset and test_subset in benchmark.yaml which is which"
    others = [
        replace(data, classes=classes)
        for classes in splits.all_of_folder(data.benchmark.folder, data.benchmark.classes, split)
    ]
    work = [str(each.classes.split_id) for each in others if _has_both(each)]
    if work:
        return f"{said}; both sides have videos with -p split_id {', '.join(work)}"
    return f"{said}, and no other split_id has both sides: pass another split, or write one into splits.json"
