"""Which settings of a run hold for somebody's own words, which do not, and why not."""

from collections.abc import Mapping

from tadlib.ideas.trained_naming import FROZEN
from tadlib.workbook.inference import CLIP_ALONE, frozen_clip
from tadlib.workbook.params import Params

LEARNT = "learnt on the run's classes and videos"
READ = "a word is read as you write it"
WHEN = "the detector says only when, CLIP says what, and background competes"
WHY = {"text": READ, "lead": READ, "pooling=ordered": READ, "target": WHEN, "ensemble": WHEN, "candidates": WHEN}
WHY |= {"nms_per": "overlaps are thinned before anything has a name"}
WHY |= {"snippets": "a clip has as many snippets as its length asks for"}


def off_for_own_words(params: Params) -> dict[str, object]:
    """The settings that are not as in a run's parameters, with the values that hold instead."""
    plain = {name: value for name, value in (FROZEN | CLIP_ALONE).items() if name != "proposed_by"}
    plain |= {"text": "prompt", "lead": "none", "candidates": "all", "snippets": 0}
    pooling = frozen_clip(params).pooling
    plain |= {"pooling": "mean" if pooling == "ordered" else pooling}
    return {name: value for name, value in plain.items() if getattr(params, name) != value}


def told(off: Mapping[str, object]) -> str:
    """Those settings, as they are in the run, in one sentence a reason; empty where there is none."""
    reasons: dict[str, list[str]] = {}
    for name, value in off.items():
        setting = f"{name}={value}"
        reasons.setdefault(WHY.get(setting, WHY.get(name, LEARNT)), []).append(setting)
    return "; ".join(f"{', '.join(settings)} ({why})" for why, settings in reasons.items())
