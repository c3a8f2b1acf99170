"""The words of the vocabulary that switch something in the detector or in naming; `Params` has the common ones."""

from typing import Literal

from pydantic import BaseModel, Field


class DetectorSwitches(BaseModel):
    """What others have tried on the detector or its training, every one off by default."""

    salience: Literal["none", "bce", "ce", "mask"] = Field("none", description="loss that tells snippets in actions")
    refine: Literal["none", "attention", "mean", "max"] = Field(
        "none", description="how queries look again at the features under their segments"
    )
    refine_layers: int = Field(1, ge=1, description="layers of that second look")
    refine_residual: bool = Field(True, description="keep what went into the self-attention of that second look")
    iterative: bool = Field(False, description="every decoder layer moves the segments of the one before")
    centres: Literal["learned", "uniform"] = Field("learned", description="reference centres: learned, or fixed")
    positions: Literal["sine", "learned"] = Field("sine", description="positions in a window: sines, or learned")
    quality: bool = Field(False, description="expected tIoU of a segment beside its actionness")
    fuse_text: bool = Field(False, description="snippets look at the class texts before the encoder")
    segmentation: Literal["none", "memory", "branch"] = Field(
        "none", description="classify snippets with text: the encoder's, or those of a branch of their own"
    )
    segmentation_temperature: float = Field(0.07, gt=0, description="temperature of that classification")
    overlap_loss: Literal["giou", "diou", "iou"] = Field("giou", description="form of the loss on overlap")
    loss_salience: float = Field(3.0, ge=0, description="weight of the salience loss")
    loss_quality: float = Field(4.0, ge=0, description="weight of the loss on expected tIoU")
    loss_segmentation: float = Field(1.0, ge=0, description="weight of the loss on the classes of snippets")
    cost_class: float = Field(2.0, ge=0, description="weight of the focal cost in matching")
    cost_l1: float = Field(5.0, ge=0, description="weight of the L1 cost in matching")
    cost_giou: float = Field(2.0, ge=0, description="weight of the gIoU cost in matching")

    ignore_unseen: bool = Field(False, description="unlabelled actions of unseen classes are not called background")
    episodes: float = Field(0.0, ge=0, lt=1, description="share of the seen classes that every batch hides")
    jitter: bool = Field(False, description="draw the starts of training windows anew in every epoch")
    validation: float = Field(0.0, ge=0, lt=1, description="share of the training videos held out, seen classes only")
    select: Literal["last", "validation"] = Field("last", description="epoch that is kept: the last, or the best there")
    curves: bool = Field(False, description="seen and unseen classes after every epoch, only to look at")
    compile: bool = Field(False, description="compile the network before training")
    deterministic: bool = Field(False, description="deterministic algorithms only, slower on CUDA")
    tensorboard: bool = Field(False, description="write the history as TensorBoard logs too")
    filter_threshold: float = Field(0.0, ge=0, lt=1, description="actionness below which a proposal is dropped")


class NamingSwitches(BaseModel):
    """How a proposal gets its name and its score."""

    text: Literal["prompt", "name", "templates", "description", "subactions"] = Field(
        "prompt", description="what CLIP reads for a class"
    )
    descriptions: str = Field("", description="a JSON file of descriptions or steps of classes; empty = ours")
    lead: Literal["none", "name", "prompt"] = Field("none", description="text of a class before its subactions")
    pooling: Literal[
        *("mean", "max", "centre_bin", "centre_snippet", "self_attention", "multi_rate", "sparse"),
        *("text_attention", "ordered"),
    ] = Field("mean", description="how features under a proposal become one; ordered: bins against subactions")
    head: Literal["none", "mlp", "conv", "attention", "encoder", "adapter"] = Field(
        "none", description="what is trained on true segments of seen classes, before pooling"
    )
    head_residual: bool = Field(True, description="a head adds to the features instead of replacing them")
    head_loss: Literal["cross_entropy", "bce", "focal"] = Field("cross_entropy", description="loss of a head")
    head_epochs: int = Field(20, ge=1, description="passes of a head over the segments")
    head_lr: float = Field(1.0e-3, gt=0, description="learning rate of a head")
    similarity_at: Literal["pooled", "bins"] = Field("pooled", description="compare after pooling, or every bin")
    extend: float = Field(1.0, gt=0, description="length of the pooled region, in lengths of the proposal")
    contrast: float = Field(0.0, ge=0, description="share of the similarity just outside that is taken off")
    similarity: Literal["cosine", "dot"] = Field("cosine", description="of unit vectors, or of vectors as they are")
    roi_bins: int = Field(16, ge=1, description="bins of RoIAlign")
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
        "none", description="mean of a classifying detector's opinion and CLIP's"
    )
    ensemble_weight: float = Field(0.5, ge=0, le=1, description="share of CLIP in that mean")
    reject: Literal["none", "proposal", "video"] = Field("none", description="what may be none of the classes")
    reject_below: float = Field(0.0, description="standard deviations above background that a class must reach")
