"""Audio and video frames of a media file, with the times of its container.

Times are seconds as the container states them, so that audio and video keep their offset. A frame is decoded once and
converted to RGB or grey only on request.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from av.video.reformatter import VideoReformatter

from avdfd.core.errors import MediaError
from avdfd.features.window import FACE_SIZE, SAMPLE_RATE

# A larger jump of the time stamps (seconds) splits audio into pieces; a smaller one is rounding (MKV counts in ms).
_AUDIO_JUMP = 0.05
# A file that ends this many seconds before its stated duration is truncated.
_LOST = 1.0
# Offset and magic bytes of containers: they distinguish a damaged video from a file that is no video.
_CONTAINERS = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"RIFF"),
    (0, b"\x1aE\xdf\xa3"),
    (0, b"\0\0\1\xba"),
    (0, b"FLV"),
)


@dataclass(frozen=True)
class AudioPiece:
    """Continuous piece of audio: mono float32 at 16 kHz whose first sample is at `start` seconds."""

    start: float
    samples: np.ndarray

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


class Frame(ABC):
    """Video frame, shown from `time` for about `duration` seconds."""

    def __init__(self, time: float, duration: float) -> None:
        self.time = time
        self.duration = duration
        self.encoded: dict[Hashable, bytes] = {}
        """Encoded crops by their square: a frame in several windows is encoded once."""

    @abstractmethod
    def rgb(self) -> np.ndarray:
        """Return (H, W, 3) uint8, upright and with square pixels."""

    @abstractmethod
    def gray(self) -> np.ndarray:
        """Return (H, W) uint8, upright and with square pixels."""


def read_audio(path: str | Path, *, video: bool = True) -> list[AudioPiece]:
    """Decode the audio of a file to continuous pieces; channels are averaged.

    Raises MediaError if the file cannot be decoded, ends before its stated duration or, with `video`, has no video.
    """
    with open_media(path) as container:
        video_stream = first_stream(container, "video") if video or _streams(container, "video") else None
        audio = first_stream(container, "audio")
        shown = [0.0]  # the end of the video is read from its packets, without decoding
        pieces = _join(_decoded(container, audio, video_stream, shown), float(audio.time_base))
        stated = (container.duration or 0) / av.time_base
        begin = (container.start_time or 0) / av.time_base
    if not pieces:
        raise MediaError("no audio could be decoded")
    found = max(pieces[-1].end, *shown) - begin
    if found < stated - _LOST:
        raise MediaError(f"truncated: {found:.2f} s of the stated {stated:.2f} s exist")
    return pieces


def join_pieces(pieces: Sequence[AudioPiece], end: float) -> np.ndarray:
    """Join the audio pieces of a file to (S,), from the start of the first piece to `end` seconds; gaps are zeros."""
    begin = pieces[0].start
    samples = np.zeros(max(round((end - begin) * SAMPLE_RATE), 0), np.float32)
    for piece in pieces:
        first = max(round((piece.start - begin) * SAMPLE_RATE), 0)
        place = samples[first : first + len(piece.samples)]
        place += piece.samples[: len(place)]
    return samples


def read_waveform(path: str | Path) -> np.ndarray:
    """Return the audio (S,) float32 of a file with or without video, mono at 16 kHz; gaps are left out.

    Raises MediaError as `read_audio`.
    """
    return np.concatenate([piece.samples for piece in read_audio(path, video=False)])


def read_video(path: str | Path, decoder: str) -> Iterator[Frame]:
    """Yield the frames of a file in display order, decoded by "pyav" or "decord".

    Decord takes no display times from a container without them, so PyAV decodes such a file. Raises MediaError if the
    file cannot be decoded.
    """
    yield from _pyav_frames(path) if decoder == "pyav" or not _suits_decord(path) else _decord_frames(path)


@contextmanager
def open_media(path: str | Path) -> Iterator[Any]:
    """Open a container and close it in the end.

    Raises MediaError if the file is missing or not readable, and for FFmpeg's errors on opening and reading.
    """
    try:
        with av.open(f"file:{path}") as container:  # without "file:", a name with a colon is taken for a URL
            yield container
    except FileNotFoundError:
        raise MediaError("no such file") from None
    except IsADirectoryError:
        raise MediaError("a folder, not a file") from None
    except PermissionError:
        raise MediaError("permission denied") from None
    except av.FFmpegError as error:
        if Path(path).stat().st_size == 0:
            raise MediaError("empty file") from None
        if not _is_container(path):
            raise MediaError("not a media file") from None
        raise MediaError(f"cannot be decoded, damaged or truncated ({error.strerror})") from None


def first_stream(container: Any, kind: str) -> Any:
    """Return the first stream of a kind, "video" or "audio", cover images excluded. Raises MediaError without one."""
    streams = _streams(container, kind)
    if not streams:
        raise MediaError(f"no {kind} stream")
    if streams[0].codec_context is None:
        raise MediaError(f"no decoder for its {kind} stream")
    return streams[0]


def has_display_times(container: Any, stream: Any) -> bool:
    """Return whether the container states when frames are shown; AVI states only when packets are decoded.

    FFmpeg fills in display times for AVI, which are late and, with B-frames, in disorder. There the n-th frame shown
    has the time of the n-th packet. A codec tag in Matroska marks a stream that was copied from AVI in the same form.
    """
    copied = container.format.name.startswith("matroska") and stream.codec_tag.strip("\0")
    return container.format.name != "avi" and not copied


def _streams(container: Any, kind: str) -> list[Any]:
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams if stream.type == kind and not stream.disposition & cover]


class _FrameConverter:
    """Converter of decoded frames to arrays, one per stream: its setup takes as long as two conversions."""

    def __init__(self, stream: Any) -> None:
        self.seconds = float(stream.time_base)
        aspect = float(stream.sample_aspect_ratio or 1)
        # A face crop of the final size is never resampled, even if its stated pixel aspect is not 1.
        square = abs(aspect - 1) < 0.02 or (stream.width, stream.height) == (FACE_SIZE, FACE_SIZE)
        self._aspect = 1 if square else aspect
        self._converters = {"rgb24": VideoReformatter(), "gray": VideoReformatter()}

    def array(self, frame: av.VideoFrame, form: str) -> np.ndarray:
        width = round(frame.width * self._aspect)
        image = self._converters[form].reformat(frame, width=width, format=form).to_ndarray()
        return np.rot90(image, round(frame.rotation / 90) % 4)


class _PyavFrame(Frame):
    def __init__(self, frame: av.VideoFrame, time: int, converter: _FrameConverter) -> None:
        super().__init__(time * converter.seconds, (frame.duration or 0) * converter.seconds)
        self._frame, self._converter = frame, converter

    def rgb(self) -> np.ndarray:
        return self._converter.array(self._frame, "rgb24")

    def gray(self) -> np.ndarray:
        return self._converter.array(self._frame, "gray")


class ArrayFrame(Frame):
    """Frame that is already an array (H, W, 3) uint8."""

    def __init__(self, image: np.ndarray, time: float, duration: float) -> None:
        super().__init__(time, duration)
        self._image = image

    def rgb(self) -> np.ndarray:
        return self._image

    def gray(self) -> np.ndarray:
        return (self._image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)


def _pyav_frames(path: str | Path) -> Iterator[Frame]:
    with open_media(path) as container:
        stream = first_stream(container, "video")
        stream.thread_count = 1  # callers already run one worker per core
        converter = _FrameConverter(stream)
        last: int | None = None
        for frame, time in _timed_frames(container, stream):
            if last is None or time > last:
                yield _PyavFrame(frame, time, converter)
                last = time


def _timed_frames(container: Any, stream: Any) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yield the frames of a stream in display order with their times in ticks of its time base.

    A frame without a time follows the one before it.
    """
    stated = has_display_times(container, stream)
    slots: deque[int] = deque()
    following = 0
    for packet in container.demux(stream):
        if packet.size and packet.dts is not None:
            slots.append(packet.dts)
        for frame in packet.decode():
            slot = slots.popleft() if slots else None
            time = frame.pts if stated and frame.pts is not None else frame.dts if stated else slot
            following = following if time is None else time
            yield frame, following
            following += frame.duration or 1


