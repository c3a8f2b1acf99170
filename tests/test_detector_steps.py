"""Every switch of the detector is one word of a run: it trains, is saved, read again, and answers."""

CLASSES = ("Diving", "HighJump", "Shotput", "LongJump")
SMALL = {"features": "simulate", "width": 16, "heads": 2, "queries": 6, "encoder_layers": 1, "decoder_layers": 2}
SMALL |= {"window": 32, "overlap": 0.5, "epochs": 2, "lr": 1e-3, "stride": 8, "split": 50}
