"""Conversion between seconds and snippets, from frame rate and stride."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Snippet t covers the half-open interval [t, t + 1) of a continuous snippet axis that starts at 0 s.

    n snippets last n strides, not n - 1.
    """

    fps: float  # frames per second of the video
    stride: int  # frames from one snippet to the next

    def seconds(self, snippets):
        """Convert snippet positions to seconds; for floats, arrays and tensors."""
        return snippets * self.stride / self.fps

    def snippets(self, seconds):
        """Convert seconds to (fractional) snippet positions; for floats, arrays and tensors."""
        return seconds * self.fps / self.stride
