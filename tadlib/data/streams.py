"""A video file as a stream of frames with times: the film in it, its clock, its rate, and what damage does to it."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

STILLS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")  # codecs of a cover, where another stream holds the film
SLACK = 1.5  # seconds by which a video may be shorter than it should be, and for which damage may hold a picture
USUAL, RATES = 25.0, (1.0, 240.0)  # frames per second where nothing says; what is believed where none can be measured
PROBED = 256  # packets by which a stated rate is checked
AGREES, REORDERED = 1.02, 4  # factor up to which two rates are the same, beside so many frames that come out of order
AGAIN = 1.0  # seconds by which time stamps fall back where a clock starts again, and not for the order of decoding
LONGEST, UNSTATED = 60.0, 3600.0  # seconds for which any picture may be held; where a file does not say how long it is
LATE = 0.5  # seconds between the start that a stream states and its first frame, up to which it is a matter of order
DELAYED = 32  # frames that a decoder may give after damage although they lie before it
ERRORS = (av.error.FFmpegError, OSError)


class BrokenVideo(ValueError):
    """A video file that cannot be used; the message names the file and what is wrong with it."""


@dataclass
class Found:
    """What decoding met."""

    origin: float | None = None  # 0 of the player's clock on that of the file, in seconds
    stated: float = 0.0  # where the picture ends by the file's header, in seconds; 0 where it does not say
    end: float = 0.0  # where the last frame ends, in seconds
    cut: str = ""  # why no more frames could be decoded
    repaired: int = 0  # frames without a time, or with one that does not rise
    damaged: int = 0  # packets that cannot be decoded, and frames that the decoder calls corrupt
    holes: list[str] = field(default_factory=list)  # where damage holds a picture for longer than SLACK

    @property
    def remarks(self) -> list[str]:
        """What was repaired, for people."""
        said = list(self.holes)
        if self.damaged:
            said.append(f"damaged packets or frames: {self.damaged}")
        if self.repaired:
            said.append(f"frames without a time, or with one that does not rise, put behind others: {self.repaired}")
        return said


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and the stream that holds its film; whatever is wrong with them is said of the file."""
    try:
        with av.open(str(path)) as container:
            yield container, _film(container, path)
    except ERRORS as error:
        size = path.stat().st_size if path.exists() else 0
        raise BrokenVideo(f"{path} ({size} bytes) cannot be decoded ({error}): copy or download it again") from error


def _film(container: InputContainer, path: Path) -> VideoStream:
    """The best video stream; a cover picture is none."""
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    films = [stream for stream in films if stream.codec_context is not None]
    if not films:
        cover = " and a cover" if container.streams.video else ""
        raise BrokenVideo(f"{path} has no picture, only sound{cover} or subtitles: pass a video")
    moving = [stream for stream in films if stream.codec_context.name not in STILLS] or films
    best = container.streams.best("video")
    return best if best in moving else max(moving, key=lambda stream: stream.width * stream.height)


def first(reel: Iterator[tuple[av.VideoFrame, float]], path: Path, found: Found) -> tuple[av.VideoFrame, float]:
    """The first frame and its time."""
    if (first := next(reel, None)) is None:
        why = f" ({found.cut})" if found.cut else ""
        raise BrokenVideo(f"{path} has no frame that can be decoded{why}: copy or download it again")
    return first


def _decoded(
    container: InputContainer, stream: VideoStream, found: Found
) -> Iterator[tuple[av.VideoFrame | None, float | None, str]]:
    """Every frame with its time on the file's clock and the last error before it; at the end one without a frame."""
    packets, error, stamps, avi = container.demux(stream), "", deque(), container.format.name == "avi"
    while True:
        try:
            if (packet := next(packets, None)) is None:
                break
            frames = packet.decode()
        except ERRORS as problem:
            error, found.damaged = problem.strerror or str(problem), found.damaged + 1
            continue  # after an error in the file itself its packets end
        if avi and packet.dts is not None:
            stamps.append(float(packet.dts * packet.time_base))  # in the order of showing; AVI knows no others
        for frame in frames:
            if frame.is_corrupt:
                error, found.damaged = error or "its decoder calls it corrupt", found.damaged + 1
            yield frame, stamps.popleft() if stamps else frame.time, error
            error = ""
    yield None, None, error


