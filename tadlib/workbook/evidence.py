"""Finished runs read from their folders, of any age: parameters, metrics, and what they ran on.

Of an experiment that was executed several times its latest version counts, unless another one is asked for by name.
Runs without an experiment file are one experiment for each folder that holds them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tadlib.files import dangling, read_json
from tadlib.workbook import edits
from tadlib.workbook.choices import Choice
from tadlib.workbook.evaluations import OUTDATED, planned
from tadlib.workbook.runs import RunError, records

FACTS = ("device", "threads", "commit", "python", "platform")
GONE = "lay in outputs/.stages, which was deleted; the command that made the run makes them again"


@dataclass(frozen=True)
class Entry:
    """One finished run."""

    home: Path  # the experiment's folder, or that of runs without one
    asks: str  # the parameters file whose question it is, by its name and its base's; empty where no file asked
    question: str  # the comment on top of the experiment's file; empty where there is none
    name: str  # what the file calls such runs; empty where it does not
    varied: frozenset[str]  # the parameters that the file varies
    dir: Path
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Any]  # fractions
    history: Sequence[Mapping[str, float]]  # one row an epoch
    seconds: Mapping[str, float]  # wall time of each stage
    memory_mb: float  # the peak of the stage that needed most, of the GPU's memory where one computed
    facts: Mapping[str, str]  # what it ran on: device, threads, commit, versions, data of all stages
    chosen: Sequence[Choice] = ()  # what its experiment's file said was chosen by looking at results
    edited: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # stage -> how its notebook was edited

    @property
    def key(self) -> tuple[Any, Any, Any, Any]:
        """What makes two runs a pair: the same classes, the same seed and the same simulated world."""
        return *(self.parameters.get(name) for name in ("split", "split_id", "seed")), self.parameters.get(
            "world_seed", 0
        )


@dataclass(frozen=True)
class Evidence:
    """The finished runs, in the order they were planned, and why others do not count."""

    entries: tuple[Entry, ...]
    left_out: tuple[Mapping[str, str], ...]  # run, why


def read(folders: Iterable[Path]) -> Evidence:
    """Every finished run below the folders; raises RunError for a folder that is none, or if there is no run at all."""
    entries: list[Entry] = []
    left_out: list[Mapping[str, str]] = []
    seen: set[Path] = set()
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"no folder {folder}: run an experiment first, like `tad run params/demo.yaml`")
        for place, version in _versions(folder):
            for path in _planned(place, version):
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    found = _entry(path, version)
                    (entries if isinstance(found, Entry) else left_out).append(found)
    if not entries:
        why = f"; {len(left_out)} do not count, first {left_out[0]['run']}: {left_out[0]['why']}" if left_out else ""
        raise RunError(f"no finished run below {', '.join(map(str, folders))}{why}; run an experiment first")
    return Evidence(tuple(entries), tuple(left_out))


def _versions(folder: Path) -> list[tuple[Path, Path | None]]:
    """Folders that hold runs, each with the experiment's version it belongs to; of several versions the latest."""
    above = next((p for p in (folder, *folder.parents) if (p / "experiment.json").is_file()), None)
    if above is not None:
        return [(folder, above)]
    latest = {path.parent.parent: path.parent for path in sorted(folder.rglob("experiment.json"))}
    planned = {path.parent for path in folder.rglob("experiment.json")}
    loose = {
        path.parent.parent
        for path in folder.rglob("run.json")
        if path.parent != folder
        and not any(parent in planned for parent in path.parents)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)  # shared stages are no runs
    }
    own = [(folder, None)] if (folder / "run.json").is_file() else []
    return own + [(version, version) for version in latest.values()] + [(place, None) for place in sorted(loose)]


def _planned(place: Path, version: Path | None) -> list[Path]:
    """The folders of runs at a place: as planned where there is a plan, else by name."""
    if version is None:
        return [place] if (place / "run.json").is_file() else sorted(path.parent for path in place.glob("*/run.json"))
    planned = [version / label for label in read_json(version / "experiment.json").get("runs", {})]
    return [path for path in planned if path.is_relative_to(place) or place.is_relative_to(path)]


def _entry(folder: Path, version: Path | None) -> Entry | Mapping[str, str]:
    """The run in a folder, or why it does not count."""
    name = str(folder.relative_to(folder.parents[1]))
    if not (folder / "run.json").is_file():
        return {"run": name, "why": "has not started"}
    stages, metrics = planned(records(folder), folder)
    if version is None:  # a later stage that was refused and wrote nothing takes nothing from the run
        stages = {stage: r for stage, r in stages.items() if r.get("status") != "failed" or r.get("files")} or stages
    unfinished = [_unfinished(stage, record) for stage, record in stages.items() if record.get("status") != "finished"]
    if not unfinished and metrics.is_symlink() and not metrics.exists():
        return {"run": name, "why": f"{', '.join(dangling(folder))} {GONE}"}
    if unfinished or not metrics.is_file():
        return {"run": name, "why": "; ".join(unfinished) or "evaluate has not finished"}
    trained = stages.get("train", next(iter(stages.values())))
    last = list(stages.values())[-1]
    data = dict.fromkeys(str(record["data"]) for record in stages.values() if record.get("data"))
    versions = {f"version of {package}": number for package, number in trained.get("versions", {}).items()}
    plan = read_json(version / "experiment.json") if version else {}
    home = (version or folder).parent
    return Entry(
        home=home,
        asks=plan.get("asks", home.name) if version else "",
        question=plan.get("question", ""),
        name=plan.get("names", {}).get(folder.name, ""),
        varied=frozenset(differing(plan.get("runs", {}).values())),
        dir=folder,
        parameters=last["parameters"],
        metrics=read_json(metrics),
        history=read_json(folder / "history.json") if (folder / "history.json").is_file() else [],
        seconds={stage: record.get("seconds", 0.0) for stage, record in stages.items()},
        memory_mb=_memory(stages),
        facts={fact: str(trained.get(fact, "unknown")) for fact in FACTS}
        | versions
        | {"data": " and ".join(data), "notebook": edits.mark(edits.of_records(stages))},
        chosen=[Choice(**each) for each in plan.get("chosen", [])],
        edited=edits.of_records(stages),
    )


def _unfinished(stage: str, record: Mapping[str, Any]) -> str:
    """Why the results of a stage do not count."""
    said = {OUTDATED: "is outdated", "failed": "failed"}.get(record.get("status", ""))
    return f"{stage} {said}: {record['reason']}" if said else f"{stage} has not finished"


def data_of(entry: Entry) -> str:
    """What a run was measured on, in a word."""
    dataset, features = entry.parameters.get("dataset", "demo"), entry.parameters.get("features")
    if features == "simulate":
        return "rehearsal" if dataset == "thumos14" else f"{dataset}, simulated"
    return str(dataset)


def differing(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of parameters that are not the same in all runs, in their order."""
    runs = list(runs)
    names = dict.fromkeys(name for given in runs for name in given)
    return [name for name in names if len({repr(given.get(name)) for given in runs}) > 1]


def _memory(stages: Mapping[str, Mapping[str, Any]]) -> float:
    """What a run may lack first: a GPU's memory where one computed, else that of the machine."""
    of_gpu = [record["peak_gpu_memory_mb"] for record in stages.values() if "peak_gpu_memory_mb" in record]
    return max(of_gpu or [record.get("peak_memory_mb", 0.0) for record in stages.values()])
