"""The vocabulary of parameters: every name, its type, default, limits and meaning.

Names are flat, because papermill layers files and `-p` by a shallow update. A notebook's parameters cell repeats the
names its reader will want to change; every other name may still be passed with `-p` or `-f`. How wide and
how long to train are settings of each data set's own; a value that is given, other than None, beats them.
"""

from collections.abc import Mapping
from os import PathLike
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tadlib.workbook import vocabulary
from tadlib.workbook.effects import EFFECTS
from tadlib.workbook.recipes import RECIPES
from tadlib.workbook.switches import DetectorSwitches, NamingSwitches
from tadlib.workbook.vocabulary import Need, Vocabulary


class Params(NamingSwitches, DetectorSwitches, Vocabulary):
    """The parameters in force; immutable, and complete: every name of the vocabulary has a checked value."""

    effects: ClassVar[tuple[Need, ...]] = EFFECTS

    dataset: str = Field("demo", min_length=1, description="demo, thumos14, activitynet13, or a folder")
    split: Literal[75, 50, 0] = Field(75, description="per cent of the classes seen in training; 0 = closed set")
    split_id: int = Field(0, ge=0, le=9, description="which of the ten class splits")
    seed: int = Field(0, ge=0, description="seed of training and of all that is drawn to measure; not of the data")
    world_seed: int = Field(0, ge=0, description="seed of features that are simulated")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where tensors live")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the networks")
    data_dir: str = Field("data", min_length=1, description="folder of the data sets")
    run_dir: str = Field("", description="folder of this run; empty = a new one under outputs/")

    encoder: str = Field("ViT-B-16", description="open_clip architecture")
    pretrained: str = Field("openai", description="open_clip tag or local checkpoint of the encoder")
    stride: int = Field(8, ge=1, description="frames from one snippet to the next")
    frames_per_snippet: int = Field(1, ge=1, description="frames whose embeddings are averaged into a snippet")
    snippets: int = Field(0, ge=0, description="snippets of every video, whatever its length; 0 = by stride")
    features: str = Field("auto", min_length=1, description="auto (extract), simulate, or a folder of features")
    text_features: str = Field("", description="an .npz of class name -> vector; empty = the encoder's")
    missing: Literal["fail", "skip"] = Field("fail", description="what a broken video or feature file does")
    integrity: float = Field(0.75, ge=0, le=1, description="share of an action that must lie inside a window")

    window: int = Field(128, ge=0, description="snippets per window; 0 = the whole video")
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a training window shared with the next")
    test_window: int = Field(
        -1, ge=-1, description="snippets per test window; 0 = the whole video, -1 = as in training"
    )
    test_overlap: float = Field(0.25, ge=0, lt=1, description="share of a test window shared with the next")
    rescale: int = Field(0, ge=0, description="snippets to which a whole video is resampled; 0 = not")

    ideas: str = Field(
        "", description="a Python file of methods of your own, with hooks as in tadlib/ideas; empty = none"
    )
    target: Literal["foreground", "prompt", "name", "description", "none"] = Field(
        "foreground", description="what queries learn: action or not, a text embedding, or (none) a class by number"
    )
    queries: int = Field(40, ge=1, description="learned queries, the most actions found in one window")
    encoder_layers: int = Field(1, ge=0, description="transformer encoder layers")
    decoder_layers: int = Field(2, ge=1, description="transformer decoder layers")
    width: int = Field(512, ge=8, description="channels of the detector")
    heads: int = Field(8, ge=1, description="attention heads")
    conv_layers: int = Field(2, ge=0, description="convolutions before the encoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")

    # Against learning a few windows by heart: they are never the same twice, some hold nothing, and what stays the same
    # all through a window, its scene, is no clue (`tests/test_collapse.py`; the lab log has the curves).
    jitter: bool = Field(True, description="draw the starts of training windows anew in every epoch")
    negatives: float = Field(0.3, ge=0, lt=1, description="share of training windows without an action")
    feature_noise: float = Field(0.5, ge=0, description="noise on the features in training, per snippet")
    feature_shift: float = Field(1.0, ge=0, description="noise on the features in training, one draw per window")

    epochs: int = Field(100, ge=1, description="passes over the training windows")
    batch_size: int = Field(16, ge=1, description="windows per batch")
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
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
    top_k: int = Field(100, ge=1, description="proposals, and then detections, kept per test window of a video")
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

    @field_validator("split", mode="before")
    @classmethod
    def _digits_are_a_number(cls, value: Any) -> Any:
        """`-r split 50` and a quoted YAML number arrive as text, which a Literal refuses."""
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator(
        *(
            "dataset",
            "data_dir",
            "run_dir",
            "encoder",
            "pretrained",
            "features",
            "text_features",
            "descriptions",
            "ideas",
        ),
        mode="before",
    )
    @classmethod
    def _names_are_text(cls, value: Any) -> Any:
        """`-p dataset 007` arrives as the number 7: a name made of digits is still a name, and a path is text."""
        return str(value) if isinstance(value, int | PathLike) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fit_together(self) -> "Params":
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice heads ({2 * self.heads}), got width={self.width}")
        if self.rescale and self.window:
            raise ValueError(f"rescale={self.rescale} resamples whole videos: it needs window=0, got {self.window}")
        if self.rescale and self.inference_window:
            raise ValueError(
                f"rescale={self.rescale} resamples whole videos: it needs test_window=-1 or 0, got {self.test_window}"
            )
        if self.pooling == "ordered" and (self.text, self.lead) != ("subactions", "none"):
            raise ValueError(f"pooling=ordered needs text=subactions and lead=none, got {self.text} and {self.lead}")
        if self.lead != "none" and self.text != "subactions":
            raise ValueError(f"lead={self.lead} stands before subactions: it needs text=subactions, got {self.text}")
        if self.similarity == "dot" and self.logit_scale != "none":
            raise ValueError(f"similarity=dot needs logit_scale=none: {self.logit_scale} is a factor on cosines")
        if self.target == "none" and (self.split or self.fuse_text or self.segmentation != "none"):
            raise ValueError("target='none' knows no text: it needs split=0, fuse_text=false and segmentation='none'")
        if self.select == "validation" and not self.validation:
            raise ValueError("select='validation' needs videos held out: give validation a share above 0, got 0")
        return self

    @model_validator(mode="after")
    def _names_fit_what_queries_learn(self) -> "Params":
        if self.proposed_by != "detector" and self.target != "foreground":
            raise ValueError(
                f"proposed_by={self.proposed_by} is named by CLIP alone: it needs target=foreground, got {self.target}"
            )
        return self

    @property
    def inference_window(self) -> int:
        """Snippets per window where the detector is asked; 0 = the whole video."""
        return self.window if self.test_window < 0 else self.test_window

    @classmethod
    def recipe(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the data set asks for."""
        return RECIPES.get(str(given.get("dataset", cls.model_fields["dataset"].default)), {})


def allowed(name: str) -> str:
    """What a parameter may be, in words."""
    return vocabulary.allowed(name, Params)
