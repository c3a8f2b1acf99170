"""The parameters of prepare, train, classify and evaluate: every name, its type, default, limits and meaning.

Names are flat, because papermill layers files and `-p` by a shallow update. A notebook's parameters cell repeats the
names its reader will want to change; every other name may still be passed with `-p` or `-f`. How wide and
how long to train are settings of each data set's own; a value that is given, other than None, beats them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tadlib.project import resolve
from tadlib.workbook.rules import CONFLICTS, EFFECTS
from tadlib.workbook.vocabulary import Need, Vocabulary

# What depends on the data set. The embedded demo trains in two minutes on two cores: a narrow network on the small
# CLIP's 128 channels.
RECIPES: dict[str, dict[str, Any]] = {
    "demo": {"encoder": "tad-demo", "pretrained": "", "stride": 4, "window": 64, "queries": 24, "width": 128}
    | {"epochs": 60, "lr": 1.0e-3, "lr_backbone": 1.0e-3}
}
SEEDS = 2**32 - 1  # what every library takes


class NamingParams(Vocabulary):
    """How a proposal gets its name and its score."""

    text: Literal["prompt", "name", "templates", "description", "subactions"] = Field(
        "prompt", description="what CLIP reads for a class"
    )
    descriptions: str = Field("", description="a JSON file of descriptions or steps of classes; empty = ours")
    lead: Literal["none", "name", "prompt"] = Field("none", description="text of a class before its subactions")
    pooling: Literal[
        *("mean", "max", "centre_bin", "centre_snippet", "self_attention", "multi_rate", "slow_fast", "sparse"),
        *("text_attention", "matching_fixed", "matching_learned", "mask", "ordered"),
    ] = Field("mean", description="how features under a proposal become one; ordered: bins against subactions")
    head: Literal["none", "mlp", "conv", "attention", "encoder", "composition", "adapter"] = Field(
        "none", description="what is trained on true segments of seen classes, before pooling"
    )
    text_head: Literal["none", "mlp", "conv", "attention", "encoder", "composition", "cross"] = Field(
        "none", description="what is trained on the texts of seen classes; the name is read out where one leads"
    )
    context: int = Field(0, ge=0, le=77, description="vectors learned beside the words of every text")
    context_at: Literal["before", "around"] = Field("before", description="where these vectors stand")
    background: Literal["none", "soft", "learned"] = Field(
        "none", description="what background teaches in training: nothing, every class alike, an embedding of its own"
    )
    head_residual: bool = Field(True, description="a head adds to the features instead of replacing them")
    head_loss: Literal["cross_entropy", "bce", "focal", "contrastive", "grounding"] = Field(
        "cross_entropy", description="loss of what is trained: on classes, on pairs, or on pairs of bins and words"
    )
    head_on: Literal["segments", "snippets"] = Field("segments", description="what is classified in training")
    head_epochs: int = Field(20, ge=1, le=100_000, description="passes of a head over the segments")
    head_lr: float = Field(1.0e-3, gt=0, description="learning rate of a head")
    text_lr: float = Field(1.0e-3, gt=0, description="learning rate of a text head and of learned context")
    hard_negatives: Literal["none", "order", "region", "all"] = Field(
        "none", description="what pairs are told from: steps in a wrong order, regions beside, beside other videos"
    )
    rerank: float = Field(0.0, ge=0, le=1, description="weight of the margin over hard negatives in a proposal's score")
    head_episodes: float = Field(
        0.0, ge=0, lt=1, description="share of the seen classes a head holds out in every step"
    )
    transfer: Literal["none", "map", "conse"] = Field(
        "none", description="transfer of logits of seen classes to others: none, by text similarity, ConSE"
    )
    proposed_by: Literal["detector", "snippets", "both"] = Field(
        "detector", description="where proposals come from: queries, or groups of snippets of one class"
    )
    similarity_at: Literal["pooled", "bins"] = Field("pooled", description="compare after pooling, or every bin")
    extend: float = Field(1.0, gt=0, description="length of the pooled region, in lengths of the proposal")
    contrast: float = Field(0.0, ge=0, description="share of the similarity just outside that is taken off")
    similarity: Literal["cosine", "dot"] = Field("cosine", description="of unit vectors, or of vectors as they are")
    roi_bins: int = Field(16, ge=1, le=4_096, description="bins of RoIAlign")
    logit_scale: Literal["exp", "raw", "none"] = Field("exp", description="factor on the cosine: exp(tau), tau or 1")
    temperature: float = Field(1.0, gt=0, description="what logits are divided by")
    probability: Literal["softmax", "sigmoid"] = Field("softmax", description="one class of all, or each on its own")
    candidates: Literal["all", "unseen"] = Field(
        "all", description="classes that compete for a proposal; only unseen ones are ever detected"
    )
    fusion: Literal["after_softmax", "before_softmax", "arithmetic", "geometric", "detector", "clip"] = Field(
        "after_softmax", description="how actionness meets the class scores"
    )
    fusion_weight: float = Field(0.5, ge=0, le=1, description="share of CLIP in a mean with actionness")
    ensemble: Literal["none", "arithmetic", "geometric"] = Field(
        "none", description="mean of CLIP's opinion and another: a classifying detector's, or that of a trained head"
    )
    ensemble_weight: float = Field(0.5, ge=0, le=1, description="share of CLIP in that mean")
    reject: Literal["none", "proposal", "video"] = Field("none", description="what may be none of the classes")
    reject_below: float = Field(0.0, description="standard deviations above background that a class must reach")


class Params(NamingParams):
    """The parameters in force; immutable, and complete: every name has a checked value."""

    effects: ClassVar[tuple[Need, ...]] = EFFECTS

    dataset: str = Field("demo", min_length=1, description="demo, thumos14, activitynet13, or a folder")
    split: Literal[75, 50, 0] = Field(75, description="per cent of the classes seen in training; 0 = closed set")
    split_id: int = Field(0, ge=0, le=9, description="which of the ten class splits")
    held_out: int = Field(0, ge=0, le=9_999, description="seen classes tested in place of unseen ones; 0 = none")
    seed: int = Field(0, ge=0, le=SEEDS, description="seed of training and of what is drawn to measure, not of data")
    demo_seed: int = Field(0, ge=0, le=SEEDS, description="seed of the demo's videos")
    world_seed: int = Field(0, ge=0, le=SEEDS, description="seed of features that are simulated")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where tensors live")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the networks")
    data_dir: str = Field("data", min_length=1, description="folder of the data sets")
    run_dir: str = Field("", description="folder of this run; empty = a new one under outputs/")

    encoder: str = Field("ViT-B-16", description="open_clip architecture")
    pretrained: str = Field("openai", description="open_clip tag or local checkpoint of the encoder")
    stride: int = Field(8, ge=1, le=100_000, description="frames from one snippet to the next")
    frames_per_snippet: int = Field(1, ge=1, le=1_000, description="frames whose embeddings make a snippet, by mean")
    snippets: int = Field(0, ge=0, le=10**6, description="snippets of every video, of any length; 0 = by stride")
    features: str = Field("auto", min_length=1, description="auto (extract), simulate, or a folder of features")
    text_features: str = Field("", description="an .npz of class name -> vector; empty = the encoder's")
    missing: Literal["fail", "skip"] = Field("fail", description="what a broken video or feature file does")
    integrity: float = Field(0.75, ge=0, le=1, description="share of an action that must lie inside a window")

    window: int = Field(128, ge=0, le=1_000_000, description="snippets per window; 0 = the whole video")
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a training window shared with the next")
    test_window: int = Field(
        -1, ge=-1, le=1_000_000, description="snippets per test window; 0 = the whole video, -1 = as in training"
    )
    test_overlap: float = Field(0.25, ge=0, lt=1, description="share of a test window shared with the next")
    rescale: int = Field(0, ge=0, le=1_000_000, description="snippets to which a whole video is resampled; 0 = not")

    ideas: str = Field(
        "", description="a Python file of methods of your own, with hooks as in tadlib/ideas; empty = none"
    )
    target: Literal["foreground", "prompt", "name", "description", "none"] = Field(
        "foreground", description="what queries learn: action or not, a text embedding, or (none) a class by number"
    )
    queries: int = Field(40, ge=1, le=10_000, description="learned queries, the most actions found in one window")
    encoder_layers: int = Field(1, ge=0, le=100, description="transformer encoder layers")
    decoder_layers: int = Field(2, ge=1, le=100, description="transformer decoder layers")
    width: int = Field(512, ge=8, le=16_384, description="channels of the detector")
    heads: int = Field(8, ge=1, le=1_024, description="attention heads")
    conv_layers: int = Field(2, ge=0, le=100, description="convolutions before the encoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")

    # Against learning a few windows by heart: they are never the same twice, some hold nothing, and what stays the same
    # all through a window, its scene, is no clue.
    jitter: bool = Field(True, description="draw the starts of training windows anew in every epoch")
    negatives: float = Field(0.3, ge=0, lt=1, description="share of training windows without an action")
    feature_noise: float = Field(0.5, ge=0, description="noise on the features in training, per snippet")
    feature_shift: float = Field(1.0, ge=0, description="noise on the features in training, one draw per window")

    epochs: int = Field(100, ge=1, le=1_000_000, description="passes over the training windows")
    batch_size: int = Field(16, ge=1, le=65_536, description="windows per batch")
    accumulate: int = Field(1, ge=1, le=65_536, description="batches per optimiser step")
    lr: float = Field(1.0e-4, gt=0, description="peak learning rate")
    lr_backbone: float = Field(1.0e-4, gt=0, description="peak learning rate of the convolutions")
    weight_decay: float = Field(1.0e-4, ge=0, description="AdamW's weight decay")
    clip_norm: float = Field(0.1, ge=0, description="largest gradient norm; 0 = no clipping")
    schedule: Literal["cosine", "step"] = Field("cosine", description="how the learning rate falls")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    ema: bool = Field(False, description="report an exponential moving average of the weights")
    aux_loss: bool = Field(True, description="losses on every decoder layer, not on the last alone")
    loss_class: float = Field(3.0, ge=0, description="weight of the focal loss")
    loss_l1: float = Field(5.0, ge=0, description="weight of the L1 loss")
    loss_giou: float = Field(2.0, ge=0, description="weight of the loss on overlap, gIoU or what overlap_loss says")

    keep: Literal["class_agnostic", "class_specific", "class_one", "class_video"] = Field(
        "class_agnostic", description="best pairs, best classes per proposal, one class per video (by all, by CLIP)"
    )
    top_k: int = Field(100, ge=1, le=10**6, description="proposals, then detections, kept per test window of a video")
    nms: Literal["hard", "soft", "none"] = Field("soft", description="how overlapping proposals are thinned")
    nms_per: Literal["video", "class"] = Field(
        "video", description="what thins each other: all proposals of a video, or once they are named those of a class"
    )
    nms_tiou: float = Field(
        0.5, gt=0, le=1, description="tIoU above which proposals are the same; of soft NMS the width of its Gaussian"
    )
    protocol: Literal["strict", "plain", "gap", "t3al", "opentad", "thumos-toolkit"] = Field(
        "strict", description="which videos and actions count"
    )
    evaluate_on: Literal["test", "training"] = Field(
        "test", description="what evaluate scores: test videos, or those the detector learned from, by seen classes"
    )

    # Methods that others have tried on the detector or its training, every one off by default.
    system: Literal["ours", "published"] = Field(
        "ours", description="layers, positions, first weights, and forms of cost and loss: ours, or GAP's as published"
    )
    salience: Literal["none", "bce", "ce", "mask"] = Field("none", description="loss that tells snippets in actions")
    refine: Literal["none", "attention", "mean", "max"] = Field(
        "none", description="how queries look again at the features under their segments"
    )
    refine_layers: int = Field(1, ge=1, le=100, description="layers of that second look")
    refine_residual: bool = Field(True, description="keep what went into the self-attention of that second look")
    refine_join: Literal["sum", "first_half", "projected", "alone"] = Field(
        "sum", description="how what was found there meets the query: added, side by side in two ways, or not"
    )
    iterative: bool = Field(False, description="every decoder layer moves the segments of the one before")
    centres: Literal["learned", "drawn"] = Field(
        "learned", description="reference centres: learned, or fixed random ones that queries are computed from"
    )
    positions: Literal["sine", "learned"] = Field("sine", description="positions in a window: sines, or learned")
    quality: bool = Field(False, description="expected tIoU of a segment beside its actionness")
    fuse_text: bool = Field(False, description="snippets look at the class texts before the encoder")
    segmentation: Literal["none", "memory"] = Field(
        "none", description="classify the encoder's snippets with text too; for a branch of its own see head_on"
    )
    segmentation_temperature: float = Field(0.07, gt=0, description="temperature of that classification")
    overlap_loss: Literal["giou", "diou", "iou"] = Field("giou", description="form of the loss on overlap")
    loss_salience: float = Field(3.0, ge=0, description="weight of the salience loss")
    loss_quality: float = Field(4.0, ge=0, description="weight of the loss on expected tIoU")
    loss_segmentation: float = Field(1.0, ge=0, description="weight of the loss on the classes of snippets")
    cost_class: float = Field(2.0, ge=0, description="weight of the focal cost in matching")
    cost_l1: float = Field(5.0, ge=0, description="weight of the L1 cost in matching")
    cost_giou: float = Field(2.0, ge=0, description="weight of the overlap cost in matching")

    ignore_unseen: Literal["nowhere", "negatives", "everywhere"] = Field(
        "negatives", description="where actions of unseen classes are kept out of background"
    )
    episodes: float = Field(0.0, ge=0, lt=1, description="share of the seen classes that every batch hides")
    validation: float = Field(0.0, ge=0, lt=1, description="share of the training videos held out, seen classes only")
    select: Literal["last", "validation"] = Field("last", description="epoch that is kept: the last, or the best there")
    curves: bool = Field(False, description="seen and unseen classes after every epoch, only to look at")
    compile: bool = Field(False, description="compile the network before training")
    deterministic: bool = Field(False, description="deterministic algorithms only, slower on CUDA")
    tensorboard: bool = Field(False, description="write the history as TensorBoard logs too")
    filter_threshold: float = Field(0.0, ge=0, lt=1, description="score below which a proposal is dropped")
    agreement: float = Field(
        0.0, ge=0, le=1, description="share of CLIP's own groups of snippets in a proposal's score, by their overlap"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "Params":
        for need in CONFLICTS:
            if not need.holds(self):
                raise ValueError(need.refusal(need.names, self))
        return self

    @property
    def inference_window(self) -> int:
        """Snippets per window where the detector is asked; 0 = the whole video."""
        return self.window if self.test_window < 0 else self.test_window

    @classmethod
    def recipe(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the data set asks for: a recipe of ours, and the stride that its `benchmark.yaml` states."""
        name, folder = str(given.get("dataset", cls.model_fields["dataset"].default)), given.get("data_dir", "data")
        if name in RECIPES or given.get("stride") is not None:
            return RECIPES.get(name, {})
        from tadlib.data import datasets  # with the drawing of the demo, which no process needs that starts a kernel

        stated = datasets.read_conventions(resolve(datasets.folder_of(name, folder))).stride
        return {"stride": stated} if stated else {}
