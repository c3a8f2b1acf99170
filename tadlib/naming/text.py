"""Texts of classes and their CLIP embeddings, which are cached on disk.

A class has one or more texts: its name in a prompt or in many templates (prompt ensemble), a description, or the
ordered steps of the action. Several texts become one embedding as in CLIP: normalise, mean, normalise (Radford et al.
2021), so that long vectors do not dominate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.annotations import spoken
from tadlib.data.checks import one_of
from tadlib.data.encoder import Encoder
from tadlib.files import digest, write_npy
from tadlib.locks import kept_if_possible, locked
from tadlib.naming.descriptions import KINDS, described

PROMPT = "a video of a person doing {}"
TEMPLATES = (
    PROMPT, "a photo of a person doing {}", "a frame of a video that shows {}", "somebody is doing {}",
    "people doing {}", "an example of {}", "a sports broadcast of {}", "a home video of {}", "a blurry shot of {}",
    "a close view of {}", "{}, seen from far away", "this is {}",
)  # fmt: skip
STYLES = {"prompt": (PROMPT,), "name": ("{}",), "templates": TEMPLATES}
PREFIXES = {"none": (), "name": ("{}",), "prompt": (PROMPT,)}  # templates before the steps of an action


@dataclass(frozen=True)
class Wording:
    """Choice of texts for classes; names and defaults are those of the parameters."""

    text: str = "prompt"
    lead: str = "none"
    descriptions: str = ""  # path of a file; empty = the built-in texts

    def __post_init__(self) -> None:
        one_of("text", self.text, (*STYLES, *KINDS))
        one_of("lead", self.lead, PREFIXES)


class TextEmbeddings(NamedTuple):
    """Embeddings of the texts of classes, not normalised, in the order of the texts."""

    embeddings: Float[Tensor, "k s c"]
    padding: Bool[Tensor, "k s"]  # True where a class has fewer texts than the one with the most


def texts_of(classes: Sequence[str], wording: Wording) -> list[tuple[str, ...]]:
    """Return the texts of each class, in order; raises ValueError for an empty class name or a missing description."""
    if not all(name.strip() for name in classes):
        raise ValueError(f"class names must not be empty, got {list(classes)}")
    if wording.text in STYLES:
        return [_filled(STYLES[wording.text], name) for name in classes]
    found = described(classes, wording.text, wording.descriptions)
    if wording.text == "description":
        return found
    return [_filled(PREFIXES[wording.lead], name) + steps for name, steps in zip(classes, found, strict=True)]


def spoken_alike(classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return groups of class names that are the same when spoken."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(classes):
        groups.setdefault(spoken(name).casefold(), []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def _filled(templates: Sequence[str], name: str) -> tuple[str, ...]:
    # replace, not format: a class name may hold braces
    return tuple(template.replace("{}", spoken(name)) for template in templates)


def embed(encoder: Encoder, texts: Sequence[str], cache: Path | str | None = None) -> Float[Tensor, "m c"]:
    """Return embeddings of texts, not normalised; with a `cache` folder each text is encoded only once.

    If several processes need the same texts at the same time, one encodes them and the others wait.
    """
    if cache is None:
        return encoder.texts(texts)
    folder = Path(cache) / "embeddings"
    paths = {text: folder / f"{digest([encoder.key, text])}.npy" for text in texts}
    made: dict[str, np.ndarray] = {}
    if not all(path.is_file() for path in paths.values()):
        with locked(folder / encoder.key):
            missing = [text for text, path in paths.items() if not path.is_file()]
            made = dict(zip(missing, encoder.texts(missing).numpy(), strict=True)) if missing else {}
            with kept_if_possible():
                for text, row in made.items():
                    write_npy(paths[text], row)
    rows = [made[text] if text in made else np.load(paths[text]) for text in texts]
    return torch.from_numpy(np.stack(rows))


def text_embeddings(
    encoder: Encoder, classes: Sequence[str], wording: Wording, cache: Path | str | None = None
) -> TextEmbeddings:
    """Return the embeddings of every text of every class, encoded in one batch."""
    texts = texts_of(classes, wording)
    return by_class(embed(encoder, [text for several in texts for text in several], cache), list(map(len, texts)))


def by_class(rows: Float[Tensor, "m c"], lengths: Sequence[int]) -> TextEmbeddings:
    """Split the embeddings of all texts, in order, into classes with `lengths` texts each."""
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    embeddings = rows.new_zeros(*real.shape, rows.shape[1])
    embeddings[real] = rows
    return TextEmbeddings(embeddings, ~real)


def class_embeddings(
    encoder: Encoder, classes: Sequence[str], wording: Wording, cache: Path | str | None = None
) -> Float[Tensor, "k c"]:
    """Return unit-length embeddings of classes; several texts have the normalised mean of normalised embeddings."""
    return mean_of_texts(*text_embeddings(encoder, classes, wording, cache))


def mean_of_texts(embeddings: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
    """Return the normalised mean of the normalised embeddings of each class's texts."""
    unit = functional.normalize(embeddings, dim=-1)
    if unit.shape[1] == 1:
        return unit[:, 0]
    return functional.normalize(_mean(unit, padding), dim=1)


def raw_embeddings(steps: TextEmbeddings) -> Float[Tensor, "k c"]:
    """Return the mean of each class's unnormalised embeddings, for dot products."""
    return _mean(steps.embeddings, steps.padding)


def _mean(values: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
    real = (~padding).to(values.dtype)[..., None]
    return (values * real).sum(dim=1) / real.sum(dim=1)