def _suits_decord(path: str | Path) -> bool:
    with open_media(path) as container:
        return has_display_times(container, first_stream(container, "video"))


def _decord_frames(path: str | Path) -> Iterator[Frame]:
    import decord  # not the default, and without a wheel for some platforms

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        stamps = reader.get_frame_timestamp(range(len(reader)))
        # decord's time stamps have an origin of their own, neither the container's nor that of the audio.
        first = next(_pyav_frames(path), None)
        offset = 0.0 if first is None else first.time - float(stamps[0, 0])
        for start, end in stamps:
            yield ArrayFrame(reader.next().asnumpy(), float(start) + offset, float(end - start))
    except decord.DECORDError as error:
        raise MediaError(f"cannot be decoded by decord: {str(error).splitlines()[0]}") from None


def _decoded(container: Any, audio: Any, video: Any | None, shown: list[float]) -> Iterator[av.AudioFrame]:
    """Yield audio frames; append the times of the video packets between them to `shown`."""
    for packet in container.demux(*(stream for stream in (audio, video) if stream is not None)):
        if packet.stream is audio:
            yield from packet.decode()
        elif packet.pts is not None and video is not None:
            shown.append(float(packet.pts * video.time_base))


def _join(frames: Iterator[av.AudioFrame], seconds: float) -> list[AudioPiece]:
    """Join audio frames to pieces; a jump of the time stamps or a change of rate or channels starts a new piece."""
    pieces: list[AudioPiece] = []
    piece: _Piece | None = None
    for frame in frames:
        form = (frame.rate, frame.layout.nb_channels)
        time = None if frame.pts is None else frame.pts * seconds
        if piece is None or form != piece.form or (time is not None and abs(time - piece.end) > _AUDIO_JUMP):
            if piece is not None:
                pieces.append(piece.close())
            piece = _Piece(form, time or 0.0)
        piece.add(frame)
    if piece is not None:
        pieces.append(piece.close())
    return [p for p in pieces if len(p.samples)]