def timed(
    container: InputContainer, stream: VideoStream, period: float, found: Found
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Every frame with its time on the player's clock, which rises.

    A single time that is missing or out of order is put behind the one before it; where the file's clock starts again
    or jumps by more than the file lasts, the player's goes on by a frame.
    """
    longest = max(LONGEST, container.duration / av.time_base) if container.duration else UNSTATED
    reel, last, shift, tick = _decoded(container, stream, found), None, 0.0, float(stream.time_base)
    damage, delayed = "", 0
    frame, stamp, error = next(reel)
    while frame is not None:
        following, next_stamp, next_error = next(reel)
        own = None if stamp is None else stamp + shift
        after = None if next_stamp is None else next_stamp + shift
        time = _placed(own, after, last, period, longest)
        if time != own:
            found.repaired += 1
            rises = last is None or (after is not None and last < after <= last + longest)
            shift += 0.0 if own is None or rises else time - own
        if found.origin is None:
            found.origin = _origin(container, stream, time, longest)
            found.stated = _stated_end(container, stream, found.origin)
        begin = found.origin if last is None else last
        damage, delayed = (error, DELAYED) if error else (damage, delayed - 1)
        if delayed > 0 and time - begin > SLACK:
            span = f"from {begin - found.origin:.1f} to {time - found.origin:.1f} s"
            found.holes.append(f"{span} nothing can be decoded ({damage})")
        since = time - found.origin
        lasts = min(frame.duration * tick or period, longest)
        found.end = min(since + lasts, found.stated) if found.stated > since else since + lasts
        yield frame, since
        last, frame, stamp, error = time, following, next_stamp, next_error
    found.cut = error


def _placed(own: float | None, after: float | None, last: float | None, period: float, longest: float) -> float:
    """The time of a frame between the one before it and, where that is later, the one behind it: its own if it fits."""
    if last is None:
        fits = own is not None and (after is None or own <= after)
        return own if fits else 0.0 if after is None else after - period
    if after is not None and last < after <= last + longest:
        return own if own is not None and last < own < after else last + min(period, (after - last) / 2)
    return own if own is not None and last < own <= last + longest else last + period


def _origin(container: InputContainer, stream: VideoStream, first: float, longest: float) -> float:
    """Where a player's clock is 0, on that of the file: where sound or picture begins, whichever is earlier.

    What lies before 0 of the sound is there for its decoder. A stream that cannot be decoded from its start begins
    there all the same.
    """
    starts = [float(sound.start_time * sound.time_base) for sound in container.streams.audio if sound.start_time]
    starts += [0.0 for sound in container.streams.audio if sound.start_time == 0]
    own = None if stream.start_time is None else float(stream.start_time * stream.time_base)
    starts = [max(0.0, start) for start in starts] + ([own] if own is not None and first - own > LATE else [])
    return min([first, *(start for start in starts if first - start <= longest)])


def _stated_end(container: InputContainer, stream: VideoStream, origin: float) -> float:
    """Where the picture ends by the file's header; 0 where it does not say."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    for name, text in stream.metadata.items():
        if name.upper().startswith("DURATION") and text.count(":") == 2:  # Matroska's: when the stream ends
            hours, minutes, seconds = text.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - origin
    # a file lasts as long as its longest stream, which may be the sound
    return container.duration / av.time_base if container.duration else 0.0


def rate(path: Path) -> tuple[float, tuple[str, ...]]:
    """Frames per second, and what is to be said of them."""
    return _measured_rate(path, _state(path))


def rises(path: Path) -> bool:
    """Whether the time stamps of a file rise, so that keyframes can be looked up by them."""
    return _rising(path, _state(path))


def _state(path: Path) -> tuple[int, ...]:
    """What changes with the content of a file."""
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else ()


@lru_cache(maxsize=256)
def _measured_rate(path: Path, state: tuple[int, ...]) -> tuple[float, tuple[str, ...]]:
    """The stated rate if the first packets have it or the whole file does, else that of the whole file."""
    with opened(path) as (container, stream):
        stated, stamps = float(stream.average_rate or 0), _stamps(container, stream)
        some = list(islice(stamps, PROBED))
        slow = stated < RATES[0]  # pauses between pictures are no rate to count by
        if not slow and _agree(stated, *_spans(some)):
            return stated, ()
        gaps, seconds = _spans(some + list(stamps))
    if not slow and (_agree(stated, gaps, seconds) or (not gaps and stated <= RATES[1])):
        return stated, ()
    measured = gaps / seconds if gaps else 0.0
    fps = measured if measured >= RATES[0] else USUAL
    said = f"its frames come at {measured:.4g}/s" if gaps else "nothing else says how fast it runs"
    return fps, (f"its header states {stated:g} frames/s, {said}: {fps:.4g} are counted with",)


def _stamps(container: InputContainer, stream: VideoStream) -> Iterator[float]:
    """The times of the packets in seconds, as far as they have any, in the order of decoding."""
    avi = container.format.name == "avi"
    for packet in container.demux(stream):
        stamp = packet.dts if avi or packet.pts is None else packet.pts
        if stamp is not None:
            yield float(stamp * packet.time_base)


def _spans(stamps: list[float]) -> tuple[int, float]:
    """How many times lie behind the first, and in how many seconds; those of a clock that starts again are added."""
    again = [place for place in range(1, len(stamps)) if stamps[place] < stamps[place - 1] - AGAIN]
    runs = [stamps[start:end] for start, end in pairwise([0, *again, len(stamps)]) if end - start > 1]
    spans = [(len(run) - 1, max(run) - min(run)) for run in runs if max(run) > min(run)]
    return sum(gaps for gaps, _ in spans), sum(seconds for _, seconds in spans)


def _agree(stated: float, gaps: int, seconds: float) -> bool:
    """Whether frames come at the stated rate."""
    return gaps > 0 and gaps / AGREES <= stated * seconds <= (gaps + REORDERED) * AGREES


@lru_cache(maxsize=256)
def _rising(path: Path, state: tuple[int, ...]) -> bool:
    with opened(path) as (container, stream):
        if "mp4" in container.format.name:
            return True  # they are sums of durations
        stamps = [packet.dts for packet in container.demux(stream) if packet.size]
    return None not in stamps and all(earlier < later for earlier, later in pairwise(stamps))
