"""Reading the checkpoint of a run: what another version of the code wrote otherwise is an error that names the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError

ADVICE = "train again in another run_dir, or go on with the commit that wrote it (run.json names it)"


def read(path: Path, needed: tuple[str, ...] = ("model", "params", "about", "seen")) -> dict[str, Any]:
    """What a checkpoint holds: `model` (weights), `params`, `about` (its training); RunError where it lacks any."""
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


def restore(model: Any, saved: Mapping[str, Any], path: Path) -> None:
    """Put the weights of a checkpoint into a network; raises RunError where they are not those of such a network."""
    try:
        model.load_state_dict(saved["model"])
    except RuntimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise RunError(f"{path} has weights of another network or of other features ({told}): {ADVICE}") from error
