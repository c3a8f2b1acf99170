"""Reading of finished runs from their folders, and the listing of runs for `tad list`.

Of an experiment that was executed several times the latest version counts, unless another version is given by its
folder. Runs without an experiment file form one experiment per folder.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from tadlib.files import dangling, read_json
from tadlib.workbook import edits
from tadlib.workbook.runs import RunError, records
from tadlib.workbook.stages import EVALUATIONS, METRICS, OUTDATED, evaluated_on

FACTS = ("device", "threads", "commit", "python", "platform")
WORLDS = ("demo_seed", "world_seed")  # seeds of the drawn videos and of simulated features
GONE = "lay in outputs/.stages, which was deleted; the command that made the run makes them again"
STATES = FINISHED, FAILED, OPEN, OUTDATED, DELETED, NOT_BEGUN = (
    "finished", "failed", "interrupted or at work", OUTDATED, "with files deleted", "not begun"
)  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """One finished run."""

    home: Path  # folder of the experiment; without one, the folder that holds the run's folder
    asks: str  # name of the experiment file, with its base and marks of changes; empty without a file
    question: str  # comment on top of the experiment file; empty without one
    name: str  # name of the run in the experiment file; empty without one
    varied: frozenset[str]  # parameters that differ between runs of the experiment
    dir: Path
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any]  # fractions
    history: Sequence[Mapping[str, float]]  # one row per epoch
    seconds: float  # wall time of all stages
    memory_mb: float  # highest peak of all stages, of GPU memory if a GPU was used
    facts: Mapping[str, str]  # environment: device, threads, commit, versions, data of all stages
    edited: Mapping[str, Mapping[str, Any]]  # stage -> changes of its notebook
    ideas: str  # digest of the file given by the parameter ideas
    started: str  # time of its first stage; later times sort later

    @property
    def key(self) -> tuple[Any, ...]:
        """Key by which runs are paired: class split, seed, held-out classes, and drawn or simulated world."""
        others = (self.parameters.get(name, 0) for name in ("held_out", *WORLDS))
        return *map(self.parameters.get, ("split", "split_id", "seed")), *others

    @property
    def split(self) -> str:
        """Class split as split/split_id, with the seed of the world unless it is 0."""
        worlds = [f" in world {self.parameters[name]}" for name in WORLDS if self.parameters.get(name)]
        return "/".join(map(str, self.key[:2])) + "".join(worlds)

    @property
    def data(self) -> str:
        """Name of the data the run was evaluated on."""
        dataset = str(self.parameters.get("dataset", "demo"))
        if self.parameters.get("features") == "simulate":
            dataset = "rehearsal" if dataset == "thumos14" else f"{dataset}, simulated"
        return dataset + ", held-out classes" * bool(self.parameters.get("held_out"))

    @property
    def edit(self) -> str:
        """Hash of the edits of its notebooks; empty for unedited notebooks."""
        return edits.mark(self.edited)


def read(folders: Iterable[Path]) -> tuple[list[FinishedRun], list[dict[str, str]]]:
    """Read all finished runs below the folders, in planned order; also return the excluded runs, with the reason.

    Raises RunError for a missing folder, or if there is no finished run.
    """
    found, left_out, seen, folders = [], [], set(), list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"no folder {folder}: run an experiment first, like `tad run demo`")
        places = list(_run_folders(folder))
        latest = {plan["version"].parent: plan["version"] for _, plan in places if plan}
        for path, plan in places:
            if path.resolve() in seen or (plan and plan["version"] != latest[plan["version"].parent]):
                continue
            seen.add(path.resolve())
            if why := _state(path, plan)[1]:
                left_out.append({"run": str(path.relative_to(path.parents[1])), "why": why})
            else:
                found.append(_read(path, plan))
    if not found:
        why = f"; {len(left_out)} do not count, first {left_out[0]['run']}: {left_out[0]['why']}" if left_out else ""
        raise RunError(f"no finished run below {', '.join(map(str, folders))}{why}; run an experiment first")
    return found, left_out


def _run_folders(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the run folders at or below a folder in planned order, each with the plan of its version, if any."""
    above = next((parent for parent in (folder, *folder.parents) if (parent / "experiment.json").is_file()), None)
    versions = [above] if above else sorted(path.parent for path in folder.rglob("experiment.json"))
    for plan in map(_plan, versions):
        for label in plan["runs"]:
            path = plan["version"] / label
            if path.is_relative_to(folder) or folder.is_relative_to(path):
                yield path, plan
    for path in sorted(path.parent for path in folder.rglob("run.json")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)  # the store of shared stages
        if not hidden and not any(version in path.parents for version in versions):
            yield path, {}


