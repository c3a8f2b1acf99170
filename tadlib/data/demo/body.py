"""Drawing of an athlete: poses as angles of limbs, movements as keyframes between poses.

Angles in degrees, absolute: 0 hangs down, 90 points forward (to the right), 180 up. A pose lists torso, near upper arm
and forearm, far upper arm and forearm, near thigh and shin, far thigh and shin.
"""

import math
from dataclasses import dataclass

import numpy as np

from tadlib.data.demo.stage import GROUND, Color, Point, Stage

TORSO, HEAD, LEG, ARM = 17.0, 4.4, 11.0, 8.5  # of legs and arms each half
POSES: dict[str, tuple[float, ...]] = {
    "stand": (180, 6, 14, -6, 4, 5, 2, -6, -4),
    "hips": (180, 30, -40, -30, 40, 8, 4, -8, -4),
    "walk1": (177, 28, 40, -25, -10, 24, 4, -22, -38),
    "walk2": (177, -25, -10, 28, 40, -22, -38, 24, 4),
    "run1": (166, 55, 125, -50, 30, 62, 5, -30, -88),
    "run2": (166, -50, 30, 55, 125, -30, -88, 62, 5),
    "crouch": (140, 40, 60, 30, 50, 62, -38, 50, -45),
    "squat": (130, 10, 6, 4, 2, 78, -35, 70, -40),
    "lunge": (165, 60, 80, -40, -30, 55, 0, -40, -62),
    "reach_up": (182, 172, 178, -172, -178, 6, 0, -6, -2),
    "one_up": (178, 168, 178, 20, 60, 6, 0, -10, -20),
    "back_arm": (192, -110, -150, 70, 80, 40, -10, -25, -30),
    "throw": (150, 110, 95, -30, 20, 62, 20, -45, -60),
    "follow": (128, 45, 10, -60, -70, 55, 12, -65, -85),
    "kick_lift": (186, 60, 90, -50, -20, 96, 20, -4, -2),
    "tuck": (150, 60, 95, 55, 90, 140, 30, 135, 25),
    "pike": (100, 80, 85, 76, 82, 178, 175, 172, 170),
    "straight": (180, 176, 180, 172, 178, 2, 0, -2, -2),
    "flight": (170, 150, 165, 120, 140, 30, -30, -20, -60),
    "arch": (215, 150, 170, 140, 160, 20, -40, 10, -50),
    "sit": (160, 80, 90, 75, 85, 85, 60, 80, 55),
    "land": (140, 70, 90, 60, 80, 85, 20, 75, 10),
    "aim": (112, 95, 100, 20, 75, 20, 0, -18, -8),
    "stretch_side": (160, 150, 165, 10, 30, 12, 4, -18, -8),
    "bend": (95, 10, 5, 5, 0, 8, 2, -6, -4),
    "wave1": (180, 140, 175, -6, 4, 5, 2, -6, -4),
    "wave2": (180, 140, 215, -6, 4, 5, 2, -6, -4),
    "bat_ready": (165, 30, 75, 40, 85, 25, -15, -20, -25),
    "bat_back": (172, -60, -130, 10, -60, 25, -15, -22, -28),
    "bat_hit": (160, 70, 75, 60, 70, 40, -5, -32, -45),
    "bat_over": (182, 130, 185, 120, 190, 38, 0, -30, -52),
    "club_down": (148, 22, 16, 30, 22, 14, -6, -10, -14),
    "club_back": (150, -100, -140, -60, -120, 16, -6, -12, -14),
    "club_over": (180, 150, 215, 140, 205, 22, 4, -26, -60),
    "spin_a": (170, 92, 92, 84, 88, 28, -20, -18, -40),
    "spin_b": (190, -92, -92, -84, -88, 18, -40, -28, -20),
    "rack": (178, 40, 165, 36, 160, 14, 2, -14, -2),
    "pull": (135, 12, 8, 8, 4, 50, -20, 42, -25),
    "shot_ready": (205, 60, 200, -60, -40, 40, -30, -20, -40),
    "shot_push": (158, 130, 132, -40, -60, 55, 10, -40, -55),
}


