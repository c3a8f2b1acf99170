"""Decoding of video streams: frames with increasing times, frame rate, and the effects of damage."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from tadlib.foreign import is_exhausted

COVER_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")  # codecs of cover pictures, rarely of videos
SLACK = 1.5  # seconds: tolerance of a video's duration, and of a picture held because of damage
DEFAULT_RATE, RATES = 25.0, (1.0, 240.0)  # frames per second: default, and plausible range
PROBED_PACKETS = 256  # packets used to check a stated frame rate
RATE_TOLERANCE, MAX_REORDERED = 1.02, 4  # tolerance of equal rates: a factor, and frames out of order
CLOCK_RESTART = 1.0  # seconds; a larger drop of time stamps is a restart of the clock, not decoding order
MAX_HOLD, MAX_HOLD_UNKNOWN = 60.0, 3600.0  # longest hold of a picture in seconds; in files of unknown duration
MAX_REORDER = 0.5  # seconds from a stream's stated start to its first frame that frame order can explain
MAX_DELAYED = 32  # frames after damage that may still come from before it
Timed = tuple[av.VideoFrame, float]  # a frame and its time on the player's clock, in seconds
ERRORS = (av.error.FFmpegError, OSError)


class BrokenVideo(ValueError):
    """A video file that cannot be used; the message names the file and what is wrong with it."""


@dataclass
class DecodingLog:
    """Events during decoding: time range, repairs and damage."""

    origin: float | None = None  # start of the player's clock on the file's clock, in seconds
    stated: float = 0.0  # end of the picture in the file's header, in seconds; 0 if unknown
    end: float = 0.0  # end of the last frame, in seconds
    cut: str = ""  # error that ended decoding
    repaired: int = 0  # frames with a missing or non-increasing time
    damaged: int = 0  # packets that cannot be decoded, and frames marked corrupt
    holes: list[str] = field(default_factory=list)  # intervals where damage holds a picture for longer than SLACK

    @property
    def remarks(self) -> list[str]:
        """Messages about repairs and damage."""
        remarks = list(self.holes)
        if self.damaged:
            remarks.append(f"damaged packets or frames: {self.damaged}")
        if self.repaired:
            remarks.append(f"frames without a time, or with one that does not rise, put behind others: {self.repaired}")
        return remarks


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its main video stream; errors are raised as BrokenVideo naming the file."""
    try:
        with av.open(str(path)) as container:
            yield container, _main_stream(container, path)
    except ERRORS as error:
        if is_exhausted(error):
            raise
        size = path.stat().st_size if path.exists() else 0
        raise BrokenVideo(f"{path} ({size} bytes) cannot be decoded ({error}): copy or download it again") from error


def _main_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the best video stream that is not a cover picture."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    streams = [stream for stream in streams if stream.codec_context is not None]
    if not streams:
        cover = " and a cover" if container.streams.video else ""
        raise BrokenVideo(f"{path} has no picture, only sound{cover} or subtitles: pass a video")
    moving = [stream for stream in streams if stream.codec_context.name not in COVER_CODECS] or streams
    best = container.streams.best("video")
    return best if best in moving else max(moving, key=lambda stream: stream.width * stream.height)


def first_frame(reel: Iterator[Timed], path: Path, found: DecodingLog) -> Timed:
    """Return the first frame and its time; raises BrokenVideo if there is none."""
    if (frame := next(reel, None)) is None:
        why = f" ({found.cut})" if found.cut else ""
        raise BrokenVideo(f"{path} has no frame that can be decoded{why}: copy or download it again")
    return frame


def _decoded(
    container: InputContainer, stream: VideoStream, found: DecodingLog
) -> Iterator[tuple[av.VideoFrame | None, float | None, str]]:
    """Yield every frame with its time on the file's clock and the last error before it; the last item has no frame."""
    packets, error, stamps, avi = container.demux(stream), "", deque(), container.format.name == "avi"
    while True:
        try:
            if (packet := next(packets, None)) is None:
                break
            frames = packet.decode()
        except ERRORS as problem:
            error, found.damaged = problem.strerror or str(problem), found.damaged + 1
            continue  # after an error of the file itself there is no packet left
        if avi and packet.dts is not None:
            stamps.append(float(packet.dts * packet.time_base))  # in display order; AVI has no other times
        for frame in frames:
            if frame.is_corrupt:
                error, found.damaged = error or "its decoder calls it corrupt", found.damaged + 1
            yield frame, stamps.popleft() if stamps else frame.time, error
            error = ""
    yield None, None, error


