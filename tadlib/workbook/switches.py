"""The detector's switches as parameters: what others have tried on it, every one off by default."""

from typing import Literal

from pydantic import BaseModel, Field


class DetectorSwitches(BaseModel):
    """Words of the vocabulary that change the detector or its training; `Params` has the common ones."""

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
    jitter: bool = Field(False, description="draw the starts of training windows anew in every epoch")
    validation: float = Field(0.0, ge=0, lt=1, description="share of the training videos held out, seen classes only")
    select: Literal["last", "validation"] = Field("last", description="epoch that is kept: the last, or the best there")
    curves: bool = Field(False, description="class-agnostic mAP of unseen classes after every epoch, only to look at")
    compile: bool = Field(False, description="compile the network before training")
    deterministic: bool = Field(False, description="deterministic algorithms only, slower on CUDA")
    tensorboard: bool = Field(False, description="write the history as TensorBoard logs too")
    filter_threshold: float = Field(0.0, ge=0, lt=1, description="actionness below which a proposal is dropped")
