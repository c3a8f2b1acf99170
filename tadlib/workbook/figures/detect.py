"""Figures of detections in one video: timeline, frames at the detections, similarity of the words over time."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tadlib.data.annotations import Video
from tadlib.data.windows import spans
from tadlib.workbook.figures.style import CYCLE, GREY, OURS, TRUTH, Picture, bars, nothing, picture, rows, short, styled

CAPTION = 27  # characters that fit above one of four frames, on each of two lines


@styled
def detected(video: Video, proposals: ArrayLike, found) -> Picture:
    """Draw true actions (black), proposals (n, 2) in seconds (grey), and a row of detections (blue) per word found."""
    truth = list(dict.fromkeys(action.label for action in video.actions))
    words = list(dict.fromkeys(found.labels))[:12]
    labels = [*(f"true: {label}" for label in truth), "proposals", *words]
    text = f"Timeline of {video.duration:.0f} s: found {', '.join(words) or 'nothing'}"
    figure, ((place,),) = picture(0.9 + 0.3 * len(labels), text)
    for row, label in enumerate(truth):
        bars(place, spans(video.only([label]).actions), row, TRUTH, height=0.5)
    bars(place, proposals[:30], len(truth), GREY, height=0.5, alpha=0.35)
    for row, word in enumerate(words, start=len(truth) + 1):
        own = np.array(found.labels) == word
        bars(place, found.segments[own], row, OURS, height=0.6, alpha=0.2 + 0.8 * found.scores[own])
    rows(place, labels, video.duration)
    place.set_title("Detections (darker: higher score)" if words else "Nothing found")
    return figure


@styled
def detected_frames(moments: Sequence[float], words: Sequence[str], frames: Iterable[np.ndarray]) -> Picture:
    """Draw a frame (h, w, 3) at each moment in seconds, with the word detected there."""
    if not moments:
        return nothing("Frames: nothing found")
    columns = min(4, len(moments))
    lines = -(-len(moments) // columns)
    text = "Frames: " + "; ".join(f"{word} at {seconds:.1f} s" for seconds, word in zip(moments, words, strict=True))
    figure, axes = picture(0.3 + 1.75 * lines, text, nrows=lines, ncols=columns)
    for place in axes.flat:
        place.axis("off")
    for place, seconds, word, frame in zip(axes.flat, moments, words, frames, strict=False):
        place.imshow(frame[:: max(1, len(frame) // 240), :: max(1, len(frame) // 240)])
        place.set_title(f"{seconds:.1f} s\n{textwrap.fill(short(word, 2 * CAPTION), CAPTION)}", fontsize=8.5)
    return figure


@styled
def word_curves(seconds: np.ndarray, curves: Mapping[str, np.ndarray], detections) -> Picture:
    """Draw the similarity (t,) of each word minus that of background texts; detections are shaded in its colour."""
    figure, ((place,),) = picture(3.0, "Similarity over time of " + ", ".join(curves))
    colors, marker = dict(zip(curves, CYCLE, strict=False)), "o" if len(seconds) < 3 else ""
    for word, values in curves.items():
        place.plot(seconds, values, color=colors[word], lw=1.5, label=short(word), marker=marker)
    for word, (start, end) in zip(detections.labels[:10], detections.segments[:10].tolist(), strict=True):
        if word in colors:
            place.axvspan(start, end, color=colors[word], alpha=0.12, lw=0)
    place.axhline(0, color=GREY, lw=0.8, ls="--")
    place.set(xlabel="time (s)", ylabel="cosine minus background")
    place.set_title("CLIP's similarity with each word, minus that with background texts")
    place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure
