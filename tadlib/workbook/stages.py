"""Stages: the names of their records, and the parameters, code and data that each depends on.

Runs that agree in all of these share the stage. `prepare` reads the data and its texts, `train` whatever makes the
detector, `evaluate` everything, and `classify` all but which videos are evaluated. A parameter that is in no list here
belongs to training: a new one is never shared by mistake.

The code of a stage is that of its notebook's cells and of every module that they import, directly or not, found by
parsing. Comments, docstrings and layout are no part of a version, nor are modules that only show.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import tadlib
from tadlib.data import fingerprints
from tadlib.data.datasets import TEXT_LAYOUTS
from tadlib.files import digest
from tadlib.project import project_root, resolve
from tadlib.workbook.params import NamingParams, Params

STAGES = ("prepare", "train", "classify", "evaluate")
GOES_ON_WITH = {"prepare": (), "train": (), "classify": ("train",), "evaluate": ("train", "classify")}

DATA = frozenset(
    "dataset data_dir split split_id held_out demo_seed world_seed device precision encoder pretrained stride "
    "frames_per_snippet snippets features text_features missing".split()
)
WORDING = frozenset({"text", "descriptions", "lead"})
NAMING = frozenset(NamingParams.model_fields)
MERGING = frozenset({"nms", "nms_per", "nms_tiou", "top_k", "test_window", "test_overlap", "agreement"})
KEEPING = frozenset({"keep", "filter_threshold"})
NOT_TRAINED = WORDING | NAMING | MERGING | KEEPING | {"protocol", "evaluate_on", "run_dir"}
# modules that show: no result depends on them
SHOWING = tuple(f"tadlib.workbook.{name}." for name in ("figures", "display", "viewer", "result"))
EVERYTHING = frozenset(f"tadlib.workbook.{path.stem}" for path in Path(__file__).parent.glob("*.py"))
# what is evaluated -> the record of it in run.json, and the file of its metrics
EVALUATIONS = {"test": ("evaluate", "metrics.json"), "training": ("evaluate_on_training", "metrics_on_training.json")}
DETECTIONS_ON_TRAINING = "detections_on_training.json"
OUTDATED = "outdated"  # the status of a finished evaluation whose detections are no longer the run's
# what describes an artefact, and no other one
DESCRIBED_BY = {"detections.json": (*dict(EVALUATIONS.values()).values(), DETECTIONS_ON_TRAINING)}
COUNTING = frozenset({"protocol", "evaluate_on"})  # what evaluate reads for itself
FILES = frozenset({"pretrained", "text_features", "descriptions", "ideas"})  # parameters that may name a file
MACHINE = frozenset({"device", "precision", "data_dir", "missing", "run_dir"})  # where a stage computes, not what


def record_name(stage: str, params: Params) -> str:
    """The name of a stage's record in run.json: its own, but for an evaluation on the training videos."""
    return EVALUATIONS[params.evaluate_on][0] if stage == "evaluate" else stage


def metrics_name(record: str) -> str:
    """The file of the metrics that belong to a record."""
    return dict(EVALUATIONS.values()).get(record, "metrics.json")


def evaluated_on(parameters: Mapping[str, Any]) -> str:
    """The videos that a run evaluates, by its parameters of whatever age."""
    return parameters.get("evaluate_on", "test")


def planned(records: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], Path]:
    """A run's records and the place of its metrics, both without those of a second evaluation on other videos.

    The one that counts is on the videos that the run's first stage was given as `evaluate_on`.
    """
    on = evaluated_on(next(iter(records.values()), {}).get("parameters", {}))
    others = {name for side, (name, _) in EVALUATIONS.items() if side != on}
    return {name: record for name, record in records.items() if name not in others}, folder / EVALUATIONS[on][1]


def depends_on(stage: str, params: Params) -> frozenset[str]:
    """The names of the parameters that can change what a stage leaves behind for the later ones."""
    if stage == "prepare":
        return DATA | WORDING | {"protocol", "window", "test_window", "test_overlap", "pooling", "roi_bins"}
    everything = frozenset(Params.model_fields) - {"run_dir"}
    if stage == "evaluate":
        return everything
    everything -= {"evaluate_on"}
    if stage == "classify":
        return everything
    names = everything - NOT_TRAINED
    if params.fuse_text or params.segmentation != "none":
        names |= WORDING
    if params.target == "description":
        names |= {"descriptions"}
    if params.validation:
        names |= MERGING | {"filter_threshold", "protocol"}
    return everything if params.curves else names


def settled(stage: str, params: Params) -> frozenset[str]:
    """The parameters that later stages of a run may not change, once a stage with these has finished.

    What was prepared can be trained on in any way, what was trained be named in any way, and what was named be counted
    in any way; `curves` are only looked at.
    """
    if stage == "prepare":
        return DATA - MACHINE
    if stage == "train":
        return depends_on("train", params.but(curves=False)) - MACHINE
    return depends_on(stage, params) - COUNTING - MACHINE


