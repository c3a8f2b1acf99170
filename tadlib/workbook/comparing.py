"""Tables and figure data of report.ipynb, which compares finished runs: one call each."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tadlib.evaluation.statistics import holm
from tadlib.files import write_json, write_text
from tadlib.workbook import experiment_files, finished_runs, variants
from tadlib.workbook.display import Sortable
from tadlib.workbook.experiment_files import Choice
from tadlib.workbook.finished_runs import FinishedRun
from tadlib.workbook.lab_log import difference, listed, measured, over, signed
from tadlib.workbook.notebook_params import ReportParams
from tadlib.workbook.runs import project_root, resolve
from tadlib.workbook.stages import STAGES
from tadlib.workbook.variants import Record, Study

CORRECTIONS = {
    "none": "Each difference is judged alone; `--set correction=holm` allows for their number.",
    "holm": "Better or worse is what Holm's correction over all differences leaves; intervals are of each alone.",
}
LOG = (
    "The research log is a diary of trials for the published system GAP; its verdicts came from one split and one seed."
)


@dataclass(frozen=True)
class Compared:
    """The runs that a report is about, and every answer it gives of them."""

    params: ReportParams
    found: list[FinishedRun]
    unfinished: list[dict[str, str]]  # runs that do not count, and why
    studies: list[Study]
    choices: list[Choice]  # what the project's parameters files say was chosen by looking at results

    @cached_property
    def records(self) -> list[Record]:
        """Every variant of every study, as `report.json` keeps it."""
        found = [each for study in self.studies for each in variants.records(study, self.params.metric, self.choices)]
        if self.params.correction == "holm":
            tested = [each for each in found if each["p"] is not None]
            for each, real in zip(tested, holm([each["p"] for each in tested]), strict=True):
                each["difference"] |= {} if real else {"verdict": "cannot tell"}
            found = [each | {"correction": "holm"} for each in found]
        return found

    def notes(self) -> str:
        """What the verdicts allow for, and, where a question comes from it, what the research log is; Markdown."""
        number, how = sum(each["p"] is not None for each in self.records), self.params.correction
        log = f"\n\n{LOG}" if any(study.story.claim for study in self.studies) else ""
        return f"**Correction for {number} comparisons: {how}.** {CORRECTIONS[how]}{log}"

    def _of(self, study: Study) -> list[Record]:
        return [each for each in self.records if each["title"] == study.title]

    def overview(self) -> Sortable:
        """What is compared: runs, variants, splits and seeds of each study."""
        return Sortable(
            [
                {
                    "experiment": study.name,
                    "data": study.on,
                    "question": study.story.question or "none on record",
                    "variants": len(study.variants),
                    "runs": len(study.runs),
                    "splits": len({run.split for run in study.runs}),
                    "seeds": len({run.key[2] for run in study.runs}),
                }
                for study in self.studies
            ]
        )

    def left_out(self) -> Sortable:
        """The runs that do not count, and why."""
        counted = {run.dir for study in self.studies for run in study.runs}
        again = [run for run in self.found if run.dir not in counted]
        why = "was made again later, and the last counts"
        told = [{"run": f"{run.dir.parent.name}/{run.dir.name}", "why": why} for run in again]
        return Sortable([*self.unfinished, *told], empty="none: every run has finished, and none twice")

    def questions(self) -> list[dict[str, object]]:
        """What the effect plot shows: each study that has something to compare, the log's claim beside ours."""
        told = [
            {"title": study.title, "claim": study.story.claim, "baseline": study.baseline}
            | {"variants": [each | {"verdict": verdict(each)} for each in self._of(study) if each["difference"]]}
            for study in self.studies
        ]
        return [question for question in told if question["variants"]]

    def claims(self) -> Sortable:
        """A row for each question: what the research log said where it said anything, and what we measured."""
        rows = []
        for study in self.studies:
            row = {"question": study.story.question or study.name}
            if any(each.story.claim for each in self.studies):
                said = study.story.claim or "no claim on record"
                row |= {"the research log said": said, "its entries": ", ".join(map(str, study.story.rows))}
            rows.append(row | {"data": study.on, "measured": measured(self._of(study)) or "nothing to compare with"})
        return Sortable(rows)

    def table(self) -> Sortable:
        """A row for each variant: mean, spread, paired difference, verdict, cost, and what is not alike."""
        return Sortable([_row(each) for each in self.records])

    def meanings(self) -> Sortable:
        """What the labels of variants leave out: every parameter that tells them from the others of their study."""
        told = [
            {"experiment": study.title, "variant": variant, "stands for": said}
            for study in self.studies
            for variant, said in variants.meanings(study).items()
        ]
        return Sortable(told, empty="nothing: every label says all that is special about its variant")

    def renamed(self) -> Sortable:
        """What variants are worth without the class splits on which training knows an unseen class under a seen name.

        CliffDiving and Diving of THUMOS14, which are annotated alike, lie on different sides of ten of twenty splits.
        """
        told, metric = [], self.params.metric
        for study in self.studies:
            for variant, runs in study.variants.items():
                same = [run for run in runs if run.metrics.get("renamed")]
                rest = [variants.value(run, metric) for run in runs if not run.metrics.get("renamed")]
                if same:
                    names = sorted({name for run in same for name in run.metrics["renamed"]})
                    row = {"experiment": study.title, "variant": variant, "because": ", ".join(names)}
                    row |= {"splits": ", ".join(sorted({run.split for run in same}))}
                    row |= {f"mean {metric} (%)": _points(np.mean([variants.value(run, metric) for run in runs]))}
                    told.append(row | {"without them (%)": _points(np.mean(rest)) if rest else "no other split"})
        return Sortable(told, empty="none: on no split is an unseen class a seen one under another name")

    def histories(self) -> dict[str, dict[str, list]]:
        """Study -> variant -> histories of its runs."""
        return {
            study.title: {variant: [run.history for run in runs] for variant, runs in study.variants.items()}
            for study in self.studies
            if any(run.history for run in study.runs)
        }

    def classes(self) -> dict[str, dict[str, float]]:
        """Variant -> class -> difference in average precision; labelled with the study where there are several."""
        several = len(self.studies) > 1
        return {
            f"{study.name}: {variant}" if several else variant: gained
            for study in self.studies
            for variant, gained in variants.per_class(study).items()
        }

    def runs(self) -> Sortable:
        """Every run: its parameters that differ, its number, what it ran on, its executed notebooks."""
        return Sortable(
            [
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
        )

    @property
    def folder(self) -> Path:
        """Where the report lies, which is where its links start."""
        return resolve(self.params.run_dir) if self.params.run_dir else Path.cwd()

    def save(self, **pictures: Any) -> str:
        """Write every record with full precision, tables and pictures by name; says where, or that nothing is kept."""
        if not self.params.run_dir:
            return "nothing is kept: pass run_dir to keep report.json"
        write_json(self.folder / "report.json", self.records)
        self._save_for_paper()
        for name, picture in pictures.items():
            picture.keep(self.folder / f"report_{name}")
        said = f"variants: {len(self.records)}, experiments: {len(self.studies)}, in {self.folder.name}/report.json"
        return f"{said}, for a paper in report.csv, report.tex and `report_*.svg`"

    def _save_for_paper(self) -> None:
        """The table of variants as CSV and LaTeX (booktabs); bold: the best of a study whose interval is above zero."""
        frame, best = pd.DataFrame(self.table().rows), set()
        for study in self.studies:
            better = [each for each in self._of(study) if verdict(each) == "better"]
            better.sort(key=lambda told: told["values"]["mean"])
            best |= {(each["title"], each["variant"]) for each in better[-1:]}
        style = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        bold = style.apply(
            lambda row: ["textbf:--rwrap;" * ((row["experiment"], row["variant"]) in best)] * len(row), axis=1
        )
        write_text(self.folder / "report.csv", frame.to_csv(index=False))
        write_text(self.folder / "report.tex", f"% correction: {self.params.correction}\n{bold.to_latex(hrules=True)}")


def compare_runs(params: ReportParams) -> Compared:
    """The runs below the folders asked for, as studies; raises RunError where there are none."""
    found, unfinished = finished_runs.read(resolve(folder) for folder in params.folders)
    made = variants.studies(found, params.baseline, params.together)
    files = experiment_files.every(project_root())
    choices = [choice for path in files for choice in experiment_files.choices_of(path)]
    return Compared(params, found, unfinished, made, choices)


def _row(told: Record) -> dict[str, object]:
    values, found, chosen = told["values"], told["difference"], told["chosen on"]
    held_out = chosen["rest"] if chosen else values
    return {
        "experiment": told["title"],
        "variant": told["variant"],
        f"mean {told['metric']} (%)": _points(values["mean"]),
        "s.d.": "" if values["deviation"] is None else _points(values["deviation"]),
        "runs": values["number"],
        "held out (%)": _points(held_out["mean"]) if held_out else "none",
        "difference (points)": signed(found["difference"]) if found else "",
        "95 % interval": difference(found).partition(" ")[2] if found else "",
        "verdict": verdict(told),
        "over": over(told),
        "chosen on": f"{listed(chosen['parameters'])} on {listed(chosen['splits'], 5)}" if chosen else "",
        "time (s)": f"{told['seconds']:.0f}",
        "memory (MB)": f"{told['memory_mb']:.0f}",
        "not alike": ", ".join(told["not alike"]),
    }


def verdict(told: Record) -> str:
    """What may be said of a variant, and whether on class splits that were held out."""
    if told["difference"] is None:
        return "baseline" if told["variant"] == told["baseline"] else "no pair"
    return told["difference"]["verdict"] + ("" if told["held out"] else ", not held out")


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _notebooks(run: Path, folder: Path) -> dict[str, str]:
    """Stage -> address of its executed notebook from a folder: the page made of it where there is one."""
    paths = {stage: [run / f"{stage}.html", run / f"{stage}.ipynb"] for stage in STAGES}
    there = {stage: next(filter(Path.is_file, each), None) for stage, each in paths.items()}
    return {stage: Path(os.path.relpath(path, folder)).as_posix() for stage, path in there.items() if path}
