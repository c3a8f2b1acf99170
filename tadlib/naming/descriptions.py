"""What is said about a class: a sentence, or the steps of the action in their order, from JSON files.

The layout is the published one, class name -> `{"idx": n, "Elaboration": {"Description": text or list of texts}}`.
Beside this module lie files for the classes of THUMOS14 and ActivityNet-1.3; a file of your own replaces them.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tadlib.data.checks import nearest
from tadlib.data.encoder import spoken
from tadlib.files import by_tidy_name, read_json

KINDS = ("description", "subactions")
OURS = Path(__file__).parent / "descriptions"


def read_descriptions(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Texts of every class of a file in the published layout; raises ValueError naming file and class."""
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} must map class names to descriptions, got {type(content).__name__}")
    return {label: _texts(path, label, entry) for label, entry in by_tidy_name(content, path).items()}


def _texts(path: Path | str, label: str, entry: Any) -> tuple[str, ...]:
    """The texts of one entry: `Description` alone is read, because an answer kept beside it may be anything."""
    try:
        said = entry["Elaboration"]["Description"]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: class {label!r} has no Elaboration with a Description") from None
    texts = (said,) if isinstance(said, str) else said
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"{path}: class {label!r} must have one or more texts as Description, got {said!r}")
    return tuple(text.strip() for text in texts)


@cache
def _ours(kind: str) -> dict[str, tuple[str, ...]]:
    """Our texts of all classes."""
    return {
        label: texts for path in sorted(OURS.glob(f"*_{kind}.json")) for label, texts in read_descriptions(path).items()
    }


def described(classes: Sequence[str], kind: str, path: Path | str = "") -> list[tuple[str, ...]]:
    """The texts of each class, in order; from a file of your own, or from ours of a `kind`.

    A class that is spelt otherwise in the file is found by what is spoken ("HighJump" reads what is said of "High
    jump"); one that is not found raises ValueError, with what to do.
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
    """The class names that have texts, and the texts of each class asked for; none where it is not there."""
    known = read_descriptions(path) if path else _ours(kind)
    aloud = {spoken(label).casefold(): texts for label, texts in known.items()}
    return list(known), [known.get(label) or aloud.get(spoken(label).casefold(), ()) for label in classes]