def read_by(stage: str, params: Params) -> dict[str, Any]:
    """The parameters that a stage depends on, with their values."""
    names = depends_on(stage, params)
    return {name: value for name, value in params.model_dump().items() if name in names}


def reduced(stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for a run, less what the stage does not depend on, so that runs that share it have the same key.

    What a later stage alone makes use of is left out as well, else this one refused it.
    """
    names = depends_on(stage, Params.read(given))
    kept = {name: value for name, value in given.items() if name in names}
    return {name: value for name, value in kept.items() if name not in Params.idle(kept)}


def key(stage: str, given: Mapping[str, Any], machine: str = "") -> str:
    """Twelve digits that stand for all a stage depends on: parameters, code, data, and what computes."""
    params = Params.read(given)
    return digest([stage, read_by(stage, params), code_version(stage), data_version(params, stage), machine])


def code_version(stage: str = "train") -> str:
    """Twelve digits that stand for the code of a stage, of those whose results it goes on with, and of the libraries.

    The number of threads, which changes last digits, is no part of it: who shares a stage takes it as it was made.
    """
    notebooks = [project_root() / "notebooks" / f"{each}.ipynb" for each in (*GOES_ON_WITH[stage], stage)]
    return digest([_libraries(), *map(notebook_version, notebooks)])


@cache
def _libraries() -> list[str]:
    return [metadata.version(name) for name in ("torch", "torchvision", "open_clip_torch", "numpy", "scipy")]


def data_version(params: Params, stage: str = STAGES[-1]) -> str:
    """Twelve digits that stand for the files a stage starts from: names, sizes, times, heads and tails.

    The demo is made by the code, and its version is the code's.
    """
    found: list[Path] = []
    if params.dataset != "demo":
        known = params.dataset in ("thumos14", "activitynet13")
        folder = resolve(params.data_dir) / params.dataset if known else resolve(params.dataset)
        for place in (folder, folder / "annotations", folder / "videos", folder / "features"):
            found += _files(place.glob("*"))
        found += [path for layout in TEXT_LAYOUTS for place in folder.glob(layout) for path in _files(place.rglob("*"))]
    if params.features not in ("auto", "simulate"):
        found += _files(resolve(params.features).glob("*"))
    named = FILES & depends_on(stage, params)
    found += _files(resolve(getattr(params, name)) for name in named if getattr(params, name))
    stats = [(str(path), path.stat()) for path in sorted(set(found))]
    return digest([(name, stat.st_mtime_ns, _ends(name, stat.st_mtime_ns, stat.st_ctime_ns)) for name, stat in stats])


@lru_cache(maxsize=2**20)
def _ends(path: str, _changed: int, _touched: int) -> str:
    """`fingerprints.ends_hash`, computed once while a file stays as it is: every run of a batch asks for it."""
    return fingerprints.ends_hash(path)


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def notebook_version(notebook: Path) -> str:
    """Twelve digits that stand for the code of a notebook, of the modules it imports and of the texts beside them."""
    root = Path(tadlib.__file__).parent
    own, waiting = _code(notebook, notebook.stat().st_mtime_ns) if notebook.is_file() else ("", frozenset())
    found: dict[Path, str] = {}
    while waiting:
        code = {path: _code(path, path.stat().st_mtime_ns) for name in waiting for path in _modules(name, root)}
        waiting = frozenset().union(*(names for path, (_, names) in code.items() if path not in found))
        found |= {path: version for path, (version, _) in code.items()}
    texts = (path for path in root.rglob("*.json") if path.relative_to(root).parts[0] != "workbook")
    found |= {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in texts}
    return digest([own, *(version for _, version in sorted(found.items()))])


def _modules(name: str, root: Path) -> list[Path]:
    """The files of the package that define a dotted name: one module, or all of a package within it."""
    place = root.parent.joinpath(*name.split("."))
    if not place.is_relative_to(root) or f"{name}.".startswith(SHOWING):
        return []
    if place.with_suffix(".py").is_file():
        return [place.with_suffix(".py")]
    if (place / "__init__.py").is_file():
        return [place / "__init__.py"] if place == root else sorted(place.rglob("*.py"))
    return _modules(name.rpartition(".")[0], root)


@lru_cache(maxsize=1024)
def _code(path: Path, _changed: int) -> tuple[str, frozenset[str]]:
    """What stands for the code of a module or a notebook, and the dotted names that it imports.

    One that cannot be parsed may import anything.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(_cells(content) if path.suffix == ".ipynb" else content)
    except (ValueError, KeyError, TypeError, SyntaxError):
        return hashlib.sha256(content).hexdigest(), EVERYTHING
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return digest(ast.dump(tree)), frozenset(names)


def _cells(notebook: bytes) -> str:
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in cell.splitlines()]
    return "\n".join(repr(line) if line.startswith(("%", "!")) else line for line in lines)  # magics
