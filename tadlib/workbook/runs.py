"""Run directories: their names, the record of each stage in run.json, artefacts, and interrupted trainings.

A finished stage is never executed again in the same directory; nothing is overwritten.
"""

import os
import platform
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tadlib.files import digest, kept_as, read_json, write_json
from tadlib.locks import claim, locked, release
from tadlib.project import project_root, resolve
from tadlib.workbook import edits
from tadlib.workbook.params import Params
from tadlib.workbook.stages import DESCRIBED_BY, METRICS, OUTDATED, record_name

NEEDED = {name: ("checkpoint.pt", "train") for name in ("classify", "evaluate_on_training")}  # file, written by
NEEDED |= {"evaluate": ("detections.json", "classify")}
_refused: set[tuple[Path, str]] = set()  # folders and finished stages that this process was asked to start again
PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "av", "papermill", "matplotlib", "tadlib")


class RunError(RuntimeError):
    """Error of a run that cannot continue; the message says what to do."""


def new_name(tag: str = "") -> str:
    """Return a unique directory name that sorts by time: UTC start to the microsecond, tag, four random digits."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return "_".join(part for part in (stamp, tag, secrets.token_hex(2)) if part)


def written(name: str) -> list[Path]:
    """Return the files of that name in all run folders below outputs/, the latest first; not those in the store."""
    found = filter(Path.is_file, project_root().glob(f"outputs/[!.]*/**/{name}"))
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


@dataclass
class Run:
    """A stage that is being executed in a run directory."""

    stage: str
    dir: Path
    params: Params
    record: dict[str, Any]
    started: float = field(default_factory=time.time)
    earlier: float = 0.0  # seconds of the interrupted attempt that this one continues
    _resumed: set[Path] = field(default_factory=set)  # unfinished checkpoints that no other process may use now

    def target(self, name: str) -> Path:
        """Return the path to which this stage writes an artefact, and record it.

        A file of another stage by that name is renamed: train's metrics.json becomes metrics.train.json. So are, for
        new detections, the metrics of the old ones, whose `evaluate` is outdated and may be executed again.
        """
        if (self.dir, self.stage) in _refused:  # cells that go on after `start` was refused still hold this run
            raise RunError(f"{self.stage} has already finished in {self.dir}: {name} is not overwritten")
        own = self.record.setdefault("files", [])
        for file in (name, *DESCRIBED_BY.get(name, ())):
            if (self.dir / file).exists() and file not in own:
                self._set_aside(file)
        if name not in own:
            own.append(name)
            write_record(self.dir, self.stage, self.record)
        return self.dir / name

    def _set_aside(self, name: str) -> None:
        with locked(self.dir / "run.json"):
            found = records(self.dir)
            others = (stage for stage, record in found.items() if name in record.get("files", []))
            owner = next((stage for stage in others if stage != self.stage), "earlier")
            if owner in METRICS and found[owner].get("status") == "finished":
                notebook = self.dir / "evaluate.ipynb"
                if notebook.exists():
                    os.replace(notebook, kept_as(notebook, OUTDATED))
                found[owner] |= {"status": OUTDATED, "reason": f"{self.stage} wrote new detections after it"}
            kept = kept_as(self.dir / name, owner)
            os.replace(self.dir / name, kept)
            if owner in found:
                found[owner]["files"] = [kept.name if file == name else file for file in found[owner]["files"]]
                write_json(self.dir / "run.json", found)

    def save_json(self, name: str, value: Any) -> Path:
        """Write an artefact as JSON, atomically."""
        path = self.target(name)
        write_json(path, value)
        return path

    def require(self, name: str, stage: str) -> Path:
        """Return the path of an artefact that `stage` writes; if it is missing, raise RunError with what to run."""
        path = self.dir / name
        if path.is_file():
            return path
        others = [each.parent for each in written(name) if (each.parent / "checkpoint.pt").is_file()]
        hint = f" (the latest is {others[0]})" if others else ""
        raise RunError(
            f"{self.stage} needs {name}, which {stage}.ipynb writes, and {self.dir} has none: run "
            f"`{command(stage, self.dir)}` first, or pass -p run_dir DIR of a run that has it{hint}"
        )

    def unfinished(self, key: Mapping[str, Any]) -> Path:
        """Return a checkpoint path shared by all runs with the same `key`, so that an interrupted training resumes.

        While another process has it locked, the path is in this run's folder. `finish` deletes the file.
        """
        path = project_root() / "outputs" / "unfinished" / f"{digest(dict(key))}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not claim(path.with_suffix(".lock")):
            return self.dir / "unfinished.pt"
        self._resumed.add(path)
        return path

    def tensorboard(self) -> Callable[[Mapping[str, float]], None]:
        """Return a function that writes a row of a history to TensorBoard logs; ValueError without TensorBoard."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("tensorboard=true needs TensorBoard, got none: pip install 'tadlib[logs]'") from None
        writer = SummaryWriter(str(self.dir / "tensorboard"))

        def log(row: Mapping[str, float]) -> None:
            for name, value in row.items():
                writer.add_scalar(name.replace(" ", "_"), value, int(row["epoch"]))
            writer.flush()

        return log

    def finish(self, metrics: Mapping[str, Any] | None = None, data: str = "", **more: float | None) -> Any:
        """Finish the record of this stage, with `more`, and write its `metrics`; return the result to show."""
        from tadlib.devices import peaks, pick
        from tadlib.workbook.display import Result  # imports pandas

        if metrics is not None:
            self.save_json(METRICS.get(self.stage, "metrics.json"), dict(metrics))
        self.record |= more | {
            "status": "finished",
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started + self.earlier, 1),
            **peaks(pick(self.params.device)),
            "data": ", ".join([data, *_untrained(self.params)]),
        }
        if edited := edits.in_kernel(self.stage):
            self.record["edited"] = edited
        write_record(self.dir, self.stage, self.record)
        for path in (*self._resumed, self.dir / "unfinished.pt"):
            path.unlink(missing_ok=True)
            release(path.with_suffix(".lock"))
        release(self.dir / f".{self.stage}.lock")
        return Result(self.stage, self.dir, self.record, dict(metrics or {}))


