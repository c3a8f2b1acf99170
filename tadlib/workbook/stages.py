"""Stages: the names of their records, and the parameters, code and data that each depends on.

Runs that agree in all of these share the stage. `prepare` depends on the data and its texts, `train` on the parameters
of the detector, `evaluate` on everything, and `classify` on everything but `evaluate_on`. A parameter in no list here
belongs to training, so that a new one never leads to a wrongly shared stage.

The code of a stage is that of its notebook's cells and of all modules that they import, directly or indirectly, found
by parsing. Comments, docstrings and formatting do not change its version, nor do modules of figures and tables.
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
from tadlib.data.datasets import TEXT_LAYOUTS, folder_of
from tadlib.files import digest
from tadlib.project import project_root, resolve
from tadlib.workbook.params import NamingParams, Params

STAGES = ("prepare", "train", "classify", "evaluate")

DATA = frozenset(
    "dataset data_dir split split_id held_out demo_seed world_seed device precision encoder pretrained stride "
    "frames_per_snippet snippets features text_features missing".split()
)
WORDING = frozenset({"text", "descriptions", "lead"})
NAMING = frozenset(NamingParams.model_fields)
MERGING = frozenset({"nms", "nms_per", "nms_tiou", "top_k", "test_window", "test_overlap", "agreement"})
KEEPING = frozenset({"keep", "filter_threshold"})
COUNTING = frozenset({"protocol", "evaluate_on"})  # read by evaluate alone
CONTENT = (".json", ".npz")  # files of the package that its code reads: texts, and the weights of the demo's CLIP
# modules for display, on which no result depends
SHOWING = tuple(f"tadlib.workbook.{name}." for name in ("figures", "display"))
EVALUATIONS = {"test": "evaluate", "training": "evaluate_on_training"}  # evaluated videos -> name of the record
METRICS = {"evaluate": "metrics.json", "evaluate_on_training": "metrics_on_training.json"}  # record -> file
DETECTIONS_ON_TRAINING = "detections_on_training.json"
RESULT = "application/vnd.tad.result+json"  # type of the last output of a stage's notebook
OUTDATED = "outdated"  # status of a finished evaluation whose detections were replaced
# artefact -> files that describe it and become invalid with it
DESCRIBED_BY = {"detections.json": (*METRICS.values(), DETECTIONS_ON_TRAINING)}
FILES = frozenset({"pretrained", "text_features", "descriptions", "ideas"})  # parameters that may name a file
PATHS = FILES | {"dataset", "features", "data_dir"}  # parameters that may be paths
TRAINING_HOOKS = ("additions", "parts", "network", "loss", "each_batch", "texts")  # of files of ideas
MACHINE = frozenset({"device", "precision", "data_dir", "missing", "run_dir"})  # where a stage computes, not what


def record_name(stage: str, params: Params) -> str:
    """Return the name of a stage's record in run.json: the stage, except for an evaluation on training videos."""
    return EVALUATIONS[params.evaluate_on] if stage == "evaluate" else stage


def evaluated_on(parameters: Mapping[str, Any]) -> str:
    """Return the parameter `evaluate_on`, which older records lack."""
    return parameters.get("evaluate_on", "test")


def depends_on(stage: str, params: Params) -> frozenset[str]:
    """Return the names of the parameters that can change the artefacts of a stage."""
    if stage == "prepare":
        return DATA | WORDING | {"protocol", "window", "test_window", "test_overlap", "pooling", "roi_bins"}
    everything = frozenset(Params.model_fields) - {"run_dir"}
    if stage == "evaluate":
        return everything
    everything -= {"evaluate_on"}
    if stage == "classify":
        return everything
    names = everything - NAMING - MERGING - KEEPING - COUNTING - (set() if trains(params.ideas) else {"ideas"})
    if params.fuse_text or params.segmentation != "none":
        names |= WORDING
    if params.target == "description":
        names |= {"descriptions"}
    if params.validation:
        names |= MERGING | {"filter_threshold", "protocol"}
    return everything if params.curves else names


def trains(ideas: str) -> bool:
    """Whether a file of ideas has a hook of the detector or its training; false without a file."""
    if not ideas:
        return False
    try:
        nodes = list(ast.walk(ast.parse(resolve(ideas).read_bytes())))
    except (OSError, SyntaxError):
        return True
    # bound anywhere, also in a branch: a hook that is overlooked would share a training of other code
    names = {getattr(node, "asname", None) or getattr(node, "name", None) for node in nodes}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return not names.isdisjoint({*TRAINING_HOOKS, "*"})


def settled(stage: str, params: Params) -> frozenset[str]:
    """Return the parameters that later stages of a run cannot change after this stage has finished.

    Parameters of training are free after `prepare`, those of naming after `train`, those of evaluation after
    `classify`; `curves` only adds measurements.
    """
    if stage == "prepare":
        return DATA - MACHINE
    if stage == "train":
        return depends_on("train", params.but(curves=False)) - MACHINE
    return depends_on(stage, params) - COUNTING - MACHINE


def read_by(stage: str, params: Params) -> dict[str, Any]:
    """Return the parameters that a stage depends on, with their values."""
    names = depends_on(stage, params)
    return {name: value for name, value in params.model_dump().items() if name in names}


