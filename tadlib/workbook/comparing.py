"""Runs beside each other: what report.ipynb asks, one call each."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tadlib.data import datasets, splits
from tadlib.evaluation import protocols
from tadlib.evaluation.rows import Comparison, compare
from tadlib.evaluation.statistics import Verdict, compare_videos
from tadlib.files import write_json
from tadlib.naming.fusion import read_detections
from tadlib.workbook import differences, evidence, plans, telling, variants
from tadlib.workbook.choices import Choice
from tadlib.workbook.differences import Row
from tadlib.workbook.display import Sortable
from tadlib.workbook.evaluations import evaluated_on
from tadlib.workbook.evidence import Entry, Evidence
from tadlib.workbook.params import Params
from tadlib.workbook.records import Record, records
from tadlib.workbook.report_params import ReportParams
from tadlib.workbook.runs import project_root, resolve
from tadlib.workbook.variants import Study


@dataclass(frozen=True)
class Compared:
    """The runs that a report is about, and every answer it gives of them."""

    params: ReportParams
    found: Evidence
    studies: tuple[Study, ...]
    choices: tuple[Choice, ...] = ()  # what the project's parameters files say was chosen by looking at results

    @cached_property
    def rows(self) -> list[Row]:
        """Every variant of every study."""
        asked = self.params.metric, by_videos, self.choices
        return [row for each in self.studies for row in differences.compare(each, *asked)]

    @cached_property
    def records(self) -> list[Record]:
        """Every variant of every study as data, as `report.json` keeps it."""
        return [each for study in self.studies for each in records(self._rows_of(study), self.params.metric)]

    def _rows_of(self, study: Study) -> list[Row]:
        return [row for row in self.rows if row.study is study]

    def overview(self) -> Sortable:
        """What is compared: runs, variants, splits and seeds of each study."""
        return Sortable(
            [
                {
                    "experiment": study.name,
                    "data": study.on,
                    "question": study.story.question or "none on record",
                    "variants": len(study.variants),
                    "runs": len(runs := [run for each in study.variants.values() for run in each]),
                    "splits": len({run.key[:2] for run in runs}),
                    "seeds": len({run.key[2] for run in runs}),
                }
                for study in self.studies
            ]
        )

    def left_out(self) -> Sortable:
        """The runs that do not count, and why."""
        counts = [run for study in self.studies for each in study.variants.values() for run in each]
        counted, last = {run.dir for run in counts}, {variants.identity(run): run for run in counts}
        again = [
            {"run": f"{entry.dir.parent.name}/{entry.dir.name}", "why": _made_again(entry, last)}
            for entry in self.found.entries
            if entry.dir not in counted
        ]
        return Sortable([*self.found.left_out, *again], empty="none: every run has finished, and none twice")

    def questions(self) -> list[dict[str, object]]:
        """What the effect plot shows: each study that has something to compare, the log's claim beside ours."""
        return [
            {
                "title": study.title,
                "claim": study.story.claim,
                "baseline": study.baseline,
                "variants": [
                    {"variant": row.variant} | row.difference._asdict() | {"verdict": telling.verdict(row)}
                    for row in self._rows_of(study)
                    if row.difference is not None
                ],
            }
            for study in self.studies
            if any(row.difference is not None for row in self._rows_of(study))
        ]

    def claims(self) -> Sortable:
        """A row for each question: what the research log said, and what we measured."""
        return Sortable(
            [
                {
                    "question": study.story.question or study.name,
                    "the research log said": study.story.claim or "no claim on record",
                    "its entries": ", ".join(map(str, study.story.rows)),
                    "data": study.on,
                    "we measured": telling.measured(records(self._rows_of(study), self.params.metric))
                    or "nothing to compare with",
                }
                for study in self.studies
            ]
        )

    def table(self) -> Sortable:
        """A row for each variant: mean, spread, paired difference, verdict, cost, and what is not alike."""
        return Sortable([telling.table_row(row, self.params.metric) for row in self.rows])

    def meanings(self) -> Sortable:
        """What the labels of variants leave out: every parameter that tells them from the others of their study."""
        told = [
            {"experiment": study.title, "variant": variant, "stands for": said}
            for study in self.studies
            for variant, said in variants.meanings(study).items()
        ]
        return Sortable(told, empty="nothing: every label says all that is special about its variant")

    def edited(self) -> Sortable:
        """What was changed in the notebooks of runs that stand apart for it."""
        told = [
            {
                "run": f"{run.dir.parent.name}/{run.dir.name}",
                "notebook": f"{stage}, edited {edited['digest']}",
                "where": change["where"],
                "change": "; ".join(change["lines"]),
            }
            for run in self.found.entries
            for stage, edited in run.edited.items()
            for change in edited["changes"]
        ]
        return Sortable(told, empty="none: every run is of the notebooks as they were committed")

    def renamed(self) -> Sortable:
        """What variants are worth without the class splits on which training knows an unseen class under a seen name.

        CliffDiving and Diving of THUMOS14, which are annotated alike, lie on different sides of ten of twenty splits.
        """
        told = []
        for row in self.rows:
            runs = row.study.variants[row.variant]
            rest = [variants.value(run, self.params.metric) for run in runs if not run.metrics.get("renamed")]
            if len(rest) < len(runs):
                splits = {"/".join(map(str, run.key[:2])) for run in runs if run.metrics.get("renamed")}
                names = {name for run in runs for name in run.metrics.get("renamed", ())}
                told.append(
                    {
                        "experiment": row.study.title,
                        "variant": row.variant,
                        "splits": ", ".join(sorted(splits)),
                        "because": ", ".join(sorted(names)),
                        f"mean {self.params.metric} (%)": telling.points(row.values.mean),
                        "without them (%)": telling.points(float(np.mean(rest))) if rest else "no other split",
                    }
                )
        every = [run for row in self.rows for run in row.study.variants[row.variant]]
        if any("renamed" not in run.metrics for run in every):
            return Sortable(told, empty="not recorded by runs as old as these")
        return Sortable(told, empty="none: on no split is an unseen class a seen one under another name")

    def histories(self) -> dict[str, dict[str, list]]:
        """Study -> variant -> histories of its runs."""
        return {
            study.title: {variant: [run.history for run in runs] for variant, runs in study.variants.items()}
            for study in self.studies
            if any(run.history for runs in study.variants.values() for run in runs)
        }

    def costs(self) -> list[dict[str, object]]:
        """Mean time and memory of each variant beside its quality."""
        return [
            {"study": row.study.title, "variant": row.variant, "value": row.values.mean} | telling.cost(row)
            for row in self.rows
        ]

    def classes(self) -> dict[str, dict[str, float]]:
        """Variant -> class -> difference in average precision; labelled with the study where there are several."""
        several = len(self.studies) > 1
        return {
            f"{study.name}: {variant}" if several else variant: gained
            for study in self.studies
            for variant, gained in differences.per_class(study).items()
        }

    def runs(self) -> Sortable:
        """Every run: its parameters that differ, its number, what it ran on, its executed notebooks."""
        return Sortable(
            [
                {
                    "experiment": study.title,
                    "variant": variant,
                    "split": differences.split_of(run),
                    "seed": run.key[2],
                    self.params.metric + " (%)": telling.points(variants.value(run, self.params.metric)),
                    "seconds": f"{sum(run.seconds.values()):.0f}",
                    "device": run.facts["device"],
                    "commit": run.facts["commit"],
                    "notebooks": telling.notebooks(run, self.folder),
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

    def save(self) -> str:
        """Write `report.json`: every row with full precision; says where, or that nothing is kept."""
        if not self.params.run_dir:
            return "nothing is kept: pass run_dir to keep report.json"
        write_json(self.folder / "report.json", self.records)
        return f"{len(self.rows)} variants of {len(self.studies)} experiments in {self.folder.name}/report.json"


def compare_runs(params: ReportParams) -> Compared:
    """The runs below the folders asked for, as studies; raises RunError where there are none."""
    found = evidence.read(resolve(folder) for folder in params.folders)
    made = variants.studies(found.entries, params.baseline, params.together)
    files = sorted((project_root() / "params").glob("*.yaml"))
    return Compared(params, found, tuple(made), tuple(each for path in files for each in plans.choices_of(path)))


def by_videos(first: Entry, second: Entry) -> Verdict | None:
    """The difference of two runs with its bootstrap interval over test videos; None where their data are not here."""
    rows = [_rows(entry) if evaluated_on(entry.parameters) == "test" else None for entry in (first, second)]
    if None in rows or first.parameters["dataset"] != second.parameters["dataset"]:
        return None
    try:
        found = compare_videos(rows[0][0], rows[1][0], rows[0][1])
    except ValueError:  # scored on other videos or classes: there is no such pair
        return None
    whole = variants.value(first, "mAP") - variants.value(second, "mAP")
    return found if np.isclose(found.difference, whole, atol=1e-6) else None  # another protocol than ActivityNet's


def _made_again(entry: Entry, last: Mapping[Hashable, Entry]) -> str:
    """Why a run does not count whose like was made later, and whether that was on the same data."""
    first, then = (run.facts["data"] for run in (entry, last.get(variants.identity(entry), entry)))
    return f"was made again later{f' on other data ({first}, then {then})' * (first != then)}, and the last counts"


def _rows(entry: Entry) -> tuple[Comparison, tuple[float, ...]] | None:
    """What a run detected, beside the actions that count, and the thresholds."""
    path = entry.dir / "detections.json"
    try:
        params = Params.read(entry.parameters)
    except ValueError:  # of another age: its words are not today's
        return None
    folder = resolve(params.data_dir) / params.dataset if params.dataset == "demo" else None
    if not path.is_file() or (folder is not None and not (folder / "annotations.json").is_file()):
        return None  # the demo is not made for a report
    try:
        benchmark = datasets.load(_place(params.dataset), resolve(params.data_dir))
    except FileNotFoundError:
        return None
    classes = splits.of_folder(benchmark.folder, benchmark.classes, params.split, params.split_id).unseen
    scored = protocols.scored_videos(benchmark, classes, params.protocol, params.stride)
    return compare(scored, read_detections(path), classes), benchmark.tious


def _place(dataset: str) -> str:
    return dataset if dataset in ("demo", "thumos14", "activitynet13") else str(resolve(dataset))