@dataclass(frozen=True)
class Movement:
    """Keyframes of a body over phase 0..1: pose, displacement of the hips from the start (dx, dy), and rotation."""

    phases: np.ndarray  # (k,)
    poses: tuple[str, ...]
    values: np.ndarray  # (k, 12): nine angles, dx, dy (world units), spin (degrees)

    def pose(self, phase: float) -> str:
        """Return the name of the nearest keyframe's pose."""
        return self.poses[int(np.abs(self.phases - phase).argmin())]

    def at(self, phase: float) -> np.ndarray:
        """Return the twelve values at a phase, interpolated."""
        right = int(np.clip(np.searchsorted(self.phases, phase, side="right"), 1, len(self.phases) - 1))
        before, after = self.phases[right - 1], self.phases[right]
        share = min(1.0, max(0.0, (phase - before) / (after - before)))
        return self.values[right - 1] * (1 - share) + self.values[right] * share


def movement(*keyframes: tuple) -> Movement:
    """Create a movement from rows (phase, pose name[, dx[, dy[, spin]]])."""
    rows = [(*POSES[name], *rest, *(0.0,) * (3 - len(rest))) for _, name, *rest in keyframes]
    return Movement(
        np.array([row[0] for row in keyframes], float), tuple(row[1] for row in keyframes), np.array(rows, float)
    )


@dataclass(frozen=True)
class Outfit:
    """Colours of a person."""

    skin: Color
    shirt: Color
    trousers: Color
    shoes: Color
    hair: Color


@dataclass(frozen=True)
class Joints:
    """Positions of body parts, where props are drawn."""

    hand: Point  # near
    other_hand: Point
    elbow: Point


def _step(start: Point, angle: float, length: float) -> Point:
    radians = math.radians(angle)
    return start[0] + length * math.sin(radians), start[1] + length * math.cos(radians)


def draw_body(stage: Stage, outfit: Outfit, x: float, values: np.ndarray, size: float = 1.0) -> Joints:
    """Draw a body whose hips start at `x`, and return the positions of its parts."""
    *angles, dx, dy, spin = values
    torso, arm, forearm, far_arm, far_forearm, thigh, shin, far_thigh, far_shin = (angle + spin for angle in angles)
    hips = (x + dx, GROUND - 2 * LEG * size + dy)
    neck = _step(hips, torso, TORSO * size)
    head = _step(neck, torso, (HEAD + 1.2) * size)

    def limb(start: Point, upper: float, lower: float, length: float) -> tuple[Point, Point]:
        """Return the joint and the end of an arm or a leg."""
        joint = _step(start, upper, length * size)
        return joint, _step(joint, lower, length * size)

    far_knee, far_foot = limb(hips, far_thigh, far_shin, LEG)
    far_elbow, far_hand = limb(neck, far_arm, far_forearm, ARM)
    knee, foot = limb(hips, thigh, shin, LEG)
    elbow, hand = limb(neck, arm, forearm, ARM)
    darker = tuple(int(0.75 * part) for part in outfit.trousers)
    stage.limb(darker, 4.6 * size, hips, far_knee)
    stage.limb(darker, 3.6 * size, far_knee, far_foot)
    stage.ball(outfit.shoes, (far_foot[0] + 1.2 * size, far_foot[1]), 2.4 * size, 0.7)
    stage.limb(tuple(int(0.75 * part) for part in outfit.shirt), 3.4 * size, neck, far_elbow)
    stage.limb(tuple(int(0.85 * part) for part in outfit.skin), 2.8 * size, far_elbow, far_hand)
    stage.limb(outfit.trousers, 4.6 * size, hips, knee)
    stage.limb(outfit.skin, 3.6 * size, knee, foot)
    stage.ball(outfit.shoes, (foot[0] + 1.2 * size, foot[1]), 2.4 * size, 0.7)
    stage.limb(outfit.shirt, 7.2 * size, hips, neck)
    stage.ball(outfit.skin, head, HEAD * size)
    stage.ball(outfit.hair, _step(head, torso, 1.6 * size), HEAD * 0.86 * size)
    stage.ball(outfit.skin, (head[0] + 1.2 * size, head[1] + 1.0 * size), HEAD * 0.72 * size)
    stage.limb(outfit.shirt, 3.6 * size, neck, elbow)
    stage.limb(outfit.skin, 3.0 * size, elbow, hand)
    return Joints(hand, far_hand, elbow)
