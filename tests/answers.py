"""Annotated videos and detections small enough to judge by eye."""

import numpy as np

from tadlib.data.annotations import Action, Video
from tadlib.data.checks import separate_ambiguous
from tadlib.evaluation.result_file import Rows


def video(name, *actions, subset="test"):
    """A video of 100 s at 30 frames per second with actions (start, end, label)."""
    return separate_ambiguous(Video(name, 100.0, 30.0, subset, tuple(Action(*action) for action in actions)))


def found(*rows):
    """Detections from (start, end, score, label), in the order given."""
    segments = np.array([row[:2] for row in rows], dtype=np.float64).reshape(-1, 2)
    return Rows(segments, np.array([row[2] for row in rows], dtype=np.float64), tuple(row[3] for row in rows))
