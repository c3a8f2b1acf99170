"""What report.ipynb may be asked: which runs to compare, with which variant, by which number."""

from typing import Any

from pydantic import Field, field_validator

from tadlib.workbook.vocabulary import Vocabulary


class ReportParams(Vocabulary):
    """The parameters of a comparison; immutable and complete."""

    experiments: str = Field("outputs", min_length=1, description="folders of runs or experiments, comma-separated")
    baseline: str = Field("", description="label of the variant that others are compared with; empty = the first")
    metric: str = Field("mAP", min_length=1, description="the number compared: any of metrics.json, like AR@100")
    together: bool = Field(False, description="all runs are one comparison, not one for each question")
    run_dir: str = Field("", description="folder of this report; empty = nothing is kept")

    @field_validator("experiments", mode="before")
    @classmethod
    def _a_list_is_text(cls, value: Any) -> Any:
        """A YAML list of folders means what commas mean."""
        listed = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return ",".join(value) if listed else value

    @property
    def folders(self) -> list[str]:
        """The folders, one by one."""
        return [folder.strip() for folder in self.experiments.split(",") if folder.strip()]
