"""Parameters and detector that a later stage takes from its run, and whose settled parameters it cannot change."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadlib.workbook import runs, stages
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError
from tadlib.workbook.stages import PATHS, STAGES

ADVICE = "train again in another run_dir, or go on with the commit that wrote it (run.json names it)"


def parameters(stage: str, namespace: Mapping[str, Any]) -> Params:
    """Return the parameters in force in a stage's notebook; `namespace` is its globals().

    Raises RunError, before anything is written, if the run lacks what the stage reads.
    """
    params = complete(stage, Params.given_in(namespace))
    runs.require_earlier(stage, params)
    return params


def complete(stage: str, given: Mapping[str, Any]) -> Params:
    """Return a stage's parameters: those given, and the others as in the latest finished stage of the run in `run_dir`.

    Raises RunError if a given value differs from one that an earlier stage settled, ValueError like `Params.check`, and
    FileNotFoundError for a data set without annotations.
    """
    given = Params.stated(given)
    folder = runs.resolve(str(given["run_dir"])) if given.get("run_dir") else None
    finished = earlier(stage, folder) if folder else {}
    latest, inherited = list(finished.items())[-1] if finished else ("", {})
    params = Params.check(given, dict(inherited))
    for other, had in finished.items():
        names = stages.settled(other, had) | ({"ideas"} if other == "train" and stages.trains(params.ideas) else set())
        agrees(stage, other, names & given.keys(), had, params, folder)
    if finished and stage == "evaluate":  # the latest stage wrote the detections
        agrees(stage, latest, stages.settled("classify", inherited) & given.keys(), inherited, params, folder)
    if params.dataset != "demo":
        from tadlib.data import datasets  # imports the demo, which a process that only starts a kernel does not need

        datasets.find_annotations(runs.resolve(datasets.folder_of(params.dataset, params.data_dir)), params.dataset)
    return params


def earlier(stage: str, folder: Path) -> dict[str, Params]:
    """Return the parameters of a run's finished stages before `stage`, in order; for `prepare`, of all later ones.

    A checkpoint without a record (copied from elsewhere) supplies the parameters of its training.
    """
    records, found = runs.records(folder), {}
    for other in STAGES[: STAGES.index(stage)] or STAGES[1:]:
        if records.get(other, {}).get("status") == "finished":
            found[other] = stored_parameters(records[other]["parameters"], folder / "run.json")
        elif other == "train" and (folder / "checkpoint.pt").is_file():
            path = folder / "checkpoint.pt"
            found[other] = stored_parameters(read_checkpoint(path, ("params",))["params"], path)
    return found


def agrees(stage: str, other: str, names: Collection[str], had: Params, params: Params, folder: Path) -> None:
    """Raise RunError if one of the parameters `names` has another value in `stage` than it had in `other`."""
    for name in sorted(names):
        was, now = getattr(had, name), getattr(params, name)
        if _path(name, now) != _path(name, was):
            raise RunError(
                f"{name} of {other} in {folder} is {was!r}, {stage} was given {now!r}: leave {name} out, or pass "
                "another run_dir"
            )


def _path(name: str, value: Any) -> Any:
    """Return the absolute path if the parameter names an existing file or folder, else the value unchanged."""
    path = runs.resolve(str(value)).resolve() if name in PATHS and value else None
    return path if path and path.exists() else value


def read_checkpoint(
    path: Path, needed: tuple[str, ...] = ("network", "params", "about", "seen", "trained_on")
) -> dict[str, Any]:
    """Read a checkpoint: `network`, `params` and `about` (its training); raise RunError if an entry is missing."""
    from tadlib.tensors import read_tensors  # imports torch, which a process that only starts a kernel does not need

    try:
        saved = read_tensors(path)
    except ValueError as error:
        raise RunError(f"{error}: {ADVICE}") from None
    parts = {name: saved.get(name) for name in ("network", "params", "about")} if isinstance(saved, Mapping) else {}
    held = {name for name, part in parts.items() if isinstance(part, Mapping)}
    held |= set(parts["about"]) if "about" in held else set()
    if missing := [name for name in needed if name not in held]:
        raise RunError(f"{path} has no {' and no '.join(missing)}: it is of another program or version: {ADVICE}")
    return saved


def stored_parameters(saved: Mapping[str, Any], path: Path) -> Params:
    """Return the parameters stored in a file of a run; raise RunError if this version does not accept one of them."""
    try:
        return Params.read(saved)
    except ValueError as error:
        raise RunError(f"{path} holds parameters that this version does not take ({error}): {ADVICE}") from error


def load_network(saved: Mapping[str, Any], path: Path, params: Params, own: Sequence[type] = ()) -> Any:
    """Load the network of a checkpoint, on the device and in the precision of the parameters.

    `own` are classes of network parts defined by the reader. Raises RunError if this version cannot build the network
    or the weights in the file do not fit it.
    """
    from tadlib import devices, ideas  # import torch, which a process that only starts a kernel does not need
    from tadlib.detector.network import restored

    try:
        model = restored(saved["network"], ideas.classes(params) | {each.__name__: each for each in own})
    except ValueError as error:  # an unknown class
        raise RunError(f"{path}: {error}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        details = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise RunError(f"{path} holds another network or weights of other features ({details}): {ADVICE}") from error
    device = devices.pick(params.device)
    model.dtype = devices.precision_dtype(params.precision, device)
    return model.to(device)
