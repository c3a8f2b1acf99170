"""What we know about videos: annotations, class splits, snippet features, windows; the embedded demo benchmark."""
