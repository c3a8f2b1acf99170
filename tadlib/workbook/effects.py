"""When a parameter has an effect: what it needs of the others.

A value that was given, and that nothing can come of with the others in force, is refused with the reason. A condition
is kept on the side of what does have an effect: weights of 0 and 1 are the ends of a sweep, and what depends on the
data is not known here.
"""

from typing import Any

from tadlib.workbook.vocabulary import Need

TRAINED = "head, text_head, context, background=learned or pooling=matching_learned"
# fewest bins of which a pooling makes anything but the mean
BINS = {"sparse": 8, "slow_fast": 8, "mean": 1, "centre_snippet": 1, "matching_learned": 1, "ordered": 1}
DESCRIBED = ("description", "subactions")  # texts that a file of descriptions holds


def _clip_names(p: Any) -> bool:
    """Whether CLIP has a say in what proposals are called."""
    return p.target == "foreground" or (p.ensemble != "none" and p.ensemble_weight > 0)


def _segments(p: Any) -> bool:
    """Whether CLIP is asked about segments."""
    return _clip_names(p) or p.reject == "proposal"


def _videos(p: Any) -> bool:
    """Whether CLIP is asked about whole videos."""
    return p.reject == "video" or p.keep == "class_video"


def _told_apart(p: Any) -> bool:
    return p.rerank > 0 and p.fusion != "clip"


def _texts(p: Any) -> bool:
    """Whether texts of classes, as they are learned, name anything."""
    return _segments(p) or _videos(p) or _told_apart(p)


def _wording(p: Any) -> bool:
    """Whether anything reads `text`."""
    return _texts(p) or p.fuse_text or p.segmentation != "none" or p.agreement > 0


def _texts_learn(p: Any) -> bool:
    return p.text_head != "none" or p.context > 0


def _segments_learn(p: Any) -> bool:
    return p.head != "none" or p.background == "learned" or p.pooling == "matching_learned"


def _learned(p: Any) -> bool:
    """Whether anything is trained on named segments or snippets."""
    return _texts_learn(p) or _segments_learn(p)


def _asked(p: Any) -> bool:
    """Whether what is trained to name is asked for anything."""
    return _segments(p) or _told_apart(p) or (_videos(p) and _texts_learn(p))


def _scaled(p: Any) -> bool:
    """Whether a factor on all logits changes more than how sure CLIP is."""
    mixed = p.ensemble != "none" or p.transfer != "none" or p.proposed_by != "detector"
    return mixed or p.fusion != "detector" or p.pooling.startswith("matching") or p.pooling == "text_attention"


def _counts_texts(p: Any) -> bool:
    """Whether it matters how many texts a class has, even if one vector stands for all."""
    steps = p.pooling == "ordered" or p.text_head != "none" or p.head_loss == "grounding"
    return steps or p.fuse_text or p.segmentation != "none" or p.target == "description"


ASKED = "is for CLIP to say: it needs target=foreground, ensemble, reject, keep=class_video or rerank, got {p.target}"
READ = "is how CLIP reads a segment: it needs target=foreground, ensemble or reject=proposal, got {p.target}"

