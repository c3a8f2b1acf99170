"""Conflicts between parameters, and the conditions under which a parameter has an effect.

A conflict is always an error; a value without effect is an error if it was given. Doubtful cases count as having an
effect: weights of 0 and 1 are the ends of a sweep, and effects that depend on the data are unknown here.
"""

from collections.abc import Callable
from typing import Any

from tadlib.workbook.vocabulary import Need

PAIRS = ("contrastive", "grounding")  # losses on pairs of segments and texts
# minimum number of bins with which a pooling differs from the mean
BINS = {"sparse": 8, "slow_fast": 8, "mean": 1, "centre_snippet": 1, "matching_learned": 1, "ordered": 1}


class Facts:
    """The parameters by their names, and what follows from them."""

    def __init__(self, p: Any) -> None:
        self.__dict__ |= vars(p)
        self.inference_window = p.inference_window
        self.in_steps = p.text == "subactions"
        mixed = p.ensemble != "none" and p.ensemble_weight > 0
        self.clip_names_segments = p.target == "foreground" or mixed or p.reject == "proposal"
        self.clip_names_videos = p.reject == "video" or p.keep == "class_video"
        self.reranks = p.rerank > 0 and p.fusion != "clip"
        self.uses_class_texts = self.clip_names_segments or self.clip_names_videos or self.reranks
        detector_reads = p.fuse_text or p.segmentation != "none"
        self.reads_text = self.uses_class_texts or detector_reads or p.agreement > 0
        self.trains_texts = p.text_head != "none" or p.context > 0
        self.trains_segments = p.head != "none" or p.background == "learned" or p.pooling == "matching_learned"
        self.trains_naming = self.trains_texts or self.trains_segments
        on_segments = self.clip_names_segments or self.reranks
        self.uses_trained_naming = on_segments or (self.clip_names_videos and self.trains_texts)
        # whether a factor on all logits changes the results, not only the confidence of CLIP
        several = p.ensemble != "none" or p.transfer != "none" or p.proposed_by != "detector" or p.fusion != "detector"
        self.uses_confidence = several or p.pooling.startswith("matching") or p.pooling == "text_attention"
        # whether the number of texts of a class matters, even if they share one embedding
        steps = p.pooling == "ordered" or p.text_head != "none" or p.head_loss == "grounding"
        self.counts_texts = steps or detector_reads or p.target == "description"
        single = p.pooling in ("centre_bin", "centre_snippet", "text_attention", "ordered")
        linear = p.similarity == "dot" and p.pooling not in ("max", "multi_rate") and p.transfer != "conse"
        self.compares_bins = p.roi_bins > 1 and not (single or linear or p.pooling.startswith("matching"))


