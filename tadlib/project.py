"""Project root, resolution of relative paths, and the cores this process may use."""

import os
from pathlib import Path
from typing import Any


def project_root(start: Path | str | None = None) -> Path:
    """Find the project root: the nearest parent of `start`, TAD_ROOT or the working directory, or of this package, with
    `notebooks/` and a `pyproject.toml`."""
    for origin in (Path(start or os.environ.get("TAD_ROOT") or Path.cwd()), Path(__file__)):
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
                return folder
    raise FileNotFoundError(
        "no project found above the working directory: run inside the checkout, or set TAD_ROOT to it"
    )


def resolve(path: str | Path) -> Path:
    """Resolve a path given by a user; relative paths start at the project root."""
    path = Path(os.path.expanduser(path))  # without such a user, ~ is the beginning of a name
    return path if path.is_absolute() else project_root() / path


def from_root(given: Any, folder: Path, key: str = "") -> Any:
    """Rewrite values of key `ideas` that are files in `folder` as paths from the project root, in nested data."""
    if isinstance(given, dict):
        return {name: from_root(value, folder, name) for name, value in given.items()}
    if isinstance(given, list):
        return [from_root(each, folder, key) for each in given]
    if key != "ideas" or not isinstance(given, str) or not (folder / given).is_file():
        return given
    path, root = (folder / given).resolve(), project_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def cores() -> int:
    """Number of CPU cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
