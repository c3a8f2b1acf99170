"""Where the project lies, and what a relative path means to its users."""

import os
from pathlib import Path
from typing import Any


def project_root(start: Path | str | None = None) -> Path:
    """The project a path belongs to: the nearest folder above it (or above the working directory, or above this
    package) that holds `notebooks/` and a `pyproject.toml`."""
    for origin in (Path(start or os.environ.get("TAD_ROOT") or Path.cwd()), Path(__file__)):
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
                return folder
    raise FileNotFoundError(
        "no project found above the working directory: run inside the checkout, or set TAD_ROOT to it"
    )


def resolve(path: str | Path) -> Path:
    """A path as users mean it: relative ones start at the project's root, wherever the kernel runs."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


def beside(given: Any, folder: Path, name: str = "ideas") -> Any:
    """What a file in `folder` says, where a `name` that lies beside it is told as a path from the project's root."""
    if isinstance(given, list):
        return [beside(each, folder, name) for each in given]
    if not isinstance(given, dict):
        return given
    return {key: _from_root(value, folder) if key == name else beside(value, folder) for key, value in given.items()}


def _from_root(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_from_root(each, folder) for each in value]
    path = folder / value if isinstance(value, str) and value else folder
    if not path.is_file():
        return value
    path, root = path.resolve(), project_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
