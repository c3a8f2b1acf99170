"""Parser of the classes requested for a video: names, sentences, or names with descriptions, in any layout.

Layouts are a list, a JSON list or object, comma-separated text, lines, or a file of one of these. A name alone is put
into an English phrase; text with a colon and a space is a name and its description.
"""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tadlib.data.annotations import spoken
from tadlib.files import tidy
from tadlib.foreign import json_in, text_of

EXTENSIONS = (".txt", ".json")  # of files that are read
UNREAD = (".csv", ".tsv", ".yaml", ".yml", ".md", ".xlsx", ".docx")  # of other files, which no word ends in
ARTICLES = ("a", "an", "the")
# first words of sentences; they rarely begin a name
SUBJECTS = tuple("somebody someone everybody nobody people he she they it i we you there".split())
DOING = re.compile(r".*[aeiouy].*ing")  # diving, but not swing
VERBS = {"throw": "throwing", "pitch": "pitching", "dunk": "dunking", "catch": "catching"}
OBJECTS = tuple("ball baseball basketball discus frisbee hammer javelin".split())  # objects of these verbs
# countable last words of names, which need an article
COUNTED = tuple("dive flip jerk jump kick leap penalty punch ride serve shot stroke swing vault".split())
MAX_LENGTH = 1000  # characters of a name or description; CLIP reads about 300


class Word(NamedTuple):
    """A requested class: its name as given, and its texts."""

    name: str
    texts: tuple[str, ...]
    also: tuple[str, ...] = ()  # other spellings of the name that are spoken alike


def read_words(given: object, folder: Path | str = ".") -> list[Word]:
    """Read the requested classes in order, without duplicates; descriptions of the same name are joined.

    A path is relative to `folder`. Raises ValueError in one sentence for a missing, empty or unreadable name.
    """
    if not (items := list(_items(given, Path(folder)))):
        raise ValueError(f"classes must name at least one class, got {given!r}")
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    for place, (name, texts) in enumerate(items, start=1):
        _check(place, len(items), name, texts)
        known = found.setdefault(spoken(name).casefold(), (name, [], []))
        known[1].extend(text for text in texts if text not in known[1])
        if name.casefold() not in {spoken_name.casefold() for spoken_name in (known[0], *known[2])}:
            known[2].append(name)
    return [Word(name, tuple(texts) or (sentence(name),), tuple(also)) for name, texts, also in found.values()]


def sentence(name: str) -> str:
    """Return a phrase for a name, "a person pitching a baseball" for BaseballPitch; a whole sentence is unchanged."""
    text = name if " " in name else spoken(name)
    first, *others = words = text.casefold().split()
    whole = first in SUBJECTS or len(others) > (2 if first in ARTICLES else 4) or name.endswith((".", "!", "?"))
    if whole or (first in ARTICLES and any(map(DOING.fullmatch, others))):
        return text
    text = spoken(name)
    if DOING.fullmatch(first) or DOING.fullmatch(words[-1]):
        return f"a person {text}"
    for verb, thing in (words, words[::-1]) if len(words) == 2 else ():
        if verb in VERBS and thing in OBJECTS:
            return f"a person {VERBS[verb]} a {thing}"
    article = ("an " if first[0] in "aeiou" else "a ") if first not in ARTICLES and words[-1] in COUNTED else ""
    return f"a person doing {article}{text}"


def _check(place: int, number: int, name: str, texts: Sequence[str]) -> None:
    if not name:
        raise ValueError(f"classes has an empty name at place {place} of {number}: leave it out or write a word")
    if not any(letter.isalnum() for letter in name):
        raise ValueError(f"classes has no letter in {name!r} at place {place} of {number}: write a word")
    if any(not text for text in texts):
        raise ValueError(f"classes has an empty description of {name!r} at place {place} of {number}")
    longest = max(len(text) for text in (name, *texts))
    if longest > MAX_LENGTH:
        raise ValueError(
            f"classes has {longest} characters at place {place} of {number} ({name[:40]!r}): at most {MAX_LENGTH}"
        )


def _items(given: object, folder: Path) -> Iterable[tuple[str, list[str]]]:
    """Return names with their descriptions; white space is normalised."""
    if isinstance(given, Mapping):
        listed = {name: each if isinstance(each, list | tuple) else [each] for name, each in given.items()}
        return [(_tidy(name), [_tidy(_text(text)) for text in texts]) for name, texts in listed.items()]
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_split(_text(item)) for item in given]
    text = _text(given).strip().removeprefix("\ufeff")
    if path := _file(text, folder):
        if path.suffix == ".json":
            return _json(text_of(path), str(path), folder)
        if not (lines := _lines(text_of(path))):
            raise ValueError(f"{path} holds no class: write one name a line")
        return map(_split, lines)
    if text.startswith(("[", "{")):
        return _json(text, "classes", folder)
    if "\n" in text:
        return map(_split, _lines(text))
    if ": " in text:  # a description may hold commas
        return [_split(text)]
    return [_split(part) for part in next(csv.reader([text], skipinitialspace=True), [])]


def _file(text: str, folder: Path) -> Path | None:
    """Return the path if the text names a file, otherwise None; raises ValueError for a missing or unread file."""
    if "\n" in text or not text.lower().endswith(EXTENSIONS + UNREAD):
        return None
    if text.lower().endswith(UNREAD):
        raise ValueError(f"classes names {text!r}, a file that is not read: write its words into a .txt or .json file")
    path = folder / os.path.expanduser(text)
    if not path.is_file():
        raise ValueError(f"classes names a file that is not there: {path}")
    return path


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _json(text: str, where: str, folder: Path) -> Iterable[tuple[str, list[str]]]:
    content = json_in(text, where, 'looks like JSON but is not valid ({}): quote every name with ""')
    if not isinstance(content, list | dict):
        raise ValueError(f"{where} must hold a list of names or names with descriptions, got {type(content).__name__}")
    return _items(content, folder)


def _split(item: str) -> tuple[str, list[str]]:
    """Split at a colon and a space into a name and its description, if any."""
    name, colon, description = item.partition(": ")
    if not colon and item.rstrip().endswith(":"):
        name, colon = item.rstrip()[:-1], ":"
    return _tidy(name), [_tidy(description)] if colon else []


def _text(item: object) -> str:
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        raise ValueError(f"classes must hold names, got {item!r}")
    return str(item)


def _tidy(text: str) -> str:
    return tidy(" ".join(text.split()), "classes")