def timed(container: InputContainer, stream: VideoStream, period: float, found: DecodingLog) -> Iterator[Timed]:
    """Yield every frame with an increasing time on the player's clock.

    A single missing or unordered time is moved behind the previous one; if the file's clock restarts, or jumps by more
    than the file's duration, the player's clock advances by one frame.
    """
    longest = max(MAX_HOLD, container.duration / av.time_base) if container.duration else MAX_HOLD_UNKNOWN
    reel, last, shift, tick = _decoded(container, stream, found), None, 0.0, float(stream.time_base)
    damage, delayed = "", 0
    frame, stamp, error = next(reel)
    while frame is not None:
        following, next_stamp, next_error = next(reel)
        own = None if stamp is None else stamp + shift
        after = None if next_stamp is None else next_stamp + shift
        time = _frame_time(own, after, last, period, longest)
        if time != own:
            found.repaired += 1
            rises = last is None or (after is not None and last < after <= last + longest)
            shift += 0.0 if own is None or rises else time - own
        if found.origin is None:
            found.origin = _origin(container, stream, time, longest)
            found.stated = _stated_end(container, stream, found.origin)
        begin = found.origin if last is None else last
        damage, delayed = (error, MAX_DELAYED) if error else (damage, delayed - 1)
        if delayed > 0 and time - begin > SLACK:
            span = f"from {begin - found.origin:.1f} to {time - found.origin:.1f} s"
            found.holes.append(f"{span} nothing can be decoded ({damage})")
        since = time - found.origin
        lasts = min(frame.duration * tick or period, longest)
        found.end = min(since + lasts, found.stated) if found.stated > since else since + lasts
        yield frame, since
        last, frame, stamp, error = time, following, next_stamp, next_error
    found.cut = error


def _frame_time(own: float | None, after: float | None, last: float | None, period: float, longest: float) -> float:
    """Return the time of a frame: its own if it is between the previous and the next one, otherwise interpolated."""
    if last is None:
        fits = own is not None and (after is None or own <= after)
        return own if fits else 0.0 if after is None else after - period
    if after is not None and last < after <= last + longest:
        return own if own is not None and last < own < after else last + min(period, (after - last) / 2)
    return own if own is not None and last < own <= last + longest else last + period


def _origin(container: InputContainer, stream: VideoStream, first: float, longest: float) -> float:
    """Return the zero of the player's clock on the file's clock: the earlier start of sound and picture.

    Sound before 0 only initialises its decoder. A stream that cannot be decoded from its start still begins there.
    """
    starts = [float(sound.start_time * sound.time_base) for sound in container.streams.audio if sound.start_time]
    starts += [0.0 for sound in container.streams.audio if sound.start_time == 0]
    own = None if stream.start_time is None else float(stream.start_time * stream.time_base)
    starts = [max(0.0, start) for start in starts] + ([own] if own is not None and first - own > MAX_REORDER else [])
    return min([first, *(start for start in starts if first - start <= longest)])


def _stated_end(container: InputContainer, stream: VideoStream, origin: float) -> float:
    """Return the end of the picture in the file's header; 0 if unknown."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    for name, text in stream.metadata.items():
        if name.upper().startswith("DURATION") and text.count(":") == 2:  # Matroska: end of the stream
            hours, minutes, seconds = text.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - origin
    return container.duration / av.time_base if container.duration else 0.0  # end of the longest stream


def rate(path: Path) -> tuple[float, tuple[str, ...]]:
    """Return the frame rate, with remarks: as stated if it fits the first packets or the whole file, else measured."""
    with opened(path) as (container, stream):
        stated, stamps = float(stream.average_rate or 0), _stamps(container, stream)
        some = list(islice(stamps, PROBED_PACKETS))
        slow = stated < RATES[0]  # a slide show states such rates, which are no frame rate
        if not slow and _agree(stated, *_spans(some)):
            return stated, ()
        gaps, seconds = _spans(some + list(stamps))
    if not slow and (_agree(stated, gaps, seconds) or (not gaps and stated <= RATES[1])):
        return stated, ()
    measured = gaps / seconds if gaps else 0.0
    fps = measured if measured >= RATES[0] else DEFAULT_RATE
    remarks = f"its frames come at {measured:.4g}/s" if gaps else "nothing else says how fast it runs"
    return fps, (f"its header states {stated:g} frames/s, {remarks}: {fps:.4g} are counted with",)


def _stamps(container: InputContainer, stream: VideoStream) -> Iterator[float]:
    """Yield the times of the packets in seconds, where given, in decoding order."""
    avi = container.format.name == "avi"
    for packet in container.demux(stream):
        stamp = packet.dts if avi or packet.pts is None else packet.pts
        if stamp is not None:
            yield float(stamp * packet.time_base)


def _spans(stamps: list[float]) -> tuple[int, float]:
    """Return the number of frame intervals and their total duration, summed over restarts of the clock."""
    restarts = [place for place in range(1, len(stamps)) if stamps[place] < stamps[place - 1] - CLOCK_RESTART]
    runs = [stamps[start:end] for start, end in pairwise([0, *restarts, len(stamps)]) if end - start > 1]
    spans = [(len(run) - 1, max(run) - min(run)) for run in runs if max(run) > min(run)]
    return sum(gaps for gaps, _ in spans), sum(seconds for _, seconds in spans)


def _agree(stated: float, gaps: int, seconds: float) -> bool:
    return gaps > 0 and gaps / RATE_TOLERANCE <= stated * seconds <= (gaps + MAX_REORDERED) * RATE_TOLERANCE


def rises(path: Path) -> bool:
    """Whether the time stamps of a file increase, so that seeking by keyframes is reliable."""
    with opened(path) as (container, stream):
        if "mp4" in container.format.name:
            return True  # mp4 times are sums of durations
        stamps = [packet.dts for packet in container.demux(stream) if packet.size]
    return None not in stamps and all(earlier < later for earlier, later in pairwise(stamps))
