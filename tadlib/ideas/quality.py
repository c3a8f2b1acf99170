"""Does an expected tIoU beside the actionness rank proposals better? (entry 16; TadTR, Liu et al. 2022)"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tadlib.data.batches import Batch
from tadlib.detector.additions import Addition, Outputs
from tadlib.detector.layers import mlp
from tadlib.detector.targets import best_tiou, ignored, pad_segments
from tadlib.segments import roi_align_windows, to_segments

CHANNELS, BINS = 32, 16  # what is kept of a snippet, and samples under a segment
CONTEXT = 1.5  # how much wider than its segment the head looks


class Quality(Addition):
    """One logit a query: the tIoU its segment is expected to have with an action.

    It reads the memory under the segment and as much again beside it; the segment itself is not moved by it. Proposals
    are ranked by the geometric mean of actionness and expected tIoU.
    """

    name = "quality"

    def __init__(self, *, loss_quality: float = 4.0) -> None:
        super().__init__(loss_quality=loss_quality)
        self.weight = loss_quality

    def build(self, channels: int, width: int, heads: int) -> None:
        self.reduce = nn.Linear(width, CHANNELS)  # before RoIAlign, with which it commutes: far fewer rows
        self.judge = mlp(CHANNELS * BINS, width, 1)

    def output(
        self, memory: Float[Tensor, "b t d"], segments_cw: Float[Tensor, "b q 2"], padding: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b q"]:
        lengths = (~padding).sum(1)
        wider = segments_cw.detach().float() * torch.tensor([1.0, CONTEXT], device=segments_cw.device)
        segments_ix = to_segments(wider) * lengths[:, None, None]
        samples = roi_align_windows(self.reduce(memory), segments_ix, lengths, BINS)
        return self.judge(samples.flatten(2))[..., 0]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, tuple[Tensor, float, float]]:
        """Mean difference between the expected and the true tIoU of each segment with its nearest action.

        Where the nearest is to be ignored, there is none: nobody knows what it is worth.
        """
        segments_cw, targets = outputs.segments_cw, batch.targets
        wanted = best_tiou(segments_cw, pad_segments([target.segments_cw for target in targets], segments_cw.device))
        missed = (outputs.added[self.name].float().sigmoid() - wanted).abs()
        if any(target.ignored_cw is not None for target in targets):
            missed = missed.masked_fill(best_tiou(segments_cw, ignored(targets, segments_cw.device)) > wanted, 0.0)
        return {"loss_quality": (missed.mean(), self.weight, batch.share(lambda each: len(each.targets)))}

    def score(self, scores: Float[Tensor, "b q"], outputs: Outputs) -> Float[Tensor, "b q"]:
        return (scores * outputs.added[self.name].float().sigmoid()).sqrt()


def additions(quality: bool, loss_quality: float) -> list[Addition]:
    """The head that parameters ask for."""
    return [Quality(loss_quality=loss_quality)] if quality else []
