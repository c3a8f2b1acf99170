"""Backgrounds: one for each sport, and generic ones that do not reveal the sport."""

from functools import lru_cache

import numpy as np
from PIL import Image

from tadlib.data.demo.looks import CAMERAS, SMEAR, Look
from tadlib.data.demo.stage import GROUND, OVERSAMPLING, Camera, Stage

SKY, GRASS, TRACK, SAND, WATER, WOOD = (
    (150, 200, 236), (92, 160, 72), (186, 92, 66), (226, 200, 140), (56, 136, 200), (206, 158, 100),
)  # fmt: skip


@lru_cache(maxsize=64)
def background(look: Look, camera: int) -> Image.Image:
    """Draw the empty scene of a look as one of its cameras sees it, oversampled and cached."""
    view = look.cameras[camera]
    image = _drawn(look, view, SCENES[look.label]) if look.hint > 0 else None
    if look.setting != "own":
        generic = _drawn(look, view, GENERIC[look.setting])
        image = generic if image is None else Image.blend(generic, image, look.hint)
    if CAMERAS[camera] == "panning":
        across, up = image.size
        image = image.resize((round(across / (OVERSAMPLING * SMEAR)), up), Image.Resampling.BOX)
        image = image.resize((across, up), Image.Resampling.BILINEAR)
    return image


def _drawn(look: Look, view: Camera, scene) -> Image.Image:
    stage = Stage(view)
    scene(stage, look)
    rng = np.random.default_rng(look.seed)
    for _ in range(look.spectators):
        x, shade = rng.uniform(-10, 170), look.lit(rng.uniform(60, 220, 3))
        stage.limb(shade, 5, (x, GROUND - 24), (x, GROUND - 14))
        stage.ball(look.lit((220, 175, 135)), (x, GROUND - 29), 2.6)
    return stage.image


def _open_air(stage: Stage, look: Look, ground=GRASS, sky=SKY, horizon: float = 74) -> None:
    stage.fill(look.lit(sky))
    stage.area(look.lit(ground), (-80, horizon), (240, 260))


def _stadium(stage: Stage, look: Look, ground=TRACK) -> None:
    _open_air(stage, look, GRASS, horizon=72)
    stage.area(look.lit((150, 150, 160)), (-80, 40), (240, 72))
    rng = np.random.default_rng(look.seed + 1)
    for x, y in zip(rng.uniform(-75, 235, 90), rng.uniform(43, 69, 90), strict=True):
        stage.ball(look.lit(rng.uniform(60, 250, 3)), (x, y), 1.6)
    stage.area(look.lit(ground), (-80, 88), (240, 260))
    for y in (92, 98, 106, 114):
        stage.line(look.lit((240, 240, 240)), 0.5, (-80, y), (240, y))


def _high_jump(stage: Stage, look: Look) -> None:
    _stadium(stage, look)
    stage.area(look.lit((36, 80, 170)), (104, 82), (158, 100))
    stage.area(look.lit((70, 120, 210)), (104, 80), (158, 85))
    for x in (100, 104):
        stage.line(look.lit((240, 240, 240)), 1.4, (x, 100), (x, 58))
    stage.line(look.lit((240, 60, 50)), 1.3, (96, 64), (108, 64))


def _long_jump(stage: Stage, look: Look) -> None:
    _stadium(stage, look)
    stage.area(look.lit(SAND), (94, 95), (240, 110))
    stage.area(look.lit((250, 250, 250)), (86, 97), (92, 102))


def _pole_vault(stage: Stage, look: Look) -> None:
    _stadium(stage, look)
    stage.area(look.lit((60, 60, 70)), (108, 86), (165, 100))
    for x in (104, 110):
        stage.line(look.lit((250, 220, 60)), 1.6, (x, 100), (x, 14))
    stage.line(look.lit((250, 250, 250)), 1.2, (100, 22), (116, 22))


def _cage(stage: Stage, look: Look) -> None:
    _stadium(stage, look, ground=GRASS)
    stage.ball(look.lit((180, 180, 184)), (62, 101), 30, 0.16)
    net = look.lit((70, 90, 80))
    for x in range(8, 44, 6):
        stage.line(net, 0.7, (x, 20), (x, 100))
    for y in range(20, 100, 8):
        stage.line(net, 0.5, (8, y), (40, y))
    for x in (8, 41):
        stage.line(look.lit((50, 60, 60)), 1.8, (x, 16), (x, 102))