CONFLICTS = (
    Need(
        "pretrained",
        "leaves encoder without weights: pass a tag or a file of weights, or pretrained=random for an untrained one",
        lambda p: p.pretrained or p.encoder == "tad-demo",
    ),
    Need("width", "must be a multiple of twice heads", lambda p: p.width % (2 * p.heads) == 0),
    Need(
        "rescale",
        "resamples whole videos: it needs window=0 and test_window=-1 or 0",
        lambda p: not p.rescale or not (p.window or p.inference_window),
    ),
    Need(
        "refine_join",
        "leaves no residual of the self-attention: it needs refine_residual=false",
        lambda p: p.refine_join == "sum" or not p.refine_residual,
    ),
    Need(
        "target",
        "trains without class texts: it needs split=0, fuse_text=false and segmentation=none",
        lambda p: p.target != "none" or not (p.split or p.fuse_text or p.segmentation != "none"),
    ),
    Need("held_out", "needs another protocol than t3al", lambda p: not p.held_out or p.protocol != "t3al"),
    Need("select", "needs videos held out: validation > 0", lambda p: p.select == "last" or p.validation),
    Need(
        "proposed_by",
        "gives proposals that CLIP alone can classify: it needs target=foreground",
        lambda p: p.proposed_by == "detector" or p.target == "foreground",
    ),
    Need(
        "pooling",
        "needs text=subactions, lead=none and another background than learned",
        lambda p: p.pooling != "ordered" or ((p.text, p.lead) == ("subactions", "none") and p.background != "learned"),
    ),
    Need(
        "pooling",
        "compares cosines: it needs similarity=cosine",
        lambda p: not p.pooling.startswith("matching") or p.similarity == "cosine",
    ),
    Need("lead", "is the text before subactions: it needs text=subactions", lambda p: p.lead == "none" or p.in_steps),
    Need(
        "similarity",
        "needs logit_scale=none, as a scale is a factor on cosines",
        lambda p: p.similarity == "cosine" or p.logit_scale == "none",
    ),
    Need(
        "transfer",
        "reads one embedding for each class: it needs another pooling than ordered and another background than learned",
        lambda p: p.transfer == "none" or (p.pooling != "ordered" and p.background != "learned"),
    ),
    Need(
        "text_head",
        "uses class names as its queries: it needs lead=name or prompt",
        lambda p: p.text_head != "cross" or p.lead != "none",
    ),
    Need(
        "head_loss",
        "needs something to train: head, text_head or context",
        lambda p: p.head_loss not in PAIRS or p.head != "none" or p.trains_texts,
    ),
    Need(
        "hard_negatives",
        "needs head_loss=contrastive or grounding",
        lambda p: p.hard_negatives == "none" or p.head_loss in PAIRS,
    ),
    Need(
        "hard_negatives",
        "takes regions adjacent to segments: it needs head_on=segments",
        lambda p: p.hard_negatives not in ("region", "all") or p.head_on == "segments",
    ),
    Need(
        "hard_negatives",
        "permutes the steps of a class: it needs text=subactions and text_head=composition or conv",
        lambda p: p.hard_negatives not in ("order", "all") or (p.in_steps and p.text_head in ("conv", "composition")),
    ),
    Need(
        "rerank",
        "needs something to compare proposals with: hard_negatives=order, region or all",
        lambda p: not p.rerank or p.hard_negatives != "none",
    ),
)
CLIP = "target=foreground, ensemble or reject=proposal"
ASKED = "target=foreground, ensemble, reject, keep=class_video or rerank"
TRAINED = "head, text_head, context, background=learned or pooling=matching_learned"


def _effect(names: str, needs: str, holds: Callable[[Any], object]) -> Need:
    return Need(names, f"has no effect: it needs {needs}", holds)


