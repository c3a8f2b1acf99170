"""What CLIP reads for a class, and the embeddings it makes of it: computed once, kept on disk.

A class has one text or several: a prompt around its name, the name in many templates, a description, or the ordered
steps of the action. Several texts become one embedding as CLIP's authors do it: normalise, mean, normalise (Radford
et al. 2021); averaging before normalising would let the longest vectors decide.
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

from tadlib.data.encoder import Encoder, spoken
from tadlib.files import digest, locked, write_npy
from tadlib.naming.descriptions import KINDS, described

PROMPT = "a video of a person doing {}"
TEMPLATES = (
    PROMPT,
    "a photo of a person doing {}",
    "a frame of a video that shows {}",
    "somebody is doing {}",
    "people doing {}",
    "an example of {}",
    "a sports broadcast of {}",
    "a home video of {}",
    "a blurry shot of {}",
    "a close view of {}",
    "{}, seen from far away",
    "this is {}",
)
STYLES = {"prompt": (PROMPT,), "name": ("{}",), "templates": TEMPLATES}
LEADS = {"none": (), "name": ("{}",), "prompt": (PROMPT,)}  # what may stand before the steps of an action


@dataclass(frozen=True)
class Wording:
    """Which texts stand for a class; words and defaults are those of the parameters."""

    text: str = "prompt"
    lead: str = "none"
    descriptions: str = ""  # a file of your own; empty = ours

    def __post_init__(self) -> None:
        if self.text not in (*STYLES, *KINDS):
            raise ValueError(f"text must be one of {', '.join((*STYLES, *KINDS))}, got {self.text!r}")
        if self.lead not in LEADS:
            raise ValueError(f"lead must be one of {', '.join(LEADS)}, got {self.lead!r}")


class TextEmbeddings(NamedTuple):
    """Embeddings of the texts of classes, as the encoder gives them (not normalised), in the order of the texts."""

    embeddings: Float[Tensor, "k s c"]
    padding: Bool[Tensor, "k s"]  # True where a class has fewer texts than the one with the most


def texts_of(classes: Sequence[str], wording: Wording) -> list[tuple[str, ...]]:
    """The texts of each class, in order; raises ValueError for an empty class name or a class without description."""
    if not all(name.strip() for name in classes):
        raise ValueError(f"class names must not be empty, got {list(classes)}")
    if wording.text in STYLES:
        return [_filled(STYLES[wording.text], name) for name in classes]
    said = described(classes, wording.text, wording.descriptions)
    if wording.text == "description":
        return said
    return [_filled(LEADS[wording.lead], name) + steps for name, steps in zip(classes, said, strict=True)]


def spoken_alike(classes: Sequence[str]) -> list[tuple[str, ...]]:
    """The class names that cannot be told apart when they are spoken, by what is said."""
    said: dict[str, list[str]] = {}
    for name in dict.fromkeys(classes):
        said.setdefault(spoken(name).casefold(), []).append(name)
    return [tuple(names) for names in said.values() if len(names) > 1]


def _filled(templates: Sequence[str], name: str) -> tuple[str, ...]:
    # replace, not format: a class name may hold braces
    return tuple(template.replace("{}", spoken(name)) for template in templates)


def embed(encoder: Encoder, texts: Sequence[str], cache: Path | str | None = None) -> Float[Tensor, "m c"]:
    """Embeddings of texts as the encoder gives them; with a `cache` folder each text is encoded once for ever.

    Of several processes that want the same texts one encodes them and the others wait.
    """
    if cache is None:
        return encoder.texts(texts)
    folder = Path(cache) / "embeddings"
    paths = [folder / f"{digest([encoder.key, text])}.npy" for text in texts]
    if not all(path.is_file() for path in paths):
        with locked(folder / encoder.key):
            missing = {text: path for text, path in zip(texts, paths, strict=True) if not path.is_file()}
            rows = encoder.texts(list(missing)).numpy() if missing else ()
            for path, row in zip(missing.values(), rows, strict=True):
                write_npy(path, row)
    return torch.from_numpy(np.stack([np.load(path) for path in paths]))


def text_embeddings(
    encoder: Encoder, classes: Sequence[str], wording: Wording, cache: Path | str | None = None
) -> TextEmbeddings:
    """The embeddings of every text of every class; all texts go through the encoder together."""
    texts = texts_of(classes, wording)
    return in_rows(embed(encoder, [text for several in texts for text in several], cache), list(map(len, texts)))


def in_rows(rows: Float[Tensor, "m c"], lengths: Sequence[int]) -> TextEmbeddings:
    """Embeddings of all texts one after the other as those of classes with so many texts each."""
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    embeddings = rows.new_zeros(*real.shape, rows.shape[1])
    embeddings[real] = rows
    return TextEmbeddings(embeddings, ~real)


def class_embeddings(
    encoder: Encoder, classes: Sequence[str], wording: Wording | str = "prompt", cache: Path | str | None = None
) -> Float[Tensor, "k c"]:
    """Unit-length embeddings of classes; of several texts the normalised mean of the normalised embeddings."""
    wording = Wording(wording) if isinstance(wording, str) else wording
    steps = text_embeddings(encoder, classes, wording, cache)
    return mean_of_texts(steps.embeddings, steps.padding)


def mean_of_texts(embeddings: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
    """The normalised mean of the normalised embeddings of each class's texts."""
    unit = functional.normalize(embeddings, dim=-1)
    if unit.shape[1] == 1:
        return unit[:, 0]
    return functional.normalize(_mean(unit, padding), dim=1)


def raw_embeddings(steps: TextEmbeddings) -> Float[Tensor, "k c"]:
    """The mean of each class's embeddings at the lengths the encoder gave them, for dot products."""
    return _mean(steps.embeddings, steps.padding)


def _mean(values: Float[Tensor, "k s c"], padding: Bool[Tensor, "k s"]) -> Float[Tensor, "k c"]:
    """The mean over the real texts of each class."""
    real = (~padding).to(values.dtype)[..., None]
    return (values * real).sum(dim=1) / real.sum(dim=1)
