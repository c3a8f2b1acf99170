"""What CLIP reads for a class, and the embeddings it makes of it: computed once, kept on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tadlib.data.encoder import Encoder, spoken
from tadlib.files import digest, write_npy

STYLES = {"prompt": "a video of a person doing {}", "name": "{}"}


def prompts(classes: Sequence[str], style: str = "prompt") -> list[str]:
    """The text for each class, in order; raises ValueError for an unknown style or an empty class name."""
    if style not in STYLES:
        raise ValueError(f"text must be one of {', '.join(STYLES)}, got {style!r}")
    if not all(name.strip() for name in classes):
        raise ValueError(f"class names must not be empty, got {list(classes)}")
    return [STYLES[style].format(spoken(name)) for name in classes]


def class_embeddings(
    encoder: Encoder, classes: Sequence[str], style: str = "prompt", cache: Path | str | None = None
) -> Float[Tensor, "k c"]:
    """Unit-length embeddings of the classes' texts; with a `cache` folder each text is encoded once for ever."""
    texts = prompts(classes, style)
    if cache is None:
        return functional.normalize(encoder.texts(texts), dim=1)
    paths = [Path(cache) / "texts" / f"{digest([encoder.key, text])}.npy" for text in texts]
    missing = [place for place, path in enumerate(paths) if not path.is_file()]
    if missing:
        made = functional.normalize(encoder.texts([texts[place] for place in missing]), dim=1)
        for place, row in zip(missing, made.numpy(), strict=True):
            write_npy(paths[place], row)
    return torch.from_numpy(np.stack([np.load(path) for path in paths]))
