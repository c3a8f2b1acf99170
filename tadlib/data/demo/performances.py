"""The twenty actions: the motion and props of each, and what people do between actions."""

from dataclasses import dataclass

import numpy as np

from tadlib.data.demo import props
from tadlib.data.demo.body import Movement, draw_body, movement
from tadlib.data.demo.looks import Look
from tadlib.data.demo.scenes import WATER, background
from tadlib.data.demo.stage import Stage


@dataclass(frozen=True)
class Performance:
    """One action: its start position, its prop if it has one, and the movement of the body."""

    x: float
    prop: props.Prop | None
    move: Movement
    lift: float = 0.0  # height above the ground at which the athlete waits, in world units


RUN = ((0.0, "run1", 0), (0.08, "run2", 8), (0.16, "run1", 18), (0.24, "run2", 28), (0.32, "run1", 38))
PERFORMANCES = {
    "BaseballPitch": Performance(62, props.thrown((250, 250, 250), 2.4, 0.6, (186, 58), 4), movement(
        (0, "stand"), (0.2, "kick_lift", -2), (0.42, "back_arm", -2), (0.6, "throw", 12), (0.78, "follow", 16, 4),
        (1, "stand", 14),
    )),
    "BasketballDunk": Performance(44, props.dunked, movement(
        *RUN, (0.48, "one_up", 56, -18), (0.62, "one_up", 68, -32), (0.72, "throw", 70, -26), (0.88, "land", 72),
        (1, "stand", 70),
    )),
    "Billiards": Performance(50, props.cue, movement(
        (0, "stand"), (0.2, "aim"), (0.45, "aim", 2), (0.62, "aim", -2), (0.68, "aim", 4), (0.85, "aim", 3),
        (1, "stand"),
    )),
    "CleanAndJerk": Performance(80, props.barbell, movement(
        (0, "squat"), (0.15, "pull"), (0.3, "rack", 0, 0), (0.38, "squat"), (0.42, "rack"), (0.6, "rack"),
        (0.68, "lunge", 0, 3), (0.72, "reach_up", 0, 2), (0.92, "reach_up"), (1, "squat"),
    )),
    "CliffDiving": Performance(34, props.splash(100, 0.74, 88, (30, 110, 160)), movement(
        (0, "straight", 0, -44), (0.14, "crouch", 2, -41), (0.26, "straight", 20, -54), (0.42, "tuck", 36, -44, -160),
        (0.58, "tuck", 44, -28, -420), (0.76, "straight", 52, -4, -535), (0.9, "straight", 54, 34, -540),
        (1, "straight", 54, 70, -540),
    ), lift=44),
    "CricketBowling": Performance(26, props.thrown((170, 30, 36), 2.2, 0.66, (134, 92), 6), movement(
        *RUN, (0.46, "back_arm", 50, -5), (0.6, "one_up", 60, -8), (0.7, "throw", 66), (0.85, "follow", 74),
        (1, "walk1", 84),
    )),
    "CricketShot": Performance(60, props.swung((226, 190, 130), 17, 4.2, ball=(170, 30, 36)), movement(
        (0, "bat_ready"), (0.3, "bat_back", -2), (0.5, "bat_hit", 6), (0.75, "bat_over", 6), (1, "bat_ready", 2),
    )),
    "Diving": Performance(36, props.splash(100, 0.74, 78, WATER), movement(
        (0, "straight", 0, -28), (0.16, "crouch", 4, -25), (0.3, "straight", 12, -48), (0.46, "pike", 24, -50, -90),
        (0.6, "pike", 34, -36, -330), (0.74, "straight", 40, -10, -530), (0.88, "straight", 42, 28, -540),
        (1, "straight", 42, 70, -540),
    ), lift=28),
    "FrisbeeCatch": Performance(46, props.caught, movement(
        *RUN, (0.48, "run2", 46), (0.62, "flight", 52, -14), (0.74, "flight", 56, -16), (0.88, "land", 62),
        (1, "stand", 64),
    )),
    "GolfSwing": Performance(74, props.swung((190, 190, 196), 24, 1.2), movement(
        (0, "club_down"), (0.25, "club_down"), (0.5, "club_back"), (0.58, "club_back"), (0.68, "club_down", 1),
        (0.8, "club_over", 2), (1, "club_over", 2),
    )),
    "HammerThrow": Performance(58, props.hammer, movement(
        (0, "spin_a"), (0.15, "spin_b"), (0.3, "spin_a", 2), (0.42, "spin_b", 5), (0.53, "spin_a", 8),
        (0.63, "spin_b", 10), (0.73, "spin_a", 13), (0.82, "flight", 15, -2), (1, "stand", 16),
    )),
    "HighJump": Performance(28, None, movement(
        *RUN, (0.44, "run2", 50), (0.54, "one_up", 64, -12), (0.66, "arch", 76, -32, -70),
        (0.78, "arch", 92, -28, -110), (0.9, "sit", 104, -14, -90), (1, "sit", 104, -10, -60),
    )),
    "JavelinThrow": Performance(24, props.javelin, movement(
        (0, "run1", 0), (0.12, "run2", 10), (0.24, "run1", 22), (0.36, "run2", 34), (0.5, "back_arm", 48, -2),
        (0.62, "back_arm", 56), (0.74, "throw", 64), (0.86, "follow", 68, 2), (1, "walk1", 66),
    )),
    "LongJump": Performance(16, None, movement(
        *RUN, (0.42, "run2", 52), (0.5, "run1", 66), (0.6, "flight", 82, -20), (0.72, "flight", 98, -24),
        (0.82, "pike", 110, -10, 20), (0.9, "sit", 116, 8), (1, "sit", 116, 8),
    )),
    "PoleVault": Performance(24, props.pole, movement(
        *RUN, (0.42, "one_up", 56, -4), (0.52, "flight", 64, -26, -40), (0.62, "straight", 76, -58, -150),
        (0.72, "arch", 86, -68, -120), (0.82, "arch", 98, -50, -60), (0.92, "sit", 106, -14, -60),
        (1, "sit", 106, -12, -60),
    )),
    "Shotput": Performance(56, props.thrown((60, 60, 66), 3.6, 0.68, (168, 92), 22), movement(
        (0, "stand"), (0.2, "shot_ready", -2), (0.4, "shot_ready", -4, 4), (0.55, "shot_ready", 8, 2),
        (0.68, "shot_push", 14), (0.85, "follow", 16), (1, "stand", 15),
    )),
    "SoccerPenalty": Performance(48, props.penalty, movement(
        (0, "stand"), (0.16, "run1", 6), (0.28, "run2", 16), (0.4, "back_arm", 26), (0.52, "kick_lift", 32),
        (0.62, "kick_lift", 36, -4), (0.8, "walk1", 40), (1, "stand", 42),
    )),
    "TennisSwing": Performance(58, props.swung((60, 60, 66), 7, 1.6, head=(220, 50, 50), ball=(220, 240, 60)), movement(
        (0, "crouch"), (0.3, "bat_back", 2), (0.5, "bat_hit", 10), (0.72, "bat_over", 12), (1, "crouch", 8),
    )),
    "ThrowDiscus": Performance(54, props.thrown((200, 160, 60), 4.2, 0.76, (182, 50), 16, 0.4), movement(
        (0, "spin_b"), (0.2, "spin_b", -2), (0.38, "spin_a", 2), (0.52, "spin_b", 6), (0.66, "back_arm", 10),
        (0.76, "throw", 14, -3), (0.9, "follow", 14), (1, "stand", 13),
    )),
    "VolleyballSpiking": Performance(50, props.spiked, movement(
        (0, "run1"), (0.14, "run2", 10), (0.28, "crouch", 20), (0.44, "back_arm", 30, -22), (0.56, "one_up", 34, -28),
        (0.66, "throw", 36, -22), (0.82, "land", 38), (1, "stand", 36),
    )),
}  # fmt: skip
CLASSES = tuple(PERFORMANCES)

