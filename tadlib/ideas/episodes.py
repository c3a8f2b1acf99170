"""Does episodic training, which hides some seen classes in every batch, help? (entry 35)

The hidden classes are drawn anew for every batch. Their actions are ignored, neither targets nor background, and their
texts are removed. The detector thus learns to find actions of some classes among those of others, as in the test.
"""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Generator

from tadlib.data.batches import Batch, Target, WindowSet


def each_batch(windows: WindowSet, episodes: float) -> Callable[[Batch, Generator], Batch] | None:
    """Return a function on training batches that hides the share `episodes` of the classes, at most all but one."""
    number, agnostic = len(windows.extras.names or ()), windows.classes is None

    def hidden(batch: Batch, generator: Generator) -> Batch:
        shown = torch.randperm(number, generator=generator)[: max(1, number - round(episodes * number))].sort().values
        place = torch.full((number,), -1).index_put_((shown,), torch.arange(len(shown)))
        texts = batch.texts if batch.texts is None else batch.texts[shown.to(batch.texts.device)]
        return batch._replace(targets=[hide(target, place, agnostic) for target in batch.targets], texts=texts)

    return hidden if episodes else None


def hide(target: Target, place: Int[torch.Tensor, " k"], agnostic: bool) -> Target:
    """Move actions of hidden classes from the targets to the ignored segments.

    `place` is the index of each class among the shown ones, -1 if hidden. An action with several labels is ignored only
    if all of them are hidden. With `agnostic` targets have no class labels.
    """
    segments_cw, names_ix = target.named
    visible = place[names_ix] >= 0
    same = (target.segments_cw[:, None] == segments_cw).all(-1)
    kept = (same & visible).any(1) if agnostic else place[target.labels_ix] >= 0
    twins = (segments_cw[:, None] == segments_cw).all(-1)
    ignored_cw = segments_cw[~(twins & visible).any(1)]
    return Target(
        target.segments_cw[kept],
        target.labels_ix[kept] if agnostic else place[target.labels_ix[kept]],
        (segments_cw[visible], place[names_ix[visible]]),
        ignored_cw if target.ignored_cw is None else torch.cat([target.ignored_cw, ignored_cw]),
    )
