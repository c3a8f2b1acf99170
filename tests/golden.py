"""Readers of the published detections and their golden scores, in the plainest way: no code under test."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np

from tadlib.evaluation.rows import Actions, Comparison, Predictions

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
TOLERANCE = 1e-6


def read_json(path: Path):
    """A JSON file, plain or gzip."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(text)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def comparison(actions: list[tuple], predictions: list[tuple], videos: list[str] | None = None) -> Comparison:
    """Rows from (video, start, end, label) and (video, start, end, label, score)."""
    videos = videos or sorted({row[0] for row in actions} | {row[0] for row in predictions})
    classes = sorted({row[3] for row in actions})
    places = [
        (
            np.array([videos.index(row[0]) for row in rows], dtype=np.int64),
            np.array([classes.index(row[3]) for row in rows], dtype=np.int64),
            np.array([row[1:3] for row in rows], dtype=np.float64).reshape(-1, 2),
        )
        for rows in (actions, predictions)
    ]
    scores = np.array([row[4] for row in predictions], dtype=np.float64)
    return Comparison(len(videos), len(classes), Actions(*places[0]), Predictions(*places[1], scores))


def freezad(folder: Path, split: str) -> tuple[list[tuple], list[tuple]]:
    """Actions and predictions of one split ("50/split_0") as shipped."""
    truth = read_csv(folder / f"{split}.ground_truth.csv")
    found = read_csv(folder / f"{split}.predictions.csv")
    actions = [(r["video-id"], float(r["t-start"]), float(r["t-end"]), r["label"]) for r in truth]
    predictions = [
        (r["video-id"], float(r["t-start"]), float(r["t-end"]), r["label"], float(r["score"])) for r in found
    ]
    return actions, predictions


def official(folder: Path, label: str, subset: str) -> list[tuple]:
    """Rows (video, start, end, label) of one official THUMOS14 text file."""
    lines = (folder / f"{label}_{subset}.txt").read_text().splitlines()
    return [(video, float(start), float(end), label) for video, start, end in (line.split() for line in lines if line)]


def read_lines(path: Path) -> list[dict]:
    """The objects of a gzip file with one JSON object a line."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
