"""Exponential moving average (EMA) of a model's parameters during training."""

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

EMA_DECAY = 0.99


class Average:
    """Exponential moving average of a model's parameters."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.shadow = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def update(self, model: torch.nn.Module, step: int) -> None:
        """Move the average towards the model; decay is lower in early steps, so that initial weights fade."""
        average = get_ema_multi_avg_fn(min(EMA_DECAY, (1 + step) / (10 + step)))
        average(list(self.shadow.values()), list(model.state_dict().values()), None)  # one call: few kernel launches

    def store(self, model: torch.nn.Module) -> None:
        """Copy the averaged parameters into the model."""
        model.load_state_dict(self.shadow)
