"""Training videos that are held out: nothing is learned from them."""

import random
from collections.abc import Sequence

from tadlib.data.annotations import Video
from tadlib.workbook.params import Params


def divided(videos: Sequence[Video], params: Params) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Training videos to learn from, and those held out, drawn by the seed: at least one if a share is asked for."""
    if not params.validation:
        return tuple(videos), ()
    if len(videos) < 2:
        raise ValueError(f"validation={params.validation} holds out training videos: it needs two, got {len(videos)}")
    number = min(max(1, round(params.validation * len(videos))), len(videos) - 1)
    held = set(random.Random(params.seed).sample(range(len(videos)), number))
    return tuple(v for n, v in enumerate(videos) if n not in held), tuple(v for n, v in enumerate(videos) if n in held)
