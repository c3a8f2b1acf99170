"""Does episodic training, which hides some seen classes in every batch, help? (entry 35)

The hidden classes are drawn anew for every batch. Their actions are ignored, neither targets nor background, and their
texts are removed. The detector thus learns to find actions of some classes among those of others, as in the test.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from tadlib.data.batches import Batch, Target, WindowSet


class Episodes:
    """Function on training batches that hides the share `episodes` of the `number` classes.

    With `agnostic` targets have no class labels.
    """

    def __init__(self, episodes: float, number: int, agnostic: bool) -> None:
        self.episodes, self.number, self.agnostic = episodes, number, agnostic

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return the batch with targets and texts of the shown classes, renumbered among these."""
        shown = draw(self.number, self.episodes, generator)
        texts = batch.texts if batch.texts is None else batch.texts[shown.to(batch.texts.device)]
        place = torch.full((self.number,), -1).index_put_((shown,), torch.arange(len(shown)))
        targets = [hide(target, place, self.agnostic) for target in batch.targets]
        return batch._replace(targets=targets, texts=texts)


def draw(classes: int, hidden: float, generator: torch.Generator) -> Int[Tensor, " shown"]:
    """Draw the classes shown in a batch, sorted: all but the share `hidden`, at least one."""
    number = max(1, classes - round(hidden * classes))
    return torch.randperm(classes, generator=generator)[:number].sort().values


def hide(target: Target, place: Int[Tensor, " k"], agnostic: bool) -> Target:
    """Move actions of hidden classes from the targets to the ignored segments.

    `place` is the index of each class among the shown ones, -1 if hidden. An action with several labels is ignored only
    if all of them are hidden.
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


def each_batch(windows: WindowSet, episodes: float) -> Episodes | None:
    """Return the function on training batches that the parameters ask for."""
    if not episodes:
        return None
    return Episodes(episodes, len(windows.extras.names or ()), agnostic=windows.classes is None)
