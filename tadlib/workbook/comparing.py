"""Tables and figure data of report.ipynb, which compares finished runs; one method per table or figure."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tadlib.evaluation.statistics import holm
from tadlib.files import write_json, write_text
from tadlib.workbook import finished_runs, variants
from tadlib.workbook.display import Listing
from tadlib.workbook.finished_runs import FinishedRun
from tadlib.workbook.lab_log import difference, listed, measured, signed
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.runs import resolve
from tadlib.workbook.stages import STAGES
from tadlib.workbook.variants import Record, Study


@dataclass(frozen=True)
class Compared:
    """The runs of a report, with its tables and figure data."""

    params: ReportParams
    found: list[FinishedRun]
    unfinished: list[dict[str, str]]  # excluded runs, with the reason
    studies: list[Study]

    @cached_property
    def records(self) -> list[Record]:
        """Records of every variant of every study, as written to `report.json`."""
        found = [each for study in self.studies for each in variants.records(study, self.params.metric)]
        if self.params.correction == "holm":
            tested = [record for record in found if record["p"] is not None]
            for record, significant in zip(tested, holm([record["p"] for record in tested]), strict=True):
                record["difference"] |= {} if significant else {"verdict": "cannot tell"}
            found = [record | {"correction": "holm"} for record in found]
        return found

    def notes(self) -> str:
        """Markdown about the correction for multiple comparisons."""
        number, how = sum(record["p"] is not None for record in self.records), self.params.correction
        offered = "; `--set correction=holm` allows for their number" * (how == "none")
        return f"**Correction for {number} comparisons: {how}**{offered}. Intervals are those of each difference alone."

    def _of(self, study: Study) -> list[Record]:
        return [record for record in self.records if record["title"] == study.title]

    def overview(self) -> Listing:
        """Table of studies: question, and numbers of variants, runs, splits and seeds."""
        rows = [
            {
                "experiment": study.name,
                "data": study.on,
                "question": study.story.question or "none on record",
                "settings": listed(study.settings, 12),
                "variants": len(study.variants),
                "runs": len(study.runs),
                "splits": len({run.split for run in study.runs}),
                "seeds": len({run.key[2] for run in study.runs}),
            }
            for study in self.studies
        ]
        return Listing(rows)

    def left_out(self) -> Listing:
        """Table of excluded runs, with the reason."""
        counted = {run.dir for study in self.studies for run in study.runs}
        repeated = [run for run in self.found if run.dir not in counted]
        why = "was made again later, and the last counts"
        rows = [{"run": f"{run.dir.parent.name}/{run.dir.name}", "why": why} for run in repeated]
        return Listing([*self.unfinished, *rows], empty="none: every run has finished, and none twice")

    def questions(self) -> list[dict[str, object]]:
        """Data of the effect plot: each study with a difference to show."""
        found = []
        for study in self.studies:
            if told := [each | {"verdict": verdict(each)} for each in self._of(study) if each["difference"]]:
                found.append({"title": study.title, "baseline": study.baseline, "variants": told})
        return found

    def claims(self) -> Listing:
        """Table of questions: the research log's claims, if any, beside our measurements.

        The log is the diary of trials of the published system GAP.
        """
        rows, logged = [], any(study.story.claim for study in self.studies)
        for study in self.studies:
            row = {"question": study.story.question or study.name}
            if logged:
                claim = study.story.claim or "no claim on record"
                entries = ", ".join(map(str, study.story.rows))
                row |= {"the research log said (of one split and seed)": claim, "its entries": entries}
            rows.append(row | {"data": study.on, "measured": measured(self._of(study)) or "nothing to compare with"})
        return Listing(rows)

    def table(self) -> Listing:
        """Table of variants: mean, standard deviation, paired difference, verdict, cost, and what is not alike."""
        return Listing([_row(record) for record in self.records])

    def histories(self) -> dict[str, dict[str, list]]:
        """Training histories: study -> variant -> one history per run."""
        return {
            study.title: {variant: [run.history for run in runs] for variant, runs in study.variants.items()}
            for study in self.studies
            if any(run.history for run in study.runs)
        }

    def classes(self) -> dict[str, dict[str, float]]:
        """Difference in average precision: variant -> class -> fraction; several studies prefix the variant."""
        several = len(self.studies) > 1
        return {
            f"{study.name}: {variant}" if several else variant: differences
            for study in self.studies
            for variant, differences in variants.per_class(study).items()
        }

    def runs(self) -> Listing:
        """Table of runs: variant, split, seed, metric, time, device, commit, and links to executed notebooks."""
        rows = [
            {
                "experiment": study.title,
                "variant": variant,
                "split": run.split,
                "seed": run.key[2],
                f"{self.params.metric} (%)": _points(variants.value(run, self.params.metric)),
                "seconds": f"{run.seconds:.0f}",
                "device": run.facts["device"],
                "commit": run.facts["commit"],
                "notebooks": _notebooks(run.dir, self.folder),
            }
            for study in self.studies
            for variant, runs in study.variants.items()
            for run in runs
        ]
        return Listing(rows)

    @property
    def folder(self) -> Path:
        """Folder of the report, to which its links are relative."""
        return resolve(self.params.run_dir) if self.params.run_dir else Path.cwd()

    def save(self, **pictures: Any) -> str:
        """Write `report.json` with full precision, tables, and pictures by name; return a message for the reader."""
        if not self.params.run_dir:
            return "nothing is kept: pass run_dir to keep report.json"
        write_json(self.folder / "report.json", self.records)
        frame = pd.DataFrame(self.table().rows)
        style = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        write_text(self.folder / "report.csv", frame.to_csv(index=False))
        write_text(self.folder / "report.tex", f"% correction: {self.params.correction}\n{style.to_latex(hrules=True)}")
        for name, picture in pictures.items():
            picture.keep(self.folder / f"report_{name}")
        saved = f"variants: {len(self.records)}, experiments: {len(self.studies)}, in {self.folder.name}/report.json"
        return f"{saved}, for a paper in report.csv, report.tex and `report_*.svg`"


def compare_runs(params: ReportParams) -> Compared:
    """Read the runs below the given folders and group them into studies; raises RunError if there are none."""
    found, unfinished = finished_runs.read(resolve(folder) for folder in params.folders)
    return Compared(params, found, unfinished, variants.studies(found, params.baseline))


def _row(record: Record) -> dict[str, object]:
    values, paired = record["values"], record["difference"]
    return {
        "experiment": record["title"],
        "variant": record["variant"],
        f"mean {record['metric']} (%)": _points(values["mean"]),
        "s.d.": "" if values["deviation"] is None else _points(values["deviation"]),
        "runs": values["number"],
        "difference (points)": signed(paired["difference"]) if paired else "",
        "95 % interval": difference(paired).partition(" ")[2] if paired else "",
        "verdict": verdict(record),
        "over": record["basis"],
        "time (s)": f"{record['seconds']:.0f}",
        "memory (MB)": f"{record['memory_mb']:.0f}",
        "not alike": ", ".join(record["not alike"]),
    }


def verdict(record: Record) -> str:
    """Return the verdict on a variant."""
    if record["difference"] is None:
        return "baseline" if record["variant"] == record["baseline"] else "no pair"
    return record["difference"]["verdict"]


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _notebooks(run: Path, folder: Path) -> dict[str, str]:
    """Return stage -> link, relative to `folder`, to the page of its executed notebook, else to the notebook."""
    paths = {stage: [run / f"{stage}.html", run / f"{stage}.ipynb"] for stage in STAGES}
    existing = {stage: next(filter(Path.is_file, candidates), None) for stage, candidates in paths.items()}
    return {stage: Path(os.path.relpath(path, folder)).as_posix() for stage, path in existing.items() if path}
