"""Data sets: annotations, class splits, snippet features, windows, video decoding, and the embedded demo."""
