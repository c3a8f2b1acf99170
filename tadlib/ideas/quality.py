"""Does a predicted tIoU next to actionness improve the ranking of proposals? (entry 16; TadTR, Liu et al. 2022)"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tadlib.data.batches import Batch
from tadlib.detector.additions import Addition, Outputs, Padding, Segments, Snippets
from tadlib.detector.layers import mlp
from tadlib.detector.targets import best_tiou, ignored, pad_segments
from tadlib.segments import roi_align_windows, to_segments

CHANNELS, BINS = 32, 16  # channels per snippet, and samples per segment
CONTEXT = 1.5  # width of the region the head reads, relative to the segment


class Quality(Addition):
    """Head that predicts the tIoU of each query's segment with its nearest action (a logit).

    It reads the encoder memory under 1.5 times the segment; the segment gets no gradient from it. Proposals are ranked
    by the geometric mean of actionness and predicted tIoU.
    """

    name = "quality"
    loss_quality = 4.0

    def build(self, channels: int, width: int, heads: int) -> None:
        self.reduce = nn.Linear(width, CHANNELS)  # before RoIAlign, with which it commutes: far fewer rows
        self.judge = mlp(CHANNELS * BINS, width, 1)

    def output(self, memory: Snippets, segments_cw: Segments, padding: Padding) -> Float[Tensor, "b q"]:
        lengths = (~padding).sum(1)
        wider = segments_cw.detach().float() * torch.tensor([1.0, CONTEXT], device=segments_cw.device)
        segments_ix = to_segments(wider) * lengths[:, None, None]
        return self.judge(roi_align_windows(self.reduce(memory), segments_ix, lengths, BINS).flatten(2))[..., 0]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, tuple[Tensor, float, float]]:
        """Mean absolute error of the predicted tIoU with the nearest action; 0 where an ignored action is nearer."""
        segments_cw, device = outputs.segments_cw, outputs.segments_cw.device
        wanted = best_tiou(segments_cw, pad_segments([target.segments_cw for target in batch.targets], device))
        error = (outputs.added[self.name].float().sigmoid() - wanted).abs()
        error = error.masked_fill(best_tiou(segments_cw, ignored(batch.targets, device)) > wanted, 0.0)
        return {"loss_quality": (error.mean(), self.loss_quality, batch.share(lambda each: len(each.targets)))}

    def score(self, scores: Float[Tensor, "b q"], outputs: Outputs) -> Float[Tensor, "b q"]:
        return (scores * outputs.added[self.name].float().sigmoid()).sqrt()


def additions(quality: bool, loss_quality: float) -> list[Addition]:
    return [Quality(loss_quality=loss_quality)] if quality else []
