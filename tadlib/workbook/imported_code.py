"""Version of the code that a notebook runs: its own cells and every module that they import, directly or not.

Imports are found by parsing. Comments, docstrings and layout are no part of a version, nor are modules that only show.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import tadlib
from tadlib.files import digest

SHOWING = tuple(
    f"tadlib.workbook.{name}" for name in ("figures", "display", "viewer", "result", "rerun", "imported_code")
)


EVERYTHING = frozenset(f"tadlib.workbook.{path.stem}" for path in Path(__file__).parent.glob("*.py"))


class _Code(NamedTuple):
    digest: str
    names: frozenset[str]  # dotted names that it imports; of a package its attributes that it uses
    bound: dict[str, str]  # name -> the dotted name that it was imported as


def version(notebook: Path) -> str:
    """Twelve digits that stand for the code of a notebook, of the modules it imports and of the texts beside them."""
    root = Path(tadlib.__file__).parent
    own = _code(notebook, notebook.stat().st_mtime_ns) if notebook.is_file() else _Code("", frozenset(), {})
    modules: dict[Path, str] = {}
    waiting = set(own.names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for path in [] if f"{name}.".startswith(tuple(f"{each}." for each in SHOWING)) else _files(name, root):
            if path not in modules:
                code = _code(path, path.stat().st_mtime_ns)
                modules[path] = code.digest
                waiting |= code.names - seen
    texts = {path: path for path in root.rglob("*.json") if path.relative_to(root).parts[0] != "workbook"}
    texts = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in texts}
    return digest([own.digest, *(each for _, each in sorted((modules | texts).items()))])


def _files(name: str, root: Path) -> Iterator[Path]:
    """The files of the package that define a dotted name: one module, or all of a package that has code of its own."""
    place = root.parent.joinpath(*name.split("."))
    if not place.is_relative_to(root):
        return
    if place.with_suffix(".py").is_file():
        yield place.with_suffix(".py")
    elif (place / "__init__.py").is_file():
        yield from sorted(place.rglob("*.py")) if place != root else [place / "__init__.py"]
    elif place.parent != root.parent:
        parent = name.rpartition(".")[0]
        package = place.parent / "__init__.py"
        bound = _code(package, package.stat().st_mtime_ns).bound if package.is_file() else {}
        yield from _files(bound.get(place.name, parent), root)


@lru_cache(maxsize=1024)
def _code(path: Path, _changed: int) -> _Code:
    """What a module or a notebook does and imports; one that cannot be parsed may import anything."""
    content = path.read_bytes()
    try:
        tree = ast.parse(_cells(content) if path.suffix == ".ipynb" else content)
    except (ValueError, KeyError, TypeError, SyntaxError):
        return _Code(hashlib.sha256(content).hexdigest(), EVERYTHING, {})
    bound: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.setdefault(node.value.id, set()).add(node.attr)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    for name, dotted in bound.items():
        names |= {f"{dotted}.{attribute}" for attribute in used.get(name, ())} or {dotted}
    return _Code(digest(ast.dump(tree)), frozenset(names), bound)


def _cells(notebook: bytes) -> str:
    """The code of a notebook's cells."""
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in cell.splitlines()]
    return "\n".join(repr(line) if line.startswith(("%", "!")) else line for line in lines)  # magics
