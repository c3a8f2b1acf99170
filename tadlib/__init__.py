"""Zero-shot temporal action detection: when actions happen in untrimmed videos, and what they are called.

The functions that the notebooks use, called from Python:

    import tadlib as tad

    data = tad.load("demo", split=50)
    windows = data.training_windows(64)
    tad.seed_all(0)
    model = tad.ConditionalDETR(windows.channels, queries=24, width=128)
    tad.fit(model, windows, epochs=10, lr=1e-3, device="auto")
    proposals = tad.propose(model, data.test_windows(64))
    detections = tad.name(proposals, data)
    print(tad.evaluate(detections, data))

This training is short; `train.ipynb` trains the demo for 40 epochs with `lr_backbone=1e-3`.

Importing `tadlib` imports no other module: each name is imported when it is first used.
"""

import os
from importlib import import_module
from typing import Any

# set before torch is loaded: waiting threads soon sleep, instead of blocking a core that another process needs
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "1000"

__version__ = "0.1.0"

MODULES = {  # module -> its public names
    "workbook.public": "load name evaluate detect",
    "detector.network": "ConditionalDETR",
    "detector.additions": "Addition",
    "detector.losses": "DetectionLoss",
    "detector.training": "Trainer fit",
    "detector.proposals": "propose Proposals",
    "detector.matching": "detection_cost",
    "naming.fusion": "Detections write_detections read_detections fuse",
    "naming.classifier": "Classifier",
    "devices": "seed_all",
    "segments": "nms roi_align tiou",
    "task": "Task",
}
PUBLIC = {name: module for module, names in MODULES.items() for name in names.split()}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"tadlib has no {name!r}; it has {', '.join(sorted(PUBLIC))}")
    return getattr(import_module(f"tadlib.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
