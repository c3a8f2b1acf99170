"""Project root, resolution of relative paths, and the cores this process may use."""

import os
from pathlib import Path
from typing import Any


def project_root(start: Path | str | None = None) -> Path:
    """Return the project root: the nearest folder with `notebooks/` and `pyproject.toml`, upwards from `start`, from
    TAD_ROOT or the working directory, then from this package."""
    for origin in (Path(start or os.environ.get("TAD_ROOT") or Path.cwd()), Path(__file__)):
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
                return folder
    raise FileNotFoundError("no project above the working directory: run inside the checkout, or set TAD_ROOT to it")


def resolve(path: str | Path) -> Path:
    """Resolve a path given by a user; relative paths start at the project root."""
    path = Path(os.path.expanduser(path))  # a ~ that names no user stays part of the path
    return path if path.is_absolute() else project_root() / path


def from_root(given: Any, folder: Path, key: str = "") -> Any:
    """Make the values of key `ideas` in nested data relative to the project root, if they are files in `folder`."""
    if isinstance(given, dict):
        return {name: from_root(value, folder, name) for name, value in given.items()}
    if isinstance(given, list):
        return [from_root(each, folder, key) for each in given]
    if key != "ideas" or not isinstance(given, str) or not (folder / given).is_file():
        return given
    path, root = (folder / given).resolve(), project_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def cores() -> int:
    """Return the number of CPU cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
