"""Windows cover every snippet of every length, and hold the actions that lie in them; seconds and snippets."""

import numpy as np
import pytest
import torch

from tadlib.data.annotations import Action, Video
from tadlib.data.batches import FeatureCache, TrainingExtras, WindowSet, WindowSettings
from tadlib.data.features import FeatureStore
from tadlib.data.windows import Grid, Window, actions_in, cover

GRID = Grid(fps=8.0, stride=8)  # a snippet a second


class Ramp:
    """Features that count snippets."""

    def __init__(self, snippets):
        self.snippets, self.reads = snippets, []

    def read(self, video_id):
        self.reads.append(video_id)
        return np.arange(self.snippets, dtype=np.float32)[:, None] * np.ones(4, np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75, 0.99])
def test_windows_of_every_length_cover_every_snippet_and_are_full(overlap):
    for snippets in (*range(1, 300), 999, 1000):
        first, stop = np.array([(window.first, window.stop) for window in cover("v", snippets, 128, overlap)]).T
        assert first[0] == 0 and stop[-1] == snippets and (first[1:] <= stop[:-1]).all()
        assert (stop - first == min(128, snippets)).all() and (np.diff(first) > 0).all()


def test_a_share_of_negatives_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"negatives must be a share in \[0, 1\), got 1.0"):
        windows(1.0)


@pytest.mark.parametrize(
    ("integrity", "labels"), [(0.75, ["whole", "most"]), (0.5, ["whole", "most", "half"]), (1.0, ["whole"])]
)
def test_an_action_belongs_to_a_window_that_holds_enough_of_it(integrity, labels):
    actions = (Action(12, 14, "whole"), Action(17, 21, "most"), Action(18, 22, "half"), Action(19, 23, "little"))
    segments_cw, found = actions_in(Window("v", 10, 20), actions, GRID, integrity)
    assert found == labels
    assert segments_cw[0].tolist() == pytest.approx([0.3, 0.2])


def test_an_action_cut_at_the_border_keeps_its_seconds():
    segments_cw, _ = actions_in(Window("v", 10, 20), [Action(17, 21, "most")], GRID)
    centre, width = segments_cw[0].tolist()
    assert (10 + 10 * (centre - width / 2), 10 + 10 * (centre + width / 2)) == pytest.approx((17, 20))


def test_an_action_without_length_or_beside_a_window_is_not_in_it():
    assert actions_in(Window("v", 0, 20), [Action(5, 5, "x"), Action(20, 25, "x")], GRID, integrity=0.0)[1] == []


def test_an_action_shorter_than_a_snippet_is_a_target_of_its_own_length():
    short = (Action(12.3, 12.5, "x"), Action(10.0, 10.01, "x"), Action(19.9, 20.0, "x"))
    segments_cw, labels = actions_in(Window("v", 10, 20), short, GRID)
    assert labels == ["x"] * 3
    assert segments_cw.tolist() == [pytest.approx(row, abs=1e-6) for row in ([0.24, 0.02], [5e-4, 1e-3], [0.995, 0.01])]


TWO = (Action(2, 6, "a"), Action(11, 19, "a"))
X = Action(12.0, 18.0, "x")


def windows(negatives=0.0, actions=TWO, **extras):
    """Windows of 10 of 100 snippets of a second that hold an action, and a share of others."""
    video, cut = Video("v", 100.0, 8.0, "val", actions), WindowSettings(length=10, overlap=0.0)
    return WindowSet([video], Ramp(100), 8, cut, None, True, negatives, TrainingExtras(**extras))


@pytest.mark.parametrize(("negatives", "empty"), [(0.0, 0), (0.5, 2), (0.6, 3), (0.95, 8)])
def test_windows_without_actions_are_added_by_their_share(negatives, empty):
    found = [len(item.target.labels_ix) for item in windows(negatives)]
    assert (found.count(1), found.count(0)) == (2, empty)


def test_windows_too_short_for_every_action_are_refused():
    with pytest.raises(ValueError, match=r"no training window holds an action \(window=10, integrity=0.75\)"):
        windows(actions=(Action(2, 40, "a"), Action(11, 53, "a")))