def _plan(version: Path) -> dict[str, Any]:
    """Return the plan of a version, with its folder and the parameters that differ between its runs."""
    plan = read_json(version / "experiment.json")
    return plan | {"version": version, "varied": frozenset(differing(plan["runs"].values()))}


def planned(folder: Path) -> tuple[dict[str, Any], Path]:
    """Return a run's records, the evaluation last, and the path of its metrics.

    The evaluation is that of the videos in `evaluate_on` of the run's first stage; one on other videos is left out.
    """
    found = records(folder)
    main = EVALUATIONS[evaluated_on(next(iter(found.values()), {}).get("parameters", {}))]
    last = {main: found[main]} if main in found else {}
    return {name: record for name, record in found.items() if name not in METRICS} | last, folder / METRICS[main]


def _state(folder: Path, plan: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of a run, one of STATES, and why it is excluded from comparisons (empty if it counts)."""
    if not (folder / "run.json").is_file():
        return NOT_BEGUN, "has not started"
    stages, metrics = planned(folder)
    if metrics.is_symlink() and not metrics.exists():
        return DELETED, f"{', '.join(dangling(folder))} {GONE}"
    unfinished = {stage: record for stage, record in stages.items() if record.get("status") != FINISHED}
    # a later stage that was refused and wrote nothing does not invalidate the run
    if metrics.is_file() and all(each["status"] == FAILED and not each.get("files") for each in unfinished.values()):
        return FINISHED, ""
    for stage, record in unfinished.items():
        if record["status"] in (FAILED, OUTDATED):
            problem = "failed" if record["status"] == FAILED else "is outdated"
            return record["status"], f"{stage} {problem}: {record['reason']}"
    state = OPEN if plan or unfinished else FINISHED  # single runs may end before evaluate
    late = next(iter(unfinished), "evaluate" if plan else "")
    return state, f"{late} has not finished" if late else "was not evaluated"


def _read(folder: Path, plan: Mapping[str, Any]) -> FinishedRun:
    stages, metrics = planned(folder)
    trained, latest = stages.get("train", next(iter(stages.values()))), list(stages.values())
    data = dict.fromkeys(str(record["data"]) for record in stages.values() if record.get("data"))
    facts = {fact: str(trained.get(fact, "unknown")) for fact in FACTS}
    facts |= {f"version of {package}": number for package, number in trained.get("versions", {}).items()}
    edited = edits.of_records(stages)
    of_gpu = [record["peak_gpu_memory_mb"] for record in stages.values() if "peak_gpu_memory_mb" in record]
    home = plan.get("version", folder).parent
    return FinishedRun(
        home=home,
        asks=plan.get("asks", home.name) if plan else "",
        question=plan.get("question", ""),
        name=plan.get("names", {}).get(folder.name, ""),
        varied=plan.get("varied", frozenset()),
        dir=folder,
        parameters=latest[-1]["parameters"],
        metrics=read_json(metrics),
        history=read_json(folder / "history.json") if (folder / "history.json").is_file() else [],
        seconds=sum(record.get("seconds", 0.0) for record in stages.values()),
        memory_mb=max(of_gpu or [record.get("peak_memory_mb", 0.0) for record in stages.values()]),
        facts=facts | {"data": " and ".join(data), "notebook": edits.mark(edited)},
        edited=edited,
        started=latest[0].get("started", ""),
        ideas=next(filter(None, (each.get("made_from", {}).get("file of ideas") for each in reversed(latest))), ""),
    )


def differing(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the parameters that differ between runs, in order of first occurrence."""
    runs = list(runs)
    names = dict.fromkeys(name for given in runs for name in given)
    return [name for name in names if len({repr(given.get(name)) for given in runs}) > 1]


def listing(folder: Path) -> Iterator[str]:
    """Yield a line for each version of an experiment below a folder; of a single experiment also for each run."""
    if not folder.is_dir():
        raise RunError(f"no folder {folder}: `tad list` shows what there is under outputs/")
    versions = sorted(path.parent for path in folder.rglob("experiment.json"))
    yield from map(_version_line, versions)
    places = list(_run_folders(folder))
    if all(folder in (version, version.parent) for version in versions):
        yield from table(folder)
        for path, plan in places:
            if why := _state(path, plan)[1]:
                yield f"{path.name}: {why}"
            for stage, edited in edits.of_records(records(path)).items():
                yield f"{path.name}, edited {stage}.ipynb ({edited['digest']}):"
                yield from (f"  {line}" for line in edited.get("lines", ["see run.json"]))
        return
    loose: dict[str, list[str]] = {}
    for path, plan in places:
        if not plan:
            loose.setdefault(path.parent.name, []).append(_state(path, plan)[0])
    for name, states in loose.items():
        yield f"{name}: {len(states)} run{'s' * (len(states) > 1)} of no experiment, {_counted(states)}"


def _version_line(version: Path) -> str:
    """Describe a version of an experiment: its commit, numbers of runs by state, and mean mAP of finished runs."""
    plan = _plan(version)
    states = {label: _state(version / label, plan)[0] for label in plan["runs"]}
    means: dict[str, list[float]] = {}
    for run in (_read(version / label, plan) for label, state in states.items() if state == FINISHED):
        means.setdefault(_kind(run), []).append(run.metrics["mAP"])
    results = ", ".join(f"mean mAP{kind} {100 * fmean(values):.1f} %" for kind, values in means.items())
    where = f"{version.parent.name}/{version.name}, commit {plan.get('commit', 'unknown')}"
    return f"{where}: of {len(states)} runs {_counted(states.values())}; {results or 'no numbers yet'}"


def _counted(states: Iterable[str]) -> str:
    """Describe the number of runs in each state; finished runs are included even if there are none."""
    counts = Counter(states)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] or state == FINISHED)