def start(stage: str, params: Params) -> Run:
    """Start a stage in its run directory (a new one under outputs/adhoc/ if `run_dir` is empty).

    Raises RunError if that stage has finished there or another process executes it.
    """
    stage = record_name(stage, params)
    folder = _folder(stage, params)
    _unfinished(stage, folder)  # the folder may be read-only
    folder.mkdir(parents=True, exist_ok=bool(params.run_dir))
    if not claim(folder / f".{stage}.lock"):
        raise RunError(f"another process runs {stage} in {folder}: end it (or its kernel), or pass another run_dir")
    before = _unfinished(stage, folder)  # another start may have finished it before the lock was claimed
    record = provenance(params) | {"status": "running", "files": list(before.get("files", []))}
    write_record(folder, stage, record)
    sys.stdout.writelines(f"{line}\n" for line in (*edits.lines(records(folder), stage), *_untrained(params)))
    run = Run(stage, folder, params, record)
    _notice_errors(run)
    return run


def _unfinished(stage: str, folder: Path) -> dict[str, Any]:
    """Return the record of an earlier attempt at a stage, if any; raise RunError if it has finished."""
    before = records(folder).get(stage, {})
    if before.get("status") == "finished":
        _refused.add((folder, stage))
        release(folder / f".{stage}.lock")
        how = " with a copy of its checkpoint.pt" * (stage in NEEDED)
        how += ", and run classify there first" * (stage == "evaluate")
        raise RunError(f"{stage} has already finished in {folder}: nothing is overwritten; pass another run_dir{how}")
    return before


def require_earlier(stage: str, params: Params) -> None:
    """Raise RunError if the run directory lacks what the stage reads; nothing is written."""
    stage = record_name(stage, params)
    if stage in NEEDED:
        Run(stage, _folder(stage, params), params, {}).require(*NEEDED[stage])


def _folder(stage: str, params: Params) -> Path:
    return resolve(params.run_dir) if params.run_dir else project_root() / "outputs" / "adhoc" / new_name(stage)


def _untrained(params: Params) -> list[str]:
    """Return a warning if the encoder has random weights, else nothing."""
    warning = f"UNTRAINED ENCODER {params.encoder}: its pictures and texts mean nothing"
    return [warning] if params.pretrained == "random" else []


def _notice_errors(run: Run) -> None:
    """Mark the stage as failed when a notebook cell raises an error; `finish` may still replace the status."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return

    def after(result: Any) -> None:
        error = result.error_in_exec or result.error_before_exec
        if error is not None and run.record["status"] == "running":
            run.record |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            write_record(run.dir, run.stage, run.record)

    shell.events.register("post_run_cell", after)


def provenance(params: Params) -> dict[str, Any]:
    """Return what may explain a difference between two runs, threads included (the order of sums changes digits)."""
    import torch

    return {
        "parameters": params.model_dump(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(params.device),
        "threads": torch.get_num_threads(),
    }


def commit() -> str:
    """Return the git commit, with "+changes" if files outside `outputs/` differ from it; "unknown" without git."""

    def git(*words: str) -> str:
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.check_output(["git", *words], cwd=project_root(), text=True, **quiet).strip()

    try:
        commit_hash = git("describe", "--always", "--abbrev=12", "--exclude=*")
        changed = git("diff", "--name-only", "HEAD", "--", ".", ":!outputs")  # a batch writes the lab log there
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit_hash + ("+changes" if changed else "")


@cache
def device_name(device: str) -> str:
    """Describe the computing device."""
    import torch

    from tadlib.devices import pick

    picked = pick(device)
    if picked.type == "cuda":
        return torch.cuda.get_device_name(picked)
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = models[0].split(":")[1].strip() if models else platform.processor() or platform.machine()
    return f"{picked.type}: {name}, {os.cpu_count()} cores"


def command(stage: str, folder: Path) -> str:
    """Return the shell command that executes a stage in a run's folder.

    If the stage has finished there, the command uses a new folder with the same parameters, and checkpoint if any.
    """
    recorded = records(folder)
    words = ["papermill", f"notebooks/{stage}.ipynb", "-p", "run_dir"]
    if recorded.get(stage, {}).get("status") != "finished":
        return shlex.join([*words, str(folder)])
    new, own, checkpoint = f"{folder}_{stage}", recorded[stage]["parameters"], folder / "checkpoint.pt"
    usual = Params.read({"dataset": own["dataset"]}).model_dump()
    known = recorded.get("train", recorded[stage])["parameters"] if checkpoint.is_file() else usual | {"dataset": ""}
    given = {name: value for name, value in own.items() if name != "run_dir" and value != known.get(name, value)}
    copy = f"{shlex.join(['mkdir', new])} && {shlex.join(['cp', str(checkpoint), new])} && " * checkpoint.is_file()
    return copy + shlex.join([*words, new, *(word for item in given.items() for word in ("-p", *map(str, item)))])


def records(folder: Path) -> dict[str, Any]:
    """Read the records of a run, by stage."""
    return read_json(folder / "run.json") if (folder / "run.json").is_file() else {}


def write_record(folder: Path, stage: str, record: Mapping[str, Any]) -> None:
    """Write the record of a stage; those of other stages, which may be written at the same time, are kept."""
    with locked(folder / "run.json"):
        write_json(folder / "run.json", records(folder) | {stage: dict(record)})