def test_windows_without_actions_are_spread_over_the_videos():
    firsts = [item.window.first for item in windows(0.5)]
    assert firsts == [0, 10, 40, 80]  # the empty windows start at 20, 30, ... 90


@pytest.mark.parametrize("length", [7, 50, 100, 278, 1000])
def test_a_whole_video_is_resampled_linearly(length):
    video = Video("v", 100.0, 8.0, "val", (Action(25, 75, "a"),))
    (item,) = WindowSet([video], Ramp(100), 8, WindowSettings(length=0, rescale=length))
    middles = ((np.arange(length) + 0.5) * 100 / length - 0.5).clip(0, 99)  # on the old axis
    assert item.features.shape == (length, 4)
    torch.testing.assert_close(item.features[:, 0], torch.from_numpy(middles).float(), rtol=0, atol=1e-4)
    assert item.target.segments_cw.tolist() == [[0.5, 0.5]]


def test_features_are_kept_up_to_a_number_of_bytes():
    store = Ramp(100)  # 1600 bytes a video
    shelf = FeatureCache(store, limit=4000)
    for name in ("a", "b", "a", "c", "a", "b"):
        shelf.read(name)
    assert store.reads == ["a", "b", "c", "b"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_memory_mapped_features_cost_no_memory(dtype, tmp_path, monkeypatch):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.arange(400, dtype=dtype).reshape(100, 4))
    store, reads = FeatureStore(tmp_path), []
    monkeypatch.setattr(
        np, "load", lambda path, load=np.load, **words: (reads.append(path.stem), load(path, **words))[1]
    )
    shelf = FeatureCache(store, limit=10)
    assert [shelf.read(name)[99, 3] for name in ("a", "b", "a")] == [399.0] * 3
    assert reads == ["a", "b"]
    (item,) = WindowSet([Video("a", 100.0, 8.0, "val", ())], store, 8, WindowSettings(length=100))
    assert item.features.dtype == torch.float32 and item.features[99].tolist() == [396.0, 397.0, 398.0, 399.0]


def test_targets_name_the_class_of_every_action():
    (item,) = windows(actions=(X,), names=("w", "x"))
    segments_cw, labels_ix = item.target.named
    assert torch.equal(segments_cw, item.target.segments_cw) and labels_ix.tolist() == [1]


def test_what_is_ignored_is_cut_to_the_window():
    (item,) = windows(actions=(X,), ignored={"v": (Action(15.0, 25.0, "unseen"), Action(40.0, 50.0, "unseen"))})
    assert item.target.ignored_cw.tolist() == [pytest.approx([0.75, 0.5])]


def test_windows_without_actions_keep_clear_of_what_is_occupied():
    found = windows(0.95, (X,), occupied={"v": (X, Action(35.0, 45.0, "y"), Action(59.99, 70.0, "z"))})
    firsts = [item.window.first for item in found]
    assert firsts == [0, 10, 20, 70, 80, 90], "what ends where a window starts is outside"
    assert found.left_out == 4


def test_jitter_moves_windows_by_half_a_step_and_their_actions_with_them():
    jittered, firsts = windows(actions=(X,), jitter=True), set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        (batch,) = jittered.batches(4, generator)
        (window,), (target,) = batch.windows, batch.targets
        firsts.add(window.first)
        inside = min(18, window.stop) - max(12, window.first)
        assert len(target.segments_cw) == (inside >= 0.75 * 6)
        assert batch.features[0, 0, 0] == jittered._cache.read("v")[window.first, 0]
        if len(target.segments_cw):
            assert target.segments_cw[0, 1].item() == pytest.approx(inside / 10)
    assert min(firsts) >= 5 and max(firsts) <= 15 and len(firsts) > 5


def test_jitter_is_for_shuffled_batches_only_and_repeats_with_its_generator():
    jittered = windows(actions=(X,), jitter=True)
    assert [batch.windows[0].first for batch in jittered.batches(4)] == [10]
    draws = [
        [next(jittered.batches(4, generator)).windows[0].first for _ in range(5)]
        for generator in (torch.Generator().manual_seed(3), torch.Generator().manual_seed(3))
    ]
    assert draws[0] == draws[1]
