"""Does classification improve with extended segments, or with outer-inner contrast? (entry 73)

Outer-inner contrast is AutoLoc's (Shou et al. 2018).
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tadlib.naming.classifier import Classifier
from tadlib.segments import roi_mean, to_cw, to_segments

MARGIN = 0.25  # width of the outer region on each side, as a share of the segment's length


def classifier(found: Classifier, extend: float, contrast: float) -> Classifier | None:
    """Return the classifier of segments extended by `extend`, minus `contrast` times the logits of the outer region."""
    if extend != 1:
        wider = torch.tensor([1.0, extend])
        found = replace(found, adjust_segments=lambda segments_ix: to_segments(to_cw(segments_ix) * wider))

    def adjust_logits(
        logits: Float[Tensor, "n k"], features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"]
    ) -> Float[Tensor, "n k"]:
        outside, in_video = outer_region(features, found.adjust_segments(segments_ix), found.roi_bins)
        outside = outside if found.head is None else found.head(outside[:, None])[:, 0]
        return logits - contrast * found.compare(outside) * in_video[:, None]

    return replace(found, adjust_logits=adjust_logits) if contrast else found


def outer_region(
    features: Float[Tensor, "t c"], segments_ix: Float[Tensor, "n 2"], bins: int
) -> tuple[Float[Tensor, "n c"], Float[Tensor, " n"]]:
    """Mean feature of the outer regions on both sides of each segment, and whether they are in the video.

    The sides are weighted by their lengths inside the video.
    """
    start, end = segments_ix.clamp(0, len(features)).unbind(dim=1)
    margin = MARGIN * (end - start)
    left = torch.stack([(start - margin).clamp(min=0), start], dim=1)
    right = torch.stack([end, (end + margin).clamp(max=len(features))], dim=1)
    lengths = torch.stack([left[:, 1] - left[:, 0], right[:, 1] - right[:, 0]])
    share = lengths / lengths.sum(dim=0).clamp(min=torch.finfo(lengths.dtype).tiny)
    before, behind = (roi_mean(features, side, bins) for side in (left, right))
    return share[0, :, None] * before + share[1, :, None] * behind, (lengths.sum(dim=0) > 0).to(features.dtype)