def reduced(stage: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given parameters that a stage depends on, without those that it would refuse as idle."""
    names = depends_on(stage, Params.read(given))
    kept = {name: value for name, value in given.items() if name in names}
    return {name: value for name, value in kept.items() if name not in Params.idle(kept)}


def key(stage: str, given: Mapping[str, Any], machine: str = "") -> str:
    """Return a hash (12 digits) of all that a stage depends on: parameters, code, data and device."""
    params = Params.read(given)
    return digest([stage, read_by(stage, params), code_version(stage), data_version(params, stage), machine])


def code_version(stage: str = "train") -> str:
    """Return a hash (12 digits) of the code of a stage, of those before it but `prepare`, and of the libraries."""
    notebooks = [project_root() / "notebooks" / f"{name}.ipynb" for name in (*STAGES[1 : STAGES.index(stage)], stage)]
    return digest([_libraries(), *map(notebook_version, notebooks)])


@cache
def _libraries() -> list[str]:
    return [metadata.version(name) for name in ("torch", "torchvision", "open_clip_torch", "numpy", "scipy")]


def data_version(params: Params, stage: str = STAGES[-1]) -> str:
    """Return a hash (12 digits) of the input files of a stage: names, times, and hashes of size, head and tail."""
    found: list[Path] = []
    folder = resolve(folder_of(params.dataset, resolve(params.data_dir), params.demo_seed))
    if params.dataset == "demo":  # the code makes all but class splits, and its version covers what it makes
        found += _files([folder / "splits.json"])
    else:
        for place in (folder, folder / "annotations", folder / "videos", folder / "features"):
            found += _files(place.glob("*"))
        found += [path for layout in TEXT_LAYOUTS for place in folder.glob(layout) for path in _files(place.rglob("*"))]
    if params.features not in ("auto", "simulate"):
        found += _files(resolve(params.features).glob("*"))
    named = FILES & depends_on(stage, params)
    found += _files(resolve(getattr(params, name)) for name in named if getattr(params, name))
    if "ideas" in named and (own := resolve(params.ideas)).is_file():
        root = Path(tadlib.__file__).parent
        found += [path for path in _imported([own], root) if not path.is_relative_to(root)]
    stats = [(str(path), path.stat()) for path in sorted(set(found))]
    return digest([(name, stat.st_mtime_ns, _ends(name, stat.st_mtime_ns, stat.st_ctime_ns)) for name, stat in stats])


@lru_cache(maxsize=2**20)
def _ends(path: str, _changed: int, _touched: int) -> str:
    """`fingerprints.ends_hash`, cached while a file is unchanged, because every run of a batch needs it."""
    return fingerprints.ends_hash(path)


def _files(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def notebook_version(notebook: Path) -> str:
    """Return a hash (12 digits) of the code of a notebook, its imported modules and the package's texts and weights."""
    root = Path(tadlib.__file__).parent
    content = (path for end in CONTENT for path in root.rglob(f"*{end}"))
    read = [notebook, *(path for path in content if not path.is_relative_to(root / "workbook"))]
    return digest([version for _, version in sorted(_imported(read, root).items())])


def _imported(waiting: Iterable[Path], root: Path) -> dict[Path, str]:
    """Return the hash of the code of files and of all that they import."""
    found: dict[Path, str] = {}
    project = project_root()
    while waiting:
        code = {path: _code(path, path.stat().st_mtime_ns) for path in waiting if path.is_file()}
        found |= {path: version for path, (version, _) in code.items()}
        names = frozenset().union(*(names for _, names in code.values()))
        waiting = {path for name in names for path in _modules(name, root, project)} - found.keys()
    return found


@lru_cache(maxsize=2**16)
def _modules(name: str, root: Path, project: Path) -> list[Path]:
    """Return the files of the package or the project that define a dotted name: a module, or all of a subpackage."""
    if not name or f"{name}.".startswith(SHOWING):
        return []
    place = (root.parent if name.split(".")[0] == root.name else project).joinpath(*name.split("."))
    if place.with_suffix(".py").is_file():
        return [place.with_suffix(".py")]
    if (place / "__init__.py").is_file():
        return [place / "__init__.py"] if place == root else sorted(place.rglob("*.py"))
    return _modules(name.rpartition(".")[0], root, project)


@lru_cache(maxsize=1024)
def _code(path: Path, _changed: int) -> tuple[str, frozenset[str]]:
    """Return a hash of the code of a module or notebook, and the dotted names that it imports."""
    content = path.read_bytes()
    if path.suffix in CONTENT:
        return hashlib.sha256(content).hexdigest(), frozenset()
    try:
        tree = ast.parse(_cells(content) if path.suffix == ".ipynb" else content)
    except (ValueError, KeyError, TypeError, SyntaxError):
        return hashlib.sha256(content).hexdigest(), frozenset()  # no stage can use code that cannot be parsed
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
    return digest(ast.dump(tree)), frozenset(names)


def _cells(notebook: bytes) -> str:
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in cell.splitlines()]
    return "\n".join(repr(line) if line.startswith(("%", "!")) else line for line in lines)  # magics
