"""The method as one picture: `python tests/benchmarks/method_picture.py notebooks/method.png` writes it."""

import sys

from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch

from tadlib.workbook.figures.style import BLUE, GREEN, GREY, ORANGE, Picture, picture, styled

WIDE, HIGH = 1.7, 0.62  # of a box
BOXES = {  # name -> (column, row, text, colour)
    "videos": (0, 2, "videos\nuntrimmed", GREY),
    "features": (1, 2, "CLIP features\none row a snippet", GREEN),
    "windows": (2, 3, "windows\nof snippets", BLUE),
    "detector": (3, 3, "Conditional DETR\ntrained on seen classes", BLUE),
    "proposals": (4, 3, "proposals\nstart, end, actionness", BLUE),
    "nms": (5, 3, "soft NMS\nlowers overlapping ones", BLUE),
    "regions": (4, 1.6, "RoIAlign\nfeatures of each proposal", GREEN),
    "names": (1, 0.6, "class names\nunseen and seen", GREY),
    "texts": (2, 0.6, "CLIP texts\none embedding a class", GREEN),
    "similarity": (5, 1.6, "similarity\nsoftmax over classes", GREEN),
    "fusion": (6, 2.5, "fusion\nactionness x probability", ORANGE),
    "detections": (6, 1.55, "detections\nsegment, class, score", ORANGE),
    "metrics": (6, 0.6, "mAP, AR@AN\non unseen classes", GREY),
}
ALT = (
    "Videos become CLIP features; windows of them go through the detector, which proposes segments with an actionness; "
    "NMS lowers those that overlap a better one; RoIAlign cuts each out of the features, similarity with class texts "
    "names it, and both scores are fused."
)
ARROWS = (
    ("videos", "features"), ("features", "windows"), ("windows", "detector"), ("detector", "proposals"),
    ("proposals", "nms"), ("features", "regions"), ("nms", "regions"), ("regions", "similarity"), ("names", "texts"),
    ("texts", "similarity"), ("nms", "fusion"), ("similarity", "fusion"), ("fusion", "detections"),
    ("detections", "metrics"),
)  # fmt: skip


@styled
def method() -> Picture:
    """Boxes from left to right, arrows from what is read to what is made of it."""
    figure, ((place,),) = picture(3.4, ALT)
    for first, second in ARROWS:
        (x, y, *_), (u, v, *_) = BOXES[first], BOXES[second]
        start, end = (2 * x + WIDE / 2, y), (2 * u - WIDE / 2, v)
        if u <= x:  # down or back
            start, end = (2 * x, y - HIGH / 2), (2 * u, v + HIGH / 2)
        elif first == "texts":  # below RoIAlign
            end = (2 * u, v - HIGH / 2)
        arrow = {"arrowstyle": "-|>", "color": "black", "lw": 1.2, "shrinkA": 1, "shrinkB": 1}
        place.annotate("", xy=end, xytext=start, arrowprops=arrow)
    for column, row, text, colour in BOXES.values():
        title, below = text.split("\n")
        corner = (2 * column - WIDE / 2, row - HIGH / 2)
        light = to_rgba(colour, 0.12)
        place.add_patch(FancyBboxPatch(corner, WIDE, HIGH, boxstyle="round,pad=0.02", ec=colour, fc=light, lw=1.6))
        place.text(2 * column, row + 0.11, title, ha="center", va="center", weight="bold", size=7.2)
        place.text(2 * column, row - 0.15, below, ha="center", va="center", size=5.6)
    place.set(xlim=(-1.1, 13.1), ylim=(0.1, 3.5))
    place.axis("off")
    return figure


if __name__ == "__main__":
    method().savefig(sys.argv[1], dpi=130)
