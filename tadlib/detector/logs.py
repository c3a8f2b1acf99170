"""The history of a training as TensorBoard logs, for those who watch several at once."""

from collections.abc import Callable, Mapping
from pathlib import Path


def tensorboard(folder: Path) -> Callable[[Mapping[str, float]], None]:
    """What writes each row of a history into `folder`; raises ValueError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard=true needs TensorBoard, got none: pip install 'tadlib[logs]'") from None
    writer = SummaryWriter(str(folder))

    def log(row: Mapping[str, float]) -> None:
        for name, value in row.items():
            writer.add_scalar(name.replace(" ", "_"), value, int(row["epoch"]))
        writer.flush()

    return log
