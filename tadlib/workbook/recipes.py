"""What depends on the data set: how wide and how long to train, unless a parameter says otherwise."""

from typing import Any

# Against learning a few windows by heart: they are never the same twice, some hold nothing, and what stays the same all
# through a window, its scene, is no clue. On simulated features of short THUMOS14 videos (a narrow network, 60 epochs,
# every fourth looked at) class-agnostic mAP of unseen classes in the last epoch is 0.82 of the best without it (one
# split), 0.94, 0.93 and 0.99 with it (three splits); of seen classes in new videos 0.85 without, 1.00, 0.92, 0.83 with.
# Every epoch looked at, on another machine, five splits end at 0.99, 0.76, 0.84, 0.86 and 0.95 of their best: it is no
# whole cure. `ema` on top ends two of them at 0.87 (0.76) and 0.95 (0.86), and the last epoch is worth the same.
STEADY: dict[str, Any] = {"jitter": True, "negatives": 0.3, "feature_noise": 0.5, "feature_shift": 1.0}

# What the embedded demo trains in about a minute on two cores: a narrow network on the small CLIP's 128 channels.
RECIPES: dict[str, dict[str, Any]] = {
    "thumos14": STEADY,
    "demo": STEADY
    | {
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
