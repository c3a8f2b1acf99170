"""Parameters and detector that a later stage takes from its run.

What an earlier stage settled, like the classes that training saw, a later one cannot change. What another version of
the code wrote otherwise is an error that names the file.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tadlib.workbook import runs, stages
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError
from tadlib.workbook.stages import STAGES

PATHS = stages.FILES | {"dataset", "features"}  # parameters that may be one
ADVICE = "train again in another run_dir, or go on with the commit that wrote it (run.json names it)"


def parameters(stage: str, namespace: Mapping[str, Any]) -> Params:
    """The parameters in force in the notebook of a stage; `namespace` is its globals()."""
    return complete(stage, Params.given_in(namespace))


def complete(stage: str, given: Mapping[str, Any]) -> Params:
    """What was given to a stage, with all else as the run in `run_dir` has it, as its latest finished stage had it.

    Without a run there the recipe and the defaults fill the rest. Raises RunError for a value that an earlier stage
    settled otherwise, and ValueError as `Params.check` does or for a file of `ideas` that cannot be used.
    """
    given = {name: value for name, value in given.items() if value is not None}
    folder = runs.resolve(str(given["run_dir"])) if given.get("run_dir") else None
    had = earlier(stage, folder) if folder else {}
    for other, params in had.items():
        agrees(stage, other, stages.settled(other, params), params, given, folder)
    latest, known = list(had.items())[-1] if had else ("", {})
    if had and stage == "evaluate":  # whoever named last wrote the detections
        agrees(stage, latest, stages.settled("classify", known), known, given, folder)
    params = Params.check(given, dict(known))
    if params.ideas:
        from tadlib.ideas import own_module  # torch comes with it

        own_module(runs.resolve(params.ideas))
    return params


def earlier(stage: str, folder: Path) -> dict[str, Params]:
    """The parameters of the finished stages of a run that come before another, in their order; of all for `prepare`.

    A checkpoint without a record, which was brought from elsewhere, knows those of its training.
    """
    records, found = runs.records(folder), {}
    for other in STAGES[: STAGES.index(stage)] or STAGES[1:]:
        if records.get(other, {}).get("status") == "finished":
            found[other] = stored_parameters(records[other]["parameters"], folder / "run.json")
        elif other == "train" and (folder / "checkpoint.pt").is_file():
            path = folder / "checkpoint.pt"
            found[other] = stored_parameters(read_checkpoint(path, ("params",))["params"], path)
    return found


def agrees(stage: str, other: str, names: Collection[str], had: Params, given: Mapping[str, Any], folder: Path) -> None:
    """Raise RunError for a value given to a stage under one of `names` that another stage of the run had otherwise."""
    for name in sorted(given.keys() & names):
        was, now = getattr(had, name), given[name]
        if not Params.same(name, now, was) and _path(name, now) != _path(name, was):
            raise RunError(
                f"{name} of {other} in {folder} is {was!r}, {stage} was given {now!r}: leave {name} out, or pass "
                "another run_dir"
            )


def _path(name: str, value: Any) -> Any:
    """The absolute path that a parameter names, however it is written; another value as it is."""
    there = runs.resolve(str(value)).resolve() if name in PATHS and value else None
    return there if there and there.exists() else value


def read_checkpoint(
    path: Path, needed: tuple[str, ...] = ("network", "params", "about", "seen", "trained_on")
) -> dict[str, Any]:
    """What a checkpoint holds: `network`, `params`, `about` (its training); RunError where it lacks any."""
    from tadlib.tensors import read_tensors  # torch comes with it, which no process needs that starts a kernel

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
    """The parameters that a file of a run holds; raises RunError where this version does not know one of them."""
    try:
        return Params.read(saved)
    except ValueError as error:
        raise RunError(f"{path} holds parameters that this version does not take ({error}): {ADVICE}") from error


def load_network(saved: Mapping[str, Any], path: Path, params: Params, own: Sequence[type] = ()) -> Any:
    """The network of a checkpoint, where the parameters want it and in their precision.

    `own` are the classes of parts that are the reader's. Raises RunError where this version makes no such network, or
    other weights than its own lie in the file.
    """
    from tadlib import devices, ideas  # torch comes with them, which no process needs that starts a kernel
    from tadlib.detector.network import restored

    try:
        model = restored(saved["network"], ideas.classes(params) | {each.__name__: each for each in own})
    except ValueError as error:  # a class that is not known here
        raise RunError(f"{path}: {error}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        told = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise RunError(f"{path} holds another network or weights of other features ({told}): {ADVICE}") from error
    device = devices.pick(params.device)
    model.dtype = devices.precision_dtype(params.precision, device)
    return model.to(device)