def _discus(stage: Stage, look: Look) -> None:
    _stadium(stage, look, ground=GRASS)
    stage.ball(look.lit((200, 196, 186)), (62, 101), 26, 0.16)
    for x in (14, 30):
        stage.line(look.lit((60, 70, 60)), 1.6, (x, 30), (x, 102))
    stage.line(look.lit((250, 250, 250)), 0.9, (80, 100), (240, 86))
    stage.line(look.lit((250, 250, 250)), 0.9, (80, 103), (240, 118))


def _shot(stage: Stage, look: Look) -> None:
    _stadium(stage, look, ground=(196, 176, 140))
    stage.ball(look.lit((150, 150, 156)), (62, 101), 24, 0.16)
    stage.area(look.lit((250, 250, 250)), (84, 98), (88, 102))


def _baseball(stage: Stage, look: Look) -> None:
    _open_air(stage, look)
    stage.area(look.lit((30, 84, 50)), (-80, 60), (240, 76))
    stage.ball(look.lit((190, 134, 88)), (62, 104), 40, 0.22)
    stage.area(look.lit((250, 250, 250)), (58, 100), (70, 102))
    stage.ball(look.lit((250, 250, 250)), (150, 102), 5, 0.5)


def _basketball(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((120, 110, 130)))
    stage.area(look.lit(WOOD), (-80, 84), (240, 260))
    stage.line(look.lit((250, 250, 250)), 0.8, (-80, 106), (240, 106))
    stage.line(look.lit((60, 60, 66)), 2.4, (146, 100), (146, 34))
    stage.area(look.lit((245, 245, 245)), (136, 18), (141, 44))
    stage.line(look.lit((235, 80, 30)), 1.6, (118, 42), (136, 42))
    for x in (119, 123, 127, 131, 135):
        stage.line(look.lit((250, 250, 250)), 0.5, (x, 42), (122 + (x - 119) * 0.55, 54))


def _billiards(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((92, 62, 50)))
    stage.area(look.lit((60, 42, 40)), (-80, 96), (240, 260))
    stage.area(look.lit((250, 236, 170)), (86, 12), (126, 20))
    stage.area(look.lit((84, 48, 24)), (66, 74), (156, 84))
    stage.area(look.lit((24, 130, 80)), (68, 70), (154, 77))
    for x in (72, 146):
        stage.area(look.lit((84, 48, 24)), (x, 84), (x + 6, 106))
    for x, color in ((116, (230, 200, 40)), (124, (200, 40, 40)), (132, (40, 60, 170)), (139, (30, 30, 30))):
        stage.ball(look.lit(color), (x, 69.5), 2.0)


def _weights(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((50, 66, 104)))
    stage.area(look.lit((230, 230, 232)), (20, 14), (140, 26))
    stage.area(look.lit((190, 146, 92)), (-80, 92), (240, 260))
    stage.area(look.lit((70, 70, 76)), (10, 98), (150, 112))


def _cliff(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((160, 210, 240)))
    stage.area(look.lit((30, 110, 160)), (-80, 100), (240, 260))
    for y in (104, 110, 116):
        stage.line(look.lit((120, 190, 220)), 0.8, (40, y), (240, y))
    rock = look.lit((126, 104, 84))
    stage.area(rock, (-80, 56), (36, 56), (44, 64), (38, 80), (50, 100), (46, 140), (-80, 140))
    stage.line(look.lit((90, 74, 60)), 1.4, (10, 60), (20, 80), (12, 110))
    stage.line(look.lit((90, 74, 60)), 1.4, (34, 68), (30, 100))


def _pool(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((200, 222, 230)))
    for x in range(-60, 240, 24):
        stage.area(look.lit((236, 244, 248)), (x, 10), (x + 14, 44))
    stage.area(look.lit(WATER), (-80, 100), (240, 260))
    for y in (104, 110, 116):
        stage.line(look.lit((140, 200, 240)), 0.8, (50, y), (240, y))
    stage.area(look.lit((150, 156, 164)), (-80, 76), (14, 140))
    stage.area(look.lit((240, 240, 244)), (-10, 72), (50, 75))


def _cricket(stage: Stage, look: Look) -> None:
    _open_air(stage, look, (108, 172, 76))
    stage.area(look.lit((250, 250, 250)), (-80, 66), (240, 73))
    stage.area(look.lit((212, 186, 130)), (-80, 92), (240, 112))
    for x in (18, 21, 24, 136, 139, 142):
        stage.line(look.lit((240, 226, 180)), 1.3, (x, 101), (x, 82))


