"""Splits into seen and unseen classes: official, seeded random, or from a file; seen classes held out for tuning.

`splits.json` has the form `{"75": [{"unseen": [names]}, ...], "50": [...]}`, where `split_id` is the index in a list.
The ten official splits of a benchmark and ratio (Ju et al., "Prompting Visual-Language Models for Efficient Video
Understanding", ECCV 2022) are stored as bit masks: bit k is set if class k of the sorted names is unseen.
"""

import hashlib
import os
import random
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tadlib.data.annotations import Benchmark
from tadlib.data.checks import nearest
from tadlib.files import read_json, tidy
from tadlib.foreign import check_unique

RATIOS = (75, 50)  # per cent of the classes seen
ACTIVITYNET_DIGEST = "696d49925655"
OFFICIAL = {  # digest of the sorted class names -> {per cent seen: masks of split_id 0..9}
    "7c15088a951c": {  # THUMOS14, 20 classes
        75: ("54401 a0a20 a01c0 8168 a4420 4270 31050 68880 b4200 8120c "),
        50: ("74e0d b8a63 aa3c9 1916f f4d30 6c276 37878 ec8c9 be720 d12ce "),
    },
    ACTIVITYNET_DIGEST: {  # ActivityNet-1.3, 200 classes
        75: (
            "f440aaa40002000d1920500d004264006101b0011c4108a302 41200061419bc404003ce0002140009c04cb0138200744a020 "
            "a10084802040052203281040657390010c89421c80a6460101 10006305040828c809f8118426a0001a138582d42250200 "
            "2a9408004c40002109824421e0260090c00612640042b390a1 6280e80680f10001600246944a048000089446c84261249000 "
            "62091010848800a01d04820c04100264009214db8203291824 2180802106248226e8220940c000080c0423289284101882b5 "
            "a04348042410a0180b29222389020244624248032502400209 105028201661440a0c08a02403c040011d11b9c04020043842 "
        ),
        50: (
            "f552fae44253021d9da8d38d23736fbc7115b1151f492ca74e e9a0876b459bd49ec23de021b34ac7dc9dcb09b8306776e8a6 "
            "b13485a7a84c4daad7383447e57798810eab637dc8a7ce513d 20e72236b9584582dc87ffc538436f5163a97b58bfcb2d8225 "
            "6ab4e94c6dc500211ff64d25e02e1cd3dac713764366bbb0f9 e28cfc2ea4f102a7787246fddbc4a0743b946eea4ee526f220 "
            "fbe99c1ece8932a81f3c8a3f849c2664d1d71fdb8227699824 39d091399ea4d26ffa320b5dd5938a8d663b3ade85101896bd "
            "a04b4a26e4f5af5ccb7976a3ad5a2fcc62425807b5bf4c1219 30597d64167b562aac0dec2c8fc456ed7d91bbcad560143cd2 "
        ),
    },
}


@dataclass(frozen=True)
class ClassSplit:
    """Seen classes (training) and unseen ones (test); `split` is the per cent seen (0 = closed set)."""

    split: int
    split_id: int
    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def class_split(classes: Iterable[str], split: int, split_id: int) -> ClassSplit:
    """Split `classes`; with split 0 (closed set) all of them are both seen and unseen.

    `split` is 75, 50 or 0, `split_id` 0..9. Raises ValueError for a single class where one must be seen, one unseen.
    """
    names = sorted(classes)
    if split == 0:
        return ClassSplit(split, split_id, tuple(names), tuple(names))
    if len(names) < 2:
        raise ValueError(
            f"split {split} needs two classes, one to be seen and one unseen; the data set has "
            f"{', '.join(map(repr, names)) or 'none'}: pass -p split 0, which trains and measures on all classes"
        )
    if official := OFFICIAL.get(digest_of(names)):
        mask = int(official[split].split()[split_id], 16)
        unseen = {name for place, name in enumerate(names) if mask >> place & 1}
    else:
        number = max(1, round(len(names) * (100 - split) / 100))
        unseen = set(random.Random(f"{split} {split_id}").sample(names, number))
    return ClassSplit(split, split_id, tuple(name for name in names if name not in unseen), tuple(sorted(unseen)))