EFFECTS = (
    # data and windows
    _effect("split_id candidates held_out", "split=75 or 50", lambda p: p.split),
    # nowhere also ignores ambiguous regions
    _effect("ignore_unseen", "split=75 or 50", lambda p: p.split or p.ignore_unseen == "nowhere"),
    _effect("demo_seed", "dataset=demo", lambda p: p.dataset == "demo"),
    _effect("world_seed", "features=simulate", lambda p: p.features == "simulate"),
    _effect(
        "encoder pretrained text_features frames_per_snippet missing",
        "features=auto or a folder",
        lambda p: p.features != "simulate",
    ),
    _effect("stride", "snippets=0", lambda p: not p.snippets),
    _effect("overlap jitter negatives", "window > 0", lambda p: p.window),
    _effect("test_overlap", "windows in the test, by window or test_window > 0", lambda p: p.inference_window),
    # the detector and its training
    _effect("refine_layers refine_residual refine_join", "refine=attention, mean or max", lambda p: p.refine != "none"),
    _effect("lr_backbone", "conv_layers > 0", lambda p: p.conv_layers),
    _effect("aux_loss", "decoder_layers > 1 or refine", lambda p: p.decoder_layers > 1 or p.refine != "none"),
    _effect("overlap_loss", "loss_giou > 0", lambda p: p.loss_giou),
    _effect("loss_salience", "salience=bce, ce or mask", lambda p: p.salience != "none"),
    _effect("salience", "loss_salience > 0", lambda p: p.loss_salience),
    _effect("loss_quality", "quality=true", lambda p: p.quality),
    _effect("loss_segmentation segmentation_temperature", "segmentation=memory", lambda p: p.segmentation != "none"),
    _effect("segmentation segmentation_temperature", "loss_segmentation > 0", lambda p: p.loss_segmentation),
    _effect("select", "epochs > 1", lambda p: p.epochs > 1),
    # proposals
    _effect("nms_tiou", "nms=hard or soft", lambda p: p.nms != "none"),
    _effect("nms_per", "nms=hard or soft, or top_k < queries", lambda p: p.nms != "none" or p.top_k < p.queries),
    # use of CLIP
    _effect(
        "pooling",
        CLIP,
        lambda p: p.clip_names_segments or (p.pooling.startswith("matching") and p.trains_texts and p.uses_class_texts),
    ),
    _effect("similarity_at extend contrast", CLIP, lambda p: p.clip_names_segments),
    _effect("transfer", ASKED, lambda p: p.clip_names_segments or p.clip_names_videos),
    _effect("text_head context", ASKED, lambda p: p.uses_class_texts),
    _effect("head background", ASKED, lambda p: p.uses_trained_naming),
    _effect("text lead", f"{ASKED}, or agreement, fuse_text or segmentation", lambda p: p.reads_text),
    _effect(
        "descriptions",
        "target=description, or text=description or subactions where CLIP reads class texts",
        lambda p: p.target == "description" or (p.text in ("description", "subactions") and p.reads_text),
    ),
    _effect(
        "text lead descriptions",
        "an encoder instead of the vectors of text_features",
        lambda p: not p.text_features or p.counts_texts,
    ),
    _effect(
        "ensemble",
        f"a second classifier: another target than foreground, transfer, {TRAINED} or mask",
        lambda p: p.target != "foreground" or p.trains_naming or p.pooling == "mask" or p.transfer != "none",
    ),
    # pooling of a segment
    _effect("pooling", "roi_bins > 1, of sparse and slow_fast >= 8", lambda p: p.roi_bins >= BINS.get(p.pooling, 2)),
    _effect(
        "roi_bins",
        f"{CLIP}, and another pooling than centre_snippet",
        lambda p: (
            (p.clip_names_segments and (p.pooling != "centre_snippet" or p.contrast > 0))
            or p.reranks
            or (p.trains_naming and p.uses_trained_naming and p.head_on == "segments")
        ),
    ),
    _effect(
        "similarity_at",
        "roi_bins > 1, similarity=cosine or pooling=max, and a pooling of bins",
        lambda p: p.compares_bins,
    ),
    _effect(
        "extend",
        "roi_bins > 1 and another pooling than centre_snippet, or contrast",
        lambda p: p.contrast > 0 or (p.roi_bins > 1 and p.pooling != "centre_snippet"),
    ),
    # training of naming
    _effect("head_loss head_on head_episodes background", TRAINED, lambda p: p.trains_naming),
    _effect("head_epochs", f"{TRAINED} or mask", lambda p: p.trains_naming or p.pooling == "mask"),
    _effect(
        "head_lr",
        "head, background=learned or pooling=matching_learned or mask",
        lambda p: p.trains_segments or p.pooling == "mask",
    ),
    _effect("text_lr", "text_head or context", lambda p: p.trains_texts),
    _effect(
        "head_residual",
        "another head than adapter, or text_head",
        lambda p: p.head not in ("none", "adapter") or p.text_head != "none",
    ),
    _effect("context_at", "context > 1", lambda p: p.context > 1),
    _effect(
        "head_loss head_on head_episodes head_epochs head_lr text_lr head_residual hard_negatives",
        ASKED,
        lambda p: p.uses_trained_naming,
    ),
    # scores
    _effect("fusion_weight", "fusion=arithmetic or geometric", lambda p: p.fusion in ("arithmetic", "geometric")),
    _effect("ensemble_weight", "ensemble=arithmetic or geometric", lambda p: p.ensemble != "none"),
    _effect("keep", "another fusion than detector", lambda p: (p.keep, p.fusion) != ("class_specific", "detector")),
    _effect("rerank", "another fusion than clip", lambda p: p.fusion != "clip"),
    _effect(
        "probability",
        "another fusion than detector, or proposed_by=snippets or both",
        lambda p: p.fusion != "detector" or p.proposed_by != "detector",
    ),
    _effect("temperature", "another fusion than detector", lambda p: p.uses_confidence),
    _effect(
        "logit_scale",
        "another fusion than detector",
        lambda p: p.uses_confidence or p.trains_naming or p.similarity == "dot",
    ),
    _effect("reject_below", "reject=proposal or video", lambda p: p.reject != "none"),
)
