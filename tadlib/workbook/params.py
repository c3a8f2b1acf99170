"""The parameters of prepare, train, classify and evaluate: every name, its type, default, limits and meaning.

Names are flat, because papermill merges files and `-p` by a shallow update. A notebook's parameters cell repeats the
names its reader will want to change; every other name may still be passed with `-p` or `-f`. Some defaults, such as
window and queries, depend on the data set (`recipe`); a given value, other than None, overrides them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tadlib.project import resolve
from tadlib.workbook.rules import CONFLICTS, EFFECTS, Facts
from tadlib.workbook.vocabulary import Need, Vocabulary

# defaults that depend on the data set
RECIPES: dict[str, dict[str, Any]] = {
    "demo": {"encoder": "tad-demo", "pretrained": "", "stride": 4, "window": 64, "queries": 24}
}
SEEDS = 2**32 - 1  # limit of the libraries


class NamingParams(Vocabulary):
    """Parameters of naming: how proposals get their class and score."""

    text: Literal["prompt", "name", "templates", "description", "subactions"] = Field(
        "prompt", description="texts of a class that CLIP reads"
    )
    descriptions: str = Field("", description="JSON file with descriptions or steps of classes; empty = built-in")
    lead: Literal["none", "name", "prompt"] = Field("none", description="text of a class before its subactions")
    pooling: Literal[
        *("mean", "max", "centre_bin", "centre_snippet", "self_attention", "multi_rate", "slow_fast", "sparse"),
        *("text_attention", "matching_fixed", "matching_learned", "mask", "ordered"),
    ] = Field("mean", description="pooling of the features under a proposal; ordered: bins aligned with subactions")
    head: Literal["none", "mlp", "conv", "attention", "encoder", "composition", "adapter"] = Field(
        "none", description="network trained on true segments of seen classes, applied before pooling"
    )
    text_head: Literal["none", "mlp", "conv", "attention", "encoder", "composition", "cross"] = Field(
        "none", description="network trained on texts of seen classes; pooled at the name if `lead` gives one"
    )
    context: int = Field(0, ge=0, le=77, description="number of learned context vectors in every text")
    context_at: Literal["before", "around"] = Field("before", description="where in the text")
    background: Literal["none", "soft", "learned"] = Field(
        "none", description="target of background in training: none, all classes equally, or a learned embedding"
    )
    head_residual: bool = Field(True, description="add the output of a head to the features instead of replacing them")
    head_loss: Literal["cross_entropy", "bce", "focal", "contrastive", "grounding"] = Field(
        "cross_entropy", description="loss of heads: on classes, on pairs, or on pairs of bins and words"
    )
    head_on: Literal["segments", "snippets"] = Field("segments", description="what heads classify in training")
    head_epochs: int = Field(20, ge=1, le=100_000, description="training epochs of a head")
    head_lr: float = Field(1.0e-3, gt=0, description="learning rate of a head")
    text_lr: float = Field(1.0e-3, gt=0, description="learning rate of a text head and of learned context")
    hard_negatives: Literal["none", "order", "region", "all"] = Field(
        "none", description="negatives of pairs besides other videos: steps in a wrong order, adjacent regions, both"
    )
    rerank: float = Field(0.0, ge=0, le=1, description="weight of the margin over hard negatives in a proposal's score")
    head_episodes: float = Field(
        0.0, ge=0, lt=1, description="share of the seen classes hidden from a head in every step"
    )
    transfer: Literal["none", "map", "conse"] = Field(
        "none", description="transfer of logits of seen classes to others: none, by text similarity, ConSE"
    )
    proposed_by: Literal["detector", "snippets", "both"] = Field(
        "detector", description="source of proposals: the detector, or groups of snippets of one class"
    )
    similarity_at: Literal["pooled", "bins"] = Field("pooled", description="compare after pooling, or every bin")
    extend: float = Field(1.0, gt=0, description="length of the pooled region, relative to the proposal")
    contrast: float = Field(0.0, ge=0, description="weight of the similarity just outside, which is subtracted")
    similarity: Literal["cosine", "dot"] = Field("cosine", description="with or without normalisation of both vectors")
    roi_bins: int = Field(16, ge=1, le=4_096, description="bins of RoIAlign")
    logit_scale: Literal["exp", "raw", "none"] = Field("exp", description="factor on the cosine: exp(tau), tau or 1")
    temperature: float = Field(1.0, gt=0, description="divisor of the logits")
    probability: Literal["softmax", "sigmoid"] = Field("softmax", description="over all classes, or for each alone")
    candidates: Literal["all", "unseen"] = Field(
        "all", description="classes that compete for a proposal; only unseen ones are ever detected"
    )
    fusion: Literal["after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip"] = Field(
        "after_softmax", description="how actionness and class scores are combined"
    )
    fusion_weight: float = Field(0.5, ge=0, le=1, description="weight of CLIP in a mean with actionness")
    ensemble: Literal["none", "arithmetic", "geometric"] = Field(
        "none", description="mean of frozen CLIP and another classifier: a classifying detector or a trained head"
    )
    ensemble_weight: float = Field(0.5, ge=0, le=1, description="weight of CLIP in that mean")
    reject: Literal["none", "proposal", "video"] = Field("none", description="what may match no class")
    reject_below: float = Field(0.0, description="minimum of the best class, in standard deviations above background")


class Params(NamingParams):
    """Parameters of a run; immutable and complete: every name has a checked value."""

    effects: ClassVar[tuple[Need, ...]] = EFFECTS

    dataset: str = Field("demo", min_length=1, description="demo, thumos14, activitynet13, or a folder")
    split: Literal[75, 50, 0] = Field(75, description="per cent of the classes seen in training; 0 = closed set")
    split_id: int = Field(0, ge=0, le=9, description="which of the ten class splits")
    held_out: int = Field(0, ge=0, le=9_999, description="seen classes tested in place of unseen ones; 0 = none")
    seed: int = Field(0, ge=0, le=SEEDS, description="seed of training and of samples in evaluation, not of the data")
    demo_seed: int = Field(0, ge=0, le=SEEDS, description="seed of the demo's videos")
    world_seed: int = Field(0, ge=0, le=SEEDS, description="seed of simulated features")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device of all tensors")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the networks")
    data_dir: str = Field("data", min_length=1, description="folder of the data sets")
    run_dir: str = Field("", description="folder of this run; empty = a new one under outputs/")

    encoder: str = Field("ViT-B-16", description="open_clip architecture")
    pretrained: str = Field("openai", description="open_clip tag or local checkpoint of the encoder")
    stride: int = Field(8, ge=1, le=100_000, description="frames from one snippet to the next")
    frames_per_snippet: int = Field(1, ge=1, le=1_000, description="frames averaged in a snippet")
    snippets: int = Field(0, ge=0, le=10**6, description="fixed number of snippets per video; 0 = by stride")
    features: str = Field("auto", min_length=1, description="auto (extract), simulate, or a folder of features")
    text_features: str = Field("", description="an .npz file of class name -> embedding; empty = the encoder's")
    missing: Literal["fail", "skip"] = Field("fail", description="what to do with a broken video or feature file")
    integrity: float = Field(0.75, ge=0, le=1, description="minimum share of an action inside a window")

    window: int = Field(128, ge=0, le=1_000_000, description="snippets per window; 0 = the whole video")
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a training window shared with the next")
    test_window: int = Field(
        -1, ge=-1, le=1_000_000, description="snippets per test window; 0 = the whole video, -1 = as in training"
    )
    test_overlap: float = Field(0.25, ge=0, lt=1, description="share of a test window shared with the next")
    rescale: int = Field(0, ge=0, le=1_000_000, description="snippets to which a whole video is resampled; 0 = not")

    ideas: str = Field("", description="Python file with your own methods, with hooks as in tadlib/ideas; empty = none")
    target: Literal["foreground", "prompt", "name", "description", "none"] = Field(
        "foreground", description="target of queries: action or not, a text embedding, or (none) a class index"
    )
    queries: int = Field(40, ge=1, le=10_000, description="learned queries; limits the actions found in one window")
    encoder_layers: int = Field(0, ge=0, le=100, description="transformer encoder layers")
    decoder_layers: int = Field(2, ge=1, le=100, description="transformer decoder layers")
    width: int = Field(128, ge=8, le=16_384, description="channels of the detector")
    heads: int = Field(8, ge=1, le=1_024, description="attention heads")
    conv_layers: int = Field(2, ge=0, le=100, description="convolutions before the encoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")

    # Against overfitting to few windows: they differ in every epoch, some contain no action, and features that are
    # constant over a window (its scene) are perturbed.
    jitter: bool = Field(True, description="draw the starts of training windows anew in every epoch")
    negatives: float = Field(0.3, ge=0, lt=1, description="share of training windows without an action")
    feature_noise: float = Field(0.5, ge=0, description="noise on the features in training, per snippet")
    feature_shift: float = Field(1.0, ge=0, description="noise on the features in training, one draw per window")

    epochs: int = Field(40, ge=1, le=1_000_000, description="passes over the training windows")
    batch_size: int = Field(16, ge=1, le=65_536, description="windows per batch")
    accumulate: int = Field(1, ge=1, le=65_536, description="batches per optimiser step")
    lr: float = Field(1.0e-3, gt=0, description="peak learning rate")
    lr_backbone: float = Field(1.0e-3, gt=0, description="peak learning rate of the convolutions")
    weight_decay: float = Field(1.0e-4, ge=0, description="AdamW's weight decay")
    clip_norm: float = Field(0.1, ge=0, description="largest gradient norm; 0 = no clipping")
    schedule: Literal["cosine", "step"] = Field("cosine", description="decay of the learning rate")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps with a rising learning rate")
    ema: bool = Field(False, description="use an exponential moving average of the weights")
    aux_loss: bool = Field(True, description="losses on every decoder layer instead of the last alone")
    loss_class: float = Field(3.0, ge=0, description="weight of the focal loss")
    loss_l1: float = Field(5.0, ge=0, description="weight of the L1 loss")
    loss_giou: float = Field(2.0, ge=0, description="weight of the overlap loss (gIoU, or as in overlap_loss)")

    keep: Literal["class_agnostic", "class_specific", "class_one", "class_video"] = Field(
        "class_agnostic", description="best pairs, best classes per proposal, one class per video (by all, by CLIP)"
    )
    top_k: int = Field(100, ge=1, le=10**6, description="proposals, then detections, kept per test window of a video")
    nms: Literal["hard", "soft", "none"] = Field("soft", description="kind of non-maximum suppression")
    nms_per: Literal["video", "class"] = Field(
        "video", description="NMS among all proposals of a video, or after naming among those of a class"
    )
    nms_tiou: float = Field(
        0.5, gt=0, le=1, description="tIoU above which hard NMS removes; width of the Gaussian of soft NMS"
    )
    protocol: Literal["strict", "plain", "gap", "t3al", "opentad", "thumos-toolkit"] = Field(
        "strict", description="which videos and actions count"
    )
    evaluate_on: Literal["test", "training"] = Field(
        "test", description="evaluated videos: test videos, or training videos (with the seen classes)"
    )

    # Published variants of the detector or its training, all off by default.
    system: Literal["ours", "published"] = Field(
        "ours", description="network, initialisation, costs and losses: ours, or those of GAP as published"
    )
    salience: Literal["none", "bce", "ce", "mask"] = Field("none", description="loss on snippets: action or not")
    refine: Literal["none", "attention", "mean", "max"] = Field(
        "none", description="how queries are refined with the features under their segments"
    )
    refine_layers: int = Field(1, ge=1, le=100, description="layers of that refinement")
    refine_residual: bool = Field(True, description="residual connection of its self-attention")
    refine_join: Literal["sum", "first_half", "projected", "alone"] = Field(
        "sum", description="how query and refinement are joined: added, concatenated (two ways), or refinement alone"
    )
    iterative: bool = Field(False, description="every decoder layer refines the segments of the previous one")
    centres: Literal["learned", "drawn"] = Field(
        "learned", description="reference centres of queries: learned, or fixed and random"
    )
    positions: Literal["sine", "learned"] = Field("sine", description="position embeddings in a window")
    quality: bool = Field(False, description="predict the tIoU of a segment next to its actionness")
    fuse_text: bool = Field(False, description="cross-attention from snippets to class texts before the encoder")
    segmentation: Literal["none", "memory"] = Field(
        "none", description="classify the encoder's snippets with text too; see head_on for a separate branch"
    )
    segmentation_temperature: float = Field(0.07, gt=0, description="temperature of that classification")
    overlap_loss: Literal["giou", "diou", "iou"] = Field("giou", description="form of the overlap loss")
    loss_salience: float = Field(3.0, ge=0, description="weight of the salience loss")
    loss_quality: float = Field(4.0, ge=0, description="weight of the loss on predicted tIoU")
    loss_segmentation: float = Field(1.0, ge=0, description="weight of the loss on the classes of snippets")
    cost_class: float = Field(2.0, ge=0, description="weight of the focal cost in matching")
    cost_l1: float = Field(5.0, ge=0, description="weight of the L1 cost in matching")
    cost_giou: float = Field(2.0, ge=0, description="weight of the overlap cost in matching")

    ignore_unseen: Literal["nowhere", "negatives", "everywhere"] = Field(
        "negatives", description="where actions of unseen classes are excluded from background"
    )
    episodes: float = Field(0.0, ge=0, lt=1, description="share of the seen classes hidden in every batch")
    validation: float = Field(0.0, ge=0, lt=1, description="share of the training videos held out, seen classes only")
    select: Literal["last", "validation"] = Field("last", description="epoch kept: last, or best on held-out videos")
    curves: bool = Field(False, description="measure seen and unseen classes after every epoch, for display only")
    compile: bool = Field(False, description="compile the network before training")
    deterministic: bool = Field(False, description="deterministic algorithms only, slower on CUDA")
    tensorboard: bool = Field(False, description="also write the history as TensorBoard logs")
    filter_threshold: float = Field(0.0, ge=0, lt=1, description="minimum score of a proposal")
    agreement: float = Field(
        0.0, ge=0, le=1, description="weight of the overlap with CLIP's groups of snippets in a proposal's score"
    )

    @model_validator(mode="after")
    def _check_conflicts(self) -> "Params":
        facts = self.facts()
        for need in CONFLICTS:
            if not need.holds(facts):
                raise ValueError(need.refusal(need.names, self))
        return self

    @classmethod
    def check(cls, given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> "Params":
        """As `Vocabulary.check`; also raises ValueError for an unusable file of `ideas`."""
        params = super().check(given, known)
        if params.ideas:
            from tadlib.ideas import check_own  # imports torch

            check_own(resolve(params.ideas), cls.model_fields)
        return params

    def facts(self) -> Facts:
        """Return the parameters with what follows from them, for conflicts and effects."""
        return Facts(self)

    @property
    def inference_window(self) -> int:
        """Snippets per window at inference; 0 = the whole video."""
        return self.window if self.test_window < 0 else self.test_window

    @classmethod
    def recipe(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return defaults of the data set (`RECIPES`, or the stride in `benchmark.yaml`) and of the demo's encoder."""
        weights = {"pretrained": ""} if given.get("encoder") == "tad-demo" else {}
        name, folder = str(given.get("dataset", cls.model_fields["dataset"].default)), given.get("data_dir", "data")
        if name in RECIPES or given.get("stride") is not None:
            return weights | RECIPES.get(name, {})
        from tadlib.data import datasets  # imports the demo, which a process that only starts a kernel does not need

        stated = datasets.read_conventions(resolve(datasets.folder_of(name, folder))).stride
        return weights | ({"stride": stated} if stated else {})
