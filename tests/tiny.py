"""A benchmark of seconds: forty short rendered videos of the twenty actions, and the demo's small CLIP."""

from pathlib import Path

from tadlib.data.demo import timelines, videos

PARAMETERS = {"encoder": "tad-demo", "stride": 4, "width": 32, "heads": 4, "queries": 8, "encoder_layers": 1}
PARAMETERS |= {"decoder_layers": 2, "window": 32, "overlap": 0.5, "epochs": 2, "lr": 1e-3, "split": 50}


def make(folder: Path) -> dict[str, object]:
    """Render the data set into a folder; returns the parameters of a run on it."""
    videos.make(folder, seed=3, timelines=timelines.benchmark(seed=3, per_class=(1, 1), longest=20.0))
    return PARAMETERS | {"dataset": str(folder), "pretrained": ""}
