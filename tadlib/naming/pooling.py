"""CLIP's features under a proposal as one vector; the features themselves stay untouched."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.grid import Grid
from tadlib.segments import roi_align, roi_mean

HOW = ("mean", "max")


def pool(
    features: np.ndarray, segments: Float[Tensor, "n 2"], grid: Grid, bins: int = 16, how: str = "mean"
) -> Float[Tensor, "n c"]:
    """One vector per segment (seconds) from snippet features (t, c): RoIAlign, then mean or max over its bins.

    A segment without length takes the feature at its place; what lies outside the video takes its first or last.
    """
    if how not in HOW:
        raise ValueError(f"pooling must be one of {', '.join(HOW)}, got {how!r}")
    snippets = torch.from_numpy(np.array(features, dtype=np.float32))
    segments_ix = grid.snippets(segments.float())
    if how == "mean":
        return roi_mean(snippets, segments_ix, bins)
    return roi_align(snippets, segments_ix, bins).amax(dim=1)
