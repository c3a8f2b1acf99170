"""Props: things that athletes hold, throw, hit or fall into, placed relative to their body parts."""

from collections.abc import Callable

import numpy as np

from tadlib.data.demo.body import Joints, draw_body
from tadlib.data.demo.looks import Look
from tadlib.data.demo.stage import GROUND, Color, Point, Stage

Prop = Callable[[Stage, Look, Joints, float], None]  # the last argument is the phase, -1 in other activities


def _toss(start: Point, end: Point, height: float, share: float) -> Point:
    """Return the position after `share` of a throw: a parabola that rises `height` above the straight line."""
    x = start[0] + (end[0] - start[0]) * share
    return x, start[1] + (end[1] - start[1]) * share - 4 * height * share * (1 - share)


def _share(phase: float, start: float, end: float) -> float:
    return (phase - start) / (end - start)


def _along_forearm(joints: Joints) -> np.ndarray:
    along = np.subtract(joints.hand, joints.elbow)
    return along / max(np.linalg.norm(along), 1e-6)


def thrown(color: Color, radius: float, release: float, target: Point, height: float, squash: float = 1.0) -> Prop:
    """Return an object that is held in the near hand until `release`, then flies to `target`."""

    def draw(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
        where = joints.hand
        if phase >= release:
            where = _toss((80, 50), target, height, _share(phase, release, 1.0))
        stage.ball(look.lit(color), where, radius, squash)

    return draw


def swung(color: Color, length: float, width: float, head: Color | None = None, ball: Color | None = None) -> Prop:
    """Return a bat, club or racket in the near hand; a `ball` arrives and is hit at phase 0.5."""

    def draw(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
        end = tuple(np.add(joints.hand, length * _along_forearm(joints)))
        stage.limb(look.lit(color), width, joints.hand, end)
        if head is not None:
            stage.ring(look.lit(head), tuple(np.add(end, 4 * _along_forearm(joints))), 4.6, 1.2)
        if ball is not None and phase >= 0:
            inward = phase < 0.5
            path = ((150, 60), (84, 74), 6) if inward else ((84, 74), (170, 34), 12)
            stage.ball(look.lit(ball), _toss(*path, _share(phase, 0, 0.5) if inward else _share(phase, 0.5, 1)), 2.2)

    return draw


def barbell(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    y = (joints.hand[1] + joints.other_hand[1]) / 2 if phase >= 0 else GROUND - 7
    x = (joints.hand[0] + joints.other_hand[0]) / 2 if phase >= 0 else 92
    stage.line(look.lit((200, 200, 206)), 1.6, (x - 24, y), (x + 24, y))
    for side in (-1, 1):
        stage.area(look.lit((200, 40, 44)), (x + side * 24 - 2, y - 8), (x + side * 24 + 2, y + 8))
        stage.area(look.lit((40, 60, 160)), (x + side * 20 - 1.5, y - 6), (x + side * 20 + 1.5, y + 6))


def cue(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    if phase < 0:
        stage.line(
            look.lit((222, 184, 120)),
            1.2,
            (joints.hand[0], joints.hand[1] + 16),
            (joints.hand[0] + 2, joints.hand[1] - 26),
        )
        stage.ball(look.lit((250, 250, 246)), (92, 69.5), 2.0)
        return
    stroke = 8 * np.sin(6 * np.pi * min(phase, 0.62)) if phase < 0.62 else 9
    stage.line(look.lit((222, 184, 120)), 1.2, (44 + stroke, 62), (88 + stroke, 69))
    white = 92.0 if phase < 0.62 else 92 + 34 * _share(phase, 0.62, 1)
    stage.ball(look.lit((250, 250, 246)), (white, 69.5), 2.0)


def hammer(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    if phase >= 0.82:
        where = _toss((84, 50), (176, 60), 34, _share(phase, 0.82, 1))
        start = (where[0] - 11, where[1] + 3)
    elif phase >= 0:
        turn = 2 * np.pi * (0.5 + 4.5 * (phase / 0.82) ** 1.5)
        start = joints.hand
        where = (start[0] + 20 * np.sin(turn), start[1] + 7 * np.cos(turn))
    else:
        start, where = joints.hand, (joints.hand[0] + 5, GROUND - 2)
    stage.line(look.lit((60, 60, 60)), 0.8, start, where)
    stage.ball(look.lit((40, 40, 46)), where, 3.6)


def javelin(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    centre, tilt = joints.hand, 0.25
    if phase >= 0.72:
        share = _share(phase, 0.72, 1)
        centre, tilt = _toss((96, 46), (190, 70), 26, share), 0.6 - 1.0 * share
    elif phase < 0:
        tilt = 1.3
    reach = (20 * np.cos(tilt), -20 * np.sin(tilt))
    stage.line(look.lit((230, 230, 120)), 1.1, tuple(np.subtract(centre, reach)), tuple(np.add(centre, reach)))


def pole(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    color = look.lit((240, 160, 60))
    if phase < 0:
        stage.line(color, 1.2, (joints.hand[0] + 3, GROUND), (joints.hand[0] - 3, GROUND - 74))
    elif phase < 0.42:
        stage.line(color, 1.2, (joints.hand[0] - 16, joints.hand[1] + 4), (joints.hand[0] + 52, joints.hand[1] - 20))
    elif phase < 0.74:
        middle = ((joints.hand[0] + 98) / 2 - 10, (joints.hand[1] + 100) / 2)
        stage.line(color, 1.2, (98, 100), middle, joints.hand)
    else:
        fall = _share(phase, 0.74, 1)
        stage.line(color, 1.2, (98, 100), (98 - 62 * fall, 100 - 70 * (1 - fall)))


def dunked(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    where = joints.hand
    if phase >= 0.7:
        where = (126, 40 + 50 * _share(phase, 0.7, 1))
    elif phase < 0:
        where = (joints.hand[0] + 2, joints.hand[1] + 2)
    stage.ball(look.lit((232, 120, 40)), where, 4.4)


def spiked(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    if phase < 0:
        where = (joints.hand[0] + 3, joints.hand[1] + 3)
    elif phase < 0.55:
        where = _toss((40, 60), (92, 34), 16, _share(phase, 0, 0.55))
    else:
        where = _toss((92, 34), (158, 98), 0, _share(phase, 0.55, 1))
    stage.ball(look.lit((250, 240, 200)), where, 4.0)


def penalty(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    where = (88, 97)
    if phase >= 0.55:
        where = _toss((88, 97), (150, 58), 4, _share(phase, 0.55, 1))
    dive = max(0.0, _share(phase, 0.55, 1)) if phase >= 0 else 0.0
    angles = (180, 120 - 60 * dive, 150, -120 + 40 * dive, -150, 20, 0, -20, 0)
    keeper = np.array([*angles, 72, -4 - 14 * dive, 70 * dive])
    draw_body(stage, look.other, 72, keeper, 0.8)
    stage.ball(look.lit((250, 250, 250)), where, 3.2)


def caught(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
    where = joints.hand
    if 0 <= phase < 0.72:
        where = _toss((-6, 40), (100, 46), 14, _share(phase, 0, 0.72))
    stage.ball(look.lit((240, 60, 120)), where, 5.6, 0.34)


def splash(surface: float, when: float, x: float, water: Color) -> Prop:
    """Return a splash: drops and foam where a diver enters the water, and water over everything below its surface."""

    def draw(stage: Stage, look: Look, joints: Joints, phase: float) -> None:
        if phase < when:
            return
        stage.area(look.lit(water), (x - 22, surface), (x + 22, surface + 60))
        share = _share(phase, when, 1)
        foam = look.lit((240, 248, 252))
        stage.ball(foam, (x, surface), 6 + 12 * share, 0.25)
        for drop in range(-3, 4):
            rise = (22 - 5 * abs(drop)) * np.sin(np.pi * min(1, share + 0.2))
            place = (x + 5 * drop * (0.4 + share), surface - rise)
            stage.ball(foam, place, 1.6)

    return draw
