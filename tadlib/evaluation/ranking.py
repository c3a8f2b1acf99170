"""Sorting by score within groups, with a stable order of ties or that of the published scorers."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Ties = Literal["stable", "peer"]
Places = Int[np.ndarray, " n"]


def peer_order(group: Places, values: Float[np.ndarray, " n"]) -> Places:
    """Sort each group as `argsort()[::-1]` of this group alone would, like the published scorers.

    numpy's default sort is not stable, so the order of ties depends on the number of rows and the machine. Groups of
    the same size are sorted together row by row, which gives the same order.
    """
    rows = np.argsort(group, kind="stable")
    _, first, counts = np.unique(group[rows], return_index=True, return_counts=True)
    order = np.empty_like(rows)
    for size in np.unique(counts):
        places = first[counts == size][:, None] + np.arange(size)
        own = np.argsort(values[rows[places]], axis=1)[:, ::-1]
        order[places] = np.take_along_axis(rows[places], own, axis=1)
    return order


def best_first(group: Places, scores: Float[np.ndarray, " n"], ties: Ties = "stable") -> Places:
    """Sort rows by group, then by decreasing score; ties keep the order given (`stable`)."""
    if ties == "peer":
        return peer_order(group, scores)
    falling = -scores
    order = np.argsort(falling)
    ranked = falling.take(order)
    equal = ranked[1:] == ranked[:-1]
    if equal.any():  # the fast sort is not stable: restore the given order of equal scores
        run = np.cumsum(np.r_[True, ~equal])
        tied = np.flatnonzero(np.r_[False, equal] | np.r_[equal, False])
        order[tied] = order[tied][np.lexsort((order[tied], run[tied]))]
    narrow = group.astype(np.uint16) if len(group) and group.max() < 2**16 else group  # radix sort for short keys
    return order.take(np.argsort(narrow.take(order), kind="stable"))


def ranks(order: Places, group: Places) -> Places:
    """Return the rank of every row within its group, 1 = best, from rows sorted by group and score."""
    rank = np.empty_like(order)
    rank[order] = numbered(group)
    return rank


def numbered(group: Places) -> Places:
    """Number the rows of each group 1, 2, ... in the order of rows sorted by group; `group` may be in any order."""
    counts = np.bincount(group)
    return np.arange(1, len(group) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
