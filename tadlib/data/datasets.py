"""Loading of data sets by name or folder; the embedded demo is created on first use.

A data set folder holds annotations in any layout that `readers` knows, `videos/` and/or `features/`, and optionally
`info.json` (lengths), `splits.json`, `text_features.npz` and `benchmark.yaml` (conventions).
"""

import difflib
import os
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from tadlib.data.annotations import AMBIGUOUS, Benchmark, Names
from tadlib.data.checks import check, nearest
from tadlib.data.demo import videos as demo_videos
from tadlib.data.layouts import THUMOS14_CLASSES, THUMOS_ID
from tadlib.data.lengths import complete, filled, other_lengths, stated
from tadlib.data.readers import Entry, check_entries, read
from tadlib.data.splits import ACTIVITYNET_DIGEST, digest_of
from tadlib.files import Progress, listed, nearest_folder, silent, tidy
from tadlib.foreign import text_of, yaml_in
from tadlib.locks import locked

EVERY = "all"  # subset of all videos in a data set without subsets
NAMES = ("demo", "thumos14", "activitynet13")  # named data sets; others are folders
THUMOS14_TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
ACTIVITYNET_TIOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SUBSETS = (  # (training, test) names in any case; the first pair with most subsets present is used
    ("training", "validation"), ("train", "test"), ("val", "test"), ("validation", "test"),
    ("train", "val"), (EVERY, EVERY),
)  # fmt: skip
LAYOUTS = (  # file patterns of annotations, in order, in the folder and in its `annotations/`
    "annotations.json", "annotations.json.gz", "annotations.csv", "thumos_14_anno.json", "thumos14.json",
    "th14_annotations_with_fps_duration.json", "Thumos14_annotations.json", "thumos_anno_action.json",
    "ActivityNet1.3_annotations.json", "activity_net*.json", "activity_net*.json.gz", "anet*anno*.json",
)  # fmt: skip
TEXT_LAYOUTS = ("official_txt", "annotations", "TH14_Temporal_*", "annotation")


Subset = Annotated[str, Field(pattern=r"\S"), AfterValidator(tidy)]
Tious = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
Stride = Annotated[int, Field(ge=1, le=100_000)]


class Conventions(BaseModel, frozen=True, strict=True):
    """Contents of `benchmark.yaml`; None where it does not state a value. Descriptions say what is allowed."""

    train_subset: Subset | None = Field(None, description="text in one line")
    test_subset: Subset | None = Field(None, description="text in one line")
    tious: Tious | None = Field(None, description="a list of numbers above 0 and at most 1")
    stride: Stride | None = Field(None, description="a whole number from 1 to 100,000")  # default of the parameter
    times: Literal["seconds", "frames"] | None = Field(None, description="seconds or frames")  # of the annotations
    # the published data set of which this is a copy or part
    benchmark: Literal["thumos14", "activitynet13"] | None = Field(None, description="thumos14 or activitynet13")


def folder_of(name: str, data_dir: Path | str, demo_seed: int = 0) -> Path:
    """Return the folder of a data set: a named one is below `data_dir`; every `demo_seed` has its own folder."""
    folder_name = f"demo-{demo_seed}" if name == "demo" and demo_seed else name
    return Path(data_dir) / folder_name if name in NAMES else Path(name)


def load(name: str, data_dir: Path | str, progress: Progress = silent, demo_seed: int = 0) -> Benchmark:
    """Load the benchmark called `name`, or the one in a folder of that name.

    The demo drawn with `demo_seed` is created if missing. Raises FileNotFoundError that says where annotations are
    expected, and ValueError for unusable annotations or conventions. Files computed from a read-only folder are stored
    under `data_dir` if that is writable.
    """
    folder = folder_of(name, data_dir, demo_seed)
    if name == "demo" and not demo_videos.is_made(folder, demo_seed):
        with locked(folder / "videos", progress):
            demo_videos.make(folder, demo_seed, progress)
    elsewhere = os.access(nearest_folder(Path(data_dir)), os.W_OK) and not os.access(folder, os.W_OK)
    return replace(_read(name, folder), made=Path(data_dir) / "made" / folder.name if elsewhere else folder)


def _read(name: str, folder: Path) -> Benchmark:
    source, names = find_annotations(folder, name), Names()
    conventions = read_conventions(folder)
    annotated = read(source, names, conventions.times == "frames")
    check_entries(source, annotated)
    lengths = stated(annotated, folder)
    entries = {video: filled(entry, lengths.get(video, Entry())) for video, entry in annotated.items()}
    if not any(entry.subset for entry in entries.values()):
        entries = {video: replace(entry, subset=EVERY) for video, entry in entries.items()}
    known = conventions.benchmark or ("thumos14" if name == "demo" else name)
    classes = _classes(known, source, entries)
    thumos = classes == THUMOS14_CLASSES
    conventions = _defaults(conventions, source, {entry.subset for entry in entries.values() if entry.subset}, thumos)
    subsets = (conventions.train_subset, conventions.test_subset, None)  # None: `complete` reports a missing subset
    used = {video: entry for video, entry in entries.items() if entry.subset in subsets}
    videos, repairs = check(complete(source, used, folder), classes, source, conventions.times == "seconds")
    others = {
        "video of another subset": len(entries) - len(used),
        "copy of another length": len(other_lengths({video: annotated[video] for video in used}, lengths)),
    }
    repairs |= {kind: number for kind, number in others.items() if number} | dict(names.changed)
    return Benchmark(name, folder, videos, classes, *subsets[:2], tuple(conventions.tious), repairs, source)


