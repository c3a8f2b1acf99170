"""Precomputed text embeddings with the interface of an encoder."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tadlib.data.arrays import read_arrays
from tadlib.data.checks import nearest
from tadlib.data.encoder import Encoder
from tadlib.files import by_tidy_name, digest


class TextTable(nn.Module):
    """Table of text embeddings (k, c) in place of CLIP's text encoder; it has no image encoder."""

    def __init__(self, vectors: Float[Tensor, "k c"]) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.register_buffer("logit_scale", torch.tensor(math.log(100)))  # CLIP's tau

    def encode_text(self, tokens: Int[Tensor, "n 1"]) -> Float[Tensor, "n c"]:
        """Return the embeddings of texts by their index in the table."""
        return self.vectors[tokens[:, 0]]


def table_encoder(name: str, vectors: Mapping[str, np.ndarray]) -> Encoder:
    """Return an encoder of the texts in `vectors` (text -> (c,)); it raises ValueError naming any other text."""
    places = {text: place for place, text in enumerate(vectors)}

    def look_up(texts: Sequence[str]) -> Int[Tensor, "n 1"]:
        """Return the indices of texts in the table."""
        for text in texts:
            if text not in places:
                raise ValueError(f"{name} has no embedding of {text!r}, only of {len(places)} other texts")
        return torch.tensor([[places[text]] for text in texts], dtype=torch.int64).reshape(-1, 1)

    table = TextTable(torch.from_numpy(np.stack([np.asarray(v, np.float32) for v in vectors.values()])))
    table.texts = frozenset(places)
    named = f"{name} {digest(list(vectors))}"
    return Encoder(named, table.eval(), "none", look_up, torch.device("cpu"), torch.float32)


def read_text_features(path: Path | str, classes: Iterable[str]) -> np.ndarray:
    """Read class vectors (k, c) float32 from an `.npz` of class name -> vector; raises ValueError naming the file."""
    classes = list(classes)
    arrays = by_tidy_name(read_arrays(Path(path)), path)
    if wrong := [name for name, array in arrays.items() if array.dtype.kind not in "fiu"]:
        raise ValueError(f"{path}: vector of {wrong[0]!r} must be of real numbers, got {arrays[wrong[0]].dtype}")
    with np.errstate(over="ignore"):
        vectors = {name: array.astype(np.float32).reshape(-1) for name, array in arrays.items()}
        usable = all(0 < vectors[name] @ vectors[name] < np.inf for name in classes if name in vectors)
    if missing := [name for name in classes if name not in vectors]:
        raise ValueError(
            f"{path} has no vector of {len(missing)} of {len(classes)} classes, first {missing[0]!r}"
            f"{nearest(missing[0], vectors)}"
        )
    widths = {len(vectors[name]) for name in classes}
    if len(widths) > 1 or not usable:
        raise ValueError(f"{path}: vectors must be finite, not zero and of one width, got widths {sorted(widths)}")
    return np.stack([vectors[name] for name in classes])
