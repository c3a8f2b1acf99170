"""Choice of the run that detects in the user's own videos, without downloads, and the reason for the choice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadlib import devices
from tadlib.data.encoder import to_download
from tadlib.files import Progress, silent
from tadlib.ideas.trained_naming import FROZEN
from tadlib.workbook import inference, inheritance, runs
from tadlib.workbook.execution import execute_notebook
from tadlib.workbook.notebook_params import DetectParams
from tadlib.workbook.params import Params
from tadlib.workbook.runs import RunError, resolve


def chosen(given: DetectParams, progress: Progress = silent) -> tuple[Path | None, str]:
    """Choose the checkpoint of `run_dir`, else the latest usable one below outputs/, else a new one on the demo.

    Returns its path and the reason. The path is None if no detector is wanted and no run is usable. Raises RunError if
    `run_dir` has no checkpoint, no run has the requested encoder, or training fails.
    """
    if given.run_dir:
        folder = resolve(given.run_dir)
        if not (folder / "checkpoint.pt").is_file():
            raise RunError(f"run_dir {folder} has no checkpoint.pt: run train.ipynb, or leave it empty")
        return folder / "checkpoint.pt", "run_dir names it"
    found, unusable = runs.written("checkpoint.pt"), []
    for path in found:
        if not (reason := cannot(path, given)):
            later = f", after {len(unusable)} later ones that cannot answer ({some(unusable)})" if unusable else ""
            return path, f"the latest of {len(found)} runs below outputs/{later}"
        unusable.append(f"{path.parent.name}: {reason}")
    why = f"none of {len(found)} runs below outputs/ can answer" + (f" ({some(unusable)})" if unusable else "")
    if given.detector == "none":
        return None, why
    if given.encoder:
        raise RunError(f"{why}: pass -p detector none, or -p run_dir of a run on {given.encoder}")
    folder = runs.project_root() / "outputs" / "adhoc" / runs.new_name("train")
    folder.mkdir(parents=True)
    progress(0, 1, f"training on the demo, because {why}; in {folder}")
    parameters = {"data_dir": given.data_dir, "device": given.device, "run_dir": str(folder)}
    if reason := execute_notebook("train", folder / "train.ipynb", parameters):
        raise RunError(f"training on the demo failed in {folder / 'train.ipynb'}: {reason}")
    progress(1, 1, f"training on the demo, in {folder}")
    return folder / "checkpoint.pt", f"new, on the demo: {why}"


def cannot(path: Path, given: DetectParams) -> str:
    """Return why the run of a checkpoint cannot be used here; empty if it can."""
    try:
        saved = inheritance.read_checkpoint(path, ("network", "params"))
        params = parameters_here(saved, path, given)
        if given.detector == "run":
            inheritance.load_network(saved, path, params)
    except (RunError, ValueError) as error:
        return str(error).removeprefix(f"{path} ").removeprefix(f"{path}: ")
    of_run = Params.read(saved["params"])
    other = (params.encoder, params.pretrained) != (of_run.encoder, of_run.pretrained) or of_run.features != "auto"
    if given.detector == "run" and other:
        return f"its detector has learnt from features of {of_run.encoder} (features={of_run.features})"
    return to_download(params.encoder, params.pretrained)


def parameters_here(saved: Mapping[str, Any], path: Path | None, given: DetectParams) -> Params:
    """Return a run's parameters for this machine, or the defaults; fp32 if the device does not support its fp16."""
    params = inheritance.stored_parameters(saved["params"], path) if path else Params.read({})
    if given.detector == "run" and params.target != "foreground":
        raise RunError(f"{path} is of a detector that names its own classes (target={params.target}), not your words")
    here = {"run_dir": "", "data_dir": given.data_dir, "device": given.device}
    if params.precision == "fp16" and devices.pick(given.device).type != "cuda":
        here["precision"] = "fp32"
    if given.encoder:
        here |= {"encoder": given.encoder, "pretrained": given.pretrained}
    return params.but(**here)


def off_for_own_words(params: Params) -> dict[str, object]:
    """Return the parameters of a run that do not apply to the user's own words, with the values that replace them."""
    plain = {name: value for name, value in (FROZEN | inference.CLIP_ALONE).items() if name != "proposed_by"}
    plain |= {"text": "prompt", "lead": "none", "candidates": "all", "snippets": 0}
    plain |= {"similarity": "cosine", "logit_scale": "exp", "temperature": 1.0}  # comparable scores of all runs
    pooling = inference.frozen_clip(params).pooling
    plain |= {"pooling": "mean" if pooling == "ordered" else pooling}
    return {name: value for name, value in plain.items() if getattr(params, name) != value}


def some(texts: list[str], most: int = 3) -> str:
    """Join the first `most` texts and the number of the others."""
    return "; ".join([*texts[:most], *([f"and {len(texts) - most} more"] if len(texts) > most else [])])
