"""Proposals: from fractions of windows to seconds of videos."""

import numpy as np
import pytest
import torch
from detectors import CHANNELS
from detectors import lively as network

from tadlib import devices
from tadlib.data.annotations import Video
from tadlib.data.batches import WindowSet, WindowSettings
from tadlib.data.windows import Window
from tadlib.detector.losses import class_logits
from tadlib.detector.proposals import Predictions, predict, to_proposals
from tadlib.segments import pairwise_tiou

TEXTS = torch.eye(3)
CPU = torch.device("cpu")


class Noise:
    """Random features, so many snippets for each video."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.lengths = lengths

    def read(self, video_id: str) -> np.ndarray:
        seed = list(self.lengths).index(video_id)
        return np.random.default_rng(seed).normal(size=(self.lengths[video_id], CHANNELS)).astype(np.float32)


def window_set(cut: WindowSettings, duration: float | None = None, fps: float = 10, **lengths: int) -> WindowSet:
    """Videos with a stride of 5 frames: at 10 fps a snippet lasts half a second."""
    videos = [
        Video(name, duration if duration is not None else length * 5 / fps, fps, "test", ())
        for name, length in lengths.items()
    ]
    return WindowSet(videos, Noise(lengths), 5, cut)


def predictions(windows: list[Window], segments_cw: list, scores: list) -> Predictions:
    return Predictions(torch.tensor(segments_cw), torch.tensor(scores), None, windows)


def test_fractions_of_a_window_become_seconds_of_the_video():
    windows = window_set(WindowSettings(length=8, overlap=0.5), v=16)  # 8 s
    given = predictions([Window("v", 4, 12)], [[[0.5, 0.25], [0.25, 0.5]]], [[0.9, 0.4]])
    found = to_proposals(given, windows, nms="none")["v"]
    # snippets 7 to 9 and 4 to 8, of half a second each
    assert found.segments.tolist() == [[3.5, 4.5], [2.0, 4.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])


def test_rescaled_windows_give_seconds_of_the_unscaled_video():
    windows = window_set(WindowSettings(length=0, rescale=100), v=16)
    assert windows[0].features.shape == (100, CHANNELS)
    found = to_proposals(predictions([windows[0].window], [[[0.5, 0.5]]], [[0.9]]), windows)["v"]
    assert found.segments.tolist() == [[2.0, 6.0]]


def test_what_sticks_out_of_the_video_is_cut_off():
    windows = window_set(WindowSettings(length=8), duration=3.9, v=8)  # the last snippet is not whole
    found = to_proposals(predictions([Window("v", 0, 8)], [[[0.0, 0.5], [1.0, 0.5]]], [[0.9, 0.8]]), windows)["v"]
    assert found.segments[0].tolist() == [0.0, 1.0]
    assert found.segments[1].tolist() == pytest.approx([3.0, 3.9])


def test_what_lies_outside_the_video_is_no_proposal():
    windows = window_set(WindowSettings(length=8), duration=2, v=8)  # shorter than its features
    given = predictions([Window("v", 0, 8)], [[[0.9, 0.1], [0.25, 0.2], [0.3, 0.0]]], [[0.9, 0.8, 0.7]])
    found = to_proposals(given, windows)["v"]
    assert found.scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("nms", ["none", "soft", "hard"])
def test_proposals_lie_inside_the_video_best_first_and_hard_ones_apart(nms):
    windows = window_set(WindowSettings(length=8, overlap=0.5), duration=9.7, v=20)
    found = to_proposals(predict(network(queries=30), windows), windows, nms=nms, nms_tiou=0.3)["v"]
    start, end = found.segments.unbind(-1)
    assert len(start) > 1 and start.min() >= 0 and end.max() <= 9.7 and (end > start).all()
    assert (found.scores.diff() <= 0).all()
    assert nms != "hard" or pairwise_tiou(found.segments, found.segments).fill_diagonal_(0).max() <= 0.3


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("length", [1, 4, 7, 8, 19, 20, 21, 0])
def test_no_answer_becomes_two_proposals_under_any_overlap(length, overlap):
    windows = window_set(WindowSettings(length=length, overlap=overlap), v=20)
    number, queries = len(windows), 3
    marks = torch.arange(number * queries).reshape(number, queries) / (number * queries)  # a score for each answer
    given = Predictions(torch.full((number, queries, 2), 0.5), marks, None, [item.window for item in windows])
    found = to_proposals(given, windows, nms="none", top_k=1000)["v"]
    assert len(found.scores) == number * queries
    assert torch.equal(found.scores.sort().values, marks.flatten())


@pytest.mark.parametrize("nms", ["none", "soft", "hard"])
@pytest.mark.parametrize("top_k", [1, 3, 1000])
def test_the_best_top_k_of_each_window_are_kept_wherever_they_lie(nms, top_k):
    windows = window_set(WindowSettings(length=8, overlap=0.5), v=20)
    given = predict(network(queries=30), windows)
    few, all_ = (to_proposals(given, windows, nms=nms, top_k=number)["v"].scores for number in (top_k, 1000))
    assert len(few) == min(top_k * len(windows), len(all_))
    assert few[0] == all_[0] == given.scores.max()
    if nms == "none" or top_k == 1000:
        assert torch.equal(few, all_[: len(few)])


@pytest.mark.parametrize("texts", [None, TEXTS], ids=["actionness", "the surest class of the loss"])
def test_answers_belong_to_their_windows_and_are_ranked_by(texts):
    windows = window_set(WindowSettings(length=8, overlap=0.5), a=20, b=3)
    model = network(embedding_dim=None if texts is None else 3).eval()
    found = predict(model, windows, texts=texts)
    features = {item.window: item.features for item in windows}
    for window, scores in zip(found.windows, found.scores, strict=True):
        x = features[window][None]
        outputs = model(x, torch.zeros(x.shape[:2], dtype=torch.bool), texts)
        logits = outputs.actionness_logits if texts is None else class_logits(outputs, texts).amax(dim=2)
        torch.testing.assert_close(scores, logits[0].sigmoid(), atol=1e-5, rtol=0)


def test_embeddings_stay_with_their_proposals():
    windows = window_set(WindowSettings(length=8, overlap=0.5), v=20)
    given = predict(network(embedding_dim=3), windows, texts=TEXTS)
    given = given._replace(scores=torch.rand_like(given.scores))  # no two alike
    found = to_proposals(given, windows, nms="none", top_k=2)["v"]
    assert found.embeddings.shape == (2 * 4, 3)
    for score, embedding in zip(found.scores, found.embeddings, strict=True):
        assert torch.equal(given.embeddings[given.scores == score][0], embedding)


def test_answers_below_the_threshold_are_dropped_before_overlaps_are_thinned():
    windows = window_set(WindowSettings(length=8), v=8)
    given = predictions([Window("v", 0, 8)], [[[0.25, 0.25], [0.25, 0.25], [0.75, 0.25]]], [[0.9, 0.8, 0.1]])
    assert to_proposals(given, windows, nms="soft", filter_threshold=0.5)["v"].scores.tolist() == pytest.approx(
        [0.9, 0.8 * 0.1353353]
    )
    assert len(to_proposals(given, windows, nms="none", filter_threshold=0.95)["v"].scores) == 0


@pytest.mark.parametrize("nms", ["none", "soft", "hard"])
def test_videos_are_thinned_together_as_each_alone(nms):
    lengths = {"a": 40, "b": 3, "c": 9}
    windows = window_set(WindowSettings(length=8, overlap=0.5), **lengths)
    given = predict(network(queries=30), windows)
    together = to_proposals(given, windows, nms=nms)
    for name, found in together.items():
        own = [place for place, window in enumerate(given.windows) if window.video_id == name]
        rows = Predictions(given.segments_cw[own], given.scores[own], None, [given.windows[place] for place in own])
        alone = to_proposals(rows, windows, nms=nms)[name]
        torch.testing.assert_close(found.segments, alone.segments, rtol=0, atol=0)
        torch.testing.assert_close(found.scores, alone.scores, rtol=0, atol=1e-7)


@pytest.mark.parametrize("length", [128, 0])
def test_a_video_of_three_hours_is_answered_to_its_end(length):
    windows = window_set(WindowSettings(length=length, overlap=0.25), a=21_600)  # half a second each
    before = devices.peak_memory(CPU)
    found = to_proposals(predict(network(decoder_layers=1), windows), windows, nms="soft")["a"]
    assert devices.peak_memory(CPU) - before < 1000  # who looks at whom would be 21,600 squared numbers a head
    assert len(found.scores) == 5 * len(windows) and found.scores.isfinite().all()
    assert windows[len(windows) - 1].window.stop == 21_600 and found.segments.max() <= 10_800
