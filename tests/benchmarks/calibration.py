"""Simulated features against real levels and effects: `python tests/benchmarks/calibration.py` prints a table.

`calibration.yaml` says what is measured and what is known of real data. It needs the annotations of THUMOS14 in
data/thumos14 and of ActivityNet-1.3 in data/activitynet13, and an hour or two of one core. A measurement is written to
`--records` and not repeated. `--set phases=0.3` tries other strengths, which is how those of
`tadlib.data.simulate.Strengths` were found.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from notebook import run_cells

from tadlib.data import datasets, simulate, splits
from tadlib.evaluation import baselines, diagnosis, metrics, protocols
from tadlib.evaluation.rows import compare
from tadlib.naming.fusion import Detections
from tadlib.project import resolve
from tadlib.task import Task
from tadlib.workbook import inference, results
from tadlib.workbook.gathering import gather
from tadlib.workbook.params import Params

ASKED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
JOBS = [(what, split, of, seed) for what, split, ids, seeds in ASKED["jobs"] for of in ids for seed in seeds]
load = cache(datasets.load)
Records = dict[tuple[str, int, int, int], Mapping[str, float]]  # (what, per cent seen, split_id, seed) -> numbers


def precision(data: Task, detections: Mapping[str, Detections]) -> float:
    """mAP in per cent."""
    return 100 * metrics.means(results.class_table(data, detections), data.benchmark.tious)["mAP"]


def without_detector(params: Params) -> dict[str, float]:
    """mAP of blind windows, of CLIP alone, of its segments with their true label, and of single snippets."""
    data = gather(params.but(protocol="t3al"))
    free = inference.training_free(replace(data, candidates="unseen"))
    shown = ({action.label for action in video.actions} for video in data.scored)
    right = [not labels.isdisjoint(each.labels[:1]) for labels, each in zip(shown, free.values(), strict=True)]
    alone = inference.by_frozen_clip(data, data.clip_proposals, params)
    found = {"training-free": precision(data, free), "named right": 100 * fmean(right)}
    for name, each in {"training-free, true label": free, "thinned, true label": alone}.items():
        found[name] = precision(data, diagnosis.oracle_label(data.scored, each))
    data = gather(params)
    by_snippets = inference.by_snippets(data, params) | {"blind": baselines.blind(data.test_videos)}
    return found | {name.split(":")[0]: precision(data, each) for name, each in by_snippets.items()}


def anchors_on_activitynet(split: int, split_id: int) -> dict[str, float]:
    """mAP of twenty anchors fitted to the training segments, with the true labels of the video; no frame is seen."""
    data = load("activitynet13", resolve("data"))
    classes = splits.of_folder(data.folder, data.classes, split, split_id)
    videos = protocols.scored_videos(data, classes.unseen, "strict", ASKED["settings"]["stride"])
    found = baselines.anchored(videos, baselines.anchors(data.training_videos(classes.seen), data.tious))
    table = metrics.precision_table(compare(videos, found, classes.unseen), data.tious)
    return {"mAP": 100 * metrics.means(table, data.tious)["mAP"]}


def with_detector(params: Params, namings: Mapping[str, Mapping[str, object]]) -> dict[str, float]:
    """mAP and class-agnostic mAP of a training, and mAP of its proposals named in other ways."""
    cut = (("table = results.compare(data, detections, params)", "table = None"),)
    run = run_cells("train", "detections = inference", cut, **params.model_dump(exclude_defaults=True))
    data, params = run.data, run.params
    agnostic = results.class_agnostic(data, inference.class_agnostic(data, run.proposals, params))
    asked = {name: params.but(**words) for name, words in namings.items()}
    found = {name: precision(data, inference.name(gather(each), run.proposals, each)) for name, each in asked.items()}
    return found | {"mAP": precision(data, run.detections), "agnostic": 100 * agnostic["agnostic_mAP"]}


def measure(what: str, split: int, split_id: int, seed: int) -> dict[str, float]:
    """The numbers of one job."""
    if what == "anchors on ActivityNet":
        return anchors_on_activitynet(split, split_id)
    words = ASKED["settings"] | {"split": split, "split_id": split_id, "seed": seed} | ASKED["trainings"].get(what, {})
    params = Params.check({name: value for name, value in words.items() if value is not None})
    if what not in ASKED["trainings"]:
        return without_detector(params)
    return with_detector(params, ASKED["namings"] if what == "published" else {})


def simulated(records: Records, fact: Mapping[str, object]) -> float:
    """What the records say of a fact: the mean over class splits of the means over seeds; NaN if not measured."""
    what, split, number = fact["of"]
    sign = "minus" if "minus" in fact else "share_of"
    other, other_split, other_number = fact.get(sign, fact["of"])
    values = defaultdict(list)  # split_id -> one value a seed
    for name, per_cent, *place in records:
        if (name, per_cent) == (what, split) and place[0] == fact.get("split_id", place[0]):
            if (other, other_split, *place) in records:
                value, beside = records[what, split, *place][number], records[other, other_split, *place][other_number]
                compared = {"minus": value - beside, "share_of": 100 * value / beside}
                values[place[0]].append(compared[sign] if sign in fact else value)
    return fmean(map(fmean, values.values())) if values else math.nan


def main() -> None:
    """Measure what is not recorded yet, and print every fact beside what is simulated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, default=Path("outputs/calibration.jsonl"), help="measurements so far")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other strengths")
    parser.add_argument("--jobs", type=int, default=len(JOBS), help="how many jobs, the most important first")
    given = parser.parse_args()
    strengths = {name: json.loads(value) for name, value in (each.split("=") for each in given.set)}
    simulate.Strengths = partial(simulate.Strengths, **strengths)
    torch.set_num_threads(1)
    lines = given.records.read_text().splitlines() if given.records.is_file() else ()
    key = simulate.World(()).key
    records: Records = {tuple(job): found for of, job, found in map(json.loads, lines) if of == key}
    for job in JOBS[: given.jobs]:
        if job not in records:
            records[job] = measure(*job)
            with given.records.open("a") as file:
                file.write(json.dumps([key, job, records[job]]) + "\n")
    print("| fact | real | simulated | agrees |\n|---|---|---|---|")
    for fact in ASKED["facts"]:
        found, (least, most) = simulated(records, fact), fact["agrees"]
        agrees = "not measured" if math.isnan(found) else "yes" if least <= found <= most else "no"
        print(f"| {fact['fact']} | {fact['real']} | {found:.1f} | {agrees} |")


if __name__ == "__main__":
    main()