def _kind(run: FinishedRun) -> str:
    """Describe what makes metrics not comparable: protocol, training videos, edited notebook; empty if nothing."""
    protocol = run.parameters.get("protocol", "strict")
    videos = " on training videos" * (evaluated_on(run.parameters) == "training")
    return f" under {protocol}" * (protocol != "strict") + videos + f" of edited notebook {run.edit}" * bool(run.edit)


def table(folder: Path) -> list[str]:
    """Return a text table of the finished runs below a folder: metrics, best floor, best baseline and ceiling."""
    places = list(_run_folders(folder))
    several = len({path.parent for path, _ in places}) > 1
    found = [_read(path, plan) for path, plan in places if not _state(path, plan)[1]]
    rows = {}
    for run in found:
        row = {metric: run.metrics.get(metric) for metric in ("mAP", "mAP@0.5", "AR@100")}  # None at custom tIoUs
        for role, choose in {"floor": max, "baseline": max, "ceiling": itemgetter(0)}.items():
            values = [each["mAP"] for each in run.metrics.get("rows", []) if each["role"] == role]
            row[role] = choose(values) if values else None
        percent = {metric: None if value is None else 100 * value for metric, value in row.items()}
        name = str(run.dir.relative_to(folder)) if several else run.dir.name
        rows[name + _kind(run)] = percent | {"seconds": round(run.seconds)}
    if not rows:
        return ["no finished run"]
    frame = pd.DataFrame.from_dict(rows, orient="index").astype(float).astype({"seconds": int})
    return frame.to_string(float_format="{:.1f}".format, na_rep="-").splitlines()
