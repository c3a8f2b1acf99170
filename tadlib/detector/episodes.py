"""Training in episodes (row 35 of the method survey): in every batch some seen classes are as good as unseen.

Actions of hidden classes are neither to be found nor background in that batch, and their texts are not there, so that
the detector is always asked for the actions of some classes among those of others, as it is in the test. Which classes
are hidden is drawn anew for every batch.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tadlib.data.batches import Batch, Target, WindowSet


def shown_batches(
    windows: WindowSet,
    batch_size: int,
    texts: Float[Tensor, "k e"] | None,
    hidden: float,
    generator: torch.Generator,
) -> Iterator[tuple[Batch, Float[Tensor, "shown e"] | None]]:
    """The batches of one pass, each with the texts of the classes that it shows: all of them if none are hidden."""
    for batch in windows.batches(batch_size, generator):
        if hidden:
            targets, shown = episode(batch.targets, texts, windows, hidden, generator)
            yield batch._replace(targets=targets), shown
        else:
            yield batch, texts


def draw(classes: int, hidden: float, generator: torch.Generator) -> Int[Tensor, " shown"]:
    """The classes that are shown in a batch, sorted: all but the share `hidden`, at least one."""
    number = max(1, classes - round(hidden * classes))
    return torch.randperm(classes, generator=generator)[:number].sort().values


def episode(
    targets: Sequence[Target],
    texts: Float[Tensor, "k e"] | None,
    windows: WindowSet,
    hidden: float,
    generator: torch.Generator,
) -> tuple[list[Target], Float[Tensor, "shown e"] | None]:
    """Targets and texts of a batch in which a share of the classes is hidden; class places are those among the shown.

    Raises ValueError where the windows do not name the classes of their actions.
    """
    if windows.extras.names is None:
        raise ValueError(f"episodes={hidden} hides actions by class, but the windows name none: give WindowSet names")
    shown = draw(len(windows.extras.names), hidden, generator)
    texts = texts if texts is None else texts[shown.to(texts.device)]
    place = torch.full((len(windows.extras.names),), -1).index_put_((shown,), torch.arange(len(shown)))
    return [hide(target, place, windows.classes is None) for target in targets], texts


def hide(target: Target, place: Int[Tensor, " k"], agnostic: bool) -> Target:
    """A target without the actions of hidden classes, which are to be ignored instead.

    `place` is that of each class among the shown, -1 for a hidden one. An action with several names is ignored only
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