EFFECTS = (
    # data
    Need("split_id candidates", "is about unseen classes: it needs split=75 or 50, got {p.split}", lambda p: p.split),
    Need(  # nowhere forgets moments called ambiguous too
        "ignore_unseen",
        "is about unseen classes: it needs split=75 or 50, got {p.split}",
        lambda p: p.split or p.ignore_unseen == "nowhere",
    ),
    Need(
        "world_seed",
        "simulates features: it needs features=simulate, got {p.features}",
        lambda p: p.features == "simulate",
    ),
    Need(
        "encoder pretrained text_features frames_per_snippet missing",
        "is about features and texts of an encoder: it needs features=auto or a folder, got simulate",
        lambda p: p.features != "simulate",
    ),
    Need(
        "stride", "is replaced by a number of snippets: it needs snippets=0, got {p.snippets}", lambda p: not p.snippets
    ),
    # windows
    Need("overlap jitter negatives", "is about parts of videos: it needs window > 0, got 0", lambda p: p.window),
    Need(
        "test_overlap",
        "is about parts of videos: it needs windows in the test, got window={p.window} and test_window={p.test_window}",
        lambda p: p.inference_window,
    ),
    # the detector and its training
    Need(
        "refine_layers refine_residual refine_join",
        "is about a second look of queries: it needs refine=attention, mean or max, got none",
        lambda p: p.refine != "none",
    ),
    Need("lr_backbone", "trains convolutions: it needs conv_layers > 0, got 0", lambda p: p.conv_layers),
    Need(
        "aux_loss",
        "is about layers before the last: it needs decoder_layers > 1 or refine, got 1 and none",
        lambda p: p.decoder_layers > 1 or p.refine != "none",
    ),
    Need("overlap_loss", "is the form of a loss: it needs loss_giou > 0, got 0", lambda p: p.loss_giou),
    Need("loss_salience", "weighs a loss: it needs salience=bce, ce or mask, got none", lambda p: p.salience != "none"),
    Need("salience", "is a loss: it needs loss_salience > 0, got 0", lambda p: p.loss_salience),
    Need("loss_quality", "weighs a loss: it needs quality=true, got false", lambda p: p.quality),
    Need(
        "loss_segmentation segmentation_temperature",
        "is about classifying snippets: it needs segmentation=memory, got none",
        lambda p: p.segmentation != "none",
    ),
    Need(
        "segmentation segmentation_temperature",
        "is a loss or part of it: it needs loss_segmentation > 0, got 0",
        lambda p: p.loss_segmentation,
    ),
    Need("select", "chooses among epochs: it needs epochs > 1, got 1", lambda p: p.epochs > 1),
    # proposals
    Need("nms_tiou", "is where proposals overlap: it needs nms=hard or soft, got none", lambda p: p.nms != "none"),
    Need(
        "nms_per",
        "says what is thinned: it needs nms=hard or soft, or top_k < queries, got none, {p.top_k} and {p.queries}",
        lambda p: p.nms != "none" or p.top_k < p.queries,
    ),
    # whether CLIP is asked
    Need(
        "pooling",
        READ,
        lambda p: _segments(p) or (p.pooling.startswith("matching") and _texts_learn(p) and _texts(p)),
    ),
    Need("similarity_at extend contrast", READ, _segments),
    Need("transfer", ASKED, lambda p: _segments(p) or _videos(p)),
    Need("text_head context", ASKED, _texts),
    Need("head background", ASKED, _asked),
    Need(
        "text lead",
        "is what CLIP reads: it needs target=foreground, ensemble, reject, keep=class_video, rerank, agreement, "
        "fuse_text or segmentation, got {p.target} and none of these",
        _wording,
    ),
    Need(
        "descriptions",
        "has texts to read: it needs target=description, or text=description or subactions where CLIP is asked, got "
        "target={p.target} and text={p.text}",
        lambda p: p.target == "description" or (p.text in DESCRIBED and _wording(p)),
    ),
    Need(
        "text lead descriptions",
        "says what is embedded: it needs an encoder, got the vectors of text_features={p.text_features}",
        lambda p: not p.text_features or _counts_texts(p),
    ),
    Need(
        "ensemble",
        "is a mean of two opinions: it needs a target with classes, or something trained, as head, text_head or "
        "context, got target=foreground and none of them",
        lambda p: p.target != "foreground" or _learned(p) or p.pooling == "mask" or p.transfer != "none",
    ),
    # what CLIP reads of a segment
    Need(
        "pooling",
        "chooses among bins: it needs roi_bins > 1, of sparse and slow_fast >= 8, got {p.roi_bins}",
        lambda p: p.roi_bins >= BINS.get(p.pooling, 2),
    ),
    Need(
        "roi_bins",
        "is how finely a segment is read: it needs target=foreground, ensemble or reject=proposal and another pooling "
        "than centre_snippet, got {p.target} and {p.pooling}",
        lambda p: (
            (_segments(p) and (p.pooling != "centre_snippet" or p.contrast > 0))
            or _told_apart(p)
            or (_learned(p) and _asked(p) and p.head_on == "segments")
        ),
    ),
    Need(
        "similarity_at",
        "compares before pooling instead of after it: it needs several bins, and cosines or another pooling, got "
        "roi_bins={p.roi_bins}, similarity={p.similarity} and pooling={p.pooling}",
        lambda p: (
            p.roi_bins > 1
            and p.pooling not in ("centre_bin", "centre_snippet", "text_attention", "ordered")
            and not p.pooling.startswith("matching")
            and (p.similarity == "cosine" or p.pooling in ("max", "multi_rate") or p.transfer == "conse")
        ),
    ),
    Need(
        "extend",
        "is read away from the middle: it needs roi_bins > 1 and another pooling than centre_snippet, or contrast, got "
        "{p.roi_bins} and {p.pooling}",
        lambda p: p.contrast > 0 or (p.roi_bins > 1 and p.pooling != "centre_snippet"),
    ),
    # how that is trained which names
    Need("head_loss head_on head_episodes background", f"is about training: it needs {TRAINED}, got none", _learned),
    Need(
        "head_epochs",
        f"is about training: it needs {TRAINED} or mask, got none of them",
        lambda p: _learned(p) or p.pooling == "mask",
    ),
    Need(
        "head_lr",
        "is about training: it needs head, background=learned or pooling=matching_learned or mask, got none of them",
        lambda p: _segments_learn(p) or p.pooling == "mask",
    ),
    Need("text_lr", "trains what reads texts: it needs text_head or context, got none of them", _texts_learn),
    Need(
        "head_residual",
        "is of heads that add: it needs another head than adapter, or text_head, got {p.head} and none",
        lambda p: p.head not in ("none", "adapter") or p.text_head != "none",
    ),
    Need("context_at", "is between learned vectors: it needs context > 1, got {p.context}", lambda p: p.context > 1),
    Need("head_loss head_on head_episodes head_epochs head_lr text_lr head_residual hard_negatives", ASKED, _asked),
    # scores
    Need(
        "fusion_weight",
        "weighs a mean: it needs fusion=arithmetic or geometric, got {p.fusion}",
        lambda p: p.fusion in ("arithmetic", "geometric"),
    ),
    Need("ensemble_weight", "weighs a mean: it needs ensemble, got none", lambda p: p.ensemble != "none"),
    Need("rerank", "changes the detector's scores: it needs another fusion than clip", lambda p: p.fusion != "clip"),
    Need(
        "probability",
        "is how sure CLIP is: it needs another fusion than detector, or proposed_by=snippets or both",
        lambda p: p.fusion != "detector" or p.proposed_by != "detector",
    ),
    Need("temperature", "is how sure CLIP is: it needs another fusion than detector", _scaled),
    Need(
        "logit_scale",
        "is how sure CLIP is: it needs another fusion than detector",
        lambda p: _scaled(p) or _learned(p) or p.similarity == "dot",
    ),
    Need("reject_below", "is a bound: it needs reject=proposal or video, got none", lambda p: p.reject != "none"),
)