def find_annotations(folder: Path, name: str) -> Path:
    """Find the annotation file, or folder of text files, of a data set.

    Raises FileNotFoundError if there is none, ValueError for two files `annotations.*`.
    """
    for place in (folder, folder / "annotations"):
        found = [path for layout in LAYOUTS for path in listed(place, layout)]
        if len(own := [path for path in found if path.name.startswith("annotations.")]) > 1:
            raise ValueError(f"{own[0]} and {own[1]} are both annotations of {name!r}: keep one of them")
        if found:
            return found[0]
    for layout in TEXT_LAYOUTS:
        if any(path for place in folder.glob(layout) for path in place.rglob("*_val.txt")):
            return folder if layout.startswith("TH14") else folder / layout
    hint = "" if name in NAMES or folder.is_dir() else nearest(name, NAMES)
    raise FileNotFoundError(
        f"no annotations of {name!r}: expected {folder / 'annotations.json'} in ActivityNet's layout (database: video "
        "-> subset, duration, fps, annotations), annotations.csv, or THUMOS14's text files in official_txt/; dataset "
        f"must be the name of a data set or such a folder{hint}"
    )


def _classes(known: str, source: Path, entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return the class names: the benchmark's for a `known` data set, otherwise the labels of the annotations."""
    labels = {action.label for entry in entries.values() for action in entry.actions} - {AMBIGUOUS}
    if not labels:
        raise ValueError(f"{source} has no action with a label in {len(entries)} videos: annotate them first")
    if known == "thumos14" or is_thumos14(labels, entries):
        return THUMOS14_CLASSES
    if known == "activitynet13" and digest_of(labels) != ACTIVITYNET_DIGEST:
        raise ValueError(
            f"{source} has {len(labels)} classes, not ActivityNet-1.3's 200 (spelt as published, 'Plataform "
            "diving' included): is the file complete and unedited? For a data set of your own pass dataset=FOLDER"
        )
    return tuple(sorted(labels))


def is_thumos14(labels: Collection[str], videos: Collection[str]) -> bool:
    """Whether annotations are THUMOS14's: all of its classes, or some of them and its ids on every video."""
    if set(labels) == set(THUMOS14_CLASSES):
        return True
    return bool(labels) and set(labels) <= set(THUMOS14_CLASSES) and all(map(THUMOS_ID.fullmatch, videos))


def read_conventions(folder: Path) -> Conventions:
    """Read the conventions in a folder's `benchmark.yaml`; raises ValueError naming a wrong name or value."""
    path, other = folder / "benchmark.yaml", folder / "benchmark.yml"
    if os.path.isfile(other):
        raise ValueError(f"{other} is not read: rename it to {path.name}, or move it away")
    content = yaml_in(text_of(path), path) if os.path.lexists(path) else {}
    for name in content:
        if name not in Conventions.model_fields:
            raise ValueError(f"{path}: unknown name {name!r}{nearest(str(name), Conventions.model_fields)}")
    try:
        found = Conventions.model_validate(content)
    except ValidationError as error:
        wrong = dict.fromkeys(problem["loc"][0] for problem in error.errors())
        raise ValueError(f"{path}: {'; '.join(_sentence(name, content[name]) for name in wrong)}") from None
    if len(set(found.tious or ())) < len(found.tious or ()):
        raise ValueError(f"{path}: tious must be thresholds, each once, got {found.tious}")
    return found


def _sentence(name: str, value: object) -> str:
    allowed = Conventions.model_fields[name].description
    close = difflib.get_close_matches(str(value), allowed.split(" or "), n=1)
    return f"{name} must be {allowed}; got {reprlib.repr(value)}" + (f"; did you mean {close[0]!r}?" if close else "")


def folder_beside(annotations: Path | str) -> Path:
    """Return the folder of the data set that an annotation file belongs to."""
    folder = Path(os.path.realpath(annotations)).parent  # unlike resolve, without an error for links in a circle
    return folder.parent if folder.name == "annotations" else folder


def _defaults(stated: Conventions, source: Path, subsets: set[str], thumos: bool) -> Conventions:
    """Fill in default conventions; raises ValueError for a stated or required subset without videos."""
    pairs = [("val", "test"), *SUBSETS] if thumos else SUBSETS
    spelt = {name.lower(): name for name in sorted(subsets)}
    if same := [name for name in subsets if spelt[name.lower()] != name]:
        raise ValueError(f"{source} has subsets {same[0]!r} and {spelt[same[0].lower()]!r}: spell them alike")
    train, test = max(pairs, key=lambda pair: len(spelt.keys() & set(pair)))
    wanted = {
        "train_subset": stated.train_subset or spelt.get(train, train),
        "test_subset": stated.test_subset or spelt.get(test, test),
    }
    for name, value in wanted.items():
        if value not in subsets and getattr(stated, name):
            raise ValueError(f"benchmark.yaml: no video has {name} {value!r}{nearest(value, sorted(subsets))}")
        if value not in subsets and subsets - set(wanted.values()):
            raise ValueError(
                f"{source} has no video of the {name.replace('_', ' ')} {value!r}, but of "
                f"{', '.join(map(repr, sorted(subsets)))}: say which is which by train_subset and test_subset "
                "in benchmark.yaml beside it"
            )
    tious = stated.tious or list(THUMOS14_TIOUS if thumos else ACTIVITYNET_TIOUS)
    return stated.model_copy(update={**wanted, "tious": tious})
