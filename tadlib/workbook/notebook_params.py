"""Parameters of detect.ipynb and report.ipynb, which are not stages of a run."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tadlib.naming.words import Word, read_words
from tadlib.workbook.runs import resolve
from tadlib.workbook.vocabulary import Vocabulary


class DetectParams(Vocabulary):
    """Parameters of detection in videos; all others come from the trained run."""

    writes_to: ClassVar[str] = "output_dir"

    video: Any = Field("", description="a video file, a folder, a pattern, or a list of these; empty = a test video")
    classes: Any = Field(
        "", description="names or sentences: a list, JSON, comma-separated, lines, a file; empty = the run's classes"
    )
    run_dir: str = Field("", description="folder of a trained run; empty = the latest, or a new one on the demo")
    detector: Literal["run", "none"] = Field("run", description="the run's detector, or none: CLIP without training")
    encoder: str = Field("", description="open_clip architecture; empty = the run's")
    pretrained: str = Field("", description="open_clip tag or local checkpoint of that encoder")
    threshold: float = Field(
        0.0, ge=0, le=1, description="score from which on a word counts as found; 0 = as calibrated"
    )
    top_k: int = Field(100, ge=1, le=100_000, description="detections of a video that are reported, the surest first")
    nms: Literal["hard", "soft", "none"] = Field("soft", description="how overlapping proposals are thinned")
    clips: int = Field(0, ge=0, le=10_000, description="detections to cut out as video files, the surest first")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="device of all tensors")
    data_dir: str = Field("data", min_length=1, description="folder of the data sets and of cached features")
    output_dir: str = Field("", description="folder of what is written; empty = a new one under outputs/")

    @field_validator("classes")
    @classmethod
    def _check_words(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            return ""
        read_words(value, resolve(""))
        return value

    @model_validator(mode="after")
    def _check_encoder_weights(self) -> "DetectParams":
        if bool(self.encoder) != bool(self.pretrained) and self.encoder != "tad-demo":
            got = f"encoder={self.encoder!r}, pretrained={self.pretrained!r}"
            raise ValueError(f"encoder and pretrained belong together, such as ViT-B-16 and openai; got {got}")
        return self

    @property
    def words(self) -> list[Word]:
        """The requested words, in order; empty for the classes of the run."""
        return read_words(self.classes, resolve("")) if self.classes else []


class ReportParams(Vocabulary):
    """Parameters of a report: runs to compare, baseline and metric."""

    experiments: str = Field("outputs", min_length=1, description="folders of runs or experiments, comma-separated")
    baseline: str = Field("", description="label of the variant that others are compared with; empty = the first")
    metric: str = Field("mAP", min_length=1, description="compared number: any of metrics.json, such as AR@100")
    correction: Literal["none", "holm"] = Field("none", description="for several comparisons: none or Holm's")
    run_dir: str = Field("", description="folder of this report; empty = nothing is written")

    @property
    def folders(self) -> list[str]:
        """The folders as a list."""
        return [folder.strip() for folder in self.experiments.split(",") if folder.strip()]
