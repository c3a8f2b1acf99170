"""What is looked at after every epoch of training: seen classes held out, unseen ones, and one window's matches.

Nothing here changes the training, and nothing that is kept is ever chosen by unseen classes.
"""

import random
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.data.annotations import Video
from tadlib.data.batches import Cut, WindowSet, collate
from tadlib.detector import proposals as proposing
from tadlib.detector.losses import class_logits
from tadlib.detector.matching import match
from tadlib.detector.network import ConditionalDetr
from tadlib.evaluation import metrics
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data

SEEN, UNSEEN, MATCHED = "mAP of seen classes", "mAP of unseen classes", "query of action "
Watch = Callable[[ConditionalDetr], Mapping[str, float]]


def divided(videos: Sequence[Video], params: Params) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Training videos to learn from, and those held out, drawn by the seed: at least one if a share is asked for."""
    if not params.validation:
        return tuple(videos), ()
    if len(videos) < 2:
        raise ValueError(f"validation={params.validation} holds out training videos: it needs two, got {len(videos)}")
    number = min(max(1, round(params.validation * len(videos))), len(videos) - 1)
    held = set(random.Random(params.seed).sample(range(len(videos)), number))
    return tuple(v for n, v in enumerate(videos) if n not in held), tuple(v for n, v in enumerate(videos) if n in held)


def watching(
    data: Data, windows: WindowSet, params: Params, texts: Float[Tensor, "k e"] | None, device: torch.device
) -> Watch:
    """What looks at the model after an epoch: class-agnostic mAP as asked for, and who matches the example window."""
    cut = Cut(params.window, params.test_overlap, params.rescale)
    sides = {SEEN: divided(data.training_videos, params)[1], UNSEEN: data.scored if params.curves else ()}
    sets = {
        name: (videos, WindowSet(videos, data.store, params.stride, cut)) for name, videos in sides.items() if videos
    }

    def watch(model: ConditionalDetr) -> dict[str, float]:
        found = {
            name: agnostic(model, videos, of_side, data.benchmark.tious, params, texts)
            for name, (videos, of_side) in sets.items()
        }
        return found | matched_queries(model, windows, texts, device)

    return watch


def agnostic(
    model: ConditionalDetr,
    videos: Sequence[Video],
    windows: WindowSet,
    tious: Sequence[float],
    params: Params,
    texts: Float[Tensor, "k e"] | None,
) -> float:
    """Class-agnostic mAP of a model's proposals in some videos."""
    answers = proposing.answer(model, windows, device=next(model.parameters()).device, texts=texts)
    found = proposing.merge(answers, windows, how=params.nms, threshold=params.nms_tiou, top_k=params.top_k)
    return metrics.mean_average_precision(videos, found, None, tious)["mAP"]


@torch.inference_mode()
def matched_queries(
    model: ConditionalDetr, windows: WindowSet, texts: Float[Tensor, "k e"] | None, device: torch.device
) -> dict[str, float]:
    """The query that is matched to each action of the training window in the middle."""
    batch = collate([windows[len(windows) // 2]])
    outputs = model.eval()(batch.features.to(device), batch.padding.to(device), texts)
    ((query_ix, target_ix),) = match(outputs.segments_cw, class_logits(outputs, texts), batch.targets)
    pairs = sorted(zip(target_ix.tolist(), query_ix.tolist(), strict=True))
    return {f"{MATCHED}{action + 1}": float(query) for action, query in pairs}
