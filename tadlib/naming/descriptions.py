"""Descriptions of classes, a sentence or the ordered steps of the action, from JSON files.

The layout is the published one, class name -> `{"idx": n, "Elaboration": {"Description": text or list of texts}}`.
Built-in files beside this module cover THUMOS14 and ActivityNet-1.3; a file of your own replaces them.
"""

import reprlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tadlib.data.annotations import spoken
from tadlib.data.checks import nearest
from tadlib.files import by_tidy_name, is_text, read_json

KINDS = ("description", "subactions")
FOLDER = Path(__file__).parent / "descriptions"


def read_descriptions(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read the texts of every class from a file in the published layout; raises ValueError naming file and class."""
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} must map class names to descriptions, got {type(content).__name__}")
    return {label: _texts(path, label, entry) for label, entry in by_tidy_name(content, path).items()}


def _texts(path: Path | str, label: str, entry: Any) -> tuple[str, ...]:
    """Return the texts of one entry; only `Description` is read, other keys may hold anything."""
    try:
        content = entry["Elaboration"]["Description"]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: class {label!r} has no Elaboration with a Description") from None
    texts = content if isinstance(content, list) else [content]
    if not texts or not all(isinstance(text, str) and text.strip() and is_text(text) for text in texts):
        given = reprlib.repr(content)
        raise ValueError(f"{path}: class {label!r} must have one or more texts as Description, got {given}")
    return tuple(text.strip() for text in texts)


@cache
def _built_in(kind: str) -> dict[str, tuple[str, ...]]:
    paths = sorted(FOLDER.glob(f"*_{kind}.json"))
    return {label: texts for path in paths for label, texts in read_descriptions(path).items()}


def described(classes: Sequence[str], kind: str, path: Path | str = "") -> list[tuple[str, ...]]:
    """Return the texts of each class, in order, from the file `path` or the built-in texts of a `kind`.

    Spelling variants of a class name match if they are spoken alike ("HighJump", "High jump"). Raises ValueError with
    instructions if a class is missing.
    """
    known, found = _look_up(classes, kind, path)
    if missing := [label for label, texts in zip(classes, found, strict=True) if not texts]:
        raise ValueError(
            f"{path or 'the built-in file'} has no {kind} of {len(missing)} of {len(classes)} classes, "
            f"first {missing[0]!r}{nearest(missing[0], known) if path else ''}: "
            "pass -p descriptions PATH of a JSON file that has them, or -p text prompt"
        )
    return found


def has_all(classes: Sequence[str], kind: str, path: Path | str = "") -> bool:
    """Whether every class has texts of a `kind`."""
    return all(_look_up(classes, kind, path)[1])


def _look_up(classes: Sequence[str], kind: str, path: Path | str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the class names that have texts, and the texts of each requested class, empty if missing."""
    known = read_descriptions(path) if path else _built_in(kind)
    by_spoken = {spoken(label).casefold(): texts for label, texts in known.items()}
    return list(known), [known.get(label) or by_spoken.get(spoken(label).casefold(), ()) for label in classes]
