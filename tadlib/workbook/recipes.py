"""What depends on the data set: how wide and how long to train, unless a parameter says otherwise."""

from typing import Any

# Against learning a few windows by heart: they are never the same twice, some hold nothing, and what stays the same all
# through a window, its scene, is no clue. So trained, what is found of unseen classes is worth nearly as much in the
# last epoch as in the best (`tests/test_collapse.py`; the lab log has the curves, and those of too few videos, where it
# is not always so).
STEADY: dict[str, Any] = {"jitter": True, "negatives": 0.3, "feature_noise": 0.5, "feature_shift": 1.0}

# What the embedded demo trains in about a minute on two cores: a narrow network on the small CLIP's 128 channels.
RECIPES: dict[str, dict[str, Any]] = {
    "thumos14": STEADY,
    "demo": STEADY
    | {
        "agreement": 0.5,
        "encoder": "tad-demo",
        "pretrained": "",
        "stride": 4,
        "window": 64,
        "overlap": 0.5,
        "queries": 24,
        "width": 128,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "conv_layers": 2,
        "lr_backbone": 1.0e-3,
        "epochs": 40,
        "lr": 1.0e-3,
    },
}
