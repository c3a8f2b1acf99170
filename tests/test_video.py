"""One way to read a video, whatever camera or program made it: the film, upright, on a player's clock, or a reason."""

import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from standins import Grey, to_tensor
from videos import index_of, steady, turned, write_sound, write_streams, write_video

from tadlib.data import streams
from tadlib.data.annotations import Video
from tadlib.data.encoder import Encoder
from tadlib.data.features import FeatureStore, extract
from tadlib.data.streams import BrokenVideo, DecodingLog
from tadlib.data.video import frames_at, probe, snippets
from tadlib.workbook import own_files

FIVE = [4, 12, 20, 28, 36, 44, 49]  # frames of fifty at the middles of snippets of eight


class Counting(Grey):
    """Stands for CLIP's image tower, and counts the pictures that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def encode_image(self, prepared):
        self.seen += len(prepared)
        corners = [prepared[..., : prepared.shape[-2] // 2, :].mean((1, 2, 3)), prepared[..., :20].mean((1, 2, 3))]
        return torch.cat([super().encode_image(prepared), torch.stack(corners, dim=1)], dim=1)


@pytest.fixture
def encoder():
    square = lambda image: to_tensor(image.resize((48, 48)))  # noqa: E731
    return Encoder("grey", Counting(), square, None, torch.device("cpu"), torch.float32)


def shown(path, found=None):
    return [index_of(image) for image in snippets(path, 8, 25.0, found=found)]


def of_data_set(path, encoder, seconds, fps=25.0, stride=8):
    """The features that a data set gets of a file, and what is remarked."""
    store = FeatureStore(path.parent / f"store {path.name}")
    extract([Video(path.stem, seconds, fps, "val", ())], path.parent, store, encoder, stride)
    return store.read(path.stem), store.remarks(path.stem)


def of_detect(path, encoder):
    """The features that a video of one's own gets."""
    store, clip = FeatureStore(path.parent / f"own {path.name}"), probe(path)
    own_files.encode(clip, store, encoder, 8 / 25.0)
    return store.read(clip.key)