IDLE = {
    "stand": movement((0, "stand"), (0.5, "hips"), (1, "stand")),
    "wait": movement((0, "crouch"), (1, "crouch")),
    "stretch": movement((0, "stretch_side"), (0.5, "stand"), (1, "bend")),
    "walk": movement(*((k / 8, ("walk1", "walk2")[k % 2], 5 * k - 20) for k in range(9))),
}
DISTRACTORS = {
    "jog": movement(*((k / 8, ("run1", "run2")[k % 2], 9 * k - 36) for k in range(9))),
    "wave": movement(*((k / 6, ("wave1", "wave2")[k % 2]) for k in range(7))),
    "bow": movement((0, "stand"), (0.4, "bend"), (0.6, "bend"), (1, "stand")),
}
PRACTICE = "practice"  # the athlete practises a part of the action, back and forth
ACTIVITIES = ("action", PRACTICE, "empty", "passer-by", *IDLE, *DISTRACTORS)


def render(look: Look, activity: str, phase: float, camera: int = 0) -> np.ndarray:
    """Draw one frame, uint8 (120, 160, 3): an activity of `ACTIVITIES` at a phase 0..1 with the appearance `look`."""
    stage = Stage(look.cameras[camera], background(look, camera))
    performance = PERFORMANCES[look.label]
    lit = [type(outfit)(*(look.lit(part) for part in vars(outfit).values())) for outfit in (look.outfit, look.other)]
    if activity == "passer-by":
        draw_body(stage, lit[1], 20 + 120 * phase, IDLE["walk"].at(4 * phase % 1), look.size)
    elif activity != "empty":
        acting = activity in ("action", PRACTICE)
        values = (performance.move if acting else (IDLE | DISTRACTORS)[activity]).at(phase).copy()
        if not acting:
            values[10] -= performance.lift
        joints = draw_body(stage, lit[0], performance.x, values, look.size)
        if performance.prop:
            performance.prop(stage, look, joints, phase if acting else -1.0)
    return stage.pixels()
