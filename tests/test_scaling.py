"""Long windows: what training keeps of them grows as they do, and no faster."""

import pytest
import torch
from detectors import CHANNELS, ON, TEXTS, network


def kept_bytes(snippets: int, dtype: torch.dtype = torch.float32, **words) -> int:
    """What a forward pass keeps for the backward one, every storage once."""
    model, kept = network(**{"width": 32} | words).train(), {}
    model.dtype = dtype

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    features, padding = torch.randn(1, snippets, CHANNELS), torch.zeros(1, snippets, dtype=torch.bool)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(features, padding, TEXTS)
    assert outputs.segments_cw.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("words", [{}, ON["everything"]], ids=["plain", "everything"])
def test_what_training_keeps_of_4096_snippets_is_twice_what_it_keeps_of_2048(words, dtype):
    short, long = (kept_bytes(snippets, dtype, **words) for snippets in (2048, 4096))
    assert long < 2.05 * short  # a matrix of attention weights, snippets by snippets, would make it four times
