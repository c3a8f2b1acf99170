"""Appearance of each video: people, light, cameras, clutter, and how much the setting reveals of the class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tadlib.data.demo.body import Outfit
from tadlib.data.demo.stage import Camera, Color

GENERIC_SETTING = 0.3  # share of videos set in a hall, a meadow or a street, which says little of the sport
HINT = 0.5  # largest share of the sport's own scene blended into these settings
LIGHT, TINT = 0.25, 0.12  # spread of the brightness, and of the light's colour
WIDE, CLOSE = (0.95, 1.15), (1.5, 1.9)  # zoom of the cameras that show the whole place and the athlete
SMEAR = 24  # world units of motion blur of the background when the camera follows an athlete
SHAKE = 8.0  # largest offset of a camera from the middle, in world units
SPECTATORS = 0.4  # share of videos with people in the background
CAMERAS = ("wide", "close", "panning")
FILMED_BY = (0.4, 0.25, 0.35)  # share of shots of each camera
SKINS = ((244, 208, 177), (224, 172, 128), (176, 118, 78), (118, 76, 50))
HAIRS = ((40, 30, 24), (96, 60, 30), (200, 168, 96), (70, 70, 76))
CLOTHES = (
    (206, 44, 48), (32, 84, 170), (240, 240, 236), (38, 38, 46), (244, 190, 40),
    (40, 140, 84), (232, 120, 40), (126, 70, 150), (90, 190, 220),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Appearance of one video; hashable, so that its background is cached."""

    label: str
    outfit: Outfit
    other: Outfit
    size: float
    cameras: tuple[Camera, ...]  # in the order of `CAMERAS`
    brightness: float
    tint: tuple[float, float, float]
    setting: str  # "own" or a generic setting
    hint: float  # share of the sport's own scene in a generic setting
    spectators: int
    seed: int

    def lit(self, color: Sequence[float] | np.ndarray) -> Color:
        """Return a colour under this video's light."""
        return tuple(
            int(min(255, max(0, part * self.brightness * tint))) for part, tint in zip(color, self.tint, strict=True)
        )


def sample_look(rng: np.random.Generator, label: str) -> Look:
    """Draw a random appearance for a video of `label`."""

    def outfit() -> Outfit:
        skin, hair = SKINS[rng.integers(len(SKINS))], HAIRS[rng.integers(len(HAIRS))]
        shirt, trousers, shoes = (CLOTHES[rng.integers(len(CLOTHES))] for _ in range(3))
        return Outfit(skin=skin, shirt=shirt, trousers=trousers, shoes=shoes, hair=hair)

    mirrored = bool(rng.random() < 0.5)
    wide, close = (
        Camera(
            x=x + float(rng.uniform(-1, 1)) * SHAKE,
            y=height + float(rng.uniform(-0.5, 0.5)) * SHAKE,
            zoom=float(rng.uniform(*zoom)),
            mirrored=mirrored,
        )
        for x, height, zoom in ((78, 60, WIDE), (60, 68, CLOSE))
    )
    generic = rng.random() < GENERIC_SETTING
    tint = (1 + TINT * rng.uniform(-1, 1, 3)).tolist()
    return Look(
        label=label,
        outfit=outfit(),
        other=outfit(),
        size=float(rng.uniform(0.85, 1.15)),
        cameras=(wide, close, wide),
        brightness=float(1 + LIGHT * rng.uniform(-1, 0.5)),
        tint=tuple(tint),
        setting=("hall", "meadow", "street")[rng.integers(3)] if generic else "own",
        hint=float(rng.uniform(0, HINT)) if generic else 1.0,
        spectators=int(rng.integers(3, 9)) if rng.random() < SPECTATORS else 0,
        seed=int(rng.integers(2**31)),
    )


def choose_camera(rng: np.random.Generator) -> int:
    """Draw the index in `CAMERAS` of the next camera, independent of the activity."""
    return int(rng.choice(len(CAMERAS), p=FILMED_BY))