def _park(stage: Stage, look: Look) -> None:
    _open_air(stage, look, (110, 180, 80))
    for x, height in ((8, 44), (34, 36), (128, 40), (152, 50)):
        stage.line(look.lit((96, 66, 40)), 3.4, (x, 80), (x, 80 - height * 0.5))
        stage.ball(look.lit((46, 116, 54)), (x, 80 - height * 0.8), height * 0.34)


def _golf(stage: Stage, look: Look) -> None:
    _open_air(stage, look, (72, 168, 78))
    stage.ball(look.lit((60, 140, 66)), (30, 76), 40, 0.2)
    stage.ball(look.lit(SAND), (122, 88), 14, 0.22)
    stage.line(look.lit((240, 240, 240)), 0.9, (146, 82), (146, 46))
    stage.area(look.lit((230, 40, 40)), (146, 46), (158, 50), (146, 55))


def _soccer(stage: Stage, look: Look) -> None:
    _open_air(stage, look, (66, 150, 60), horizon=70)
    for x in range(-80, 240, 40):
        stage.area(look.lit((76, 164, 70)), (x, 76), (x + 20, 130))
    white = look.lit((250, 250, 250))
    for x in range(124, 160, 5):
        stage.line(look.lit((210, 214, 216)), 0.4, (x, 48), (x, 92))
    stage.line(white, 1.8, (122, 94), (122, 46), (168, 46))
    stage.line(white, 0.8, (-80, 104), (240, 104))


def _tennis(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((40, 92, 80)))
    stage.area(look.lit((54, 110, 170)), (-80, 80), (240, 260))
    white = look.lit((250, 250, 250))
    stage.line(white, 1.0, (-80, 108), (240, 108))
    stage.line(white, 1.0, (-80, 84), (240, 84))
    for x in range(112, 134, 3):
        stage.line(look.lit((30, 30, 36)), 0.4, (x, 78), (x, 104))
    stage.line(white, 1.6, (110, 78), (134, 78))
    stage.line(look.lit((40, 40, 40)), 1.6, (110, 77), (110, 106))


def _volleyball(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((236, 190, 120)))
    stage.area(look.lit((222, 130, 70)), (-80, 86), (240, 260))
    stage.line(look.lit((250, 250, 250)), 1.0, (-80, 106), (240, 106))
    for y in range(44, 62, 4):
        stage.line(look.lit((50, 50, 56)), 0.5, (96, y), (110, y))
    for x in (96, 100, 104, 108):
        stage.line(look.lit((50, 50, 56)), 0.5, (x, 42), (x, 62))
    stage.line(look.lit((250, 250, 250)), 1.8, (94, 42), (112, 42))
    stage.line(look.lit((60, 60, 66)), 2.2, (103, 62), (103, 104))


def _hall(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((176, 176, 180)))
    stage.area(look.lit((146, 140, 134)), (-80, 88), (240, 260))
    for x in range(-60, 240, 44):
        stage.line(look.lit((150, 150, 156)), 1.0, (x, 0), (x, 88))


def _meadow(stage: Stage, look: Look) -> None:
    _open_air(stage, look, (128, 164, 92), sky=(196, 212, 220))


def _street(stage: Stage, look: Look) -> None:
    stage.fill(look.lit((186, 168, 150)))
    for x in range(-70, 240, 36):
        stage.area(look.lit((120, 134, 150)), (x, 26), (x + 16, 52))
    stage.area(look.lit((110, 110, 114)), (-80, 86), (240, 260))


GENERIC = {"hall": _hall, "meadow": _meadow, "street": _street}
SCENES = {
    "BaseballPitch": _baseball, "BasketballDunk": _basketball, "Billiards": _billiards, "CleanAndJerk": _weights,
    "CliffDiving": _cliff, "CricketBowling": _cricket, "CricketShot": _cricket, "Diving": _pool,
    "FrisbeeCatch": _park, "GolfSwing": _golf, "HammerThrow": _cage, "HighJump": _high_jump, "JavelinThrow": _stadium,
    "LongJump": _long_jump, "PoleVault": _pole_vault, "Shotput": _shot, "SoccerPenalty": _soccer,
    "TennisSwing": _tennis, "ThrowDiscus": _discus, "VolleyballSpiking": _volleyball,
}  # fmt: skip
