"""Proposals as naming gets them: from queries or from groups of snippets, not rejected, re-ranked."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.detector.proposals import Proposals
from tadlib.naming import head_training
from tadlib.naming.grouping import grouped
from tadlib.naming.semantics import score_of
from tadlib.naming.similarity import probability
from tadlib.workbook.params import Params
from tadlib.workbook.steps.data import Data
from tadlib.workbook.steps.heads import bins_beside, lesson_of, said, trained
from tadlib.workbook.steps.namers import not_rejected, segment_namer


def prepared(data: Data, proposals: Mapping[str, Proposals], params: Params) -> Mapping[str, Proposals]:
    """The proposals that are named, and how sure it is that each is one."""
    data = replace(data, params=params)
    return reranked(data, not_rejected(data, with_snippets(data, proposals), params))


def with_snippets(data: Data, proposals: Mapping[str, Proposals]) -> Mapping[str, Proposals]:
    """The proposals of groups of snippets that look like one unseen class, instead of the detector's or beside them.

    Snippets are named as segments of one snippet, so that whatever was trained takes part.
    """
    how, classes, found = data.params.proposed_by, data.competing, {}
    if how == "detector":
        return proposals
    say, videos = segment_namer(data, data.params, classes), {video.id: video for video in data.scored}
    for video_id, own in proposals.items():
        video = videos[video_id]
        edges = torch.from_numpy(data.grid(video).seconds(np.arange(len(data.store.read(video_id)) + 1.0))).float()
        likely = probability(say(video, torch.stack([edges[:-1], edges[1:]], dim=1)), data.params.probability)
        groups = grouped(likely[:, : len(data.classes.unseen)], data.grid(video), video.duration)
        both = Proposals(torch.cat([own.segments, groups.segments]), torch.cat([own.scores, groups.scores]))
        found[video_id] = both if how == "both" else groups
    return found


def reranked(data: Data, proposals: Mapping[str, Proposals]) -> Mapping[str, Proposals]:
    """Proposals scored by the geometric mean of actionness and of how well each is told from its hard negatives."""
    share = data.params.rerank
    if share == 0:
        return proposals
    videos, found = {video.id: video for video in data.scored}, {}
    for video_id, own in proposals.items():
        told = told_apart(data, videos[video_id], own.segments)
        found[video_id] = own._replace(scores=own.scores ** (1 - share) * told.to(own.scores) ** share)
    return found


def told_apart(data: Data, video: Video, segments: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    """The probability that each segment (seconds) belongs to the text of its most likely unseen class, among this text
    in wrong orders and the stretches beside the segment, whichever of these training told it from.
    """
    params, semantics = data.params, trained(data, data.params)
    say = score_of(semantics, params.head_loss, lesson_of(data, params).factor)
    steps = semantics.steps(said(data, data.classes.unseen))
    bins, beside, there = bins_beside(data, video, segments, params.roi_bins)
    right, own = say(bins, steps)[:, : len(data.classes.unseen)].max(dim=1, keepdim=True)
    rivals = [right]
    devices.seed_all(params.seed)  # the wrong orders of one run are those of another
    if params.hard_negatives in ("order", "all"):
        rivals.append(head_training.wrong_orders(say, bins, own, steps, semantics.led))
    if params.hard_negatives in ("region", "all"):
        rivals.append(head_training.wrong_regions(say, beside, there, own, steps))
    return torch.cat(rivals, dim=1).softmax(dim=1)[:, 0]
