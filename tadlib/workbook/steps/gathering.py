"""Annotations, class split, features and encoder gathered from checked parameters, with videos on both sides."""

from dataclasses import replace

from tadlib.data import splits
from tadlib.evaluation.protocols import PROTOCOLS, scored_videos
from tadlib.files import Progress, silent
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import LISTED, Data
from tadlib.workbook.steps.sources import benchmark_of, collect


def gather(params: Params, progress: Progress = silent) -> Data:
    """Annotations, class split, features and encoder; what is missing of the demo or of the features is made.

    Raises ValueError for a class split that leaves no video to train or none to test, and for a protocol under which
    no action of the test videos counts.
    """
    benchmark = benchmark_of(params, progress)
    classes = splits.of_folder(benchmark.folder, benchmark.classes, params.split, params.split_id)
    benchmark, store, encoder, broken = collect(benchmark, params, progress)
    data = Data(benchmark, classes, store, encoder, params, broken)
    if not _has_both(data):
        raise ValueError(_one_sided(data))
    if not data.test_videos:
        raise ValueError(_uncounted(data))
    return data


def _has_both(data: Data) -> bool:
    """Whether there are videos to train on and videos to test; whether or not the protocol counts them."""
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


def _uncounted(data: Data) -> str:
    """How many test videos a protocol leaves out where it leaves out all, and which protocols do not."""
    number, name = len(data.benchmark.test_videos(data.classes.unseen)), data.params.protocol
    rules, stride = PROTOCOLS[name], data.params.stride
    others = [
        other
        for other in PROTOCOLS
        if any(video.actions for video in scored_videos(data.benchmark, data.classes.unseen, other, stride))
    ]
    why = [f"{len(rules.excluded)} videos of THUMOS14"] if rules.excluded else []
    why += ["actions of one snippet or less"] if rules.longer_than_a_snippet else []
    why += ["actions of no length"] if rules.once else []
    reason = f", because it leaves out {' and '.join(why)}" if why else ""
    said = f"protocol={name} counts no action of an unseen class in the {number} test videos that have one{reason}"
    return f"{said}: pass -p protocol {', '.join(others)}" if others else said
