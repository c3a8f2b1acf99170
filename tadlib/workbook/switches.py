"""The words of the vocabulary that switch something in the detector or in naming; `Params` has the common ones."""

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator


class DetectorSwitches(BaseModel):
    """What others have tried on the detector or its training, every one off by default."""

    system: Literal["ours", "published"] = Field(
        "ours", description="layers, positions, first weights, and forms of cost and loss: ours, or GAP's as published"
    )
    salience: Literal["none", "bce", "ce", "mask"] = Field("none", description="loss that tells snippets in actions")
    refine: Literal["none", "attention", "mean", "max"] = Field(
        "none", description="how queries look again at the features under their segments"
    )
    refine_layers: int = Field(1, ge=1, description="layers of that second look")
    refine_residual: bool = Field(True, description="keep what went into the self-attention of that second look")
    refine_join: Literal["sum", "first_half", "projected", "alone"] = Field(
        "sum", description="how what was found there meets the query: added, side by side in two ways, or not"
    )
    iterative: bool = Field(False, description="every decoder layer moves the segments of the one before")
    centres: Literal["learned", "drawn"] = Field(
        "learned", description="reference centres: learned, or drawn once, of which all of a query is computed"
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
        "negatives", description="where what is annotated, but no seen class, is not called background"
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

    @field_validator("ignore_unseen", mode="before")
    @classmethod
    def _true_is_everywhere(cls, value: Any) -> Any:
        """Checkpoints of long ago say true or false."""
        return {False: "nowhere", True: "everywhere"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _only_a_sum_keeps_the_residual(self) -> "DetectorSwitches":
        if self.refine_residual and self.refine_join != "sum":
            raise ValueError(
                f"refine_join={self.refine_join} leaves no residual of the self-attention: it needs "
                "refine_residual=false, got true"
            )
        return self


class NamingSwitches(BaseModel):
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
    context: int = Field(0, ge=0, description="vectors learned beside the words of every text")
    context_at: Literal["before", "around"] = Field("before", description="where these vectors stand")
    background: Literal["none", "soft", "learned"] = Field(
        "none", description="what stretches without seen actions teach: nothing, every class alike, a text of their own"
    )
    head_residual: bool = Field(True, description="a head adds to the features instead of replacing them")
    head_loss: Literal["cross_entropy", "bce", "focal", "contrastive", "grounding"] = Field(
        "cross_entropy", description="loss of what is trained: on classes, on pairs, or on pairs of bins and words"
    )
    head_on: Literal["segments", "snippets"] = Field("segments", description="what is classified in training")
    head_epochs: int = Field(20, ge=1, description="passes of a head over the segments")
    head_lr: float = Field(1.0e-3, gt=0, description="learning rate of a head")
    text_lr: float = Field(1.0e-3, gt=0, description="learning rate of a text head and of learned context")
    hard_negatives: Literal["none", "order", "region", "all"] = Field(
        "none", description="what pairs are told from: steps in a wrong order, regions beside, beside other videos"
    )
    rerank: float = Field(0.0, ge=0, le=1, description="share of being told from hard negatives in a proposal's score")
    head_episodes: float = Field(
        0.0, ge=0, lt=1, description="share of the seen classes a head holds out in every step"
    )
    transfer: Literal["none", "map", "conse"] = Field(
        "none", description="how opinions on seen classes become opinions on all: not, by a map, by ConSE"
    )
    proposed_by: Literal["detector", "snippets", "both"] = Field(
        "detector", description="where proposals come from: queries, or groups of snippets of one class"
    )
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
        "none", description="mean of CLIP's opinion and another: a classifying detector's, or that of a trained head"
    )
    ensemble_weight: float = Field(0.5, ge=0, le=1, description="share of CLIP in that mean")
    reject: Literal["none", "proposal", "video"] = Field("none", description="what may be none of the classes")
    reject_below: float = Field(0.0, description="standard deviations above background that a class must reach")

    @model_validator(mode="after")
    def _training_of_names_fits_together(self) -> "NamingSwitches":
        pairs = self.head_loss in ("contrastive", "grounding")
        if self.hard_negatives != "none" and not pairs:
            raise ValueError(
                f"hard_negatives={self.hard_negatives} needs head_loss=contrastive or grounding, got {self.head_loss}"
            )
        if self.hard_negatives in ("region", "all") and self.head_on == "snippets":
            raise ValueError(f"hard_negatives={self.hard_negatives} lie beside segments: it needs head_on=segments")
        if self.hard_negatives in ("order", "all") and (
            self.text != "subactions" or self.text_head not in ("conv", "composition")
        ):
            raise ValueError(
                f"hard_negatives={self.hard_negatives} needs texts in an order and a head that reads it: "
                f"text=subactions and text_head=composition or conv, got {self.text} and {self.text_head}"
            )
        if self.rerank and self.hard_negatives == "none":
            raise ValueError(f"rerank={self.rerank} tells proposals from hard negatives, got hard_negatives=none")
        if self.text_head == "cross" and self.lead == "none":
            raise ValueError("text_head=cross asks with the name of a class: it needs lead=name or prompt, got none")
        if pairs and (self.head, self.text_head, self.context) == ("none", "none", 0):
            raise ValueError(f"head_loss={self.head_loss} trains a head, a text_head or context, got none of them")
        return self

    @model_validator(mode="after")
    def _ways_of_naming_fit_together(self) -> "NamingSwitches":
        if self.transfer != "none" and (self.background == "learned" or self.pooling == "ordered"):
            raise ValueError(
                f"transfer={self.transfer} knows classes alone: it needs another pooling than ordered and another "
                f"background than learned, got {self.pooling} and {self.background}"
            )
        if self.pooling.startswith("matching") and self.similarity == "dot":
            raise ValueError(f"pooling={self.pooling} compares cosines: it needs similarity=cosine, got dot")
        if self.pooling == "ordered" and self.background == "learned":
            raise ValueError("background=learned has no steps in an order: it needs another pooling than ordered")
        return self