class _Piece:
    """Piece under construction, resampled about once a second so that long audio is not held at its original rate."""

    def __init__(self, form: tuple[int, int], start: float) -> None:
        self.form, self.start, self.end = form, start, start
        self.rate = form[0]
        self._resampler = soxr.ResampleStream(self.rate, SAMPLE_RATE, 1, dtype="float32")
        self._waiting: list[np.ndarray] = []
        self._done: list[np.ndarray] = []
        self._count = self._resampled = 0

    def add(self, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
        self._waiting.append(channels)
        self._count += frame.samples
        self.end = self.start + self._count / self.rate
        if self._count - self._resampled >= self.rate:
            self._resample(last=False)

    def close(self) -> AudioPiece:
        self._resample(last=True)
        return AudioPiece(self.start, np.concatenate(self._done))

    def _resample(self, last: bool) -> None:
        mono = _mono(np.concatenate(self._waiting, axis=1)) if self._waiting else np.zeros(0, np.float32)
        self._done.append(self._resampler.resample_chunk(mono, last=last))
        self._waiting, self._resampled = [], self._count


def _mono(samples: np.ndarray) -> np.ndarray:
    """Average channels (c, n) of any sample type to (n,) float32 in [-1, 1]."""

    if samples.dtype == np.uint8:
        samples = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32).mean(axis=0)


def _is_container(path: str | Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(16)
    return any(head[at : at + len(magic)] == magic for at, magic in _CONTAINERS)