def hold_out_classes(benchmark: Benchmark, classes: ClassSplit, number: int) -> tuple[Benchmark, ClassSplit]:
    """Hold out `number` seen classes, which are tested in place of the unseen ones, to choose parameters.

    They are drawn at random, and tested on the training videos that show no other seen class; these videos are not
    used in training. Unseen classes and test videos are removed, so that chosen parameters can be tested on them.
    `number` 0 changes nothing. Raises ValueError if too few classes have such videos, or no seen class would be left.
    """
    if not number:
        return benchmark, classes
    training = [video for video in benchmark.videos if video.subset == benchmark.train_subset]
    shown = {video.id: {action.label for action in video.actions} & set(classes.seen) for video in training}
    alone = sorted({label for labels in shown.values() if len(labels) == 1 for label in labels})
    if number > len(alone) or number >= len(classes.seen):
        most = min(len(alone), len(classes.seen) - 1)
        raise ValueError(f"held_out must be 0..{most}, classes that a training video shows alone; got {number}")
    held = set(random.Random(f"{classes.split} {classes.split_id} held out").sample(alone, number))
    videos = [
        replace(video, subset=benchmark.test_subset) if shown[video.id] <= held else video
        for video in training
        if shown[video.id]
    ]
    seen, unseen = (tuple(name for name in classes.seen if (name in held) is out) for out in (False, True))
    return replace(benchmark, videos=tuple(videos)), replace(classes, seen=seen, unseen=unseen)


def digest_of(classes: Iterable[str]) -> str:
    """Return a hash (12 digits) of a set of class names."""
    return hashlib.sha256("\n".join(sorted(classes)).encode()).hexdigest()[:12]


def of_folder(folder: Path | str, classes: Iterable[str], split: int, split_id: int) -> ClassSplit:
    """Return a split of a data set: from its `splits.json` if that has `split`, otherwise from `class_split`.

    Raises ValueError naming what is wrong in the file.
    """
    path = Path(folder) / "splits.json"
    content = read_json(path) if os.path.lexists(path) and split else {}
    if not isinstance(content, dict) or not all(isinstance(draws, list) for draws in content.values()):
        raise ValueError(f'{path} must be {{"75": [{{"unseen": [names]}}, ...]}}: per cent seen, then a list of splits')
    if wrong := sorted(set(content) - {str(ratio) for ratio in RATIOS}):
        raise ValueError(f"{path}: {wrong[0]!r} must be one of {', '.join(map(repr, map(str, RATIOS)))}: per cent seen")
    draws = content.get(str(split))
    if draws is None:
        return class_split(classes, split, split_id)
    if not 0 <= split_id < len(draws):
        raise ValueError(f"{path} has {len(draws)} splits of {split} per cent seen, from 0; got split_id {split_id}")
    return _parse(f"{path}, split {split}, split_id {split_id}", sorted(classes), draws[split_id], (split, split_id))


def _parse(place: str, names: Sequence[str], draw: Any, key: tuple[int, int]) -> ClassSplit:
    if not isinstance(draw, dict) or not draw.get("unseen") or set(draw) - {"seen", "unseen"}:
        raise ValueError(f"{place} must name its classes as 'unseen' (and 'seen', else all), got {reprlib.repr(draw)}")
    for side, listed in draw.items():
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ValueError(f"{place}: {side!r} must be a list of class names, got {reprlib.repr(listed)}")
    unseen = [tidy(name, place) for name in draw["unseen"]]
    seen = [tidy(name, place) for name in draw.get("seen", [name for name in names if name not in unseen])]
    for name in (*seen, *unseen):
        if name not in names:
            raise ValueError(f"{place}: unknown class {name!r}{nearest(name, names)}")
    check_unique([*seen, *unseen], place, "class")
    if not seen:
        raise ValueError(f"{place}: every class must be seen or unseen, and some seen")
    return ClassSplit(*key, tuple(sorted(seen)), tuple(sorted(unseen)))
