"""CLIP encoder loaded with open_clip, or a table of text embeddings; embeddings are not normalised."""

import contextlib
import hashlib
import importlib.util
import logging
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from tadlib.data.checks import nearest
from tadlib.devices import freed_at_once
from tadlib.files import digest
from tadlib.foreign import is_exhausted
from tadlib.tensors import what_is_wrong

DEMO = "tad-demo"  # the architecture of the embedded demo's small CLIP
UNTRAINED = "random"  # name of randomly initialised weights, which nobody mistakes for trained ones
DEMO_WEIGHTS = Path(__file__).parent / "demo" / f"{DEMO}.npz"


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen CLIP model with its preprocessing and tokenizer."""

    name: str
    model: nn.Module
    preprocess: object  # PIL image -> Float[Tensor, "3 h w"]
    tokenizer: object  # list of texts -> Int[Tensor, "k context"]
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def key(self) -> str:
        """Hash (12 digits) of architecture, weights and preprocessing, which identifies embeddings."""
        state = hashlib.sha256(f"{self.name} {self.preprocess} {self.dtype}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            state.update(name.encode())
            state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return state.hexdigest()[:12]

    @property
    def logit_scale(self) -> float:
        """Stored tau: CLIP is trained with similarities multiplied by exp(tau) (tau = ln 100 in OpenAI's models)."""
        return float(self.model.logit_scale)

    def prepare(self, frame: np.ndarray) -> Float[Tensor, "3 h w"]:
        """Preprocess a frame (height, width, 3) uint8: the model's own resizing, cropping and normalisation."""
        return self.preprocess(Image.fromarray(frame))

    @torch.inference_mode()
    def encode(self, prepared: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c"]:
        """Return embeddings of preprocessed frames, float32 on the CPU, not normalised."""
        return self.model.encode_image(prepared.to(self.device, self.dtype)).float().cpu()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "k c"]:
        """Return embeddings of texts, float32 on the CPU, not normalised; long texts are cut at the context length."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        return self.model.encode_text(tokens).float().cpu()


def with_architecture(name: str) -> ModuleType:
    """Import open_clip and return it; raises ValueError if it has no architecture `name`."""
    open_clip = import_open_clip()
    if name == DEMO:
        open_clip.add_model_config(DEMO_WEIGHTS.with_suffix(".json"))
    if name not in open_clip.list_models():
        raise ValueError(f"encoder {name!r} is no open_clip architecture{nearest(name, open_clip.list_models())}")
    return open_clip


@freed_at_once()
def load_encoder(name: str, pretrained: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Encoder:
    """Load the open_clip architecture `name` with weights from a tag, checkpoint file, or OpenAI's TorchScript archive.

    bfloat16 and float16 are the precision of the weights, without autocast; norms stay in float32. OpenAI's models, and
    tags configured so, get QuickGELU, with which they were trained; open_clip leaves this to the caller. Raises
    ValueError for an unknown architecture and RuntimeError for missing weights, with instructions.
    """
    open_clip = with_architecture(name)
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")
    if lacking := _text_reader(name, open_clip)[1]:  # before any download
        raise RuntimeError(f"encoder {name!r} {lacking}")
    # open_clip itself reads arrays, but for those of the demo
    is_file = Path(pretrained).is_file() and (name == DEMO or Path(pretrained).suffix not in (".npz", ".npy"))
    what = f"weights {pretrained!r}"
    try:
        known = open_clip.get_pretrained_cfg(name, pretrained)
        quick = _is_script_archive(pretrained) or known.get("quick_gelu", False)
        with _silent_about_no_weights(wanted=is_file or not pretrained):
            how = {"pretrained": None if is_file else pretrained, "precision": precision, "force_quick_gelu": quick}
            model, _, preprocess = open_clip.create_model_and_transforms(name, device=device, **how)
        if is_file:
            _load_weights(model, pretrained, open_clip)
        what = "tokenizer"
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # each format raises its own
        from_file = is_file and what != "tokenizer" and not is_exhausted(error)
        first = (str(error).splitlines() or [""])[0]
        reason = f"it {what_is_wrong(pretrained, error)}" if from_file else f"{type(error).__name__}: {first}"
        raise RuntimeError(
            f"no {what} for encoder {name!r}: {reason}; "
            "pass -p pretrained PATH of a checkpoint file, or run once where the tag can be downloaded"
        ) from error
    return Encoder(name, model.eval().requires_grad_(False), preprocess, tokenizer, device, dtype)


def to_download(name: str, pretrained: str) -> str:
    """Describe the package or hub files that an encoder still needs; empty if there are none, or no hub has them."""
    open_clip = import_open_clip()  # first, to suppress the warning that importing huggingface_hub shows too
    from huggingface_hub import try_to_load_from_cache as cached

    reader, lacking = _text_reader(name, open_clip)
    hub, _, file = open_clip.get_pretrained_cfg(name, pretrained).get("hf_hub", "").rpartition("/")
    files = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    needs_weights = hub and pretrained not in ("", UNTRAINED) and not Path(pretrained).is_file()
    needs_tokenizer = reader and not Path(reader).is_dir()
    needed = [(hub, files, f"the weights {pretrained!r} of {name} ({hub})")] if needs_weights else []
    needed += [(reader, ["tokenizer_config.json"], f"the tokenizer {reader}")] if needs_tokenizer else []
    missing = [what for hub, names, what in needed if not any(isinstance(cached(hub, file), str) for file in names)]
    downloads = f"it needs {' and '.join(missing)}, which must be downloaded first" if missing else ""
    return "; ".join(filter(None, [f"it {lacking}" if lacking else "", downloads]))


def import_open_clip():
    """Import open_clip late, because it takes seconds, without its warning about progress bars."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import open_clip
    return open_clip


@contextlib.contextmanager
def _silent_about_no_weights(*, wanted: bool) -> Iterator[None]:
    """Suppress the warning that a model is untrained, if that is `wanted`."""
    logging.disable(logging.WARNING if wanted else logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _is_script_archive(path: str) -> bool:
    """Whether a path is a TorchScript archive, as OpenAI publishes CLIP."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as content:
        return any(name.endswith("/constants.pkl") for name in content.namelist())


def _load_weights(model: nn.Module, path: str, open_clip: ModuleType) -> None:
    """Load the weights of a file, in the precision of the model."""
    if _is_script_archive(path):
        sizes = ("input_resolution", "context_length", "vocab_size")
        weights = torch.jit.load(path, map_location="cpu").state_dict()
        model.load_state_dict({name: weight for name, weight in weights.items() if name not in sizes})
    elif path.endswith(".npz"):
        with np.load(path) as arrays:
            model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    else:
        open_clip.load_checkpoint(model, checkpoint_path=path)


def _text_reader(name: str, open_clip: Any) -> tuple[str, str]:
    """Return the name of an architecture's Hugging Face tokenizer, if any, and what to install if it is missing."""
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    reader = text.get("hf_tokenizer_name") or text.get("hf_model_name") or ""
    lacking = reader and importlib.util.find_spec("transformers") is None
    return reader, f"reads texts by {reader} of Hugging Face: pip install transformers" if lacking else ""


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
        for text in texts:
            if text not in places:
                raise ValueError(f"{name} has no embedding of {text!r}, only of {len(places)} other texts")
        return torch.tensor([[places[text]] for text in texts], dtype=torch.int64).reshape(-1, 1)

    table = TextTable(torch.from_numpy(np.stack([np.asarray(v, np.float32) for v in vectors.values()])))
    table.texts = frozenset(places)
    named = f"{name} {digest(list(vectors))}"
    return Encoder(named, table.eval(), "none", look_up, torch.device("cpu"), torch.float32)
