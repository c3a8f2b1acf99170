"""Long windows: what training keeps of them grows as they do, and no faster; and what half precision costs in mAP."""

import pytest
import torch
from detector_speed import Size, measure
from detectors import CHANNELS, ON, SMALL, TEXTS, network, windows

from tadlib.data.batches import WindowSet
from tadlib.detector.network import ConditionalDETR
from tadlib.detector.proposals import predict, to_proposals
from tadlib.detector.training import fit
from tadlib.evaluation import metrics

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
LEARNING = {"epochs": 40, "batch_size": 8, "lr": 2e-3}


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


@pytest.mark.slow
def test_a_window_of_4096_snippets_trains_in_the_memory_of_the_published_measure():
    """At full width; the published detector takes 5.9 GB there, one that stores attention weights in bf16 3.9."""
    assert measure(Size(4096, 1, precision="bf16"))["peak"] < 3900


def precision(model: ConditionalDETR, found_in: WindowSet, dtype: torch.dtype) -> float:
    """Class-agnostic mAP of a detector that answers in some arithmetic."""
    model.dtype = dtype
    proposals = to_proposals(predict(model, found_in), found_in, nms="hard")
    return metrics.mean_average_precision(list(found_in._videos.values()), proposals, None, TIOUS)["mAP"]


def places(number: int, first: int) -> WindowSet:
    """Windows with an action each, whose features nobody has seen in training if `first` differs."""
    return windows(*(() for _ in range(first)), *(((1 + n % 6, 7 + (3 * n) % 8),) for n in range(number)))


def learned(seed: int, dtype: torch.dtype) -> ConditionalDETR:
    torch.manual_seed(seed)
    model = ConditionalDETR(CHANNELS, **SMALL | {"queries": 10, "width": 32})
    fit(model, places(48, 0), **LEARNING, seed=seed, dtype=dtype)
    return model


@pytest.mark.long
def test_answering_in_half_precision_costs_less_than_a_third_of_a_point():
    """On average of four seeds: of one detector the difference has a standard deviation of 0.1 points."""
    new = places(150, 48)
    models = [learned(seed, torch.float32) for seed in range(4)]
    whole, half = (
        torch.tensor([precision(model, new, dtype) for model in models]) for dtype in (torch.float32, torch.bfloat16)
    )
    assert whole.min() > 0.3 and not torch.equal(whole, half)
    assert (whole - half).mean().abs() <= 0.003


@pytest.mark.slow
def test_training_in_half_precision_costs_no_more_than_another_seed():
    """Three seeds: means within 0.3 points, or within what the mean of three seeds is uncertain by."""
    new = places(150, 48)
    whole, half = (
        torch.tensor([precision(learned(seed, dtype), new, dtype) for seed in range(3)])
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert whole.min() > 0.3
    assert (whole.mean() - half.mean()).abs() <= max(0.003, 2 * float(whole.std()) / 3**0.5)
