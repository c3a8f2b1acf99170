"""The embedded benchmark: drawn athletes in real video files, and a small CLIP that has seen such pictures."""
