"""What depends on the data set: how wide and how long to train, unless a parameter says otherwise."""

from typing import Any

# What the embedded demo trains in about a minute on two cores: a narrow network on the small CLIP's 128 channels.
RECIPES: dict[str, dict[str, Any]] = {
    "demo": {
        "agreement": 0.5,
        "encoder": "tad-demo",
        "pretrained": "",
        "stride": 4,
        "window": 64,
        "queries": 24,
        "width": 128,
        "lr_backbone": 1.0e-3,
        "epochs": 40,
        "lr": 1.0e-3,
    },
}
