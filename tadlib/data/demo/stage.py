"""Drawing surface: antialiased shapes in world units (160 x 120), projected by a camera.

World units: x to the right, y down, the ground at `GROUND`; sizes are world units too. Torch-free.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, GROUND = 160, 120, 100
OVERSAMPLING = 2

Color = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """Camera: the world point in the middle of the frame, the zoom, and whether the image is mirrored."""

    x: float = 80.0
    y: float = 60.0
    zoom: float = 1.0
    mirrored: bool = False

    def project(self, point: Point) -> Point:
        """Convert a world point to an oversampled pixel."""
        across = (point[0] - self.x) * self.zoom * (-1 if self.mirrored else 1)
        return (across + WIDTH / 2) * OVERSAMPLING, ((point[1] - self.y) * self.zoom + HEIGHT / 2) * OVERSAMPLING


class Stage:
    """Image that is drawn on through a camera."""

    def __init__(self, camera: Camera, background: Image.Image | None = None) -> None:
        size = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
        self.camera = camera
        self.image = background.copy() if background is not None else Image.new("RGB", size)
        self._draw = ImageDraw.Draw(self.image)
        self._scale = camera.zoom * OVERSAMPLING

    def fill(self, color: Color) -> None:
        """Fill the whole image."""
        self._draw.rectangle((0, 0, *self.image.size), fill=color)

    def area(self, color: Color, *points: Point) -> None:
        """Draw a filled polygon; two points are opposite corners of a rectangle."""
        if len(points) == 2:
            (left, top), (right, bottom) = points
            points = ((left, top), (right, top), (right, bottom), (left, bottom))
        self._draw.polygon([self.camera.project(point) for point in points], fill=color)

    def line(self, color: Color, width: float, *points: Point) -> None:
        """Draw a line through the points, `width` world units thick."""
        thickness = max(1, round(width * self._scale))
        self._draw.line([self.camera.project(point) for point in points], fill=color, width=thickness, joint="curve")

    def limb(self, color: Color, width: float, *points: Point) -> None:
        """Draw a line with round joints and ends."""
        self.line(color, width, *points)
        for point in points:
            self.ball(color, point, width / 2)

    def ball(self, color: Color, centre: Point, radius: float, squash: float = 1.0) -> None:
        """Draw a filled ellipse, `squash` times as high as wide."""
        x, y = self.camera.project(centre)
        across, up = radius * self._scale, radius * self._scale * squash
        self._draw.ellipse((x - across, y - up, x + across, y + up), fill=color)

    def ring(self, color: Color, centre: Point, radius: float, width: float) -> None:
        """Draw the outline of a circle."""
        x, y = self.camera.project(centre)
        reach, thickness = radius * self._scale, max(1, round(width * self._scale))
        self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=color, width=thickness)

    def pixels(self) -> np.ndarray:
        """Return the finished frame, uint8 (HEIGHT, WIDTH, 3)."""
        return np.asarray(self.image.reduce(OVERSAMPLING))
