"""Sorting by score within groups, with a stable order of ties or that of the published scorers."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Ties = Literal["stable", "peer"]
Places = Int[np.ndarray, " n"]


def best_first(group: Places, scores: Float[np.ndarray, " n"], ties: Ties = "stable") -> Places:
    """Sort rows by group, then by decreasing score; ties keep the order given (`stable`).

    With `peer` each group is sorted as `argsort()[::-1]` of this group alone would, like the published scorers: numpy's
    default sort is not stable, so the order of ties depends on the number of rows and the machine.
    """
    if ties == "stable":
        return np.lexsort((-scores, group))
    order = np.argsort(group, kind="stable")
    _, counts = np.unique(group, return_counts=True)
    parts = np.split(order, np.cumsum(counts)[:-1])
    return np.concatenate([part[np.argsort(scores[part])[::-1]] for part in parts])


def ranks(order: Places, group: Places) -> Places:
    """Return the rank of every row within its group, 1 = best, from rows sorted by group and score."""
    rank = np.empty_like(order)
    rank[order] = numbered(group)
    return rank


def numbered(group: Places) -> Places:
    """Number the rows of each group 1, 2, ... in the order of rows sorted by group; `group` may be in any order."""
    counts = np.bincount(group)
    return np.arange(1, len(group) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
