"""Reading the checkpoint of a run: what another version of the code wrote otherwise is an error that names the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError

ADVICE = "train again in another run_dir, or go on with the commit that wrote it (run.json names it)"


def read(path: Path, needed: tuple[str, ...] = ("network", "params", "about", "seen")) -> dict[str, Any]:
    """What a checkpoint holds: `network`, `params`, `about` (its training); RunError where it lacks any."""
    import torch

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise RunError(f"{path} cannot be read as a checkpoint ({str(error).splitlines()[0]}): {ADVICE}") from error
    held = {**saved, **saved.get("about", {})} if isinstance(saved, Mapping) else {}
    if missing := [name for name in needed if name not in held]:
        raise RunError(f"{path} has no {' and no '.join(missing)}, as an earlier version wrote it: {ADVICE}")
    return saved


def parameters(saved: Mapping[str, Any], path: Path) -> Params:
    """The parameters that a file of a run holds; raises RunError where this version does not know one of them."""
    try:
        return Params.read(saved)
    except ValueError as error:
        raise RunError(f"{path} holds parameters that this version does not take ({error}): {ADVICE}") from error


def restore(saved: Mapping[str, Any], path: Path, params: Params, own: Sequence[type] = ()) -> Any:
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