def put_together(path, *parts):
    """Files put end to end."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


PLAIN = steady(50, 25)
NASTY = {  # files of fifty frames at 25 a second that two ways to read them would read in two ways, and their seconds
    "turned": (lambda to: turned(write_video(to / "v.mp4", PLAIN, lit="left")), 2.0),
    "mirrored": (lambda to: turned(write_video(to / "v.mp4", PLAIN, lit="left"), (-1, 0, 0, 1)), 2.0),
    "late": (lambda to: write_streams(to / "v.mp4", [2 + time for time in PLAIN], sound=0.0), 4.0),
    "cover": (lambda to: write_streams(to / "v.mkv", PLAIN, cover="before"), 2.0),
    "wide pixels": (lambda to: write_streams(to / "v.mp4", PLAIN, shape=Fraction(16, 11)), 2.0),
    "one frame": (lambda to: write_streams(to / "v.ts", [0.0]), 0.04),
    "ten bits": (lambda to: write_streams(to / "v.mkv", PLAIN, pixels="yuv422p10le"), 2.0),
    "twice": (lambda to: put_together(to / "v.ts", *[write_streams(to / "once.ts", PLAIN)] * 2), 4.0),
    "another size": (
        lambda to: put_together(
            to / "v.ts", write_streams(to / "0.ts", PLAIN), write_streams(to / "1.ts", PLAIN, size=(48, 64))
        ),
        4.0,
    ),
}


@pytest.mark.parametrize(("make", "seconds"), NASTY.values(), ids=NASTY)
def test_a_data_set_and_a_question_see_the_same(make, seconds, tmp_path, encoder):
    path = make(tmp_path)
    asked = of_detect(path, encoder)
    ours, _ = of_data_set(path, encoder, seconds)
    np.testing.assert_allclose(ours, asked, rtol=1e-3)
    assert len(ours) == -(-seconds * 25 // 8)


@pytest.mark.parametrize("a", [1, -1])
@pytest.mark.parametrize("d", [1, -1])
@pytest.mark.parametrize("swapped", [False, True])
def test_every_position_of_a_picture_is_put_right(a, d, swapped, tmp_path):
    """The stored picture is bright on its left: the matrix says where that side goes."""
    path = write_video(tmp_path / "v.mp4", steady(10, 25), lit="left")
    image = next(frames_at(turned(path, (0, a, d, 0) if swapped else (a, 0, 0, d)), [0.2])).astype(float)
    assert image.shape == ((64, 48, 3) if swapped else (48, 64, 3))
    first, last = (image[:20], image[-20:]) if swapped else (image[:, :20], image[:, -20:])
    assert (first.mean() > last.mean() + 10) == (a > 0)
    assert (probe(path).width, probe(path).height) == image.shape[1::-1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_picture_that_begins_after_the_sound_keeps_the_players_clock(suffix, tmp_path, encoder):
    path = write_streams(tmp_path / f"v{suffix}", [2 + time for time in steady(50, 25)], sound=0.0)
    assert shown(path) == [0] * 6 + [2, 10, 18, 26, 34, 42, 49]
    assert [*map(index_of, frames_at(path, (0.0, 1.9, 2.0, 3.0, 3.999, 9.0)))] == [0, 0, 0, 25, 49, 49]
    features, remarks = of_data_set(path, encoder, 4.0)
    assert len(features) == 13 and remarks == ["its picture begins at 2.00 s: the first frame is held until then"]
    assert probe(path).start == 2.0 and probe(path).duration == 4.0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_a_plain_file_begins_at_0_whether_it_has_sound_and_b_frames_or_not(suffix, tmp_path):
    for name, sound in (("mute", None), ("loud", 0.0)):
        path = write_streams(tmp_path / f"{name}{suffix}", steady(50, 25), sound=sound, lasts=2.0)
        assert shown(path) == FIVE and probe(path).start == 0.0


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("cover", ["before", "attached"])
def test_a_cover_is_no_film(cover, suffix, tmp_path):
    path = write_streams(tmp_path / f"v{suffix}", steady(50, 25), sound=0.0, lasts=2.0, cover=cover)
    assert shown(path) == FIVE
    assert (probe(path).width, probe(path).fps) == (64, 25.0) and index_of(next(frames_at(path, [1.0]))) == 25


def test_sound_is_said_to_be_sound_with_a_cover_or_without(tmp_path, encoder):
    song = write_streams(tmp_path / "song.mp4", [], sound=0.0, cover="attached")
    for path, what in ((song, "only sound and a cover"), (write_sound(tmp_path / "sound.m4a"), "only sound or")):
        with pytest.raises(BrokenVideo, match=rf"{path.name} has no picture, {what}"):
            probe(path)
        with pytest.raises(BrokenVideo, match=rf"{path.name} has no picture, {what}"):
            list(snippets(path, 8, 25.0))


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
@pytest.mark.parametrize("stated", [1000, 90000, 240])
def test_a_rate_that_the_frames_do_not_have_is_measured(stated, suffix, tmp_path, encoder):
    path = write_streams(tmp_path / f"v{suffix}", steady(100, 25), rate=stated)
    clip = probe(path)
    assert clip.fps == pytest.approx(25.0) and "25 are counted with" in clip.remarks[0]
    assert len(shown(path)) == 13


def test_pauses_between_pictures_are_no_rate(tmp_path):
    for suffix in (".mp4", ".mkv"):
        clip = probe(write_streams(tmp_path / f"v{suffix}", [0.0, 5.0, 10.0]))
        assert clip.fps == 25.0 and "25 are counted with" in clip.remarks[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_held_picture_is_encoded_once(suffix, tmp_path, encoder):
    path = write_streams(tmp_path / f"v{suffix}", [0.0, 5.0, 10.0])
    features, _ = of_data_set(path, encoder, 10.04)
    assert len(features) == 32 and len(np.unique(features[:, 0])) == 3
    assert encoder.model.seen == 3
    assert [index_of(image) for image in frames_at(path, [4.9, 5.0, 9.99, 10.0])] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        *(([0, 1, 2, 3], [0, 1, 2, 3]), ([None] * 4, [0, 1, 2, 3]), ([0, None, 2, 3], [0, 1, 2, 3])),
        *(([0, 1, 1, 3], [0, 0.5, 1, 3]), ([0, 0, 0, 0], [0, 1, 2, 3]), ([0, 1, -7, 3], [0, 1, 2, 3])),
        *(([0, 1, 1e6, 3], [0, 1, 2, 3]), ([1e6, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 2, 0, 1, 2.5], [0, 1, 2, 3, 4, 5.5])),
        *(([0, 1, 1e6, 1e6 + 1, 1e6 + 2], [0, 1, 2, 3, 4]), ([0, 0.5, 30, 31], [0, 0.5, 30, 31])),
    ],
)
def test_times_rise_by_rule(stamps, expected, monkeypatch, unchecked):
    class Container:
        duration, audio, streams = None, (), None

    class Stream:
        start_time, time_base, metadata = None, 1, {}
        duration = 0

    class Frame:
        duration = 0

    Container.streams = Container
    decoded = [(Frame, stamp, "") for stamp in stamps] + [(None, None, "")]
    monkeypatch.setattr(streams, "_decoded", lambda *_: iter(decoded))
    found = DecodingLog()
    assert [time for _, time in streams.timed(Container, Stream, 1.0, found)] == pytest.approx(expected)
    assert found.end == expected[-1] + 1
    plain = all(stamp is not None for stamp in stamps) and list(stamps) == expected
    assert bool(found.repaired) != plain and bool(found.remarks) != plain


def test_files_put_end_to_end_go_on_and_are_counted(tmp_path, encoder):
    path, found = NASTY["twice"][0](tmp_path), DecodingLog()
    assert shown(path, found=found) == [4, 12, 20, 28, 36, 44, 2, 10, 18, 26, 34, 42, 49]
    assert found.repaired == 1
    assert [index_of(image) for image in frames_at(path, [1.0, 3.0])] == [25, 25]
    assert of_data_set(path, encoder, 4.0)[1] == [
        "frames without a time, or with one that does not rise, put behind others: 1"
    ]


def test_a_stream_without_any_time_is_counted_by_its_rate(tmp_path):
    path = write_streams(tmp_path / "raw.h264", steady(50, 25))
    shutil.move(path, tmp_path / "raw.mpg")
    assert shown(tmp_path / "raw.mpg") == FIVE


def test_a_frame_is_shown_until_the_next_one_however_far_it_lies(tmp_path):
    path = write_streams(tmp_path / "v.mp4", steady(1500, 25), options={"g": "50"})
    times = [0.0, 0.039, 0.04, 0.05, 30.02, 30.04, 59.98, 12.0, 99.0]
    expected = [0, 0, 1, 1, 750, 751, 1499, 300, 1499]
    assert [index_of(image) for image in frames_at(path, times)] == [index % 55 for index in expected]


def holed(folder, start, part):
    """Twenty seconds with a part of the file overwritten."""
    path = write_streams(folder / "v.mp4", steady(500, 25), size=(320, 240), options={"g": "25", "crf": "1"})
    content = bytearray(path.read_bytes())
    first, size = int(len(content) * start), int(len(content) * part)
    content[first : first + size] = bytes(size)
    path.write_bytes(content)
    return path


def test_damage_in_the_middle_is_passed_over_in_a_question_and_refused_in_a_data_set(tmp_path, encoder):
    path = holed(tmp_path, 0.5, 0.25)
    assert len(of_detect(path, encoder)) == 63
    with pytest.raises(BrokenVideo, match=r"v\.mp4: from 1\d\.\d to 1\d\.\d s nothing can be decoded \(Invalid data"):
        of_data_set(path, encoder, 20.0)


def test_a_damaged_start_does_not_move_what_follows(tmp_path):
    path = holed(tmp_path, 0.01, 0.25)
    assert [index_of(image) for image in frames_at(path, [12.0, 16.0])] == [300 % 55, 400 % 55]
    assert shown(path)[40] == (40 * 8 + 4) % 55


@pytest.mark.parametrize(("pixels", "codec"), [("gray", "ffv1"), ("yuv444p", "ffv1"), ("yuva420p", "ffv1")])
def test_any_pixels_and_odd_sizes_are_read(pixels, codec, tmp_path):
    path = write_streams(tmp_path / "v.mkv", steady(50, 25), pixels=pixels, codec=codec, size=(65, 47))
    assert shown(path) == FIVE and next(frames_at(path, [0])).shape == (47, 65, 3)


def test_pixels_that_are_no_squares_are_shown_as_wide_as_they_are_meant(tmp_path):
    path = write_streams(tmp_path / "v.mp4", PLAIN, shape=Fraction(16, 11))
    assert next(frames_at(path, [1.0])).shape == (48, 93, 3) and probe(path).width == 93
    assert probe(path).remarks == ("its pixels are 1.45 times as wide as high",)
